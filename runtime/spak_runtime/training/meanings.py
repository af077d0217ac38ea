"""What the operations of a training step mean, in torch, and whether a kernel computes that.

A kernel is trusted with an operation only after its mathematics, on a small case on the CPU, has given what the
operation means. Its name and the names of its tensors say nothing; options are known by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spak_runtime.errors import SpakRuntimeError
from spak_runtime.training.spec import TrainingError

if TYPE_CHECKING:
    from spak_runtime.function import KernelFunction
    from spak_runtime.manifest import TensorSpec

UNNAMED = frozenset(("contract", "expand", "residual", "rotation"))
"""Operations that a file need not give to a kernel: products and activations have kernels of their own, sums are
torch's exceptions, and some places no kernel counts."""

STEP = frozenset(("loss", "optimizer"))
"""Operations of a training step that are none of its model's."""

NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_squared": lambda x: F.relu(x).square(),
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@dataclass(frozen=True, slots=True)
class AdamW:
    """The settings of one step; `rate`, `decay`, `c1`, `c2` and `scale` are tensors of no dimension, where the weights
    are. `c1` and `c2` are 1 - beta^t of step t, counted from 1; `scale` multiplies the gradient, None where it is as it
    should be."""

    rate: Tensor
    decay: Tensor
    c1: Tensor
    c2: Tensor
    beta1: float
    beta2: float
    eps: float
    scale: Tensor | None = None

    @property
    def scalars(self) -> tuple[Tensor, ...]:
        """As a kernel takes them."""
        scale = () if self.scale is None else (self.scale,)
        return self.rate, self.decay, self.c1, self.c2, *scale

    @property
    def options(self) -> dict[str, float]:
        return {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}

    def __call__(self, p: Tensor, m: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The new weights and moments."""
        g = g if self.scale is None else self.scale * g
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        step = self.rate * (m / self.c1) / ((v / self.c2).sqrt() + self.eps)
        return p * (1 - self.rate * self.decay) - step, m, v


def of_keys(x: Tensor, keys: Tensor) -> Tensor:
    """Keys or values x [B, heads, T, D] at the places [B, T, K], for a batch of queries: [B T, heads, K, D]."""
    batch = torch.arange(len(keys), device=keys.device)[:, None, None]
    return x.transpose(1, 2)[batch, keys].flatten(0, 1).transpose(1, 2)


def of_queries(x: Tensor) -> Tensor:
    """Queries or biases x [B, heads, T, D] as a batch of one query each: [B T, heads, 1, D]."""
    return x.transpose(1, 2).flatten(0, 1)[:, :, None]


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, softcap: float) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v for q [B, H, T, D] and k, v [B, G, T, D]; G divides H."""
    if not softcap:
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=grouped)
    share = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    scores = softcap * torch.tanh((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 / softcap)
    if bias is not None:
        scores = scores + bias
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair x[..., i], x[..., i + D/2] turned by its angle."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)


def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kind: str) -> Tensor:
    """Normalisation over the last axis; `kind` is layer or rms."""
    if kind == "rms":
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy [N] float32 of logits [N, V] with integer targets [N]."""
    return F.cross_entropy(logits.float(), targets.long(), reduction="none")


# ---- whether a kernel computes it -------------------------------------------------------------------


def means_linear(kernel: KernelFunction) -> str:
    """`bias` for a kernel that also adds a vector to every row, where it is given one."""
    inputs = (_drawn(5, 16), _drawn(16, 8))
    _compare("linear", kernel, inputs, {}, lambda x, y: x @ y)
    optional = [tensor for tensor in kernel.spec.tensors if tensor.role == "input" and tensor.optional]
    if [len(tensor.shape) for tensor in optional] != [1]:
        return "linear"
    dtype = _finest(_inputs(kernel)[0]) or torch.float32
    x, y, bias = (tensor.to(dtype) for tensor in (*inputs, _drawn(8)))
    try:
        found = first_output(kernel(x, y, bias)).float()
    except SpakRuntimeError:
        return "linear"
    wanted = x.float() @ y.float() + bias.float()
    return "bias" if _agrees(found, wanted, 4 * torch.finfo(dtype).eps) else "linear"


def means_attention(kernel: KernelFunction) -> str:
    """`bias` for a kernel that takes what is added to every score, [B, heads, T, K] float32."""
    size = next((choices[0] for choices in kernel.spec.dims.values() if choices), 8)
    q, k, v = (_drawn(2, 2, 5, size) for _ in range(3))
    biased = len(_inputs(kernel)) == 4
    options = known_options(kernel, {"causal": not biased})
    causal = not biased and bool(options)

    def meaning(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return attention(q, k, v, bias, causal, 0.0)

    _compare("attention", kernel, (q, k, v, *((_drawn(2, 2, 5, 5),) if biased else ())), options, meaning)
    return "bias" if biased else "attention"


def means_rotation(kernel: KernelFunction) -> str:
    """Rotary positions of x [B, T, H, D], places counted from 0; `base` is an option of the kernel."""
    size = next((choices[0] for choices in kernel.spec.dims.values() if choices), 8)
    options = known_options(kernel, {"base": 100.0})
    if not options:
        raise TrainingError(f"kernel {kernel.spec.name} cannot compute rotation: no option base")

    def meaning(x: Tensor) -> Tensor:
        angle = torch.arange(5)[:, None] * 100.0 ** (-torch.arange(0, size, 2).float() / size)
        return rotate(x.transpose(1, 2), angle.cos(), angle.sin()).transpose(1, 2)

    _compare("rotation", kernel, (_drawn(2, 5, 3, size),), options, meaning)
    return "rotation"


def means_norm(kernel: KernelFunction) -> str:
    """`rms` takes x and a weight, `layer` a bias too: the number of inputs says which is meant."""
    kind = "layer" if len(_inputs(kernel)) == 3 else "rms"
    shifts = (_drawn(16),) if kind == "layer" else ()
    options = known_options(kernel, {"eps": 1e-3})
    eps = options.get("eps", {"layer": 1e-5, "rms": 1e-6}[kind])

    def meaning(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return norm(x, weight, bias, eps, kind)

    _compare(f"norm(kind = {kind})", kernel, (_drawn(5, 16), _drawn(16), *shifts), options, meaning)
    return kind


def means_residual(kernel: KernelFunction) -> str:
    """The norm of x + more + shift, for matrices x and `more` and a vector, and what a norm takes beside x; the second
    result is the sum. The number of inputs says which norm is meant."""
    count = len(_inputs(kernel))
    results = [tensor for tensor in kernel.spec.tensors if tensor.role == "output"]
    if count not in (4, 5) or [len(tensor.shape) for tensor in results[:2]] != [2, 2]:
        raise TrainingError(
            f"kernel {kernel.spec.name} cannot compute residual: that takes x [R, N], a matrix and a vector to add "
            "and what a norm takes beside x, and gives the norm of the sum and the sum"
        )
    kind, eps = ("rms", 1e-6) if count == 4 else ("layer", 1e-5)
    options = known_options(kernel, {"eps": 1e-3})
    eps = options.get("eps", eps)

    def both(x: Tensor, more: Tensor, shift: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        total = x + more + shift
        return torch.cat((norm(total, weight, bias, eps, kind), total))

    inputs = [_drawn(5, 16), _drawn(5, 16, seed=2), *(_drawn(16, seed=seed) for seed in range(3, count + 1))]
    _compare("residual", kernel, inputs, options, both, results=2)
    return kind


def means_activation(kernel: KernelFunction) -> str:
    """Which one it is: the nearest of those that agree, since some differ by less than bfloat16 resolves."""
    (found,) = _activations("activation", kernel, (4 * _drawn(64, 16),), lambda activation, x: activation(x))
    return found


def means_expand(kernel: KernelFunction) -> str:
    """The activations of a product that it computes, and `bias` if it adds a vector to every row first. The second
    result is what the activation was computed of."""
    results = [tensor for tensor in kernel.spec.tensors if tensor.role == "output"]
    if [len(tensor.shape) for tensor in results] != [2, 2]:
        raise TrainingError(
            f"kernel {kernel.spec.name} cannot compute expand: that gives an activation of a product and the product"
        )
    x, weight, bias = _drawn(5, 16), _drawn(16, 8), _drawn(8)
    optional = [tensor for tensor in kernel.spec.tensors if tensor.role == "input" and tensor.optional]

    def meaning(activation: Callable[[Tensor], Tensor], *given: Tensor) -> Tensor:
        h = given[0] @ given[1] + (given[2] if given[2:] else 0.0)
        return torch.cat((activation(h), h))

    found = _activations("expand", kernel, (x, weight), meaning, 2)
    biased = [len(tensor.shape) for tensor in optional] == [1]
    if biased:
        _activations("expand", kernel, (x, weight, bias), meaning, 2)
    return " ".join([*found, *["bias"] * biased])


def means_contract(kernel: KernelFunction) -> str:
    """The activations whose product with a matrix it computes; its gradient is that of what the activation is computed
    of, and no other."""
    inputs = [tensor.name for tensor in _inputs(kernel)]
    if [gradient.inputs for gradient in kernel.spec.gradients] != [tuple(inputs[:1])]:
        raise TrainingError(
            f"kernel {kernel.spec.name} cannot compute contract: "
            "its one gradient is wanted with respect to its first input"
        )

    def meaning(activation: Callable[[Tensor], Tensor], h: Tensor, weight: Tensor) -> Tensor:
        return activation(h) @ weight

    return " ".join(_activations("contract", kernel, (_drawn(5, 16), _drawn(16, 8)), meaning))


def means_loss(kernel: KernelFunction) -> str:
    targets = torch.tensor([0, 3, 15, 7, 7], dtype=torch.int32)
    _compare("loss", kernel, (3 * _drawn(5, 16), targets), {}, loss)
    return "loss"


def means_optimizer(kernel: KernelFunction) -> str:
    """Weights and both moments, in place, from a gradient and the scalars of `AdamW` in its order: `adamw`, or `scaled`
    if the kernel multiplies the gradient by one, too."""
    roles = [tensor.role for tensor in _inputs(kernel)]
    scaled = roles == ["inout"] * 3 + ["input"] * 6
    if not scaled and roles != ["inout"] * 3 + ["input"] * 5:
        raise TrainingError(
            f"kernel {kernel.spec.name} cannot compute optimizer: an optimizer writes three tensors in place "
            "(weights and two moments) and reads a gradient and four or five scalars (rate, decay, the two "
            "corrections, and what the gradient is multiplied by)"
        )
    rate, decay, c1, c2 = (torch.tensor(value) for value in (1e-2, 0.5, 0.4, 0.2))
    scale = torch.tensor(0.3) if scaled else None
    step = AdamW(rate, decay, c1, c2, beta1=0.6, beta2=0.8, eps=1e-3, scale=scale)
    if missing := step.options.keys() - known_options(kernel, step.options).keys():
        raise TrainingError(f"kernel {kernel.spec.name} cannot compute optimizer: no option {min(missing)}")
    p, m, v, g = _drawn(32), _drawn(32), _drawn(32).square(), _drawn(32, seed=2)
    wanted = step(p, m, v, g)
    found = [tensor.clone() for tensor in (p, m, v)]
    _called("optimizer", kernel, (*found, g, *step.scalars), step.options)
    if not all(_agrees(*pair, 1e-6) for pair in zip(found, wanted, strict=True)):
        raise TrainingError(f"kernel {kernel.spec.name} computes something else than adamw")
    return "scaled" if scaled else "adamw"


MEANINGS: Mapping[str, Callable[[KernelFunction], str]] = {
    "linear": means_linear,
    "attention": means_attention,
    "norm": means_norm,
    "residual": means_residual,
    "rotation": means_rotation,
    "activation": means_activation,
    "expand": means_expand,
    "contract": means_contract,
    "loss": means_loss,
    "optimizer": means_optimizer,
}
"""By operation: the form of it that a kernel computes. Each raises TrainingError for a kernel that computes
something else."""


def known_options(kernel: KernelFunction, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `wanted` that the kernel has."""
    names = {option.name for option in kernel.spec.options}
    return {name: value for name, value in wanted.items() if name in names}


