"""Verdicts, recomputed from recorded figures every time; no file holds one."""

from __future__ import annotations

import hashlib
import math
from collections import Counter as Counting
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np

from spak_runtime.formats import agree
from spakc.check.check_experiment import Counter
from spakc.check.statements import Statement
from spakc.check.verdict import Verdict
from spakc.figures import (
    Found,
    Malformed,
    count_in,
    key_of,
    lookup,
    object_in,
    objects,
    quantities,
    scalar_in,
)
from spakc.ir.constraint import (
    SYMBOLS,
    Env,
    Unknown,
    evaluate,
    explain,
    implication,
    lanes,
    mentions,
    show,
)
from spakc.ir.experiment import Claim, Gate
from spakc.ir.lanes import Scalar, Value
from spakc.ir.module import Law
from spakc.ir.ops import Apply, Expr, Query, Ref, RefKind
from spakc.ir.points import at_point, points_of
from spakc.ir.types import DType
from spakc.ir.visit import walk
from spakc.record import record
from spakc.statistics import Counts, Exact, Floats, Quantity, combined, geometric_mean
from spakc.statistics import Interval as Spread


@record
class Judgement:
    """`witnesses` counts what the verdict rests on: kernels, cases, samples."""

    verdict: Verdict
    witnesses: int = 0
    note: str = ""


NOTHING = Judgement(Verdict.undecided)

WITNESSES = 5
"""Of a law about kernels that only runs show (traffic, conflicts, values), as many at each config that was run: a case
or two may be ones in which it happens to be true."""


def witnesses_of(statement: Statement) -> int:
    """The least number of witnesses at each config without which a law is undecided."""
    return WITNESSES if statement.kernels and statement.fact in ("counters", "cases") else 1


# ---- laws ---------------------------------------------------------------------------------------------

_BINDINGS = {"knob": RefKind.knob, "dim": RefKind.dim, "option": RefKind.option, "sample": RefKind.sample}


def judge_law(law: Law, figures: Iterable[Mapping[str, Any]], base: Env, least: int = 1) -> Judgement:
    """Evaluates the law at every observation. `base` binds the facts of the device.

    Holds if it is true at each selected one that its `when` admits, and in each case where it was tested, and
    there are `least` of each config. Raises Malformed."""
    figures = list(figures)
    whole = implication(law.proposition, law.when)
    asked = [q for q in mentions(law.proposition, law.when) if isinstance(q, Query)]
    dropped = unknown = 0
    tested, broken = _tested(figures)
    witnesses = Counting({"": tested} if tested else {})
    for observation in objects(figures, "observations"):
        count = count_in(observation.get("count", 1))
        env = _observed(observation, asked, base)
        if observation.get("selected", True) is not True:
            dropped += count
            continue
        if law.when is not None and evaluate(law.when, env) is False:
            continue
        truth = evaluate(whole, env)
        if isinstance(truth, Unknown):
            unknown += count
            continue
        place = object_in(observation, "at")
        witnesses[_told({k: v for k, v in place.items() if k.startswith("knob ")})] += count
        if truth is not True and not broken:
            at = _told(place)
            broken = explain(whole, env).text + (f" at {at}" if at else "")
    notes = [broken] if broken else []
    if dropped:
        notes.append(f"{dropped} dropped for breaking a law")
    if unknown:
        notes.append(f"{unknown} without a value")
    config, fewest = min(witnesses.items(), key=lambda each: each[1], default=("", 0))
    if 0 < fewest < least:
        notes.append(f"{fewest} of {least} witnesses" + (f" at {config}" if config else ""))
    enough = fewest >= max(1, least) and not unknown
    verdict = Verdict.violated if broken else Verdict.holds if enough else Verdict.undecided
    return Judgement(verdict, witnesses.total(), "; ".join(notes))


def _told(place: Mapping[str, Any]) -> str:
    """A place in words."""
    return ", ".join(f"{key.split(' ', 1)[-1]} = {show(value)}" for key, value in place.items())


