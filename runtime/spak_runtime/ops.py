"""Kernels as torch operators: what `torch.compile`, `torch.export` and fake tensors see.

One namespace per content of an artifact, so two artifacts never meet and the same one may be loaded twice.
An op is functional (inouts are marked as mutated), takes tensors and constants in a fixed order, and knows
the shapes of its outputs for symbolic sizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from spak_runtime.args import Arguments, Signature
from spak_runtime.dtypes import TORCH
from spak_runtime.errors import ShapeError
from spak_runtime.expressions import names_of
from spak_runtime.manifest import OptionSpec

_OPTION_TYPES = {"bool": "bool", "int32": "int", "f32": "float"}
_libraries: dict[str, torch.library.Library] = {}
_differentiated: set[str] = set()


class FlatForm:
    """The order in which an op takes a call: inputs, options, then dtype and layout of each output with a
    choice."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        specs = [signature.specs[name] for name in signature.outputs]
        self.dtype_choices = tuple(s.name for s in specs if len(s.dtypes) + (s.same_as is not None) > 1)
        self.layout_choices = tuple(s.name for s in specs if len(s.layouts) > 1)

    def flatten(self, call: Arguments) -> tuple[Any, ...]:
        """The arguments of the op. An option that is left to follow from sizes is None; an output without a
        request has "" where its dtype or layout stands."""
        return (
            *(call.inputs[name] for name in self.signature.inputs),
            *(call.options.get(name) for name in self.signature.options),
            *(call.dtypes.get(name, "") for name in self.dtype_choices),
            *(call.layouts.get(name, "") for name in self.layout_choices),
        )

    def unflatten(self, flat: Sequence[Any]) -> Arguments:
        """The inverse of `flatten`."""
        rest = list(flat)

        def take(names: Sequence[str]) -> dict[str, Any]:
            return {name: rest.pop(0) for name in names}

        call = Arguments(take(self.signature.inputs))
        options = take(tuple(self.signature.options))
        call.options = {name: value for name, value in options.items() if value is not None}
        call.dtypes = {name: word for name, word in take(self.dtype_choices).items() if word}
        call.layouts = {name: word for name, word in take(self.layout_choices).items() if word}
        return call

    def schema(self, op: str) -> str:
        """In torch's schema language. Names end in `_`, so that none is a word of that language."""
        written = {name: chr(ord("a") + i) for i, name in enumerate(self.signature.inouts)}
        arguments = []
        for name in self.signature.inputs:
            mark = f"({written[name]}!)" if name in written else ""
            optional = "?" if self.signature.specs[name].optional else ""
            arguments.append(f"Tensor{mark}{optional} {name}_")
        for name, option in self.signature.options.items():
            late = "?" if name in self.signature.late_options else ""
            arguments.append(f"{_option_type(option)}{late} {name}_")
        arguments += [f"str dtype_of_{name}_" for name in self.dtype_choices]
        arguments += [f"str layout_of_{name}_" for name in self.layout_choices]
        outputs = ["Tensor"] * len(self.signature.outputs)
        result = outputs[0] if len(outputs) == 1 else f"({', '.join(outputs)})"
        return f"{op}({', '.join(arguments)}) -> {result}"


def operator_name(kernel: str) -> str:
    """What torch calls the operator of a kernel. Its namespaces have a `name` and methods of their own."""
    word = re.sub(r"\W", "_", kernel)
    return f"{word}_" if word.startswith("_") or word.rstrip("_") == "name" else word