def first_output(result: Any) -> Tensor:
    """The output that an operation is: the first one that a kernel declares."""
    output = result[0] if isinstance(result, tuple) else result
    assert isinstance(output, Tensor)
    return output


def _activations(
    op: str,
    kernel: KernelFunction,
    inputs: Sequence[Tensor],
    meaning: Callable[..., Tensor],
    results: int = 1,
) -> list[str]:
    """Those with which a kernel computes what the operation means: what its option says it computes, or the nearest of
    those that agree. Raises TrainingError where none does, and where an option says what is not so."""
    choices = [option.choices for option in kernel.spec.options if option.name == "activation"]
    options = [name for name in ACTIVATIONS if name in choices[0]] if choices else []
    near: dict[str, float] = {}
    for name in options or ACTIVATIONS:
        chosen = {"activation": name} if options else {}
        found, wanted, tolerance = _both(
            op, kernel, inputs, chosen, partial(meaning, ACTIVATIONS[name]), results
        )
        if _agrees(found, wanted, tolerance):
            near[name] = float((found - wanted).abs().mean())
        elif options:
            raise TrainingError(
                f"kernel {kernel.spec.name} with activation = {name} computes something else than {op}"
            )
    if not near:
        raise TrainingError(f"kernel {kernel.spec.name} computes none of {', '.join(ACTIVATIONS)}")
    return [*near] if options else [min(near, key=near.__getitem__)]