def _tested(figures: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """How many cases a law was tested in, and what is to be said of those where it was false."""
    cases, broken = 0, ""
    for each in figures:
        if "tested" in each:
            tested = object_in(each, "tested")
            count, failures = count_in(tested.get("cases", 0)), count_in(tested.get("failures", 0))
            if failures > count:
                raise Malformed("more failures than cases")
            cases += count
            broken = broken or (str(tested.get("first", f"false in {failures} cases")) if failures else "")
    return cases, broken


def _observed(observation: Mapping[str, Any], asked: Sequence[Query], base: Env) -> Env:
    refs: dict[tuple[RefKind, str], Value] = {}
    queries: dict[Query, Value] = {}
    sizes: dict[str, int] = {}
    for key, value in object_in(observation, "at").items():
        word, _, name = key.partition(" ")
        if word == "dtype" and value in DType.__members__:
            sizes[name] = DType(value).bytes
        elif word in _BINDINGS:
            refs[_BINDINGS[word], name] = scalar_in(value)
    answers = object_in(observation, "queries")
    for query in asked:
        if query.name == "sizeof" and key_of(query.args[0]) in sizes:
            queries[query] = sizes[key_of(query.args[0])]
        elif key_of(query) in answers:
            queries[query] = scalar_in(answers[key_of(query)])
    return base.bind(refs, queries | _settled({q: str(v) for q, v in queries.items() if q.name == "format"}))


def _settled(formats: Mapping[Query, str]) -> dict[Query, Value]:
    """Formats of documents, ` | ` between several: those that agree all round are one, as to a gate that runs."""
    forms = {query: text.split(" | ") for query, text in formats.items()}
    if all(agree(some, others) for some, others in combinations(forms.values(), 2)):
        return dict.fromkeys(formats, " | ".join(sorted(set(chain.from_iterable(forms.values())))))
    return dict(formats)


def judge_gate(gate: Gate, figures: Iterable[Mapping[str, Any]]) -> Judgement:
    """Whether everything that a gate requires was so in the run that is recorded. Raises Malformed."""
    rows = list(figures)
    judged = [
        judge_law(Law(gate.name, each.proposition, None, None, (), span=each.span), rows, Env())
        for each in gate.require
    ]
    return _all(judged, 1) if judged else NOTHING


def judge_checks(required: int, figures: Iterable[Mapping[str, Any]]) -> Judgement:
    """Of a comparison with the oracle: no failure in at least `required` cases, and every tripwire rejected.

    A check without a tripwire, or that let one pass, shows nothing. Raises Malformed."""
    cases = failures = 0
    passed: list[str] = []
    tripwires = 0
    for each in figures:
        if "checks" not in each:
            continue
        checks = object_in(each, "checks")
        cases += count_in(checks.get("cases", 0))
        failures += count_in(checks.get("failures", 0))
        wires = object_in(checks, "tripwires")
        tripwires += len(wires)
        passed += [name for name, rejected in wires.items() if rejected is not True]
    if failures > cases:
        raise Malformed("more failures than cases")
    if failures:
        return Judgement(Verdict.violated, cases, f"{failures} of {cases} cases fail")
    if passed:
        return Judgement(
            Verdict.undecided, cases, f"the check accepts what is wrong: {', '.join(sorted(passed))}"
        )
    if not tripwires:
        return Judgement(Verdict.undecided, cases, "no tripwire was tried" if cases else "")
    if cases < max(1, required):
        return Judgement(Verdict.undecided, cases, f"{cases} of {required} cases")
    return Judgement(Verdict.holds, cases)


# ---- claims -------------------------------------------------------------------------------------------


def judge_claim(
    claim: Claim, figures: Iterable[Mapping[str, Any]], counted: Counter = lambda _: None
) -> Judgement:
    """Whether the two-sided interval lies on the claimed side, at every point of the quantifier.

    `geomean` takes the points together. `over = every_seed` asks it of each seed alone. Without a
    confidence the figures themselves are compared. Raises Malformed."""
    found = list(quantities(figures))
    points = [dict(point) for point in points_of(claim)]
    aggregated = any(isinstance(e, Query) and e.name == "geomean" for e in walk(claim.proposition))
    groups = [points] if aggregated else [[point] for point in points]
    judged = [_judge_group(claim, group, found, counted) for group in groups]
    return _all(judged, len(points))


def _all(judged: Sequence[Judgement], total: int) -> Judgement:
    """The conjunction: one violation decides, else one undecided part leaves it open."""
    for verdict in (Verdict.violated, Verdict.undecided):
        hit = [j for j in judged if j.verdict is verdict]
        if hit:
            note = hit[0].note + (f" ({len(hit)} of {total} points)" if total > 1 and len(judged) > 1 else "")
            return Judgement(verdict, sum(j.witnesses for j in judged), note)
    notes = "; ".join(dict.fromkeys(j.note for j in judged if j.note)) if len(judged) <= 3 else judged[0].note
    return Judgement(Verdict.holds, sum(j.witnesses for j in judged), notes)


def _judge_group(
    claim: Claim, points: list[dict[str, Scalar]], found: list[Found], counted: Counter
) -> Judgement:
    """One instance of the proposition, or all of them together under a `geomean`."""
    asked = _asked(claim.proposition)
    table: dict[tuple[Query, int], Quantity] = {}
    for query in asked:
        for i, point in enumerate(points):
            exact = counted(at_point(query, point))
            quantity = Exact(exact) if exact is not None else lookup(query, point, found)
            if quantity is None:
                at = ", ".join(f"{k} = {show(v)}" for k, v in point.items())
                return Judgement(
                    Verdict.undecided, note=f"no figure for {key_of(query)}" + (f" at {at}" if at else "")
                )
            table[query, i] = quantity
    per_seed = [key for key in table if _every_seed(key[0])]
    if not per_seed:
        return _judge(claim, claim.proposition, points, table)
    seeds = {len(q.totals) for key in per_seed if isinstance(q := table[key], Counts)}
    if len(seeds) != 1:
        return Judgement(Verdict.undecided, note="not counted for the same number of seeds")
    judged = []
    for seed in range(seeds.pop()):
        alone = {k: _of_seed(q, seed) if _every_seed(k[0]) else q for k, q in table.items()}
        judged.append(_judge(claim, claim.proposition, points, alone))
    return _all(judged, len(judged))


def _asked(expr: Expr) -> list[Query]:
    """The queries that need a figure, in the order written; those inside `geomean` at each point."""
    found: dict[Query, None] = {}
    stack: list[Expr] = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, Query) and node.name != "geomean":
            found[node] = None
        elif isinstance(node, (Query, Apply)):
            stack.extend(reversed(node.args))
    return list(found)


