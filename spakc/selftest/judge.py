"""One mutant judged: by the checks of `spakc verify` on the emulator, by numerics alone, and, where nothing was
found, by its machine code. An edge."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from spak_runtime.cache import KernelCache
from spak_runtime.disassemble import disassemble
from spak_runtime.emulator.toolchain import kernel_library
from spak_runtime.errors import BuildError
from spak_runtime.machine_rules import broken_rules
from spak_runtime.nvrtc import BuildRequest, Compiled, compile_cubin
from spak_runtime.specialise import Binding, build_request, macros
from spakc.emulator_runner import OnEmulator
from spakc.machine_rules import broken_order
from spakc.record import record
from spakc.resources import resource
from spakc.selftest.mutants import Mutant
from spakc.selftest.plan_of_mutants import Task
from spakc.selftest.subjects import Builds, Subject, Trial
from spakc.verdicts import judge_law
from spakc.verify.arrays import Array
from spakc.verify.case import MODES, Case
from spakc.verify.examine import Counters, Observed, examine
from spakc.verify.failure import Failure
from spakc.verify.laws import cases_of, merged
from spakc.verify.oracle import OracleError
from spakc.verify.properties import inputs_of
from spakc.verify.tested import UnderTest

TIMEOUT_SECONDS = 10
"""A mutant that runs so long is endless: cases take a fraction of a second."""

ORIGINALS = KernelCache()
"""Of the kernels as they are; made before a worker puts its own builds elsewhere."""

KILLED, REFUSED, SAME_CODE, SURVIVED = "killed", "refused", "same code", "survived"


@record
class Verdict:
    """`how` is the kind of the failure that killed the mutant, `evidence` what was said, `by` the variant and
    case. `by_numerics` says whether values, crashes and accesses out of bounds alone would have, None where
    nothing killed it. `compiled` is how many specialisations gave the same machine code."""

    status: str
    how: str = ""
    evidence: str = ""
    by: str = ""
    by_numerics: bool | None = None
    compiled: int = 0


def judge_everywhere(task: Task) -> Verdict:
    """The verdict on a mutant; where it lives, the one on the same change in another source, if it is killed there."""
    verdict = judge(task.mutant, task.by)
    if verdict.status != SURVIVED:
        return verdict
    elsewhere = (judge(mutant, by) for mutant, by in task.elsewhere)
    return next((other for other in elsewhere if other.status == KILLED), verdict)


def judge(mutant: Mutant, by: Sequence[Subject]) -> Verdict:
    """Runs the cases of every variant until one fails. What nothing fails is compiled; if the machine code is another,
    the cases run again in other orders, and the laws are asked."""
    with _changed(mutant, by) as (files, overlay):
        tried: list[tuple[Subject, Trial]] = []
        seen: Seen = {id(s): [] for s in by}
        found = _checked(_in_turn(by, 0), files, overlay, tried, seen)
        if found is None:
            compiled = _by_machine_code(mutant, by)
            if compiled.status != SURVIVED:
                return compiled
            others = (each for turn in range(1, len(MODES)) for each in _in_turn(by, turn))
            found = _checked(others, files, overlay, tried, seen) or _by_laws(by, seen) or compiled
        if found.status == KILLED:
            alone = _by_numerics(tried, files, overlay)
            return Verdict(KILLED, found.how, found.evidence, found.by, alone)
        return found


@record
class Baseline:
    """A variant unchanged: what is wrong with it, empty if nothing, the cases that it was judged by, and what its
    specialisations are built to."""

    wrong: str
    trials: Sequence[Trial]
    builds: Mapping[tuple[tuple[str, str], ...], Builds]


def baseline(subject: Subject, cases: int, seed: int) -> Baseline:
    """Draws as many cases, and runs every one on the variant as it is."""
    subject.draw(cases, seed, functools.partial(_as_it_is, subject))
    builds: dict[tuple[tuple[str, str], ...], Builds] = {}
    for trial in subject.trials:
        failure = examine(subject.tested, trial.case, OnEmulator(subject.files), known=trial.right)
        if failure is not None:
            wrong = f"{failure.code}: {'; '.join(failure.messages)}, {trial.case}"
            return Baseline(wrong, subject.trials, builds)
        builds[_specialisation(subject, trial.case)] = _builds(subject, trial.case, subject.files, ())
    return Baseline("", subject.trials, builds)


def _as_it_is(subject: Subject, case: Case) -> Observed | None:
    """A case on the variant unchanged, nothing checked; None where it does not run."""
    try:
        run = OnEmulator(subject.files, checks=False, timeout_seconds=TIMEOUT_SECONDS)
        return run(subject.tested, case, inputs_of(subject.tested, case))
    except OracleError:
        return None


Files = Mapping[str, str]
Seen = dict[int, list[tuple[Case, Counters]]]
"""The counters of the cases that were right, by variant."""


@contextmanager
def _changed(mutant: Mutant, by: Sequence[Subject]) -> Iterator[tuple[dict[int, Files], tuple[Path, ...]]]:
    """The files of each variant with the mutant in them, and the folder of a changed header."""
    if mutant.source:
        text = mutant.apply(by[0].files[mutant.source])
        yield {id(s): {**s.files, mutant.source: text} for s in by}, ()
        return
    with tempfile.TemporaryDirectory(prefix="spak-mutant-") as folder:
        path = Path(folder, mutant.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(mutant.apply(by[0].headers[mutant.file]))
        yield {id(s): s.files for s in by}, (Path(folder),)


def _in_turn(by: Sequence[Subject], turn: int) -> Iterator[tuple[Subject, Trial]]:
    """A case of each variant, then another of each: what kills a mutant is mostly a variant, not a case. At each turn
    in another order, copies landing at other times."""
    for number in range(max((len(s.trials) for s in by), default=0)):
        for subject in by:
            if number < len(subject.trials):
                trial = subject.trials[number]
                yield subject, replace(trial, case=_in_other_order(trial.case, turn))


def _in_other_order(case: Case, turn: int) -> Case:
    """The same call; what is right does not depend on order. Whether the order changes bits is asked only once."""
    if turn == 0:
        return case
    mode = MODES[(MODES.index(case.mode) + turn) % len(MODES)]
    return replace(case, seed=case.seed + turn, mode=mode, again=False)


class _Watched:
    """A runner that remembers whether a compiler refused the source."""

    def __init__(self, run: OnEmulator) -> None:
        self.run = run
        self.refused = False

    def __call__(self, tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> Observed:
        observed = self.run(tested, case, given)
        self.refused |= not observed.built
        return observed


def _checked(
    trials: Iterable[tuple[Subject, Trial]],
    files: Mapping[int, Files],
    overlay: tuple[Path, ...],
    tried: list[tuple[Subject, Trial]],
    seen: Seen,
) -> Verdict | None:
    """What kills the mutant, None if nothing does. `tried` gets the cases that were run."""
    for subject, trial in trials:
        if _is_untouched(subject, trial.case, files[id(subject)], overlay):
            continue
        tried.append((subject, trial))
        run = _Watched(OnEmulator(files[id(subject)], overlay, timeout_seconds=TIMEOUT_SECONDS))
        counted = functools.partial(_count, seen[id(subject)])
        failure = examine(subject.tested, trial.case, run, counted, trial.right)
        if run.refused:
            said = failure.messages[0] if failure is not None else ""
            for folder in overlay:  # another one in every run
                said = said.replace(f"{folder}/", "")
            return Verdict(REFUSED, evidence=said)
        if failure is not None:
            return Verdict(KILLED, _how(failure), failure.messages[0], f"{subject.name}: {trial.case}")
    return None


def _by_laws(by: Sequence[Subject], seen: Seen) -> Verdict | None:
    """The law about counters that the mutant breaks."""
    for subject in by:
        for statement, base in subject.laws:
            law = statement.body
            observed = cases_of(law, subject.tested.variant, subject.tested.kernel, seen[id(subject)])
            judgement = judge_law(law, [{"observations": merged(observed)}], base)
            if judgement.verdict.value == "violated":
                return Verdict(KILLED, f"law {law.name}", judgement.note, subject.name)
    return None


def _is_untouched(subject: Subject, case: Case, files: Files, overlay: tuple[Path, ...]) -> bool:
    """Whether the emulator's compiler makes the same kernels of the mutant as of the original for a case: then there
    is nothing to run. What a specialisation does not use is compiled away."""
    try:
        return _builds(subject, case, files, overlay) == subject.builds.get(_specialisation(subject, case))
    except BuildError:
        return False


def _builds(subject: Subject, case: Case, files: Files, overlay: tuple[Path, ...]) -> Builds:
    """Digests of what the emulator's compiler makes of the sources of a variant."""
    defines = _specialisation(subject, case)
    folders = [*overlay, resource("templates") / "cuda" / "include"]
    return tuple(
        hashlib.sha256(
            kernel_library(files[source], source, folders, defines, case.contract).read_bytes()
        ).digest()
        for source in subject.sources
    )