def _drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _inputs(kernel: KernelFunction) -> list[TensorSpec]:
    return [
        tensor for tensor in kernel.spec.tensors if tensor.role in ("input", "inout") and not tensor.optional
    ]


def _compare(
    op: str,
    kernel: KernelFunction,
    inputs: Sequence[Tensor],
    options: Mapping[str, Any],
    meaning: Callable[..., Tensor],
    results: int = 1,
) -> None:
    if not _agrees(*_both(op, kernel, inputs, options, meaning, results)):
        raise TrainingError(f"kernel {kernel.spec.name} computes something else than {op}")


def _both(
    op: str,
    kernel: KernelFunction,
    inputs: Sequence[Tensor],
    options: Mapping[str, Any],
    meaning: Callable[..., Tensor],
    results: int = 1,
) -> tuple[Tensor, Tensor, float]:
    """What the kernel's mathematics gives, what the operation means, and how far they may be apart: inputs are of
    the finest dtype that the kernel takes. Several `results` are compared as one, one below the other."""
    specs = _inputs(kernel)
    if len(specs) < len(inputs):
        specs += [tensor for tensor in kernel.spec.tensors if tensor.role == "input" and tensor.optional]
    if len(specs) != len(inputs):
        counts = f"it has {len(specs)} inputs, {op} has {len(inputs)}"
        raise TrainingError(f"kernel {kernel.spec.name} cannot compute {op}: {counts}")
    given: list[Tensor] = []
    for spec, x in zip(specs, inputs, strict=True):
        dtype = _finest(spec) or (given[0] if given else x).dtype
        given.append(x.to(dtype) if x.is_floating_point() else x)
    found = _called(op, kernel, given, options, results).float()
    wanted = meaning(*(x.float() if x.is_floating_point() else x for x in given))
    return found, wanted, 4 * torch.finfo(given[0].dtype).eps


def _finest(spec: TensorSpec) -> torch.dtype | None:
    """None for a tensor that has the dtype of another."""
    names = [dtype for dtype, name in NAMES.items() if name in spec.dtypes]
    return min(names, key=lambda dtype: torch.finfo(dtype).eps) if names else None


def _called(
    op: str, kernel: KernelFunction, inputs: Sequence[Tensor], options: Mapping[str, Any], results: int = 1
) -> Tensor:
    try:
        result = kernel(*inputs, **options)
    except SpakRuntimeError as error:
        raise TrainingError(f"kernel {kernel.spec.name} cannot compute {op}: {error.message}") from error
    if results > 1:
        return torch.cat(result[:results])
    return inputs[0] if result is None else first_output(result)


def _agrees(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=tolerance, atol=tolerance)
