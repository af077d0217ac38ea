"""What the turns of a loop leave side by side. A weight that every turn multiplies by has one gradient, a product over
the tokens of all turns, instead of one a turn and their sum: what turns multiply lies in a stack, one turn below the
other, and so do the gradients of what came out. Nothing is copied where who computes these is told the place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from spak_runtime.training.products import multiply, spaced_rows
from spak_runtime.training.scopes import scope

if TYPE_CHECKING:
    from spak_runtime.autograd import Taker
    from spak_runtime.function import KernelFunction

_OPERAND, _GRADIENT = "_spak_operand", "_spak_gradient"


@dataclass(slots=True)
class Stack:
    """A matrix of `rows` rows for every turn, one below the other; `taken` of them are in use."""

    whole: Tensor
    rows: int
    taken: int = 0

    def take(self) -> Slot:
        self.taken += 1
        return Slot(self, self.taken - 1)

    def part(self, first: int, last: int) -> Tensor:
        """Of the turns from `first` to before `last`. Autograd takes it for memory of its own: a turn writes nothing
        that another has read."""
        return self.whole[first * self.rows : last * self.rows].data


@dataclass(frozen=True, slots=True)
class Slot:
    """One turn's matrix of a stack."""

    stack: Stack
    number: int

    @property
    def matrix(self) -> Tensor:
        return self.stack.part(self.number, self.number + 1)


@dataclass(slots=True)
class Uses:
    """The products of one weight with what lies in one stack. Gradients of what came out are stacked like that."""

    operands: Stack
    columns: int
    numbers: set[int] = field(default_factory=set)  # of turns that multiplied
    arrived: set[int] = field(default_factory=set)  # of turns whose gradient is there
    gradients: Stack | None = None

    def place(self, number: int) -> Tensor:
        """Where the gradient of a turn's product goes."""
        if self.gradients is None:
            whole, rows = self.operands.whole, self.operands.rows
            self.gradients = Stack(
                spaced_rows(whole, (self.operands.taken * rows, self.columns), whole.dtype), rows
            )
        return self.gradients.part(number, number + 1)


@dataclass(frozen=True, slots=True)
class Use:
    """One product of a turn."""

    uses: Uses
    number: int

    @property
    def operand(self) -> Tensor:
        return self.uses.operands.part(self.number, self.number + 1)

    def place(self) -> Tensor:
        return self.uses.place(self.number)

    def put(self, gradient: Tensor) -> Tensor:
        """The gradient of what came out, at its place: copied there unless it was written there."""
        place = self.place()
        if (gradient.data_ptr(), gradient.stride()) != (place.data_ptr(), place.stride()):
            place.copy_(gradient)
        self.uses.arrived.add(self.number)
        return place


class Weight:
    """A weight, and what is added with it, that turns of a loop multiply by."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: KernelFunction) -> None:
        self.kernel = kernel
        self.parameters = [weight] if bias is None else [weight, bias]
        self.by_stack: dict[int, Uses] = {}

    def use(self, slot: Slot) -> Use | None:
        """The product with what lies in a slot; None where it was multiplied before."""
        uses = self.by_stack.setdefault(id(slot.stack), Uses(slot.stack, len(self.parameters[0])))
        if slot.number in uses.numbers:
            return None
        uses.numbers.add(slot.number)
        return Use(uses, slot.number)

    def gather(self) -> list[Tensor | None]:
        """The gradients of the parameters, when every turn has put its part aside."""
        total: list[Tensor | None] = [None] * len(self.parameters)
        for uses in self.by_stack.values():
            for first, last in _runs(uses.arrived):
                assert uses.gradients is not None
                grad = uses.gradients.part(first, last)
                found = [
                    multiply(self.kernel, grad.t(), uses.operands.part(first, last), self.parameters[0].dtype)
                ]
                found += [grad.sum(0, dtype=bias.dtype) for bias in self.parameters[1:]]
                total = [new if old is None else old + new for old, new in zip(total, found, strict=True)]
            uses.arrived.clear()
        return total


class Parts:
    """Rows whose sums are the gradients of a vector of `width` elements: as many for each of `uses`, one below the
    other."""

    def __init__(self, like: Tensor, uses: int, width: int) -> None:
        self.like, self.uses, self.width = like, uses, width
        self.whole: Tensor | None = None

    def take(self, number: int, shape: tuple[int, ...]) -> Tensor | None:
        """Those of one use; None where they are as many as those of others are not."""
        if self.whole is None:
            self.whole = self.like.new_empty(self.uses, *shape, dtype=torch.float32)
        return self.whole[number].data if self.whole.shape[1:] == shape else None

    def of(self, numbers: set[int]) -> Tensor:
        """[uses, parts, width] of these."""
        assert self.whole is not None, "somebody took a place"
        return self.whole[_index(numbers)][..., : self.width]


class Vectors:
    """Scales and shifts that turns of a loop share: their gradients are rows of a matrix each, summed once, or as many
    rows for each use as its kernel leaves."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.uses = 0
        self.whole: set[int] = set()  # uses of which a row arrived
        self.parted: set[int] = set()  # uses of which parts did
        self.rows: list[Tensor] = []
        self.parts: list[Parts] = []

    def arrive(self) -> list[VectorUse]:
        """One use: where the gradients go."""
        if not self.rows:
            self.rows = [each.new_empty(self.uses, *each.shape) for each in self.parameters]
            self.parts = [Parts(each, self.uses, len(each)) for each in self.parameters]
        number = len(self.whole) + len(self.parted)
        self.whole.add(number)
        return [VectorUse(self, i, number) for i in range(len(self.parameters))]

    def gather(self) -> list[Tensor | None]:
        found: list[Tensor | None] = [None] * len(self.parameters)
        with scope("sums"):
            if self.whole:
                found = [rows[_index(self.whole)].sum(0) for rows in self.rows]
            if self.parted:
                sums = [parts.of(self.parted).sum((0, 1)) for parts in self.parts]
                found = [new if old is None else old + new for old, new in zip(found, sums, strict=True)]
        self.whole, self.parted = set(), set()
        return found


