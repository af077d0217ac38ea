"""Names for the parts of a training step, seen by a profiler and by nobody else."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn
from torch.profiler import record_function

PREFIX = "spak: "
"""What the names of scopes begin with in a profile."""

_NOTHING = contextlib.nullcontext()
_P = ParamSpec("_P")
_R = TypeVar("_R")


def scope(name: str) -> AbstractContextManager[Any]:
    """What runs inside is named in a profile; where none is taken this costs one question."""
    return record_function(PREFIX + name) if torch._C._autograd._profiler_enabled() else _NOTHING


def named(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A function whose calls are a scope."""

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def inner(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with scope(name):
                return function(*args, **kwargs)

        return inner

    return wrap


@contextlib.contextmanager
def modules_named(model: nn.Module) -> Iterator[None]:
    """Inside, every call of a module of the model is a scope with the name of its class."""
    opened: list[AbstractContextManager[Any]] = []

    def enter(module: nn.Module, _inputs: Any) -> None:
        opened.append(scope(type(module).__name__))
        opened[-1].__enter__()

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        opened.pop().__exit__(None, None, None)

    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
