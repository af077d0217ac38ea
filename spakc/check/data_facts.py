"""What is known of a dataset before anything is drawn or read, and how a mistake in one is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from spakc.check.verdict import LawStatus
from spakc.diagnostics import Sink
from spakc.ir.experiment import Dataset, Split
from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind
from spakc.ir.types import NUMBER

Choices = tuple[tuple[tuple[str, ...], tuple[tuple[int, ...], ...]], ...]


@dataclass
class DatasetFacts:
    """What is known of a dataset before anything is drawn or read. Of a corpus (`source`) that is little: its
    vocabulary is None, and `vocabulary_size` is what the file says, if it does.
    `choices` are the parameters of each split as independent draws;
    `digits[split][sample]` the numbers of digits a sample can have there; `exclude` the evaluation splits
    whose samples training must not draw, since nothing proves that it could not."""

    dataset: Dataset
    source: Mapping[str, str] | None = None
    vocabulary: tuple[str, ...] | None = None
    vocabulary_size: int | None = None
    separators: tuple[str, ...] = ()
    choices: dict[str, Choices] = field(default_factory=dict)
    digits: dict[str, dict[str, frozenset[int]]] = field(default_factory=dict)
    train: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    laws: tuple[LawStatus, ...] = ()

    def max_digits(self, split: str) -> int:
        """Digits of the longest sample of a split: what `max_length(split)` means."""
        return max((max(counts) for counts in self.digits[split].values() if counts), default=0)

    def number_width(self, node: Expr, split: str) -> int:
        """Digits that a number of the text can have at most in a split; 0 for other pieces."""
        match node:
            case Const(value=int()):
                return len(str(node.value))
            case Ref(kind=RefKind.sample):
                return max(self.digits[split][node.name], default=0)
            case Query(name="reverse" | "complement"):
                return self.number_width(node.args[0], split)
            case Query(name="digit_sum"):
                return len(str(9 * self.number_width(node.args[0], split)))
            case Apply(op="mod", args=(_, Const(value=int(divisor)))):
                return len(str(divisor - 1))
            case Apply(op="add"):
                return max(self.number_width(side, split) for side in node.args) + 1
            case Apply(op="mul"):
                return sum(self.number_width(side, split) for side in node.args)
        return 0

    def text_width(self, split: str) -> int:
        """Tokens of the longest document of a split."""
        total = 0
        for piece in self.dataset.text:
            if isinstance(piece, Const) and isinstance(piece.value, str):
                total += len(piece.value)
            else:
                total += 1 if is_end(piece) else self.number_width(piece, split)
        return total

    @cached_property
    def trained_run(self) -> int:
        """Digits of the longest number before the answer of any document trained on."""
        prompt = []
        for piece in self.dataset.text:
            prompt.append(piece)
            if (
                isinstance(piece, Const)
                and self.dataset.loss_after is not None
                and self.dataset.loss_after in str(piece.value)
            ):
                break
        return max(self.number_width(piece, split) for split in self.train for piece in prompt)

    @cached_property
    def longest_text(self) -> int:
        return max(self.text_width(split) for split in self.digits)

    @cached_property
    def longest_number(self) -> int:
        """Digits of the longest number of any text of any split."""
        return max(self.number_width(piece, split) for split in self.digits for piece in self.dataset.text)


def apart(facts: DatasetFacts, a: str, b: str) -> bool:
    """Whether no document can be in both splits: some sample never has the same number of digits."""
    return any(not (facts.digits[a][name] & facts.digits[b][name]) for name in facts.dataset.samples)


def tiny(facts: DatasetFacts, split: str) -> bool:
    """Whether a split has so few documents that two draws of it must meet."""
    samples = facts.digits[split].values()
    return len(list(product(*samples))) == 1 and all(max(counts) == 1 for counts in samples)


class Report:
    """One dataset that is checked, and what was found wrong with it."""

    def __init__(self, dataset: Dataset, sink: Sink) -> None:
        self.dataset = dataset
        self.sink = sink
        self.errors = False

    def error(self, code: str, message: str, expr: Expr | Split | Dataset, label: str, *help: str) -> None:
        self.errors = True
        self.sink.report(code, message, expr.span, label, help=help)


def is_constant(node: Expr, least: int, stop: int) -> bool:
    """A whole number of the file from `least` to below `stop`."""
    if not isinstance(node, Const) or not is_whole(node.value) or node.unit != NUMBER:
        return False
    return least <= node.value < stop  # type: ignore[operator]


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_end(node: object) -> bool:
    return isinstance(node, Ref) and node.kind is RefKind.symbol and node.name == "end"
