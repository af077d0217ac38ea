"""The names that laws are written in: lets with their values, and what targets have of what is asked of a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from spakc.check.check_space import targets_of
from spakc.check.space import Space
from spakc.diff.difference import said
from spakc.ir.constraint import Env, Unknown, evaluate, lanes
from spakc.ir.lanes import Scalar
from spakc.ir.module import Law, Let, Module
from spakc.ir.ops import Expr, Ref, RefKind
from spakc.ir.visit import walk


def lets_of(lets: Iterable[Let], spaces: Mapping[str, Space]) -> list[dict[str, Any]]:
    """Every let as it is written, with its value if it is one number or word, and the reach of its values over the
    lawful points of each space where it depends on knobs."""
    return [_let(let, spaces) for let in lets]


def _let(let: Let, spaces: Mapping[str, Space]) -> dict[str, Any]:
    value = evaluate(let.value, Env())
    reach = (
        (target, _reach(let.value, space)) for target, space in spaces.items() if isinstance(value, Unknown)
    )
    return {
        "name": let.name,
        "text": said(let.value),
        "value": None if isinstance(value, Unknown) else value,
        "reach": [
            {"target": target, "least": found[0], "most": found[1]}
            for target, found in reach
            if found is not None
        ],
        "file": let.span.source.name,
        "line": let.span.line,
    }


def _reach(expr: Expr, space: Space) -> tuple[Scalar, Scalar] | None:
    """The least and the largest number that an expression is at lawful points."""
    found = lanes(expr, space.env.facts(space.device.facts))
    values = np.asarray(found.data)
    if found.some_unknown or values.dtype.kind not in "iuf" or not space.lawful.any():
        return None
    values = values.reshape((1,) * (space.lawful.ndim - values.ndim) + values.shape)
    at, lawful = np.broadcast_arrays(values, space.lawful)
    return at[lawful].min().item(), at[lawful].max().item()


def devices_of(module: Module) -> list[dict[str, Any]]:
    """Of every target, what the file asks of a device."""
    asked = sorted({ref.name for expr in _expressions(module) for ref in walk(expr) if _is_fact(ref)})  # type: ignore[attr-defined]
    return [
        {
            "device": device.name,
            "facts": {name: device.facts[name] for name in ("arch", *asked) if name in device.facts},
        }
        for device in targets_of(module)
    ]


def _is_fact(expr: Expr) -> bool:
    return isinstance(expr, Ref) and expr.kind is RefKind.fact


def _expressions(module: Module) -> Iterator[Expr]:
    """What laws, needs and lets of the file and of its kernels say."""
    kernels = module.kernels.values()
    schedules = [each for kernel in kernels for each in kernel.schedules.values()]
    laws: list[Law] = [*module.laws]
    lets: list[Let] = [*module.lets]
    needs: list[Expr] = []
    for kernel in kernels:
        laws += kernel.laws
        lets += kernel.lets
    for schedule in schedules:
        laws += schedule.laws
        lets += schedule.lets
        needs += schedule.needs
    for implementation in module.implementations:
        needs += implementation.needs
    yield from (let.value for let in lets)
    yield from (expr for law in laws for expr in (law.proposition, law.when) if expr is not None)
    yield from needs
