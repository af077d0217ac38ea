"""Whether a statement demands more or less than before.

A law of a schedule is judged by counting: the points of both spaces that it lets through before and after.
Other propositions are judged by their thresholds: each comparison is brought to the form `terms ≤ number`, and the two
propositions are compared at every threshold, between and beyond them. What neither way can tell is `unclear`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction

import numpy as np

from spakc.check.check_space import SpaceKey
from spakc.check.checked import CheckedModule
from spakc.check.space import Space
from spakc.ir.canonical import canonical
from spakc.ir.constraint import Env, TooMany, Unknown, implication, lanes, members
from spakc.ir.experiment import Claim, Gate
from spakc.ir.module import Device, Law, Verification
from spakc.ir.ops import Apply, Const, Domain, Expr, Interval, Members
from spakc.record import record

_MOST_CASES = 50_000


class Strength(Enum):
    """What a statement demands now, beside what it demanded before."""

    same = "same"
    weaker = "weaker"
    stronger = "stronger"
    unclear = "unclear"


def together(*parts: Strength) -> Strength:
    """The strength of several demands that must all be met."""
    found = set(parts) - {Strength.same}
    if not found:
        return Strength.same
    return found.pop() if len(found) == 1 else Strength.unclear


def by_sets(lost: bool, gained: bool) -> Strength:
    """From whether something that was allowed is refused now, and the other way round."""
    if lost and gained:
        return Strength.unclear
    return Strength.stronger if lost else Strength.weaker if gained else Strength.same


# ---- laws by counting ---------------------------------------------------------------------------------


@record
class Counted:
    """How many points of a space a law lets through, before and after, of how many; on which target."""

    target: str
    points: int
    before: int
    after: int


def count_law(
    old: Law, new: Law, old_checked: CheckedModule, new_checked: CheckedModule
) -> tuple[Strength, tuple[Counted, ...]]:
    """The strength of a law of a schedule by counting its spaces on every target; `unclear` with nothing counted
    where it is no question of knobs, dtypes, compiled sizes and device facts."""
    found: list[Strength] = []
    counted: list[Counted] = []
    for key in dict.fromkeys((*_spaces(old, old_checked), *_spaces(new, new_checked))):
        spaces = [c.spaces[key] for c in (old_checked, new_checked) if key in c.spaces]
        devices = [_device(key, c) for c in (old_checked, new_checked)]
        for space in spaces:
            masks = [_mask(law, space, d) for law, d in zip((old, new), devices, strict=True)]
            if masks[0] is None or masks[1] is None:
                continue
            before, after = np.broadcast_arrays(masks[0], masks[1])
            found.append(by_sets(bool((before & ~after).any()), bool((after & ~before).any())))
            each = space.points // max(1, before.size)
            if space is spaces[0]:
                row = Counted(key[2], before.size * each, int(before.sum()) * each, int(after.sum()) * each)
                counted.append(row)
    return (together(*found), tuple(counted)) if counted else (Strength.unclear, ())


def _spaces(law: Law, checked: CheckedModule) -> list[SpaceKey]:
    return [key for key in checked.spaces if key[:2] == law.scope]


def _device(key: SpaceKey, checked: CheckedModule) -> Device | None:
    return checked.module.devices.get(key[2])


def _mask(
    law: Law, space: Space, device: Device | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None:
    env = space.env.facts(device.facts) if device is not None else space.env
    found = lanes(implication(law.proposition, law.when), env)
    if found.some_unknown:
        return None
    mask = np.asarray(found.data, dtype=bool)
    return mask.reshape((1,) * (len(space.shape) - mask.ndim) + mask.shape)


# ---- propositions by thresholds -----------------------------------------------------------------------

Key = tuple[tuple[str, Fraction], ...]
Form = tuple[dict[str, Fraction], Fraction]
_FLIP = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}


def compare_propositions(old: Expr, new: Expr) -> Strength:
    """The strength of a proposition by its thresholds. Different terms are taken as independent, so `weaker` and
    `stronger` are true as they stand; what depends on how terms hang together is `unclear`."""
    if canonical(old) == canonical(new):
        return Strength.same
    thresholds: dict[Key, set[Fraction]] = {}
    for expr in (old, new):
        _thresholds(expr, thresholds)
    values = {key: _between(found) for key, found in thresholds.items()}
    if math.prod(len(v) for v in values.values()) > _MOST_CASES:
        return Strength.unclear
    lost = gained = False
    for case in itertools.product(*values.values()):
        point = dict(zip(values, case, strict=True))
        before, after = _truth(old, point), _truth(new, point)
        lost, gained = lost or (before and not after), gained or (after and not before)
    return by_sets(lost, gained)


def _thresholds(expr: Expr, found: dict[Key, set[Fraction]]) -> None:
    if isinstance(expr, Apply) and expr.op in ("and", "or", "not"):
        for part in expr.args:
            _thresholds(part, found)
        return
    if isinstance(expr, Apply) and expr.op in _FLIP:
        key, _, number = _comparison(expr)
        found.setdefault(key, set()).add(number)
    elif isinstance(expr, Apply) and expr.op == "member":
        for part in _membership(expr):
            _thresholds(part, found)
    elif not (isinstance(expr, Const) and isinstance(expr.value, bool)):
        found.setdefault(((canonical(expr), Fraction(1)),), set()).add(Fraction(0))


def _truth(expr: Expr, point: Mapping[Key, Fraction]) -> bool:
    if isinstance(expr, Const) and isinstance(expr.value, bool):
        return expr.value
    if isinstance(expr, Apply):
        if expr.op == "and":
            return all(_truth(part, point) for part in expr.args)
        if expr.op == "or":
            return any(_truth(part, point) for part in expr.args)
        if expr.op == "not":
            return not _truth(expr.args[0], point)
        if expr.op == "member":
            parts = [_truth(part, point) for part in _membership(expr)]
            return all(parts) if isinstance(expr.args[1], Interval) else any(parts)
        if expr.op in _FLIP:
            key, op, number = _comparison(expr)
            value = point[key]
            holds = {
                "lt": value < number, "le": value <= number, "gt": value > number,
                "ge": value >= number, "eq": value == number, "ne": value != number,
            }  # fmt: skip
            return holds[op]
    return point[((canonical(expr), Fraction(1)),)] > 0


def _membership(expr: Apply) -> tuple[Expr, ...]:
    """`x in 1..4` as comparisons that must all hold, `x in {a, b}` as such of which one must."""
    item, domain = expr.args
    if isinstance(domain, Interval):
        return (
            Apply("ge", (item, domain.first)),
            Apply("le", (item, domain.last)),
            *((Apply("member", (item, Members((domain,)))),) if domain.by is not None else ()),
        )
    if isinstance(domain, Members) and not any(isinstance(each, Interval) for each in domain.items):
        return tuple(Apply("eq", (item, each)) for each in domain.items)
    return (Apply("eq", (Const(canonical(expr)), Const("true"))),)


def _comparison(expr: Apply) -> tuple[Key, str, Fraction]:
    """`left op right` as `terms op number`, the first term taken once."""
    left, right = (_linear(side) for side in expr.args)
    terms = dict(left[0])
    for name, factor in right[0].items():
        terms[name] = terms.get(name, Fraction(0)) - factor
    terms = {name: factor for name, factor in sorted(terms.items()) if factor}
    number = right[1] - left[1]
    op = expr.op
    if terms:
        first = next(iter(terms.values()))
        if first < 0:
            op = _FLIP[op]
        terms = {name: factor / first for name, factor in terms.items()}
        number = number / first
    return tuple(terms.items()), op, number


def _linear(expr: Expr) -> Form:
    """An expression as a sum of factors of terms that nothing is known of, and a number."""
    if isinstance(expr, Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool):
        if math.isfinite(expr.value):
            return {}, Fraction(expr.value)
    elif isinstance(expr, Apply) and expr.op in ("add", "sub"):
        sign = 1 if expr.op == "add" else -1
        (a, m), (b, n) = (_linear(part) for part in expr.args)
        return {
            name: a.get(name, Fraction(0)) + sign * b.get(name, Fraction(0)) for name in {**a, **b}
        }, m + sign * n
    elif isinstance(expr, Apply) and expr.op == "neg":
        terms, number = _linear(expr.args[0])
        return {name: -factor for name, factor in terms.items()}, -number
    elif isinstance(expr, Apply) and expr.op in ("mul", "div"):
        first, second = (_linear(part) for part in expr.args)
        if expr.op == "mul" and not first[0]:
            first, second = second, first
        if not second[0] and (second[1] or expr.op == "mul"):
            by = second[1] if expr.op == "mul" else 1 / second[1]
            return {name: factor * by for name, factor in first[0].items()}, first[1] * by
    return {canonical(expr): Fraction(1)}, Fraction(0)


def _between(found: set[Fraction]) -> list[Fraction]:
    """Every threshold, one value between each two, one beyond each end."""
    at = sorted(found)
    middle = [(a + b) / 2 for a, b in itertools.pairwise(at)]
    return sorted({at[0] - 1, *at, *middle, at[-1] + 1})


# ---- statements of several demands ----------------------------------------------------------------------


def compare_tolerances(old: Expr | None, new: Expr | None) -> Strength:
    """A tolerance that is wider for whatever its terms are worth (none is negative) is weaker."""
    if old is None or new is None:
        return Strength.same if old is new else Strength.unclear
    (a, m), (b, n) = _linear(old), _linear(new)
    changes = [b.get(name, Fraction(0)) - a.get(name, Fraction(0)) for name in {**a, **b}] + [n - m]
    return by_sets(any(c < 0 for c in changes), any(c > 0 for c in changes))


def compare_domains(old: Domain | None, new: Domain | None) -> Strength:
    """Over fewer members a statement says less. Of domains that nobody enumerates, nothing is known."""
    if old is None or new is None:
        return Strength.same if old is new else Strength.unclear
    if canonical(old) == canonical(new):
        return Strength.same
    found = [_members(domain) for domain in (old, new)]
    if found[0] is None or found[1] is None:
        return Strength.unclear
    return by_sets(bool(found[1] - found[0]), bool(found[0] - found[1]))


def _members(domain: Domain) -> frozenset[object] | None:
    if isinstance(domain, Members):
        return frozenset(canonical(item) for item in domain.items)
    values = members(domain, Env(), 100_000)
    return None if isinstance(values, (TooMany, Unknown)) else frozenset(canonical(Const(v)) for v in values)


Binders = tuple[tuple[tuple[str, ...], Domain], ...]


def compare_binders(old: Binders, new: Binders) -> Strength:
    """A statement for every member of some domains."""
    before, after = dict(old), dict(new)
    if before.keys() != after.keys():
        return Strength.unclear
    return together(*(compare_domains(before[names], after[names]) for names in before))


def compare_verification(old: Verification, new: Verification) -> Strength:
    """A wider tolerance, fewer cases, narrower shapes, fewer kinds of values are weaker."""
    cases = [0 if v.cases is None else v.cases for v in (old, new)]
    return together(
        compare_tolerances(old.tolerance, new.tolerance),
        by_sets(cases[1] > cases[0], cases[1] < cases[0]),
        _compare_shapes(old.shapes, new.shapes),
        by_sets(bool({*new.values} - {*old.values}), bool({*old.values} - {*new.values})),
    )


def _compare_shapes(old: Binders, new: Binders) -> Strength:
    return compare_binders(old, new)


def compare_claims(old: Claim, new: Claim) -> Strength:
    """A lower threshold, less confidence, fewer members to hold for, fewer devices are weaker."""
    confidence = [0.0 if c.confidence is None else c.confidence for c in (old, new)]
    if old.on and new.on:
        on = by_sets(bool({*new.on} - {*old.on}), bool({*old.on} - {*new.on}))
    else:
        on = Strength.same if old.on == new.on else Strength.unclear
    return together(
        compare_propositions(old.proposition, new.proposition),
        by_sets(confidence[1] > confidence[0], confidence[1] < confidence[0]),
        compare_binders(old.quantifier, new.quantifier),
        on,
    )


def compare_gates(old: Gate, new: Gate) -> Strength:
    """What a gate requires, if it trains as before; hiding less is weaker."""
    if canonical((old.train,)) != canonical((new.train,)):
        return Strength.unclear
    hidden = [{name for r in gate.require for name in r.hide} for gate in (old, new)]
    return together(
        compare_propositions(_all(old), _all(new)),
        by_sets(bool(hidden[1] - hidden[0]), bool(hidden[0] - hidden[1])),
    )


def _all(gate: Gate) -> Expr:
    return Apply("and", (Const(True), *(r.proposition for r in gate.require)))


def compare_laws(old: Law, new: Law) -> Strength:
    """A law by its thresholds, where it cannot be counted."""
    return compare_propositions(
        implication(old.proposition, old.when), implication(new.proposition, new.when)
    )
