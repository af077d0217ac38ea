"""Calls that were made before: how one is recognised, and the short way from its arguments to the launch.

A known call has its plan, the places of its tensors and, where a gradient is recorded, the way back by position. Two
things recognise it:

* a guard, the one that torch.compile puts in front of compiled code: one check of torch's own for type, dtype, device,
  sizes, strides and whether a gradient is required, of all tensors, and for every mode and transform of torch in force.
  It costs a tenth of what reading these one by one costs. The last few calls of a kernel are asked this way;
* a key (`call_key`), the same facts read one by one, for a table of all others and where torch has no such guard.

To both come what neither sees: the alignment of each address, constants by type and bits, and whether gradients are
recorded. What a checked call depends on is in one of these, so that a call that is recognised needs no further check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spak_runtime.args import MAX_ALIGNMENT, alignment_of
from spak_runtime.autograd import PlacedRule
from spak_runtime.errors import StrideError
from spak_runtime.plan import CudaPlan, written_in_place
from spak_runtime.quick import way_of

MISSED: Any = object()
"""The answer to arguments that are not those of the known call."""

_modes = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_records = torch.is_grad_enabled


class KnownCall:
    """A call as it was made. All that its arguments may differ in is where their tensors lie. `is_guarded`: whether it
    can recognise arguments by itself."""

    __slots__ = (
        "_absent",
        "_constants",
        "_count",
        "_named",
        "_only_tensors",
        "_provided",
        "_recorded",
        "_returned",
        "_rule",
        "_way",
        "_written",
        "is_guarded",
    )

    def __init__(
        self,
        plan: CudaPlan,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        slots: Sequence[int],
        returned: Callable[[Any], Any],
        rule: PlacedRule | None,
    ) -> None:
        """`slots` has the place in the plan of each tensor, those by place first, then those by name in their order;
        `returned` makes of a sequence of outputs what the caller gets; `rule` is there if a gradient is recorded."""
        order = {slot: i for i, slot in enumerate(slots)}
        self._written = tuple(order[slot] for slot in plan.overwritten)
        self._provided = tuple((position, order[slot]) for position, slot in plan.provided)
        self._returned, self._rule = returned, rule
        self._absent = tuple(i for i, value in enumerate(args) if value is None)
        self._named = tuple(name for name, value in kwargs.items() if isinstance(value, torch.Tensor))
        self._constants = tuple((n, v) for n, v in kwargs.items() if n not in self._named)
        self._only_tensors = not (kwargs or self._absent)
        self._count = len(args)
        tensors = self._tensors(args, kwargs)
        self._recorded = _records() if any(t.requires_grad for t in tensors) else None
        guard = _guard(tensors)
        self.is_guarded = guard is not None
        self._way = way_of(plan, guard, [_place(slot, t) for slot, t in zip(slots, tensors, strict=True)])

    def answer(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, recognised: bool = False) -> Any:
        """What the call returns, or MISSED where this is another call. `recognised`: its key says that it is not."""
        if self._only_tensors:
            if kwargs:
                return MISSED
            tensors: Sequence[torch.Tensor] = args
        else:
            tensors = self._tensors(args, kwargs)
        if not recognised:
            if not tensors or len(args) != self._count:
                return MISSED
            if self._recorded is not None and _records() is not self._recorded:
                return MISSED
        if self._rule is not None:
            if not (recognised or self._way.recognises(*tensors)):
                return MISSED
            return self._returned(self._rule.apply(self._rule, self._way.launch, *tensors))
        outputs = self._way.launch(*tensors) if recognised else self._way(*tensors)
        if outputs is None:
            return MISSED
        for i in self._written:
            written_in_place(tensors[i])
        for position, i in self._provided:
            outputs.insert(position, tensors[i])
        return self._returned(outputs)

    def _tensors(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[torch.Tensor]:
        """The tensors among arguments that have the same names, constants and gaps, else none."""
        if len(kwargs) != len(self._named) + len(self._constants):
            return ()
        for name, constant in self._constants:
            value = kwargs.get(name, MISSED)
            if value is not constant and described(value) != described(constant):
                return ()
        if self._absent:
            if len(args) != self._count or any(args[i] is not None for i in self._absent):
                return ()
            args = [value for value in args if value is not None]
        return [*args, *map(kwargs.get, self._named)] if self._named else args  # type: ignore[list-item]


def _place(slot: int, tensor: torch.Tensor) -> tuple[int, int, int]:
    """The slot of a tensor, and how its address ends: address & mask == low."""
    alignment = alignment_of(tensor.data_ptr())
    return (
        (slot, MAX_ALIGNMENT - 1, 0) if alignment == MAX_ALIGNMENT else (slot, 2 * alignment - 1, alignment)
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


def call_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What distinguishes calls with different plans, from the arguments as given; None where no known call may answer:
    no CUDA tensors, a tensor subclass, a mode of torch that wants to see operators."""
    if _modes() or _transforms() is not None:
        return None
    parts: list[Any] = []
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind is torch.Tensor or kind is torch.nn.Parameter:
            if value.get_device() < 0:
                return None
            parts += tensor_key(value)
            parts.append(value.requires_grad and _records())
        else:
            part = described(value)
            if part is None:
                return None
            parts.append(part)
    return (*parts, *kwargs) if kwargs else tuple(parts)


def described(value: Any) -> Any:
    """A constant by its type and bits, since 0.0, -0.0, 0 and False are equal; None for what is no constant."""
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is int or kind is torch.dtype:
        return kind, value
    return (kind, value.hex()) if kind is float else None


def tensor_key(tensor: torch.Tensor) -> tuple[Any, ...]:
    """All that a plan depends on of a tensor."""
    if tensor.is_neg():
        raise StrideError("a tensor is a view that torch negates when it is read; resolve_neg() makes a copy")
    address = tensor.data_ptr() | MAX_ALIGNMENT
    return tensor.dtype, tensor.shape, tensor.stride(), address & -address, tensor.get_device()
