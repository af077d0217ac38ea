"""The last calls of a kernel, each recognised by one check of torch's own over all of its tensors.

The check is the guard that torch.compile puts in front of compiled code: type, dtype, device, sizes, strides, gradient
and every mode and transform of torch in force. It costs a tenth of what reading these one by one costs. Where torch has
no such guard, calls are recognised by their keys alone (`function._call_key`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spak_runtime.args import MAX_ALIGNMENT
from spak_runtime.plan import CudaPlan

KEPT = 4
"""Calls that are compared one after the other, before a table is asked."""


class RecentCall:
    """A call whose arguments by place are all tensors, and all tensors begin at multiples of MAX_ALIGNMENT."""

    __slots__ = ("_check", "_constants", "_names", "_places", "_slots", "plan")

    def __init__(
        self,
        plan: CudaPlan,
        check: Callable[..., bool],
        places: Sequence[int],
        names: Mapping[str, int | None],
        constants: Mapping[str, Any],
        slots: int,
    ) -> None:
        """`places` are the slots of the positional arguments, `names` those of the others in their order (None for a
        constant), `slots` how many there are."""
        self.plan = plan
        self._check = check
        self._places = tuple(places)
        self._names = tuple(names.items())
        self._constants = tuple(constants.items())
        self._slots = slots

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor] | None:
        """The outputs, if this is such a call."""
        if len(args) != len(self._places) or len(kwargs) != len(self._names):
            return None
        tensors: list[torch.Tensor | None] = [None] * self._slots
        pointers = [0] * self._slots
        if kwargs:
            for name, value in self._constants:
                if kwargs.get(name, self) is not value:
                    return None
            named = [kwargs.get(name) for name, slot in self._names if slot is not None]
            if not self._check(*args, *named):
                return None
            for (_, slot), value in zip((n for n in self._names if n[1] is not None), named, strict=True):
                tensors[slot] = value  # type: ignore[index]
                pointers[slot] = value.data_ptr()  # type: ignore[index,union-attr]
        elif not self._check(*args):
            return None
        for slot, value in zip(self._places, args, strict=True):
            tensors[slot] = value
            pointers[slot] = value.data_ptr()
        joined = 0
        for pointer in pointers:
            joined |= pointer
        return None if joined % MAX_ALIGNMENT else self.plan.run_at(tensors, pointers)


def recent_call(
    plan: CudaPlan,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    positional: Mapping[int, int],
    named: Mapping[str, int],
    slots: int,
) -> RecentCall | None:
    """The call that has just been made, or None where it is not of this kind. `positional` and `named` give the slots
    of its tensors."""
    tensors = [*args, *(kwargs[name] for name in kwargs if name in named)]
    if len(positional) != len(args) or any(t.data_ptr() % MAX_ALIGNMENT for t in tensors):
        return None
    if any(t.requires_grad for t in tensors):
        return None  # made under no_grad; the guard would take the same call where its gradient is wanted
    check = _guard(tensors)
    if check is None:
        return None
    constants = {name: value for name, value in kwargs.items() if name not in named}
    return RecentCall(
        plan,
        check,
        [positional[i] for i in range(len(args))],
        {name: named.get(name) for name in kwargs},
        constants,
        slots,
    )


def _guard(tensors: Sequence[torch.Tensor]) -> Callable[..., bool] | None:
    sizes: list[Any] = [list(t.size()) for t in tensors]
    strides: list[Any] = [list(t.stride()) for t in tensors]
    try:
        from torch._C._dynamo.guards import TensorGuards

        guards = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
    except (ImportError, TypeError, RuntimeError, SystemError):
        return None
    check: Callable[..., bool] = guards.check
    return check
