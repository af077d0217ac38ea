"""Whether a statement demands more or less than before, respect by respect.

A law of a schedule is judged by counting: the points of both spaces that it lets through before and after. Other
propositions are judged by their thresholds (`thresholds.py`). What neither way can tell is `unclear`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spakc.check.check_space import SpaceKey
from spakc.check.checked import CheckedModule
from spakc.check.space import Space
from spakc.diff.difference import Difference, Strength, by_sets, differs, said
from spakc.diff.thresholds import compare_propositions, linear
from spakc.ir.canonical import canonical
from spakc.ir.constraint import Env, TooMany, Unknown, implication, lanes, members, show
from spakc.ir.experiment import Claim, Gate
from spakc.ir.module import Device, Law, Verification
from spakc.ir.normal import normal
from spakc.ir.ops import Apply, Const, Domain, Expr, Members

Bools = NDArray[np.bool_]

# ---- laws ---------------------------------------------------------------------------------------------


def differences_of_laws(
    old: Law, new: Law, old_checked: CheckedModule, new_checked: CheckedModule
) -> Iterator[Difference]:
    """A law of a schedule by counting its spaces on every target where it is a question of knobs, dtypes, compiled
    sizes and device facts; any other by its thresholds."""
    counted = [*_counted(old, new, old_checked, new_checked)]
    texts = _law(old), _law(new)
    if counted:
        if texts[0] != texts[1]:
            yield differs("proposition", texts, Strength.same)
        yield from [each for each in counted if each.strength is not Strength.same] or counted[:1]
        return
    found = compare_propositions(*(implication(law.proposition, law.when) for law in (old, new)))
    if texts[0] != texts[1] or found.strength is not Strength.same:
        yield differs("proposition", texts, found.strength, found.allowed, found.refused)


def _law(law: Law) -> str:
    return said(law.proposition) + (f" when {said(law.when)}" if law.when is not None else "")


def _counted(
    old: Law, new: Law, old_checked: CheckedModule, new_checked: CheckedModule
) -> Iterator[Difference]:
    """By target, how many points of a space a law lets through, of how many: of the old space and of the new one."""
    for key in dict.fromkeys((*_spaces(old, old_checked), *_spaces(new, new_checked))):
        devices = [checked.module.devices.get(key[2]) for checked in (old_checked, new_checked)]
        for space in [checked.spaces[key] for checked in (old_checked, new_checked) if key in checked.spaces]:
            masks = [_mask(law, space, device) for law, device in zip((old, new), devices, strict=True)]
            if masks[0] is None or masks[1] is None:
                continue
            before, after = np.broadcast_arrays(masks[0], masks[1])
            gained, lost = after & ~before, before & ~after
            each = space.points // max(1, before.size)
            of = f"of {before.size * each:,}"
            yield Difference(
                f"lawful points of `{'.'.join(key[:2])}`" + (f" on {key[2]}" if key[2] else ""),
                f"{int(before.sum()) * each:,} {of}",
                f"{int(after.sum()) * each:,} {of}",
                by_sets(bool(lost.any()), bool(gained.any())),
                _example(gained, space),
                _example(lost, space),
            )


def _spaces(law: Law, checked: CheckedModule) -> list[SpaceKey]:
    return [key for key in checked.spaces if key[:2] == law.scope]


def _mask(law: Law, space: Space, device: Device | None) -> Bools | None:
    env = space.env.facts(device.facts) if device is not None else space.env
    found = lanes(implication(law.proposition, law.when), env)
    if found.some_unknown:
        return None
    mask = np.asarray(found.data, dtype=bool)
    return mask.reshape((1,) * (len(space.shape) - mask.ndim) + mask.shape)


def _example(mask: Bools, space: Space) -> str:
    """The first point of a mask. An axis of length 1 is one that no side asks for."""
    if not mask.any():
        return ""
    first = np.unravel_index(int(mask.argmax()), mask.shape)
    parts = [str(space.problems[int(first[0])])] if mask.shape[0] > 1 else []
    parts += [
        f"{axis.name} = {show(axis.values[int(i)])}"
        for axis, i, length in zip(space.axes, first[1:], mask.shape[1:], strict=True)
        if length > 1
    ]
    return ", ".join(filter(None, parts)) or "every point"


# ---- statements of several demands --------------------------------------------------------------------


def differences_of_verification(old: Verification, new: Verification) -> Iterator[Difference]:
    """A wider tolerance, fewer cases, narrower shapes, fewer kinds of values are weaker."""
    if canonical(normal((old.tolerance,))) != canonical(normal((new.tolerance,))):
        texts = [said(each.tolerance) or "the default" for each in (old, new)]
        yield Difference("tolerance", texts[0], texts[1], compare_tolerances(old.tolerance, new.tolerance))
    if old.cases != new.cases:
        cases = [each.cases or 0 for each in (old, new)]
        strength = by_sets(cases[1] > cases[0], cases[1] < cases[0])
        yield differs("cases", (str(each.cases or "not said") for each in (old, new)), strength)
    if old.values != new.values:
        yield _of_names("values", old.values, new.values)
    yield from _of_binders("shapes", old.shapes, new.shapes)


def compare_tolerances(old: Expr | None, new: Expr | None) -> Strength:
    """A tolerance that is wider for whatever its terms are worth (none is negative) is weaker."""
    if old is None or new is None:
        return Strength.same if old is new else Strength.unclear
    (a, m), (b, n) = linear(old), linear(new)
    changes = [b.get(name, 0) - a.get(name, 0) for name in {**a, **b}] + [n - m]
    return by_sets(any(c < 0 for c in changes), any(c > 0 for c in changes))


def differences_of_claims(old: Claim, new: Claim) -> Iterator[Difference]:
    """A lower threshold, less confidence, fewer members to hold for, fewer devices are weaker."""
    yield from _of_propositions("bound", old.proposition, new.proposition)
    if old.confidence != new.confidence:
        a, b = ((each.confidence or 0.0) for each in (old, new))
        texts = [f"{each.confidence:.6%}" if each.confidence is not None else "" for each in (old, new)]
        plain = [text.rstrip("0%").rstrip(".") + "%" if text else "" for text in texts]
        yield Difference("confidence", plain[0], plain[1], by_sets(b > a, b < a))
    yield from _of_binders("for every", old.quantifier, new.quantifier)
    if old.on != new.on:
        both = bool(old.on and new.on)
        found = _of_names("devices", old.on, new.on)
        yield found if both else Difference("devices", found.old, found.new, Strength.unclear)


def differences_of_gates(old: Gate, new: Gate) -> Iterator[Difference]:
    """What a gate requires, if it trains as before; hiding less is weaker."""
    if canonical(normal((old.train,))) != canonical(normal((new.train,))):
        yield differs("training", (_settings(gate) for gate in (old, new)), Strength.unclear)
    yield from _of_propositions("requirement", _all(old), _all(new))
    hidden = [tuple(dict.fromkeys(name for r in gate.require for name in r.hide)) for gate in (old, new)]
    if hidden[0] != hidden[1]:
        yield _of_names("hides", hidden[0], hidden[1])


def _settings(gate: Gate) -> str:
    return ", ".join(f"{name} = {said(value)}" for name, value in (gate.train or {}).items())


def _all(gate: Gate) -> Expr:
    return Apply("and", (Const(True), *(r.proposition for r in gate.require)))


def _of_propositions(aspect: str, old: Expr, new: Expr) -> Iterator[Difference]:
    found = compare_propositions(old, new)
    texts = [_conjuncts(each) for each in (old, new)]
    if found.strength is not Strength.same or texts[0] != texts[1]:
        yield Difference(aspect, texts[0], texts[1], found.strength, found.allowed, found.refused)


def _conjuncts(expr: Expr) -> str:
    if expr.span is None and isinstance(expr, Apply) and expr.op == "and":
        return " and ".join(said(part) for part in expr.args[1:])
    return said(expr)


def _of_names(aspect: str, old: tuple[str, ...], new: tuple[str, ...]) -> Difference:
    """Demands for each of some names: fewer are weaker."""
    lost, gained = {*old} - {*new}, {*new} - {*old}
    return Difference(aspect, ", ".join(old), ", ".join(new), by_sets(bool(gained), bool(lost)))


# ---- domains ------------------------------------------------------------------------------------------

Binders = tuple[tuple[tuple[str, ...], Domain], ...]


def _of_binders(aspect: str, old: Binders, new: Binders) -> Iterator[Difference]:
    """A statement for every member of some domains."""
    before, after = dict(old), dict(new)
    for names in {**before, **after}:
        a, b = before.get(names), after.get(names)
        strength = compare_domains(a, b)
        if strength is not Strength.same:
            yield Difference(f"{aspect} {', '.join(names)}", said(a), said(b), strength)


def compare_domains(old: Domain | None, new: Domain | None) -> Strength:
    """Over fewer members a statement says less. Of domains that nobody enumerates, nothing is known."""
    if old is None or new is None:
        return Strength.same if old is new else Strength.unclear
    if canonical(normal(old)) == canonical(normal(new)):
        return Strength.same
    a, b = _members(old), _members(new)
    if a is None or b is None:
        return Strength.unclear
    return by_sets(bool(b - a), bool(a - b))


def _members(domain: Domain) -> frozenset[object] | None:
    if isinstance(domain, Members):
        return frozenset(canonical(normal(item)) for item in domain.items)
    values = members(domain, Env(), 100_000)
    return None if isinstance(values, (TooMany, Unknown)) else frozenset(canonical(Const(v)) for v in values)
