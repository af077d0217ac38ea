"""Sums of the residual stream that are computed where they are read: a norm that reads one computes both by a kernel,
and on the way back the gradient of the norm and that of the stream are added by it, too."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spak_runtime.training.scopes import scope


class Sum:
    """A sum that is computed when it is first read. For everything but a norm it is the tensor that it comes to."""

    __slots__ = ("_tensor", "parts")

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts = tuple(parts)
        self._tensor: Tensor | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has read it."""
        return self._tensor is None

    def close(self, tensor: Tensor) -> None:
        """What it comes to."""
        self._tensor, self.parts = tensor, ()

    def tensor(self) -> Tensor:
        """What it comes to, by torch if nobody has computed it."""
        if self._tensor is None:
            with scope("addition"):
                self.close(added(self.parts))
        assert self._tensor is not None
        return self._tensor

    def terms(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """It as a matrix of many vectors, another one and a vector; what is more than that is added by torch."""
        matrices = [part for part in self.parts if part.dim() > 1]
        vectors = [part for part in self.parts if part.dim() <= 1]
        with scope("addition"):
            matrix = added(matrices[:-1] or matrices)
            vector = added(vectors) if vectors else None
        return matrix, matrices[-1] if len(matrices) > 1 else None, vector

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = tree_map_only(Sum, Sum.tensor, (tuple(args), dict(kwargs or {})))
        return function(*given[0], **given[1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tensor(), name)


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Sum, *args: Any) -> Any:
        return getattr(self.tensor(), name)(*tree_map_only(Sum, Sum.tensor, args))

    return method


for _name in (
    *(f"__{side}{name}__" for name in ("add", "sub", "mul", "truediv", "pow") for side in ("", "r")),
    *(f"__{name}__" for name in ("neg", "abs", "getitem", "lt", "le", "gt", "ge", "eq", "ne")),
):
    setattr(Sum, _name, _forwarded(_name))  # Python looks for operators at the class alone


def added(parts: Sequence[Tensor]) -> Tensor:
    """The sum of at least one, from the first on."""
    return functools.reduce(operator.add, parts)


def opened(parts: Sequence[Any]) -> list[Tensor]:
    """The parts of a sum, with those of sums among them that nobody has read. What is False is absent."""
    found: list[Tensor] = []
    for part in parts:
        if isinstance(part, Sum):
            found += part.parts if part.is_open else [part.tensor()]
        elif part is not False:
            found.append(part)
    return found


def can_wait(parts: Sequence[Any]) -> bool:
    """Whether these are rows of one width, and vectors of that width for all of them."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    shapes = {part.shape for part in tensors if part.dim() > 1}
    vectors = {part.shape for part in tensors if part.dim() <= 1}
    return (
        len(tensors) == len(parts)
        and len(shapes) == 1
        and vectors <= {torch.Size(shape[-1:]) for shape in shapes}
        and all(part.is_floating_point() for part in tensors)
    )