def register(
    namespace: str, signature: Signature, execute_flat: Callable[[Sequence[Any]], Sequence[torch.Tensor]]
) -> Callable[..., Any]:
    """The operator `torch.ops.<namespace>.<kernel>` (see `operator_name`), defined unless it already is.

    `execute_flat` computes it on real tensors, CUDA or CPU. The operator returns a tensor, or a tuple of
    them.
    """
    name = operator_name(signature.name)
    library = _libraries.get(namespace)
    if library is None:
        library = _libraries[namespace] = torch.library.Library(namespace, "DEF")  # type: ignore[no-untyped-call]
    space = getattr(torch.ops, namespace)
    if not hasattr(space, name):
        form = FlatForm(signature)

        def compute(*flat: Any) -> Any:
            results = execute_flat(flat)
            return _as_returned(results)

        def fake(*flat: Any) -> Any:
            return _as_returned(fake_outputs(form, flat))

        tags = (torch.Tag.pt2_compliant_tag,)
        library.define(form.schema(name), tags=tags)  # type: ignore[no-untyped-call]
        for key in ("CPU", "CUDA"):
            library.impl(name, compute, key)  # type: ignore[no-untyped-call]
        torch.library.register_fake(f"{namespace}::{name}", fake, lib=library)
    operator: Callable[..., Any] = getattr(space, name).default
    return operator


def differentiate(
    namespace: str, signature: Signature, setup: Callable[..., None], backward: Callable[..., Any]
) -> None:
    """Gives the operator of a kernel its autograd formula, unless it has one. `setup(ctx, inputs, output)` and
    `backward(ctx, *grads)` are what `torch.library.register_autograd` describes. An operator that writes an
    inout can have none: torch wants it functional."""
    name = f"{namespace}::{operator_name(signature.name)}"
    if name not in _differentiated and not signature.inouts:
        _differentiated.add(name)
        library = _libraries[namespace]
        torch.library.register_autograd(name, backward, setup_context=setup, lib=library)


def fake_outputs(form: FlatForm, flat: Sequence[Any]) -> list[torch.Tensor]:
    """Outputs with the right shape, strides, dtype and device, without data. Sizes may be symbolic: they
    are compared by `torch._check`, never branched on."""
    signature, call = form.signature, form.unflatten(flat)
    tensors = {name: tensor for name, tensor in call.inputs.items() if tensor is not None}
    dims = _fake_dims(signature, tensors)
    dtypes = signature.dtypes_of(tensors, call.dtypes)
    device = signature.device_of(tensors)
    outputs = []
    for name in signature.outputs:
        layout = call.layouts.get(name) or (signature.specs[name].layouts or ("row",))[0]
        made = signature.form(name, dims, TORCH[dtypes[name]], layout)
        outputs.append(torch.empty_strided(made.shape, made.strides, dtype=made.dtype, device=device))
    return outputs


def _fake_dims(signature: Signature, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    dims: dict[str, Any] = {}
    for name, tensor in tensors.items():
        spec = signature.specs[name]
        if tensor.dim() != len(spec.shape):
            raise ShapeError(
                f"{signature.name}: {name} has {tensor.dim()} axes, expected {signature.declared(name)}"
            )
        for size, expression in zip(tensor.shape, spec.shape, strict=True):
            if isinstance(expression, list) and expression[0] == "dim":
                dims.setdefault(expression[1], size)
    for name, tensor in tensors.items():
        if set().union(*(names_of(size, "dim") for size in signature.specs[name].shape)) <= dims.keys():
            for size, expected in zip(tensor.shape, signature.shape_of(name, dims), strict=True):
                if size is not expected:
                    torch._check(size == expected, _mismatch(signature, name))  # type: ignore[no-untyped-call]
    return dims


def _mismatch(signature: Signature, name: str) -> Callable[[], str]:
    return lambda: (
        f"{signature.name}: the shape of {name} = {signature.declared(name)} disagrees with the others"
    )


def _option_type(option: OptionSpec) -> str:
    return "str" if option.choices else _OPTION_TYPES[option.dtype or "f32"]


def _as_returned(results: Sequence[torch.Tensor]) -> Any:
    """An op of one output returns a tensor, one of several a tuple, one of none nothing."""
    if len(results) == 1:
        return results[0]
    return tuple(results) if results else None