@dataclass(frozen=True, slots=True)
class VectorUse:
    """The gradient of one of some vectors, from one use."""

    vectors: Vectors
    which: int
    number: int

    def place(self) -> Tensor:
        return self.vectors.rows[self.which][self.number].data

    def take(self, shape: tuple[int, ...]) -> Tensor | None:
        return self.vectors.parts[self.which].take(self.number, shape)

    def parted(self) -> None:
        """Its parts arrived, not the whole."""
        self.vectors.whole.discard(self.number)
        self.vectors.parted.add(self.number)


class Rows:
    """A table of which every turn reads a row of its own: the gradients of rows are the rows of its gradient."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.numbers: set[int] = set()  # that were read
        self.parted: set[int] = set()  # of which parts arrived that make up the gradient
        self.parts = Parts(table, len(table), table.shape[-1])
        self.gradient: Tensor | None = None

    def use(self, number: int) -> RowUse | None:
        """A row; None where it was read before."""
        if number in self.numbers:
            return None
        self.numbers.add(number)
        return RowUse(self, number)

    def gather(self) -> list[Tensor | None]:
        found, self.gradient = self.gradient, None
        if found is not None and self.parted:
            with scope("sums"):
                found[_index(self.parted)] += self.parts.of(self.parted).sum(1)
        self.parted = set()
        return [found]


@dataclass(frozen=True, slots=True)
class RowUse:
    """One row of a table, read in one turn."""

    rows: Rows
    number: int

    def place(self) -> Tensor:
        if self.rows.gradient is None:
            self.rows.gradient = torch.zeros_like(self.rows.table)
        return self.rows.gradient[self.number]

    def put(self, gradient: Tensor) -> None:
        """The gradient of the row, at its place."""
        place = self.place()
        if gradient.data_ptr() != place.data_ptr():
            place.copy_(gradient)

    def take(self, shape: tuple[int, ...]) -> Tensor | None:
        return self.rows.parts.take(self.number, shape)

    def parted(self) -> None:
        """Its parts arrived: what is at its place is not the whole."""
        self.rows.parted.add(self.number)


class Place(Protocol):
    """Where the gradient of something is wanted."""

    def place(self) -> Tensor: ...


@runtime_checkable
class Adding(Place, Protocol):
    """One that also has memory for parts of the gradient, and adds them up itself."""

    def take(self, shape: tuple[int, ...]) -> Tensor | None: ...

    def parted(self) -> None: ...


class Turns:
    """One loop of a forward pass. What a turn asks for in some place, the others ask for in the same place: that is one
    stack."""

    def __init__(self, count: int) -> None:
        self.left = count + 1
        self._asked = 0
        self._stacks: dict[Any, Stack] = {}
        # What turns read of parameters is kept here alone: its history leads to the gatherer, and no further.
        self._weights: dict[int, tuple[Weight, tuple[Tensor, ...]]] = {}
        self._vectors: dict[int, tuple[Vectors, tuple[Tensor, ...]]] = {}
        self._rows: dict[int, tuple[Rows, tuple[Tensor, ...]]] = {}

    def begin(self) -> None:
        """Of a turn."""
        self.left -= 1
        self._asked = 0

    def slot(self, like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Slot | None:
        """Memory for a result [rows, width] that products of this turn read; none where they want rows with gaps."""
        return None if shape[1] % (16 // dtype.itemsize) else self._slot(like, shape, dtype)

    def _slot(self, like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Slot:
        rows, width = shape
        key = (self._asked, rows, width, dtype)
        self._asked += 1
        if key not in self._stacks:
            self._stacks[key] = Stack(spaced_rows(like, (self.left * rows, width), dtype), rows)
        return self._stacks[key].take()

    def product(
        self, kernel: KernelFunction, x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Use | None, Tensor, Tensor | None]:
        """The product of x, as `rows`, with a weight as one of those whose gradients are gathered, and the weight and
        the bias as turns read them. Rows that lie in no slot are copied to one. No use where there is nothing to
        gather."""
        if not weight.requires_grad or (bias is not None and not bias.requires_grad):
            return None, weight, bias
        slot = operand_of(x)
        if slot is None or slot.matrix.shape != rows.shape or slot.matrix.dtype != rows.dtype:
            slot = self._slot(rows, rows.shape, rows.dtype)
            slot.matrix.copy_(rows.detach())
        if id(weight) not in self._weights:
            made = Weight(weight, bias, kernel)
            self._weights[id(weight)] = made, Once.apply(made.gather, *made.parameters)  # type: ignore[no-untyped-call]
        gatherer, given = self._weights[id(weight)]
        use = gatherer.use(slot)
        if use is None:
            return None, weight, bias
        return use, given[0], None if bias is None else given[1]

    def vectors(self, parameters: Sequence[Tensor]) -> tuple[Vectors, tuple[Tensor, ...]]:
        """What gathers the gradients of scales and shifts, and these as turns read them."""
        key = id(parameters[0])
        if key not in self._vectors:
            made = Vectors(parameters)
            self._vectors[key] = made, Once.apply(made.gather, *parameters)  # type: ignore[no-untyped-call]
        self._vectors[key][0].uses += 1
        return self._vectors[key]

    def row(self, table: Tensor, number: int) -> Tensor:
        """One row of a table, whose gradient is a row of the table's."""
        if id(table) not in self._rows:
            made = Rows(table)
            self._rows[id(table)] = made, Once.apply(made.gather, table)  # type: ignore[no-untyped-call]
        gatherer, (given,) = self._rows[id(table)]
        use = gatherer.use(number)
        if use is None:
            return table[number]
        row: Tensor = Row.apply(given, use)  # type: ignore[no-untyped-call]
        return with_place(row, use)


