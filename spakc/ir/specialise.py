"""A kernel with some of its compiled-in options fixed: the math simplified, the options gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spakc.ir.module import Kernel
from spakc.ir.ops import Const, Expr, Ref, RefKind
from spakc.ir.simplify import simplify
from spakc.ir.visit import substitute


def specialise(kernel: Kernel, values: Mapping[str, bool | int | float | str]) -> Kernel:
    """Replaces options by values (a word by its name) in the math. With `activation` fixed to identity, the
    gradient of a product needs no forward value. Schedules, laws and the names of tensors stay."""
    words: dict[tuple[RefKind, str], Expr] = {
        (RefKind.option, name): Ref(value, RefKind.symbol) if isinstance(value, str) else Const(value)
        for name, value in values.items()
    }
    math = tuple(replace(e, value=simplify(substitute(e.value, words))) for e in kernel.math)
    options = {name: option for name, option in kernel.options.items() if name not in values}
    return replace(kernel, math=math, options=options)
