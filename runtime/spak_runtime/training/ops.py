"""Who computes the operations of a training step: a generated kernel where the file says so and it can, else torch,
and why.

A generated model calls `ops.linear(x, w)`; `Ops` binds that to a kernel of the artifact, which `meanings` has held
against what the operation means. The loss and the optimizer are operations of the step like those of the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from spak_runtime.errors import SpakRuntimeError
from spak_runtime.training import meanings
from spak_runtime.training.attention import Attention, Turn, heads_of
from spak_runtime.training.lookup import Embedded, OfScores
from spak_runtime.training.meanings import NAMES, first_output, known_options
from spak_runtime.training.products import Contracted, Expanded, Half, Loss, Product, padded
from spak_runtime.training.residual import Sum, added, can_wait, opened
from spak_runtime.training.scopes import named
from spak_runtime.training.turns import Turns, Use, as_operand, claimed, like, placed, with_place

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact
    from spak_runtime.function import KernelFunction

UNNAMED = "the file names no kernel for it"
_COMPOSED = frozenset(("mlp", "unembed"))
"""What a model is written with and nobody computes: products and an activation, which have rows of their own."""


@dataclass(frozen=True, slots=True)
class Computed:
    """One row of the table that a run prints. `kernel` is the one the file names, `by` who computes.
    `excepted`: no kernel can be given this, so torch computes it even in a strict run. `beside`: this
    kernel's mathematics does not cover these calls; a strict run takes that where the kernel computes others."""

    op: str
    phase: str  # training | evaluation
    kernel: str | None
    by: str
    why: str
    excepted: bool = False
    beside: bool = False