def _every_seed(query: Query) -> bool:
    return any(name == "over" and isinstance(v, Ref) and v.name == "every_seed" for name, v in query.named)


def _of_seed(quantity: Quantity, seed: int) -> Quantity:
    if isinstance(quantity, Counts):
        return Counts((quantity.hits[seed],), (quantity.totals[seed],))
    return quantity


def _judge(
    claim: Claim, expr: Expr, points: list[dict[str, Scalar]], table: Mapping[tuple[Query, int], Quantity]
) -> Judgement:
    if isinstance(expr, Apply) and expr.op in ("and", "or", "not"):
        return _connective(expr.op, [_judge(claim, arg, points, table) for arg in expr.args])
    if not isinstance(expr, Apply) or expr.op not in SYMBOLS:
        return Judgement(Verdict.undecided, note="not a comparison of figures")
    keys = list(table)
    difference = Apply("sub", expr.args)
    seed = int(hashlib.sha256(f"{claim.name} {key_of(expr)}".encode()).hexdigest()[:8], 16)
    try:
        spread = combined(
            lambda values: _figure(difference, points, dict(zip(keys, values, strict=True))),
            [table[key] for key in keys],
            claim.confidence if claim.confidence is not None else 0.95,
            seed,
        )
        left, right = (
            float(_figure(side, points, {k: np.array([table[k].estimate]) for k in keys})[0])
            for side in expr.args
        )
    except ValueError:
        return Judgement(Verdict.undecided, note="the figures give no finite value")
    used = [table[k] for k in keys if k[0] in _asked(expr)]
    witnesses = sum(q.size for q in used) if used else 1  # a comparison of constants is its own
    return _side(expr.op, spread, claim.confidence, left, right, witnesses)