def placed(
    kernel: KernelFunction,
    inputs: Sequence[Tensor],
    learned: Sequence[int],
    options: Mapping[str, Any],
    turns: Turns | None,
    wanted: torch.dtype | None,
    places: Mapping[int, Place | None],
) -> tuple[Tensor, ...]:
    """The outputs of a kernel that have gradients. Inputs are matrices and, at the places `learned`, vectors with
    gradients. In a turn of a loop the first output lies where products read it, if it is `wanted` in a dtype; the
    gradients of inputs lie at `places`."""
    signature, slot, shared = kernel.signature, None, None
    inputs = [*inputs]
    if turns is not None and learned:
        gatherer, given = turns.vectors([inputs[i] for i in learned])
        shared = gatherer, [signature.inputs[i] for i in learned]
        for i, part in zip(learned, given, strict=True):
            inputs[i] = part
    if wanted is not None:
        slot = None if turns is None else turns.slot(inputs[0], inputs[0].shape, wanted)
        options = {**options, "dtype": {signature.outputs[0]: wanted}} if slot is None else options
    uses = {signature.inputs[i]: place for i, place in places.items() if place is not None}
    found: tuple[Tensor, ...] = Placed.apply(kernel, options, slot, uses, shared, *inputs)  # type: ignore[no-untyped-call]
    return found if slot is None else (as_operand(found[0], slot), *found[1:])