def _specialisation(subject: Subject, case: Case) -> tuple[tuple[str, str], ...]:
    present = {name: name not in case.absent for name in case.dtypes}
    binding = Binding(case.dtypes, case.layouts, present, case.options, case.dims)
    return tuple(sorted((key, str(value)) for key, value in macros(subject.tested.variant, binding).items()))


def _count(to: list[tuple[Case, Counters]], case: Case, counters: Counters) -> None:
    to.append((case, counters))


def _how(failure: Failure) -> str:
    """The word of the emulator for what it found, else what the check compared."""
    if failure.code == "SPAK803":
        words = [word for word in failure.messages[0].split(": ") if word.replace("-", "").isalpha()]
        return words[0] if words else "memory between elements"
    return {"SPAK802": "values", "SPAK804": "order"}.get(failure.code, failure.code)


def _by_numerics(
    tried: Sequence[tuple[Subject, Trial]], files: Mapping[int, Files], overlay: tuple[Path, ...]
) -> bool:
    """Whether values, crashes and accesses out of bounds show it in the cases up to the one that killed it."""
    for subject, trial in reversed(tried):
        run = OnEmulator(files[id(subject)], overlay, checks=False, timeout_seconds=TIMEOUT_SECONDS)
        if examine(subject.tested, trial.case, run, known=trial.right) is not None:
            return True
    return False


