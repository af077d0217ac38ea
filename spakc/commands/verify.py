"""`spakc verify FILE`: kernels against their mathematics, and the laws that only code or a run can
establish."""

from __future__ import annotations

import difflib
import json
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from spak_runtime.errors import ToolError
from spakc import driver
from spakc.check.checked import CheckedModule
from spakc.cli import DIAGNOSTICS, INCONCLUSIVE, OK, VERIFY_FAILED, show
from spakc.device_runner import OnDevice, device_archs, device_name
from spakc.diagnostics import Sink
from spakc.emulator_runner import OnEmulator
from spakc.evidence import append_evidence, evidence_path
from spakc.implement.candidates import Candidate, candidates
from spakc.implement.examine import files_of
from spakc.implement.parent import InChild
from spakc.implement.verify import by_hand
from spakc.ir.module import Gradient
from spakc.plan.plan import Plan
from spakc.record import record
from spakc.tile_runner import OnTiles
from spakc.verification import Established, Finished, establish, rows_of
from spakc.verify.campaign import (
    MathOutcome,
    VariantOutcome,
    is_possible,
    left_out,
    verify_math,
    verify_variant,
)
from spakc.verify.case import BadToken, Case, case_of
from spakc.verify.examine import Run, examine
from spakc.verify.failure import Failure
from spakc.verify.oracle import OracleError
from spakc.verify.report import SCHEMA, failure_json, failure_text, math_text, variant_text
from spakc.verify.sizes import Shapes
from spakc.verify.strategies import allows
from spakc.verify.tested import Derived, UnderTest

DEFAULT_CASES = 50
"""Cases of a variant whose kernel has no `verify`."""


@record
class Request:
    """What the command line asks. `kernels` empty means all."""

    file: Path
    on: str
    cases: int | None
    seed: int
    kernels: tuple[str, ...]
    replay: str | None
    as_json: bool
    backend: str = "cuda"


def run(request: Request) -> int:
    """Verifies, prints, and appends to the evidence. Exit 0: all holds; 3: something is wrong; 5: something
    could not be established; 1: diagnostics."""
    if request.on == "gpu" and device_name() is None:
        click.echo("not run: no device")
        return INCONCLUSIVE
    checked = driver.check_file(request.file)
    decided = driver.plan_file(checked, backend=request.backend)
    files = driver.emit_files(decided)
    every = list(variants_of(decided, files))
    show(checked.sink.diagnostics, request.as_json)
    try:
        with tempfile.TemporaryDirectory(prefix="spak-verify-") as folder:
            runner = _runner(request, files, Path(folder))
            if request.replay is not None:
                return _replay(request, request.replay, every, runner, files, checked.module)
            finished = [_kernel(request, group, runner, files) for group in _groups(request, decided, every)]
        if request.backend == "cutile":  # laws and evidence are about the kernels that a plain plan has
            return _conclude(request, decided, finished, ())
        established = list(establish(checked.module, decided, files, finished, request.on))
        for failure in (f for each in established for f in each.failures):
            _tell(request, failure, {})
        established += _by_hand(request, checked.module, finished)
    except ToolError as error:
        sink = Sink()
        sink.report("SPAK753", error.message, None)
        show(sink.diagnostics, request.as_json)
        return DIAGNOSTICS
    device = device_name() or "" if request.on == "gpu" else "emulator"
    rows = rows_of(checked.module, files, finished, established, request.seed, request.on, device)
    append_evidence(evidence_path(request.file), rows)
    return _conclude(request, decided, finished, established)


def _runner(request: Request, files: dict[str, str], folder: Path) -> Run:
    if request.on == "gpu":
        return OnDevice(files, folder)
    return OnEmulator(files) if request.backend == "cuda" else OnTiles(files)


def variants_of(decided: Plan, files: dict[str, str]) -> Iterator[UnderTest]:
    """Everything that an artifact can launch, as it is to be tested."""
    from spak_runtime.manifest import Manifest

    specs = Manifest.from_json(files["manifest.json"]).kernels
    derived: dict[str, Derived] = {}
    for plan in decided.kernels.values():
        for gradient in plan.gradients:
            declared = Gradient(gradient.outputs, gradient.inputs, span=plan.kernel.span)
            same = [g for g in plan.kernel.gradients if g == declared]
            derived[gradient.kernel] = Derived(plan.kernel, (*same, declared)[0], gradient.saves)
    for name, plan in decided.kernels.items():
        for variant in specs[name].variants:
            if not variant.by_hand:  # whoever wrote it, it runs in a process of its own
                yield UnderTest(plan.kernel, specs[name], variant, derived.get(name))


