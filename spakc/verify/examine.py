"""One case examined: run it, look at what the emulator found, at the result, and at what must not change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace

from spakc.record import record
from spakc.source import Span
from spakc.verify.arrays import Array
from spakc.verify.case import MODES, Case
from spakc.verify.failure import Failure, Line
from spakc.verify.properties import Reference, derivative_gap, mismatches, reference, same_bits
from spakc.verify.tested import UnderTest

SHOWN = 4
"""Findings and lines of one failure that are worth reading."""


@record
class Finding:
    """A mistake that the machine itself found: a race, an access out of bounds, a crash. `lines` are
    where."""

    message: str
    lines: tuple[Line, ...] = ()


@record
class Counters:
    """What a run cost. `bytes` by tensor, read and written. Of shared memory, by the role of the tensors
    whose tiles lie there (`input`, `output`): how many wavefronts accesses took beyond the fewest possible,
    and how many requests were looked at; without any, nothing is known."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    blocks: int = 0
    threads: int = 0
    shared_bytes: int = 0


@record
class Observed:
    """What running a case showed: outputs and inouts after it, findings, tensors whose memory was written
    where no element lies, and counters (none from a device). `built` unless a compiler refused the source. `visits`:
    how often threads came by a line (file, number) that calls a primitive; empty from a device."""

    outputs: Mapping[str, Array]
    findings: tuple[Finding, ...] = ()
    touched: tuple[str, ...] = ()
    counters: Counters | None = None
    built: bool = True
    visits: Mapping[tuple[str, int], int] = field(default_factory=dict)


Run = Callable[[UnderTest, Case, Mapping[str, "Array | None"]], Observed]
"""Runs a case on given inputs. Raises nothing for what the kernel does wrong."""


def examine(
    tested: UnderTest,
    case: Case,
    run: Run,
    seen: Callable[[Case, Counters], None] = lambda _c, _n: None,
    known: Reference | None = None,
) -> Failure | None:
    """What is wrong with one case, or None. `seen` is told the counters of a case that is right; `known` is its
    reference, where somebody has it already.

    Raises OracleError for a case that the math does not admit."""
    ref = known or reference(tested, case)
    observed = run(tested, case, ref.given)
    if observed.findings:
        return _found(tested, case, observed.findings)
    if observed.touched:
        names = ", ".join(observed.touched)
        return _failure(tested, case, "SPAK803", (f"memory of {names} is written where no element lies",))
    wrong = mismatches(observed.outputs, ref)
    if wrong:
        outputs = [each.output for each in wrong]
        return _failure(tested, case, "SPAK802", tuple(map(str, wrong)), lines_of(tested, outputs))
    if case.again:
        other = replace(case, seed=case.seed + 1, mode=MODES[(MODES.index(case.mode) + 1) % len(MODES)])
        repeated = run(tested, other, ref.given)
        if repeated.findings:
            return _found(tested, other, repeated.findings)
        if any(launch.unordered for launch in tested.variant.launches):
            wrong = mismatches(repeated.outputs, ref)
            if wrong:
                outputs = [each.output for each in wrong]
                return _failure(tested, other, "SPAK802", tuple(map(str, wrong)), lines_of(tested, outputs))
        elif (differs := same_bits(observed.outputs, repeated.outputs)) is not None:
            order = f"{other.seed} {other.mode}"
            message = f"{differs} has other bits when threads run in another order ({order})"
            return _failure(tested, case, "SPAK804", (message,), lines_of(tested, [differs]))
    if observed.counters is not None:
        seen(case, observed.counters)
    return None


def examine_derivative(tested: UnderTest, case: Case) -> Failure | None:
    """Whether the math of a gradient's kernel is the derivative of the forward math, at one case."""
    gap = derivative_gap(tested, case)
    if gap is None:
        return None
    assert tested.derived is not None
    gradient = tested.derived.gradient
    outputs, inputs = ", ".join(gradient.outputs), ", ".join(gradient.inputs)
    message = (
        f"the slope of {outputs} along a random direction of {inputs} is {gap[0]:.9g} by the derivative "
        f"and {gap[1]:.9g} by differences of the math"
    )
    return _failure(tested, case, "SPAK806", (message,), (_line(gradient.span),))


# ---- places -------------------------------------------------------------------------------------------


def lines_of(tested: UnderTest, outputs: Iterable[str]) -> tuple[Line, ...]:
    """The lines of the file that say what these outputs are."""
    wanted = set(outputs)
    spans = [equation.span for equation in tested.kernel.math if equation.target in wanted]
    return tuple(dict.fromkeys(map(_line, spans)))[:SHOWN]


def quoting(sources: Mapping[str, str], line: Line) -> tuple[Line, ...]:
    """The lines of generated sources that stand under a `#line` of this line of the file."""
    directive = f'#line {line.number} "{line.file}"'
    found = []
    for path, text in sources.items():
        rows = text.splitlines()
        for number, row in enumerate(rows[:-1]):
            if row == directive:
                found.append(Line(path, number + 2, rows[number + 1].strip()))
    return tuple(found)[:SHOWN]


def schedule_line(tested: UnderTest) -> Line:
    """Where the file says how this variant computes: its schedule, else the kernel."""
    schedule = tested.source.schedules.get(tested.variant.schedule)
    return _line(schedule.span if schedule is not None else tested.source.span)


def _line(span: Span) -> Line:
    text = span.source.text.splitlines()[span.line - 1].strip() if span.source.text else ""
    return Line(span.source.name, span.line, text)


def _found(tested: UnderTest, case: Case, findings: tuple[Finding, ...]) -> Failure:
    messages = tuple(finding.message for finding in findings[:SHOWN])
    lines = tuple(dict.fromkeys(line for finding in findings[:SHOWN] for line in finding.lines))
    return _failure(tested, case, "SPAK803", messages, lines)


def _failure(
    tested: UnderTest, case: Case, code: str, messages: tuple[str, ...], lines: tuple[Line, ...] = ()
) -> Failure:
    every = list(lines)
    if not any(line.file.endswith(".spak") for line in every):
        every.append(schedule_line(tested))
    return Failure(code, tested.name, messages, tuple(every), case)
