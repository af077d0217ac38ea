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
from spak_runtime.plan import CudaPlan

MISSED: Any = object()
"""The answer to arguments that are not those of the known call."""

_modes = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_records = torch.is_grad_enabled


class KnownCall:
    """A call as it was made. All that its arguments may differ in is where their tensors lie."""

    __slots__ = (
        "_absent",
        "_addresses",
        "_check",
        "_constants",
        "_count",
        "_named",
        "_only_tensors",
        "_places",
        "_plan",
        "_recorded",
        "_returned",
        "_rule",
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
        self._plan, self._addresses, self._returned, self._rule = plan, plan.addresses, returned, rule
        self._absent = tuple(i for i, value in enumerate(args) if value is None)
        self._named = tuple(name for name, value in kwargs.items() if isinstance(value, torch.Tensor))
        self._constants = tuple((n, v) for n, v in kwargs.items() if n not in self._named)
        self._only_tensors = not (kwargs or self._absent)
        self._count = len(args)
        tensors = self._tensors(args, kwargs)
        self._places = tuple(_place(slot, tensor) for slot, tensor in zip(slots, tensors, strict=True))
        self._recorded = _records() if any(t.requires_grad for t in tensors) else None
        self._check = _guard(tensors)

    @property
    def is_guarded(self) -> bool:
        """Whether it can recognise arguments by itself."""
        return self._check is not None

    def answer(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, recognised: bool = False) -> Any:
        """What the call returns, or MISSED where this is another call. `recognised`: its key says that it is not."""
        if self._only_tensors:
            if kwargs:
                return MISSED
            tensors: Sequence[torch.Tensor] = args
        else:
            tensors = self._tensors(args, kwargs)
        if not recognised:
            if not tensors or len(args) != self._count or not self._check(*tensors):  # type: ignore[misc]
                return MISSED
            if self._recorded is not None and _records() is not self._recorded:
                return MISSED
        pointers = self._addresses.copy()
        for (slot, mask, low), tensor in zip(self._places, tensors):  # noqa: B905
            pointers[slot] = pointer = tensor.data_ptr()
            if pointer & mask != low:
                return MISSED
        if self._rule is not None:
            return self._returned(self._rule.apply(self._rule, self._plan.launch, pointers, *tensors))
        outputs = self._plan.launch(pointers)
        if not self._plan.only_fresh:
            slots = (slot for slot, _, _ in self._places)
            outputs = self._plan.with_provided(outputs, dict(zip(slots, tensors, strict=True)))
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
        return [*args, *(kwargs.get(name) for name in self._named)]


def _place(slot: int, tensor: torch.Tensor) -> tuple[int, int, int]:
    """A slot, and how the address of its tensor ends: address & mask == low."""
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