def _side(
    op: str, spread: Spread, confidence: float | None, left: float, right: float, witnesses: int
) -> Judgement:
    """On which side of zero the difference lies."""
    low, high = (spread.low, spread.high) if confidence is not None else (spread.estimate, spread.estimate)
    if op in ("lt", "le"):
        low, high = -high, -low
    strict = op in ("lt", "gt")
    if op in ("eq", "ne"):
        surely, never = low == high == 0, not low <= 0 <= high
        if op == "ne":
            surely, never = never, surely
    else:
        surely, never = (low > 0, high <= 0) if strict else (low >= 0, high < 0)
    verdict = Verdict.holds if surely else Verdict.violated if never else Verdict.undecided
    note = f"{figure_text(left)} {SYMBOLS[op]} {figure_text(right)}"
    if spread.low != spread.high and confidence is not None:
        estimate, *ends = (figure_text(each, 4) for each in (spread.estimate, spread.low, spread.high))
        note += f", the difference {estimate} in [{', '.join(ends)}]"
    return Judgement(verdict if witnesses else Verdict.undecided, witnesses, note)


def figure_text(value: float, digits: int = 6) -> str:
    """A figure in so many digits; from a million on by powers of 1,000, as units go: 528.9e12 for 528.9 TFLOP/s."""
    text = f"{value:.{digits}g}"
    rounded = float(text)
    if not math.isfinite(rounded) or abs(rounded) < 1e6:
        return text
    power = math.floor(math.log10(abs(rounded)) + 1e-12) // 3 * 3
    return f"{rounded / 10.0**power:.{digits}g}e{power}"


def _connective(op: str, parts: list[Judgement]) -> Judgement:
    if op == "not":
        (part,) = parts
        turned = {Verdict.holds: Verdict.violated, Verdict.violated: Verdict.holds}
        return Judgement(turned.get(part.verdict, Verdict.undecided), part.witnesses, f"not ({part.note})")
    decisive = Verdict.violated if op == "and" else Verdict.holds
    other = Verdict.holds if op == "and" else Verdict.violated
    for wanted in (decisive, Verdict.undecided):
        hit = [p for p in parts if p.verdict is wanted]
        if hit:
            return Judgement(wanted, sum(p.witnesses for p in parts), hit[0].note)
    return Judgement(other, sum(p.witnesses for p in parts), "; ".join(p.note for p in parts))


def _figure(
    expr: Expr, points: list[dict[str, Scalar]], values: Mapping[tuple[Query, int], Floats]
) -> Floats:
    """`expr` for every draw: a geometric mean over all points, everything else at the only one."""
    queries: dict[Query, Value] = {}
    for node in walk(expr):
        if isinstance(node, Query) and node.name == "geomean":
            means = [_plain(node.args[0], point, i, values) for i, point in enumerate(points)]
            queries[node] = geometric_mean(means)
    return _plain(expr, points[0], 0, values, queries)


def _plain(
    expr: Expr,
    point: Mapping[str, Scalar],
    index: int,
    values: Mapping[tuple[Query, int], Floats],
    more: Mapping[Query, Value] | None = None,
) -> Floats:
    bound: dict[Query, Value] = {query: array for (query, i), array in values.items() if i == index}
    env = Env({(RefKind.parameter, k): v for k, v in point.items()}, {**bound, **(more or {})})
    result = lanes(expr, env)
    size = next((len(v) for v in values.values()), 1)
    if result.unknown is True or isinstance(result.data, str):
        return np.full(size, math.nan)
    data = np.where(result.unknown, math.nan, np.asarray(result.data, dtype=np.float64))
    return np.broadcast_to(data, (size,))