class Placed(torch.autograd.Function):
    """An operation by a kernel whose first output may lie in a slot. Gradients of inputs lie where `uses` say, those of
    inputs that are `shared` are put aside."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: KernelFunction,
        options: Mapping[str, Any],
        slot: Slot | None,
        uses: Mapping[str, Place],
        shared: tuple[Vectors, Sequence[str]] | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        signature = kernel.signature
        out = {} if slot is None else {"out": {signature.outputs[0]: slot.matrix}}
        results = kernel(*inputs, **out, **options)
        outputs = results if isinstance(results, tuple) else (results,)
        known = dict(zip((*signature.inputs, *signature.outputs), (*inputs, *outputs), strict=True))
        ctx.save_for_backward(*(known[name] for name in kernel.saved))
        ctx.given = kernel, {k: v for k, v in options.items() if k != "dtype"}, uses, shared
        pairs = zip(signature.inputs, inputs, ctx.needs_input_grad[5:], strict=True)
        ctx.wanted = {name: (x.shape, x.dtype) for name, x, needed in pairs if needed}
        return tuple(known[name] for name in differentiable(kernel))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        kernel, options, uses, shared = ctx.given
        aside = {} if shared is None else dict(zip(shared[1], shared[0].arrive(), strict=True))
        places: dict[str, Place] = {**uses, **aside}
        out = {name: place.place() for name, place in places.items()}
        for name, (shape, dtype) in ctx.wanted.items():
            out.setdefault(name, grads[0].new_empty(shape, dtype=dtype))
        adding = {name: place for name, place in places.items() if isinstance(place, Adding)}
        parts: dict[str, Taker] = {name: None for name in kernel.signature.inputs if name not in ctx.wanted}
        parts |= {name: place.take for name, place in adding.items()}
        values = dict(zip(kernel.saved, ctx.saved_tensors, strict=True))
        arrived = dict(zip(differentiable(kernel), grads, strict=True))
        found = kernel.differentiate(values, arrived, options, out, parts)
        for name in adding.keys() - found.keys():
            adding[name].parted()
        wanted = ctx.wanted.keys() - aside.keys()
        return *(None,) * 5, *(
            found.get(name, out[name]) if name in wanted else None for name in kernel.signature.inputs
        )


def differentiable(kernel: KernelFunction) -> list[str]:
    """The outputs of a kernel that a gradient is declared of."""
    known = {name for gradient in kernel.spec.gradients for name in gradient.outputs}
    return [name for name in kernel.signature.outputs if name in known]


class Row(torch.autograd.Function):
    """A row of a table in a turn of a loop, whose gradient is put aside."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, use: RowUse) -> Tensor:
        ctx.use = use
        return table[use.number]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        ctx.use.put(grads[0])
        return None, None


class Once(torch.autograd.Function):
    """Parameters as turns of a loop read them. Turns put their gradients aside and return none; this one runs when all
    of them have, and `gather` says what came together."""

    @staticmethod
    def forward(
        ctx: Any, gather: Callable[[], list[Tensor | None]], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.gather = gather
        ctx.set_materialize_grads(False)
        return tuple(parameter.view_as(parameter) for parameter in parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        assert all(grad is None for grad in grads), "every use puts its gradient aside"
        return None, *ctx.gather()


def as_operand(tensor: Tensor, slot: Slot) -> Tensor:
    """The same tensor, which says that it lies in a slot."""
    setattr(tensor, _OPERAND, slot)
    return tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """The same tensor in the shape of another, with what it says of a slot."""
    slot = operand_of(tensor)
    tensor = tensor.view_as(other)
    return tensor if slot is None else as_operand(tensor, slot)


def operand_of(tensor: Tensor) -> Slot | None:
    """The slot that a tensor lies in."""
    return getattr(tensor, _OPERAND, None)


def with_place(tensor: Tensor, use: Place | None) -> Tensor:
    """The same tensor, which says where its gradient is wanted."""
    setattr(tensor, _GRADIENT, use)
    return tensor


def claimed(tensor: Tensor) -> Place | None:
    """Where the gradient of a tensor is wanted. Only the first to ask is told: gradients of several readers are summed
    before they go there."""
    use: Place | None = getattr(tensor, _GRADIENT, None)
    if use is not None:
        setattr(tensor, _GRADIENT, None)
    return use


def _index(numbers: set[int]) -> slice | list[int]:
    """Numbers as an index of rows."""
    first, last = min(numbers), max(numbers) + 1
    return slice(first, last) if last - first == len(numbers) else sorted(numbers)


def _runs(numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Numbers as ranges, from the first to before the last."""
    for number in sorted(numbers):
        if number - 1 not in numbers:
            last = number
            while last in numbers:
                last += 1
            yield number, last
