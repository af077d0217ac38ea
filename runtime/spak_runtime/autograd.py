"""Gradients of a kernel whose file declares `gradient … wrt …`: each is another kernel with an op of its own.

The same rule serves twice: in a `torch.autograd.Function` around the kernel, which is what calls go through,
and as the autograd formula of the registered operator, for who calls that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from spak_runtime.args import Arguments, Signature, layout_of
from spak_runtime.errors import GradientError
from spak_runtime.manifest import GradientSpec, TensorSpec

PREFIX = "grad_"


Taker = Callable[[tuple[int, ...]], torch.Tensor | None] | None
"""Memory for parts of a sum, one below the other, by their shape: none where that does not fit. Without a function,
nobody wants the sum."""


class Callee(Protocol):
    """What a gradient needs of a kernel."""

    signature: Signature

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...

    def execute(self, call: Arguments) -> Sequence[torch.Tensor]: ...

    def execute_in_parts(self, call: Arguments, parts: Mapping[str, Taker]) -> dict[str, torch.Tensor]: ...

    def execute_flat(self, flat: Sequence[Any]) -> Sequence[torch.Tensor]: ...


@dataclass(frozen=True, slots=True)
class Derivative:
    """A declared gradient and the kernel that computes it."""

    spec: GradientSpec
    kernel: Callee


@dataclass(frozen=True, slots=True)
class Rule:
    """How a kernel is differentiated, over its flat arguments (its inputs first) and its outputs.

    The forward saves what the gradient kernels read. Outputs that no gradient is declared of are marked as
    not differentiable; a second derivative is an error.
    """

    signature: Signature
    derivatives: Sequence[Derivative]
    saved: tuple[str, ...]

    def setup(self, ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        """Keeps in `ctx` what `backward` needs. `output` is what an operator returns: a tensor or a tuple."""
        signature = self.signature
        results = (output,) if isinstance(output, torch.Tensor) else output
        outputs = dict(zip(signature.outputs, results, strict=True))
        values = dict(zip(signature.inputs, inputs, strict=False)) | outputs
        ctx.save_for_backward(*(values[name] for name in self.saved))
        ctx.options = inputs[len(signature.inputs) :][: len(signature.options)]
        ctx.count = len(inputs)
        differentiable = {name for derivative in self.derivatives for name in derivative.spec.outputs}
        if len(differentiable) == 1:
            ctx.set_materialize_grads(False)  # what has no gradient would get one of zeros, by a kernel each
        fixed = [result for name, result in outputs.items() if name not in differentiable]
        if fixed:
            ctx.mark_non_differentiable(*fixed)

    def backward(self, ctx: Any, *grads: Any) -> tuple[Any, ...]:
        """Gradients with respect to the flat arguments; None for those that want none."""
        signature, inputs = self.signature, self.signature.inputs
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise GradientError(_no_second_derivative(signature.name))
        if all(grad is None for grad in grads):
            return (None,) * int(ctx.count)
        values = dict(zip(self.saved, ctx.saved_tensors, strict=True))
        values |= {PREFIX + name: grad for name, grad in zip(signature.outputs, grads, strict=True)}
        options = dict(zip(signature.options, ctx.options, strict=True))
        wanted = {name for name, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed}
        total: dict[str, Any] = {}
        for derivative in self.derivatives:
            if wanted.isdisjoint(derivative.spec.inputs):
                continue
            for name, grad in gradients(derivative, values, options).items():
                if name in wanted:
                    total[name] = total[name] + grad if name in total else grad
        return (*(total.get(name) for name in inputs), *(None,) * (ctx.count - len(inputs)))


def make_rule(signature: Signature, derivatives: Sequence[Derivative]) -> Rule:
    """Raises GradientError where a gradient kernel reads what the kernel does not have."""
    return Rule(signature, derivatives, _saved(signature, derivatives))


def make_function(forward_kernel: Callee, rule: Rule) -> Callable[..., Any]:
    """`apply` of an autograd Function over the flat arguments of a kernel; it returns a tuple."""

    def forward(ctx: Any, *flat: Any) -> Any:
        results = tuple(forward_kernel.execute_flat(flat))
        rule.setup(ctx, flat, results)
        return results

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:  # torch.compile reads no bound method here
        return rule.backward(ctx, *grads)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function = type(f"Gradient_{rule.signature.name}", (torch.autograd.Function,), methods)
    return function.apply  # type: ignore[attr-defined, no-any-return]


@dataclass(frozen=True, slots=True)
class Step:
    """One gradient kernel of a known call."""

    kernel: Callee
    options: Mapping[str, Any]
    reads: tuple[int, ...]  # its inputs, among what was saved, the gradients of outputs, and None at the end
    arriving: tuple[tuple[int, TensorSpec], ...]  # inputs that lie as somebody else made them
    gives: tuple[tuple[int, int], ...]  # output, and the tensor of the call that this is the gradient of


class PlacedRule:
    """A Rule for a call whose tensors and options are known: by position, without a look at a name."""

    def __init__(self, rule: Rule, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> None:
        """`tensors` are the inputs that are present, in the order in which `apply` gets them."""
        signature = rule.signature
        self.kernel = signature.name
        self.count = len(tensors)
        known = (*tensors, *signature.outputs)
        saved = [name for name in rule.saved if name in known]
        self.saved = tuple(known.index(name) for name in saved)
        differentiable = {name for derivative in rule.derivatives for name in derivative.spec.outputs}
        self.materializes = len(differentiable) > 1
        self.fixed = tuple(i for i, name in enumerate(signature.outputs) if name not in differentiable)
        values = (*saved, *(PREFIX + name for name in signature.outputs))
        wanted = {name for name, tensor in tensors.items() if tensor.requires_grad}
        self.steps = tuple(
            _step(derivative, values, tensors, wanted, options)
            for derivative in rule.derivatives
            if not wanted.isdisjoint(derivative.spec.inputs)
        )
        function = type(f"Gradient_{signature.name}", (_Placed,), {})
        # What Function.apply does before it comes here is for transforms of torch, and those make no known call.
        self.apply: Callable[..., Sequence[torch.Tensor]] = super(torch.autograd.Function, function).apply  # type: ignore[misc]

    def backward(self, ctx: Any, grads: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """The gradients of the tensors of the call; None for those that want none."""
        total: list[torch.Tensor | None] = [None] * self.count
        values = (*ctx.saved_tensors, *grads, None)
        for step in self.steps:
            inputs = [values[i] for i in step.reads]
            for i, spec in step.arriving:
                inputs[i] = _laid(spec, inputs[i])
            results = step.kernel(*inputs, **step.options)
            for i, place in step.gives:
                grad = results if isinstance(results, torch.Tensor) else results[i]
                before = total[place]
                total[place] = grad if before is None else before + grad
        return total


class _Placed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: PlacedRule, launch: Any, *tensors: torch.Tensor) -> Any:
        outputs = launch(*tensors)
        known = (*tensors, *outputs)
        ctx.rule = rule
        ctx.save_for_backward(*[known[i] for i in rule.saved])
        ctx.set_materialize_grads(
            rule.materializes
        )  # what has no gradient gets one of zeros, by a kernel each
        if rule.fixed:
            ctx.mark_non_differentiable(*[outputs[i] for i in rule.fixed])
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        rule: PlacedRule = ctx.rule
        if torch.is_grad_enabled():
            raise GradientError(_no_second_derivative(rule.kernel))
        if all(grad is None for grad in grads):
            return (None,) * (2 + rule.count)
        return (None, None, *rule.backward(ctx, grads))


def _step(
    derivative: Derivative,
    values: Sequence[str],
    tensors: Mapping[str, torch.Tensor],
    wanted: set[str],
    options: Mapping[str, Any],
) -> Step:
    signature = derivative.kernel.signature
    arriving = [
        (i, signature.specs[name])
        for i, name in enumerate(signature.inputs)
        if name in values
        and (name not in tensors or _laid(signature.specs[name], tensors[name]) is not tensors[name])
    ]
    names = [name.removeprefix(PREFIX) for name in signature.outputs]
    places = list(tensors)
    return Step(
        derivative.kernel,
        {name: value for name, value in options.items() if name in signature.options and value is not None},
        tuple(values.index(name) if name in values else -1 for name in signature.inputs),
        tuple(arriving),
        tuple((i, places.index(name)) for i, name in enumerate(names) if name in wanted),
    )


def _no_second_derivative(kernel: str) -> str:
    return (
        f"{kernel}: its gradient is a kernel without a gradient of its own; "
        "differentiate without create_graph"
    )


def check_differentiable(
    signature: Signature, derivatives: Sequence[Derivative], requiring: Sequence[str], *, provided: bool
) -> None:
    """Raises GradientError unless every input that requires a gradient has one declared, and nothing that
    takes part is written in place."""
    declared = {name for derivative in derivatives for name in derivative.spec.inputs}
    for name in requiring:
        if name in signature.inouts:
            raise GradientError(
                f"{signature.name} writes {name} in place, and {name} requires a gradient; "
                "call it under torch.no_grad()"
            )
        if name not in declared:
            of = ", ".join(signature.outputs)
            raise GradientError(
                f"{signature.name} has no gradient with respect to {name}, which requires one; declare "
                f"`gradient {of} wrt {name}` in the file, detach {name}, or call it under torch.no_grad()"
            )
    if provided:
        raise GradientError(
            f"{signature.name}: outputs that the caller provides take no part in automatic differentiation; "
            "leave `out` away or call it under torch.no_grad()"
        )


def _saved(signature: Signature, derivatives: Sequence[Derivative]) -> tuple[str, ...]:
    known = (*signature.inputs, *signature.outputs)
    read = {name for derivative in derivatives for name in derivative.kernel.signature.inputs}
    unknown = read - {*known, *(PREFIX + name for name in signature.outputs)}
    if unknown:
        raise GradientError(
            f"{signature.name}: its gradient reads {min(unknown)}, which the kernel does not have"
        )
    return tuple(name for name in known if name in read)


def gradients(
    derivative: Derivative,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
    out: Mapping[str, torch.Tensor] | None = None,
    parts: Mapping[str, Taker] | None = None,
) -> dict[str, Any]:
    """What a gradient kernel computes from inputs, outputs and (`grad_O`) gradients of outputs, by the name of the
    input that it is the gradient of; written to the tensors of `out`, by the same names. `parts` as in
    `KernelFunction.differentiate`."""
    signature = derivative.kernel.signature
    call = Arguments({name: _laid(signature.specs[name], values[name]) for name in signature.inputs})
    call.options = signature.default_options()
    known = {name: value for name, value in options.items() if name in signature.options}
    call.options |= {name: value for name, value in known.items() if value is not None}
    call.outputs = {PREFIX + name: tensor for name, tensor in (out or {}).items()}
    takers = {PREFIX + name: taker for name, taker in (parts or {}).items()}
    results = derivative.kernel.execute_in_parts(call, takers)
    return {name.removeprefix(PREFIX): result for name, result in results.items()}


def _laid(spec: TensorSpec, tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Gradients arrive as torch made them (an expanded one from `sum`, say): a copy where no layout fits."""
    layouts = spec.layouts or ("row",)
    if tensor is None or ("row" in layouts and tensor.is_contiguous()):
        return tensor
    return tensor if layout_of(tensor.shape, tensor.stride(), layouts) is not None else tensor.contiguous()