# ---- machine code -------------------------------------------------------------------------------------


def _by_machine_code(mutant: Mutant, by: Sequence[Subject]) -> Verdict:
    """Same code if the device compiler makes the same instructions of it in every specialisation of every
    judging variant. The first of each variant that are others are asked what no machine code may show."""
    compiled = 0
    same = True
    for subject in by:
        for before, after in _requests(mutant, subject):
            try:
                changed = compile_cubin(after)
            except BuildError as error:
                return Verdict(REFUSED, evidence=str(error))
            original = ORIGINALS.build_unjudged(before)
            if _is_same_code(changed.cubin, original.cubin):
                compiled += 1
                continue
            same = False
            fault = next(_faults(changed), "")
            if fault and not any(_faults(original)):
                return Verdict(KILLED, "machine code", fault, subject.name, by_numerics=False)
            break
    return Verdict(SAME_CODE if same else SURVIVED, compiled=compiled)


def _requests(mutant: Mutant, subject: Subject) -> Iterator[tuple[BuildRequest, BuildRequest]]:
    """What the device compiler is given for each specialisation of a variant, without the mutant and with it, where
    these differ."""
    headers, files = subject.headers, dict(subject.files)
    changed_headers = dict(headers)
    if mutant.source:
        files[mutant.source] = mutant.apply(files[mutant.source])
    else:
        changed_headers[mutant.file] = mutant.apply(headers[mutant.file])
    variant = subject.tested.variant
    for binding in bindings_of(subject):
        for launch in variant.launches:
            before = build_request(subject.files, headers, variant, launch, binding, variant.archs[0])
            after = build_request(files, changed_headers, variant, launch, binding, variant.archs[0])
            if before != after:
                yield before, after


def _faults(compiled: Compiled) -> Iterator[str]:
    """The rules of machine code that it breaks: the same that refuse a selected variant (SPAK705)."""
    yield from broken_rules(compiled)
    yield from broken_order(disassemble(compiled.cubin))


def bindings_of(subject: Subject) -> list[Binding]:
    """The specialisations of the subject's cases, each once: those whose macros are the same are the same."""
    found: dict[str, Binding] = {}
    for member in subject.members:
        binding = Binding(
            {name: dtype.value for name, dtype in member.dtypes.items()},
            member.layouts,
            {name: name not in member.absent for name in member.dtypes},
            member.options,
            member.dims,
        )
        found.setdefault(repr(sorted(macros(subject.tested.variant, binding).items())), binding)
    return list(found.values())


def _is_same_code(one: bytes, other: bytes) -> bool:
    """Whether two cubins hold the same instructions. Those that are equal throughout need no disassembler."""
    return one == other or disassemble(one).text == disassemble(other).text