class Ops:
    """The operations of one model's training on one device; those that run `in_evaluation` are told apart."""

    def __init__(
        self, uses: Mapping[str, str], every: tuple[str, ...], artifact: Artifact | None, device: torch.device
    ) -> None:
        """`every` lists the operations of the step. Raises TrainingError for a kernel that computes something else
        than what `uses` gives it."""
        self.uses = uses
        self.device = device
        self._phase = "training"
        self._every = every
        self._kernels: dict[str, KernelFunction] = {}
        self._forms: dict[str, str] = {}
        self._rows: dict[tuple[str, str, str], Computed] = {}
        self._missing: dict[str, str] = {}
        self._constants: dict[tuple[float, tuple[int, ...], torch.device, torch.dtype], Tensor] = {}
        self._made: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] | None = None
        self._turns: Turns | None = None
        for op, name in uses.items():
            if artifact is None or name not in artifact.kernels:
                self._missing[op] = f"the artifact has no kernel {name}"
            else:
                self._kernels[op] = artifact[name]
                self._forms[op] = meanings.MEANINGS[op](artifact[name])

    def table(self) -> list[Computed]:
        """Every operation of the step: what was computed by a kernel, what by torch, and why."""
        rows = list(self._rows.values())
        seen = {row.op for row in rows}
        return rows + [
            Computed(op, "training", None, "torch", UNNAMED)
            if op in meanings.MEANINGS
            else Computed(op, "training", None, "torch", "no operation that a kernel is given", excepted=True)
            for op in self._every
            if op not in seen and op not in self.uses and op not in _COMPOSED
        ]

    def unnamed(self) -> list[str]:
        """Operations of the step that a kernel could compute and that the file gives to none."""
        could = meanings.MEANINGS.keys() - meanings.UNNAMED
        return [op for op in self._every if op in could and op not in self.uses]

    @contextlib.contextmanager
    def in_evaluation(self) -> Iterator[None]:
        """Around a run of the model that reads answers off, so that no row of it stands among those of training."""
        before, self._phase = self._phase, "evaluation"
        try:
            yield
        finally:
            self._phase = before

    # ---- what a step makes once ---------------------------------------------------------------------

    @contextlib.contextmanager
    def one_forward(self) -> Iterator[None]:
        """Around one run of the model, in which no weight changes and one dtype is worked in."""
        self._made = {}
        try:
            yield
        finally:
            self._made = self._turns = None

    def once(self, source: tuple[Tensor, ...], make: Callable[[], Tensor]) -> Tensor:
        """What `make` derives from the tensors of `source`: made once in `one_forward`, however many loops ask, so
        that a gradient of it is summed over the loops first and taken back to the source once. One source derives
        one thing. Outside of `one_forward` it is made at every call."""
        if self._made is None:
            return make()
        key = tuple(map(id, source))
        if key not in self._made:
            self._made[key] = (source, make())  # the source is held, so that no other tensor gets its id
        return self._made[key][1]

    def turns(self, numbers: range) -> Iterator[int]:
        """The numbers of a loop's turns. In `one_forward`, turns that are differentiated share what `Turns` says."""
        around = self._turns
        shares = self._made is not None and torch.is_grad_enabled() and len(numbers) > 1
        self._turns = mine = Turns(len(numbers)) if shares else None
        try:
            for number in numbers:
                if mine is not None:
                    mine.begin()
                yield number
        finally:
            self._turns = around

    @named("scores")
    def of_scores(self, table: Tensor, row: Tensor, hidden: Tensor) -> Tensor:
        """What every head adds to its scores, [B, heads, T, K]: the entries of a short table [rows, heads] at `row`
        [B, T, K], minus infinity where a key is hidden."""
        found: Tensor = OfScores.apply(table, row, hidden)  # type: ignore[no-untyped-call]
        return found

    def embed(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """The row of `weight` [V, C] for each of tokens [B, T]."""
        few = len(weight) <= 2 * tokens.shape[-1]  # the product of indicators is no larger than what it reads
        if self.device.type != "cuda" or tokens.dim() != 2 or not few:
            return F.embedding(tokens, weight)
        found: Tensor = Embedded.apply(tokens, weight)  # type: ignore[no-untyped-call]
        return found

    # ---- operations of the model --------------------------------------------------------------------

    @named("linear")
    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """y = x W^T + b, for x [..., in], W [out, in]."""
        dtype = _working_dtype(x)
        kernel = self._bound("linear", dtype)
        if kernel is None:
            return F.linear(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        given, added = self._product(kernel, x, rows, weight, bias, self._forms["linear"] == "bias")
        y: Tensor = Product.apply(rows, *given)  # type: ignore[no-untyped-call]
        return self._multiplied(y, rows, x.shape[:-1], given, None if added else bias)

    def _product(
        self, kernel: KernelFunction, x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, adds: bool
    ) -> tuple[tuple[Any, ...], bool]:
        """What Product takes behind `rows`, which are x as a matrix, and whether the bias is added by the kernel, if
        that `adds` one."""
        cast = self.once((weight,), lambda: padded(weight.detach(), rows.dtype))
        mine: Tensor | None = None  # the bias, where the product adds it
        cast_bias = use = None
        if bias is not None and adds:
            mine, more = bias, cast.shape[0] - weight.shape[0]
            cast_bias = self.once((bias,), lambda: F.pad(bias.detach().to(rows.dtype), (0, more)))
        if self._turns is not None:
            use, weight, mine = self._turns.product(kernel, x, rows, weight, mine)
        return (weight, cast, mine, cast_bias, kernel, use), mine is not None

    def _multiplied(
        self, y: Tensor, rows: Tensor, shape: Sequence[int], given: tuple[Any, ...], bias: Tensor | None
    ) -> Tensor:
        """A product of `rows` for a model whose vectors lie in this shape, with a bias that is yet to be added."""
        _, cast, _, shift, kernel, use = given
        self._computed("linear", kernel, rows, cast.t(), *([] if shift is None else [shift]))
        y = y.view(*shape, y.shape[-1])
        return with_place(y, use) if bias is None else y + bias.to(y.dtype)

    # ---- an activation between two products ---------------------------------------------------------

    def mlp(
        self,
        x: Tensor,
        up: tuple[Tensor, Tensor | None],
        out: tuple[Tensor, Tensor | None],
        activation: str,
    ) -> Tensor:
        """act(x W^T + b) V^T + c, for (W, b) and (V, c). Where kernels compute an activation with the product before
        it, and its gradient with that of the product behind it, no launch reads and writes its matrix for it alone."""
        found = self._expanded(x, *up, activation)
        if found is None:
            return self.linear(self.activation(self.linear(x, *up), activation), *out)
        return self._contracted(x, *found, *out)

    @named("expand")
    def _expanded(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
    ) -> tuple[Tensor, Tensor, Use | None, Half] | None:
        """h = x W^T + b, act(h), the place for the gradient of h and the kernel that computes it; None where not both
        halves of an MLP can be had by kernels."""
        dtype = _working_dtype(x)
        halves = [self._half(op, dtype, activation, bias) for op in ("expand", "contract")]
        kernel = self._kernels.get("linear")
        if None in halves or kernel is None:
            return None
        first, second = halves
        assert first is not None and second is not None
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        given, _ = self._product(kernel, x, rows, weight, bias, True)
        slot = None
        if self._turns is not None:
            slot = self._turns.slot(rows, (len(rows), len(weight)), dtype)
        h, after = Expanded.apply(rows, *given, first, slot)  # type: ignore[no-untyped-call]
        shift = given[3]
        taken = (rows, given[1].t(), *([] if shift is None else [shift]))
        self._computed("expand", first.kernel, *taken, **first.options)
        return h, after if slot is None else as_operand(after, slot), given[-1], second

    @named("contract")
    def _contracted(
        self,
        x: Tensor,
        h: Tensor,
        after: Tensor,
        place: Use | None,
        half: Half,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        kernel = self._kernels["linear"]
        given, added = self._product(kernel, after, after, weight, bias, self._forms["linear"] == "bias")
        y: Tensor = Contracted.apply(h, after, *given, half, place)  # type: ignore[no-untyped-call]
        self._computed("contract", half.kernel, h, given[1].t(), **half.options)
        return self._multiplied(y, after, x.shape[:-1], given, None if added else bias)

    def _half(self, op: str, dtype: torch.dtype, activation: str, bias: Tensor | None) -> Half | None:
        """The kernel that may compute half of an MLP now, with this activation, or None."""
        kernel = self._bound(op, dtype)
        if kernel is None:
            return None
        known = self._forms[op].split()
        why = ""
        if activation not in known:
            why = f"computes {', '.join(name for name in known if name != 'bias')}, not {activation}"
        elif op == "expand" and bias is not None and "bias" not in known:
            why = "adds no bias"
        if why:
            self._by_torch(op, f"{kernel.spec.name} {why}", beside=True)
            return None
        return Half(kernel, known_options(kernel, {"activation": activation}))

    @named("attention")
    def attention(
        self,
        *projected: Tensor,
        heads: int,
        groups: int | None = None,
        place: tuple[Tensor, Tensor] | None = None,
        base: float = 0.0,
        bias: Tensor | None = None,
        keys: Tensor | None = None,
        causal: bool = True,
        softcap: float = 0.0,
    ) -> Tensor:
        """softmax(q k^T / sqrt(D) + bias) v of every head, [B, T, heads * D]. `projected` holds queries, keys and
        values one behind the other in the last axis, as one product made them, or queries apart from keys and values
        of `groups` heads; they are read where they lie. `place` are cosines and sines by which queries and keys are
        turned first, [T, D/2] for rotary positions with this `base`, or of any shape that a head may be multiplied
        by. With `keys` [B, T, K] a query meets the keys at these places alone, and `bias` is [B, heads, T, K]."""
        dtype = _working_dtype(projected[0])
        kernel = self._bound("attention", dtype)
        if kernel is not None and keys is not None:
            self._by_torch("attention", f"{kernel.spec.name} meets every key", excepted=True)
            kernel = None
        if kernel is not None and (why := self._other_scores(bias)):
            self._by_torch("attention", f"{kernel.spec.name} {why}", beside=True)
            kernel = None
        if kernel is not None:
            wanted = {"causal": causal} | ({"softcap": softcap} if softcap else {})
            if missing := sorted(wanted.keys() - known_options(kernel, wanted).keys()):
                self._by_torch("attention", f"{kernel.spec.name} has no option {missing[0]}", beside=True)
            else:
                turn = None if place is None else Turn(*place, base, self._rotation(place, dtype))
                parts = tuple(part.to(dtype) for part in projected)
                y = self._attend(kernel, parts, heads, groups or heads, turn, bias, wanted)
                if y is not None:
                    return y
        q, k, v = (part.transpose(1, 2) for part in heads_of(projected, heads, groups or heads))
        if place is not None:
            if "rotation" in self.uses:
                self._by_torch("rotation", "torch computes attention, and turns what it reads", excepted=True)
            q, k = meanings.rotate(q, *place), meanings.rotate(k, *place)
        if keys is None:
            return meanings.attention(q, k, v, bias, causal, softcap).transpose(1, 2).flatten(2)
        assert bias is not None
        q, bias = meanings.of_queries(q), meanings.of_queries(bias)
        k, v = meanings.of_keys(k, keys), meanings.of_keys(v, keys)
        # One query a batch leaves the tiles of a fused kernel empty: on an H100 3.4 ms where products apart take 1.0.
        apart = sdpa_kernel(SDPBackend.MATH) if q.is_cuda else contextlib.nullcontext()
        with apart:
            y = meanings.attention(q, k, v, bias, causal, softcap)
        return y.reshape(*keys.shape[:2], -1)

    def sum(self, *parts: Any) -> Any:
        """x + more + …, without what is False: where a kernel computes sums with the norm that reads them, one that
        waits for it."""
        found = opened(parts)
        if self._made is not None and "residual" in self.uses and can_wait(found):
            return Sum(found)
        return added(found)

    def row(self, table: Tensor, number: int) -> Tensor:
        """One row of a table."""
        return table[number] if self._turns is None else self._turns.row(table, number)

    def norm(
        self,
        x: Tensor | Sum,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        kind: str,
        narrow: bool = False,
    ) -> Tensor:
        """Normalisation over the last axis; `kind` is layer or rms. With `narrow` only products read the result: it is
        written in the dtype that they work in, if the kernel can."""
        if isinstance(x, Sum):
            y = self._norm_of_sum(x, weight, bias, eps, kind, narrow) if x.is_open else None
            if y is not None:
                return y
            x = x.tensor()
        return self._norm(x, weight, bias, eps, kind, narrow)

    @named("residual")
    def _norm_of_sum(
        self, x: Sum, weight: Tensor | None, bias: Tensor | None, eps: float, kind: str, narrow: bool
    ) -> Tensor | None:
        """Both by a kernel, or None where none can."""
        kernel = self._bound_norm("residual", x.parts[0].dtype, kind)
        if kernel is None:
            return None
        matrix, more, shift = x.terms()
        width, rows = matrix.shape[-1], matrix.numel() // matrix.shape[-1]
        given = [  # what is absent is zero, which changes no bit
            matrix.reshape(rows, width),
            self._constant(0.0, (rows, width), matrix.device, _working_dtype(matrix))
            if more is None
            else more.reshape(rows, width),
            self._constant(0.0, (width,), matrix.device) if shift is None else shift,
        ]
        learned, vectors = self._vectors_of(kind, matrix, weight, bias, len(given))
        given, options = [*given, *vectors], known_options(kernel, {"eps": eps})
        try:
            kernel.explain(*given, **options)
        except SpakRuntimeError as error:
            self._by_torch("residual", error.message.splitlines()[0], beside=True)
            return None
        places = {i: claimed(part) for i, part in ((1, more), (2, shift)) if part is not None}
        wanted = self._narrow(kernel, matrix) if narrow else None
        y, stream = placed(kernel, given, learned, options, self._turns, wanted, places)
        self._computed("residual", kernel, *given, **options)
        x.close(stream.view_as(matrix))
        return like(y, matrix)

    def _bound_norm(self, op: str, dtype: torch.dtype, kind: str) -> KernelFunction | None:
        """The kernel that may compute the operation now, if its norm is of this kind."""
        kernel = self._bound(op, dtype)
        if kernel is None or kind == self._forms[op]:
            return kernel
        self._by_torch(op, f"{kernel.spec.name} computes norm(kind = {self._forms[op]})", beside=True)
        return None

    def _vectors_of(
        self, kind: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, before: int
    ) -> tuple[list[int], list[Tensor]]:
        """Scale and shift of a norm, and which of a kernel's inputs they are, of those that are learned. What the model
        does not learn is one or zero, which changes no bit of what the kernel computes."""
        width = x.shape[-1]
        vectors = [self._constant(1.0, (width,), x.device) if weight is None else weight]
        if kind == "layer":
            vectors.append(self._constant(0.0, (width,), x.device) if bias is None else bias)
        return [i for i, part in enumerate(vectors, before) if part.requires_grad], vectors

    def _narrow(self, kernel: KernelFunction, x: Tensor) -> torch.dtype | None:
        """The dtype that products work in, if the kernel writes its first result in it."""
        output = next(tensor for tensor in kernel.spec.tensors if tensor.role == "output")
        return _working_dtype(x) if NAMES[_working_dtype(x)] in output.dtypes else None

    @named("norm")
    def _norm(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        kind: str,
        narrow: bool = False,
    ) -> Tensor:
        kernel = self._bound_norm("norm", x.dtype, kind)
        if kernel is None:
            return meanings.norm(x, weight, bias, eps, kind)
        learned, vectors = self._vectors_of(kind, x, weight, bias, 1)
        parts, options = [x.reshape(-1, x.shape[-1]), *vectors], known_options(kernel, {"eps": eps})
        wanted = self._narrow(kernel, x) if narrow else None
        if self._turns is not None and kernel.saved:
            y = placed(kernel, parts, learned, options, self._turns, wanted, {0: claimed(x)})[0]
        else:
            y = first_output(kernel(*parts, **options, **_dtype(kernel, wanted)))
        self._computed("norm", kernel, *parts, **options, **_dtype(kernel, wanted))
        return like(y, x)

    @named("activation")
    def activation(self, x: Tensor, name: str) -> Tensor:
        """An element-wise function of `meanings.ACTIVATIONS`."""
        kernel = self._bound("activation", x.dtype)
        if kernel is not None and name != self._forms["activation"]:
            known = self._forms["activation"]
            self._by_torch("activation", f"{kernel.spec.name} computes {known}, not {name}", beside=True)
            kernel = None
        if kernel is None:
            return meanings.ACTIVATIONS[name](x)
        rows = x.reshape(-1, x.shape[-1])
        if self._turns is not None and kernel.saved:
            wanted = x.dtype if x.dtype == _working_dtype(x) else None
            y = placed(kernel, [rows], [], {}, self._turns, wanted, {0: claimed(x)})[0]
        else:
            y = first_output(kernel(rows))
        self._computed("activation", kernel, rows)
        return like(y, x)

    # ---- operations of the step ---------------------------------------------------------------------

    @named("loss")
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy [N] float32 of logits [..., V] with integer targets [N]."""
        kernel = self._bound("loss", logits.dtype)
        rows = logits.reshape(-1, logits.shape[-1])
        if kernel is None:
            return meanings.loss(rows, targets)
        numbers = self.once((targets,), targets.int)
        each: Tensor = Loss.apply(kernel, rows, numbers, claimed(logits))  # type: ignore[no-untyped-call]
        self._computed("loss", kernel, rows, numbers)
        return each

    def optimizer(self) -> Callable[..., None] | None:
        """A kernel's `step(p, m, v, g, settings)`, which updates weights and moments in place; None where torch is
        to do it."""
        kernel = self._bound("optimizer", torch.float32)
        if kernel is None:
            return None

        def step(p: Tensor, m: Tensor, v: Tensor, g: Tensor, now: meanings.AdamW) -> None:
            if now.scale is None and self._forms["optimizer"] == "scaled":
                now = replace(now, scale=self._constant(1.0, (), p.device))
            flat = [tensor.view(-1) for tensor in (p, m, v)]
            arguments = (*flat, g.reshape(-1), *now.scalars)
            kernel(*arguments, **now.options)
            self._computed("optimizer", kernel, *arguments, **now.options)

        return step

    @property
    def scales_gradients(self) -> bool:
        """Whether the optimizer's kernel multiplies gradients by the `scale` of its settings."""
        return (
            self._forms.get("optimizer") == "scaled" and self._bound("optimizer", torch.float32) is not None
        )

    def _constant(
        self, value: float, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Filled once."""
        key = (value, shape, device, dtype)
        if key not in self._constants:
            self._constants[key] = torch.full(shape, value, device=device, dtype=dtype)
        return self._constants[key]

    # ---- choosing and recording ---------------------------------------------------------------------

    def _bound(self, op: str, dtype: torch.dtype) -> KernelFunction | None:
        """The kernel that may compute the operation now, or None with the reason on record."""
        kernel = self._kernels.get(op)
        if kernel is None:
            self._by_torch(op, self._missing.get(op, UNNAMED))
            return None
        if self.device.type != "cuda":
            self._by_torch(op, "no GPU: the file's mathematics in torch")
            return None
        taken = next(tensor.dtypes for tensor in kernel.spec.tensors if tensor.role in ("input", "inout"))
        if NAMES[dtype] not in taken:
            self._by_torch(op, f"{kernel.spec.name} takes {', '.join(taken)}; this phase is {NAMES[dtype]}")
            return None
        return kernel

    def _rotation(self, place: tuple[Tensor, Tensor], dtype: torch.dtype) -> KernelFunction | None:
        """The kernel that turns queries and keys, or None: it counts places from 0, and other places are torch's."""
        if place[0].dim() > 2:
            self._by_torch("rotation", "places in runs of digits: kernels count every token", excepted=True)
            return None
        return self._bound("rotation", dtype)

    def _other_scores(self, bias: Tensor | None) -> str:
        """Why the kernel for attention has other scores than these, or nothing."""
        if self._forms["attention"] != "bias":
            return "" if bias is None else "takes no bias on the scores"
        return "" if bias is not None and bias.dim() == 4 else "takes a bias for every head of every sample"

    def _attend(
        self,
        kernel: KernelFunction,
        projected: tuple[Tensor, ...],
        heads: int,
        groups: int,
        turn: Turn | None,
        bias: Tensor | None,
        options: Mapping[str, Any],
    ) -> Tensor | None:
        q, k, v = heads_of(projected, heads, groups)
        given = [part.transpose(1, 2) for part in (q, k, v)]
        if bias is not None:
            bias = bias.float()
            given.append(bias)
        try:
            kernel.explain(*given, **options)
            if turn is not None and turn.kernel is not None:
                turn.kernel.explain(q, base=turn.base)
        except SpakRuntimeError as error:
            self._by_torch("attention", error.message.splitlines()[0])
            return None
        slot, uses = None, [claimed(part) for part in projected]
        if self._turns is not None:
            slot = self._turns.slot(q, (len(q) * q.shape[1], heads * q.shape[3]), q.dtype)
        y: Tensor = Attention.apply(kernel, (heads, groups), turn, options, bias, slot, uses, *projected)  # type: ignore[no-untyped-call]
        y = y if slot is None else as_operand(y, slot)
        self._computed("attention", kernel, *given, **options)
        if turn is not None and turn.kernel is not None:
            self._computed("rotation", turn.kernel, q, base=turn.base)
        return y

    def _by_torch(self, op: str, why: str, *, excepted: bool = False, beside: bool = False) -> None:
        key = (op, self._phase, why)
        if key not in self._rows:
            self._rows[key] = Computed(op, self._phase, self.uses.get(op), "torch", why, excepted, beside)

    def _computed(self, op: str, kernel: KernelFunction, *args: Any, **kwargs: Any) -> None:
        key = (op, self._phase, "")
        if key not in self._rows:
            name, variant = kernel.spec.name, kernel.explain(*args, **kwargs).variant
            self._rows[key] = Computed(op, self._phase, name, f"{name} ({variant})", "")


def _dtype(kernel: KernelFunction, wanted: torch.dtype | None) -> dict[str, Any]:
    """What a call is told so that the first output is written in a dtype."""
    return {} if wanted is None else {"dtype": {kernel.signature.outputs[0]: wanted}}


def _working_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on `meta`
    return torch.get_autocast_dtype(kind) if casts else x.dtype
