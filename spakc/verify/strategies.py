"""The cases of a variant as hypothesis draws and shrinks them.

Sizes are those of `spakc/verify/sizes.py`. Memory may be dense, padded or begin anywhere. Whatever a guard of the
variant refuses is mended or not drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from spak_runtime.emulator.call import SMS
from spakc.check.problems import bind_dtypes
from spakc.ir.constraint import (
    Env,
    Unknown,
    evaluate,
)
from spakc.ir.module import Kernel
from spakc.ir.ops import Const, RefKind
from spakc.ir.types import DType
from spakc.verify.case import MODES, VALUES, Case, Value
from spakc.verify.inputs import environment, shape_of
from spakc.verify.sizes import Corner, End, Shapes
from spakc.verify.specialisations import Specialisation, facts_of
from spakc.verify.tested import UnderTest

OFTEN = 3
"""One number of so many is another than its default, which is what most calls ask for."""

CORNERED = 3
"""Where conditions have borders, one case of so many has one pass the corner of a whole tile: what is wrong by one is
wrong at that element alone."""

WHOLE = (1, 2, 7, 33)
"""Of a whole number that is 0 by default, the others, beside those at which the border of a mask lies beside a tile."""

NUMBERS = (0.5, 20.0)
"""Of a number that is 0 by default, the others: less than most values that it meets, and more than most."""

DEVICES = (SMS, 1, 3)
"""Multiprocessors of the emulated device, where blocks stay on theirs and compute one tile after the other."""

_UNIT_BYTES = 16


def cases(
    tested: UnderTest,
    members: Sequence[Specialisation],
    shapes: Shapes,
    plain: bool = False,
    ends: Sequence[End] = (),
) -> st.SearchStrategy[Case]:
    """Cases of a variant over the specialisations `members`, of which there is at least one.

    `plain`: comfortable sizes, dense memory, N(0, 1) values: cases on which every term of the math shows. `ends`: the
    first is where a size lies, the others where they can."""

    @st.composite
    def case(draw: Any) -> Case:
        called = _call(draw, tested, draw(st.sampled_from(members)), shapes, plain, ends)
        if plain:
            return called
        order = {"seed": draw(st.integers(0, 2**16)), "mode": draw(st.sampled_from(MODES))}
        if shapes.stays:
            order["sms"] = draw(st.sampled_from(DEVICES))
        again = draw(st.sampled_from((False,) * 7 + (True,)))
        return _in_memory(draw, tested, replace(called, **order, again=again))

    return case()


def declared_ends(
    tested: UnderTest, members: Iterable[Specialisation], shapes: Shapes
) -> dict[str, tuple[int, int]]:
    """Of each dim for which the file gives sizes, the least and the largest that a specialisation takes."""
    found: dict[str, tuple[int, int]] = {}
    for chosen in members:
        for name, (least, most) in shapes.declared(_env(tested, chosen), facts_of(tested, chosen)).items():
            low, high = found.get(name, (least, most))
            found[name] = (min(low, least), max(high, most))
    return {name: found[name] for name in shapes.free if name in found}


def _env(tested: UnderTest, chosen: Specialisation) -> Env:
    return bind_dtypes(Env().options(chosen.options), chosen.dtypes).knobs(tested.variant.config)


def _call(
    draw: Any,
    tested: UnderTest,
    chosen: Specialisation,
    shapes: Shapes,
    plain: bool,
    ends: Sequence[End] = (),
) -> Case:
    corner = None
    if not plain and not ends and shapes.borders and draw(st.integers(1, CORNERED)) == CORNERED:
        corner = shapes.corner(draw, chosen.options)
    dims = shapes.draw(draw, _env(tested, chosen), facts_of(tested, chosen), plain, ends, corner)
    return Case(
        tested.spec.name,
        tested.variant.id,
        dims,
        {name: dtype.value for name, dtype in chosen.dtypes.items()},
        dict(chosen.layouts),
        _options(draw, tested.kernel, chosen, dims, None if plain else shapes, corner),
        chosen.absent,
        values="normal" if plain else draw(st.sampled_from(values_of(tested))),
        data=draw(st.integers(0, 2**16)),
        contract=chosen.contract,
    )


def values_of(tested: UnderTest) -> tuple[str, ...]:
    """The kinds of values to draw: whole numbers, whose sums are exact, and what the file asks for."""
    wanted = tested.verification.values if tested.verification is not None else ()
    return tuple(dict.fromkeys(("integers", *(wanted or VALUES))))


def _options(
    draw: Any,
    kernel: Kernel,
    chosen: Specialisation,
    dims: Mapping[str, int],
    shapes: Shapes | None,
    corner: Corner | None,
) -> dict[str, Value]:
    """Compiled-in options as chosen, numbers mostly at their default. Without `shapes` such that every term of the
    mathematics counts. Those of a border that is to pass a `corner` are such that it does."""
    options: dict[str, Value] = {}
    for name, option in kernel.options.items():
        if name in chosen.options:
            options[name] = chosen.options[name]
            continue
        default = evaluate(option.default, Env().dims(dims).options(options))
        if isinstance(default, Unknown | str):
            reject()
        usual: Value
        others: list[Value]
        often = OFTEN
        if option.dtype is DType.f32:
            usual, others = float(default), _other_numbers(float(default))
            if shapes is not None and default != 0 and not isinstance(option.default, Const):
                others += [
                    16 * usual,
                    -usual,
                    0.0,
                ]  # worked out from sizes, it is a convenience: any number will do
        else:
            usual, others = int(default), [*(WHOLE if default == 0 else (max(1, int(default) // 2),))]
            if shapes is not None:
                others += shapes.at_border(name, dims, options)
            if corner is not None:
                passing = corner.border.alone((RefKind.option, name), dims, options, corner.lone)
                others, often = [n for n in passing if n > 0] or [usual], 1
        options[name] = draw(st.sampled_from(others)) if draw(st.integers(1, often)) == often else usual
    return options


def _other_numbers(default: float) -> list[Value]:
    """What one passes instead of a default."""
    return [*NUMBERS] if default == 0 else [default / 2]


# ---- memory -------------------------------------------------------------------------------------------


def _in_memory(draw: Any, tested: UnderTest, case: Case) -> Case:
    """Draws how tensors lie. What the guards refuse is laid out anew, aligned; what they refuse then is no
    case."""
    pads: dict[str, int] = {}
    offsets: dict[str, int] = {}
    if draw(st.booleans()):  # else all are dense
        for name, tensor in tested.kernel.tensors.items():
            if name in case.absent:
                continue
            unit = _unit(case, name)
            if len(tensor.shape) >= 2:
                inner = _contiguous(tested, case, name)
                pads[name] = draw(st.sampled_from((0, -inner % unit, -inner % unit + unit, 1, 3)))
            offsets[name] = draw(st.sampled_from((0, unit, 0, 1, 5)))
    drawn = replace(case, pads=_some(pads), offsets=_some(offsets))
    if allows(tested, drawn):
        return drawn
    aligned = {
        name: -_contiguous(tested, case, name) % _unit(case, name)
        for name, tensor in tested.kernel.tensors.items()
        if len(tensor.shape) >= 2 and name not in case.absent
    }
    mended = replace(case, pads=_some(aligned))
    if not allows(tested, mended):
        reject()
    return mended


def _some(table: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in table.items() if value}


def _unit(case: Case, name: str) -> int:
    """Elements in the widest access, sixteen bytes."""
    return max(1, _UNIT_BYTES // DType(case.dtypes[name]).bytes)


def _contiguous(tested: UnderTest, case: Case, name: str) -> int:
    shape = shape_of(tested.kernel.tensors[name], case.dims)
    return shape[-2] if case.layouts[name] == "column" and len(shape) > 1 else shape[-1]


def allows(tested: UnderTest, case: Case) -> bool:
    """Whether the variant's guards hold for a case. The one that leaves a call to a faster variant is not
    asked: the variant must be right all the same."""
    facts = environment(tested, case)
    return all(holds(facts) for _, holds in tested.guards)