def _groups(request: Request, decided: Plan, every: Sequence[UnderTest]) -> list[tuple[str, list[UnderTest]]]:
    """The variants by kernel, of the kernels that were asked for. A kernel without variants is a group,
    too."""
    unknown = [name for name in request.kernels if name not in decided.kernels]
    if unknown:
        sink = Sink()
        near = difflib.get_close_matches(unknown[0], decided.kernels, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(decided.kernels) or 'none'}"
        sink.report("SPAK808", f"there is no kernel `{unknown[0]}`", None, help=(hint,))
        sink.stop_if_errors()
    wanted = request.kernels or tuple(decided.kernels)
    return [(name, [t for t in every if t.spec.name == name]) for name in decided.kernels if name in wanted]


def _kernel(
    request: Request, group: tuple[str, list[UnderTest]], runner: Run, files: dict[str, str]
) -> Finished:
    """Every variant of one kernel, told as it is done."""
    name, variants = group
    _say(request, f"{name}:" if variants else f"{name}: no kernel is generated, so torch computes it")
    outcomes: list[VariantOutcome] = []
    math: MathOutcome | None = None
    for tested in variants:
        declared = tested.verification.cases if tested.verification is not None else None
        count = request.cases or declared or DEFAULT_CASES
        if math is None:
            math = verify_math(tested, request.seed)
        seed = zlib.crc32(f"{tested.name} {request.seed}".encode())
        outcome = _left_out(request, tested) or verify_variant(tested, runner, count, seed)
        outcomes.append(outcome)
        _say(request, variant_text(outcome))
        if outcome.failure is not None:
            _tell(request, outcome.failure, files)
    for line in math_text(math) if math is not None else ():
        _say(request, line)
    for failure in math.failures if math is not None else ():
        _tell(request, failure, files)
    return Finished(name, tuple(outcomes), math)


def _by_hand(request: Request, checked: CheckedModule, finished: Sequence[Finished]) -> Iterator[Established]:
    """The hand-written kernels, told as they are done."""

    def count_of(candidate: Candidate) -> int:
        declared = candidate.tested.verification.cases if candidate.tested.verification is not None else None
        return request.cases or declared or DEFAULT_CASES

    templates = driver.templates()
    for examined, judged in by_hand(checked, templates, finished, request.on, count_of, request.seed):
        _say(request, f"{examined.candidate.statement}:")
        _say(request, variant_text(examined.outcome))
        if examined.outcome.failure is not None:
            _tell(request, examined.outcome.failure, dict(examined.candidate.sources))
        yield judged


def _left_out(request: Request, tested: UnderTest) -> VariantOutcome | None:
    return left_out(tested, device_archs()) if request.on == "gpu" else None


def _replay(
    request: Request,
    token: str,
    every: Sequence[UnderTest],
    runner: Run,
    files: dict[str, str],
    checked: CheckedModule,
) -> int:
    """Runs one case again."""
    written = {each.tested.name: each for each in candidates(checked)}
    tested, case = _found(token, [*every, *(each.tested for each in written.values())])
    if tested.name in written:
        own = files_of(written[tested.name], checked, driver.templates())
        runner = InChild(written[tested.name], own, request.on)
    absent = _left_out(request, tested)
    if absent is not None:
        _say(request, f"{tested.name}: left out: {absent.left_out}")
        return INCONCLUSIVE
    try:
        failure = examine(tested, case, runner)
    except OracleError as error:
        failure = Failure("SPAK805", tested.name, (str(error),), (), case)
    if failure is None:
        _say(request, f"{tested.name}: the case is all right\n  call: {case}")
        return OK
    _tell(request, failure, files)
    return VERIFY_FAILED


def _found(token: str, every: Sequence[UnderTest]) -> tuple[UnderTest, Case]:
    """The case of a token and its variant. Raises SpakError with SPAK801."""
    sink = Sink()
    try:
        case = case_of(token)
        tested = next((t for t in every if (t.spec.name, t.variant.id) == (case.kernel, case.variant)), None)
        if tested is None:
            raise BadToken(f"the file has no variant {case.variant} of a kernel {case.kernel}")
        _check_fits(tested, case)
        return tested, case
    except BadToken as error:
        sink.report("SPAK801", f"the replay token is of no case: {error}", None)
    sink.stop_if_errors()
    raise AssertionError("a bad token is reported")


def _check_fits(tested: UnderTest, case: Case) -> None:
    """Raises BadToken where a case is no call of the variant as it is now."""
    kernel = tested.kernel
    alike = (
        case.dims.keys() == kernel.dims.keys()
        and case.dtypes.keys() == kernel.tensors.keys() == case.layouts.keys()
        and case.options.keys() == kernel.options.keys()
        and {*case.absent, *case.pads, *case.offsets} <= kernel.tensors.keys()
    )
    if not alike:
        raise BadToken(f"the dims, tensors or options of {case.kernel} are others now")
    for name, tensor in kernel.tensors.items():
        followed = (case.dtypes[tensor.same_as],) if tensor.same_as else ()
        if case.dtypes[name] not in (*(dtype.value for dtype in tensor.dtypes), *followed):
            raise BadToken(f"{name} cannot be {case.dtypes[name]}")
        if case.layouts[name] not in (tensor.layouts or ("row",)):
            raise BadToken(f"{name} cannot lie by {case.layouts[name]}")
        if name in case.absent and tensor.default is None:
            raise BadToken(f"{name} cannot be absent")
    for name, option in kernel.options.items():
        if option.choices and case.options[name] not in option.choices:
            raise BadToken(f"{name} cannot be {case.options[name]}")
    for name, sizes in tested.spec.dims.items():
        if sizes is not None and case.dims[name] not in sizes:
            raise BadToken(f"{name} cannot be {case.dims[name]}")
    if not is_possible(case, Shapes(tested)):
        raise BadToken("it has more points than a case may have")
    if not allows(tested, case):
        raise BadToken(f"{case.variant} leaves this call to others now")


# ---- telling ------------------------------------------------------------------------------------------


def _say(request: Request, text: str) -> None:
    if not request.as_json:
        click.echo(text)


def _tell(request: Request, failure: Failure, files: dict[str, str]) -> None:
    file, sources = str(request.file), {n: t for n, t in files.items() if n.endswith((".cu", "cutile.py"))}
    if request.as_json:
        data = {"schema": SCHEMA, "failure": failure_json(failure, file, request.on, sources)}
        click.echo(json.dumps(data))
    else:
        click.echo(failure_text(failure, file, request.on, sources))


def _conclude(
    request: Request, decided: Plan, finished: Sequence[Finished], established: Sequence[Established]
) -> int:
    wrong = [f for each in finished for f in each.failures] + [f for e in established for f in e.failures]
    broken = [e for e in established if e.judgement.verdict.value == "violated"]
    asked = {each.name for each in finished}
    unmade = [u for u in decided.undecided if u.kernel in asked]
    open_ = [e for e in established if e.judgement.verdict.value == "undecided"]
    not_run = [o for each in finished for o in each.variants if o.why_not]
    for each in established:
        _say(request, str(each))
    for undecided in unmade:
        _say(request, f"{undecided.kernel}.{undecided.schedule or '*'}: undecided (none): {undecided.reason}")
    left = dict.fromkeys(text for each in finished for text in each.not_covered)
    for text in left:
        _say(request, f"not covered: {text}")
    if request.as_json:
        summary = {
            "kernels": [each.to_json() for each in finished],
            "laws": [each.to_json() for each in established],
            "not_covered": list(left),
        }
        click.echo(json.dumps({"schema": SCHEMA, "seed": request.seed, "on": request.on, **summary}))
    counts = f"{len(wrong) + len(broken)} wrong, {len(open_) + len(not_run) + len(unmade)} not established"
    kept = f"; written to {evidence_path(request.file).name}" if request.backend == "cuda" else ""
    _say(request, f"{counts}{kept}")
    if wrong or broken:
        return VERIFY_FAILED
    return INCONCLUSIVE if open_ or not_run or unmade else OK
