"""Datasets: which documents a split can hold, what is proved about them, what must be tested when they are
drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from spakc.check.verdict import LawStatus, Status, Verdict, means_of_law
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, implication, rows
from spakc.ir.experiment import Dataset, Split
from spakc.ir.module import Law, Module
from spakc.ir.ops import Apply, Const, Expr, Interval, Query, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.types import NUMBER
from spakc.ir.visit import walk
from spakc.source import is_relative

MOST_DIGITS = 10_000
MOST_SAMPLES = 10**8
MOST_CHOICES = 1 << 16
MOST_TOKENS = 1 << 24
MOST_DIVISOR = 10**15
"""Below this, ten times a remainder and a digit are a number of 64 bits."""

LAW_OPERATIONS = frozenset(
    ("add", "sub", "mul", "div", "floordiv", "ceil_div", "mod", "neg", "abs", "min", "max", "floor", "ceil")
) | frozenset(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "member", "where"))
"""What a law of data may compute: `OPERATORS` of the runtime's sanity.py, and what it decides by cases."""

LAW_QUERIES = frozenset(("text", "answer", "number", "digit_sum", "complement", "disjoint", "max_length"))
"""What a law of data may ask for: what `_truth` of the runtime's sanity.py reads off a document, and what is proved."""

_READS = {"number": "answer", "answer": "text"}
"""What stands in the brackets of each: `number(answer(text))`."""

END = "<end>"
PAD = "<pad>"
BLANK = "<blank>"
"""Stands where an answer is to be given in parallel."""

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
                total += 1 if _is_end(piece) else self.number_width(piece, split)
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


def check_data(module: Module, sink: Sink) -> Mapping[str, DatasetFacts]:
    """Facts of every dataset. Reports what cannot be drawn or written (SPAK523-529) and a `disjoint` law
    over splits that share all their samples (541). A law about values stays undecided until documents are
    drawn (means: cases); one that the supports decide is proved here. Leaves the reading of corpora to the
    run."""
    facts: dict[str, DatasetFacts] = {}
    for name, dataset in module.datasets.items():
        found = _Check(dataset, sink).facts()
        if found is not None:
            facts[name] = found
    return facts


class _Check:
    """One dataset."""

    def __init__(self, dataset: Dataset, sink: Sink) -> None:
        self.dataset = dataset
        self.sink = sink
        self.errors = False

    def error(self, code: str, message: str, expr: Expr | Split | Dataset, label: str, *help: str) -> None:
        self.errors = True
        self.sink.report(code, message, expr.span, label, help=help)

    def facts(self) -> DatasetFacts | None:
        dataset = self.dataset
        if not dataset.splits:
            self.error("SPAK523", f"dataset `{dataset.name}` has no split", dataset, "declared here")
            return None
        source = self._corpus()
        facts = DatasetFacts(dataset, source)
        names = tuple(dataset.splits)
        if dataset.answer == "parallel" and (source is not None or dataset.loss_after is None):
            message = "an answer is given in parallel behind a marker that the text has"
            self.error("SPAK522", message, dataset, "nothing says where it begins", 'write `loss after "…"`')
        if source is not None:
            self._parts()
            facts.vocabulary_size = self._vocabulary_size()
            facts.train = ("train",) if "train" in names else names[:1]
            return None if self.errors else facts
        self._samples()
        self._text()
        if self.errors:
            return None
        for split in dataset.splits.values():
            self._support(split, facts)
        if self.errors:
            return None
        facts.vocabulary, facts.separators = self._vocabulary()
        facts.train = tuple(n for n, s in dataset.splits.items() if s.weight is not None) or (
            ("train",) if "train" in names else names[:1]
        )
        if "train" in names and "train" not in facts.train and dataset.splits["train"].size is None:
            facts.train = ("train", *facts.train)
        self._shares(facts.train)
        held = [n for n in names if n not in facts.train]
        facts.exclude = tuple(n for n in held if any(not _apart(facts, n, t) for t in facts.train))
        facts.laws = tuple(self._law(law, facts) for law in dataset.laws)
        return None if self.errors else facts

    def _shares(self, train: tuple[str, ...]) -> None:
        """Weights are shares of a mixture: a split without one gets what the others leave."""
        splits = [self.dataset.splits[name] for name in train]
        for split in self.dataset.splits.values():
            if split.weight is not None and not 0 < split.weight <= 1:
                message = f"the weight of split `{split.name}` is a share, above 0% and at most 100%"
                self.error("SPAK529", message, split, f"{split.weight:.0%} here")
                return
            if split.size is not None and split.size > MOST_SAMPLES:
                self.error("SPAK529", f"a split has at most {MOST_SAMPLES} samples", split, "more here")
                return
        stated = sum(split.weight for split in splits if split.weight is not None)
        is_open = any(split.weight is None for split in splits)
        if stated and (stated >= 1 if is_open else abs(stated - 1) > 1e-9):
            what = "leave something for the split without one" if is_open else "add up to 100%"
            last = next(split for split in reversed(splits) if split.weight is not None)
            self.error(
                "SPAK529", f"the weights of a mixture {what}", last, f"{stated:.4g} of it is given away"
            )

    # ---- corpora ------------------------------------------------------------------------------------

    def _corpus(self) -> dict[str, str] | None:
        text = self.dataset.text
        if not any(isinstance(piece, Query) and piece.name == "characters" for piece in text):
            return None
        piece = text[0]
        inner = piece.args[0] if isinstance(piece, Query) and piece.args else piece
        if len(text) > 1 or self.dataset.samples:
            self.error(
                "SPAK524", "a corpus is the whole text of a dataset", piece, "stands beside other pieces"
            )
        match inner:
            case Query(name="corpus", args=(Const(value=str(name)),)):
                return {"kind": "corpus", "name": name}
            case Query(name="file", args=(Const(value=str(path)),)):
                if not is_relative(path) or ".." in path.split("/"):
                    what = f'"{path[:100]}" is not a relative path of a file beside this one or below'
                    self.error("SPAK006", what, inner, "leaves the project")
                return {"kind": "file", "path": path}
            case Query(name="url", args=(Const(value=str(address)),)):
                return {"kind": "url", "url": address, "sha256": self._hash(inner)}
        self.error(
            "SPAK524",
            "`characters` needs a text",
            inner,
            "no text",
            'write `characters(corpus("…"))`, `characters(file("…"))` or `characters(url("…", sha256 = "…"))`',
        )
        return {"kind": "none"}

    def _hash(self, url: Query) -> str:
        """The hash that a download is held to, in small letters."""
        value = dict(url.named)["sha256"]
        text = str(value.value).lower() if isinstance(value, Const) else ""
        if not re.fullmatch("[0-9a-f]{64}", text):
            self.error("SPAK524", "a SHA-256 is 64 hexadecimal digits", value, "this is none")
        return text

    def _vocabulary_size(self) -> int | None:
        """What `vocabulary = …` says; None without it."""
        piece = self.dataset.text[0]
        value = dict(piece.named).get("vocabulary") if isinstance(piece, Query) else None
        if value is None:
            return None
        size = evaluate(value, Env())
        if _whole(size) and isinstance(size, int) and 0 < size <= MOST_TOKENS:
            return size
        self.error(
            "SPAK524", f"a vocabulary has 1 to {MOST_TOKENS:,} tokens", value, "this is no such number"
        )
        return None

    def _parts(self) -> None:
        total = 0.0
        for split in self.dataset.splits.values():
            if split.fraction is None:
                self.error(
                    "SPAK525", f"split `{split.name}` says no fraction of the corpus", split, "no fraction"
                )
            else:
                total += split.fraction
        if total > 1 + 1e-9:
            last = list(self.dataset.splits.values())[-1]
            self.error("SPAK525", f"the splits take {total:.0%} of the corpus", last, "more than there is")

    # ---- drawn documents ----------------------------------------------------------------------------

    def _samples(self) -> None:
        for name, value in self.dataset.samples.items():
            if not (isinstance(value, Query) and value.name == "digits"):
                self.error(
                    "SPAK526", f"`{name}` is nothing that can be drawn", value, "no draw", "write `digits(n)`"
                )
                continue
            below = dict(value.named).get("below")
            if below is not None and not _constant(below, 2, 11):
                self.error("SPAK526", "digits are below a number from 2 to 10", below, "this is none")

    def _text(self) -> None:
        dataset = self.dataset
        for piece in dataset.text:
            self._piece(piece)
        ends = [piece for piece in dataset.text if _is_end(piece)]
        if len(ends) != 1 or not _is_end(dataset.text[-1]):
            where = ends[0] if ends else (dataset.text[-1] if dataset.text else dataset)
            self.error("SPAK527", "a document closes with one `end`", where, "the last piece is to be `end`")
        if dataset.loss_after is None:
            return
        holders = [p for p in dataset.text if isinstance(p, Const) and dataset.loss_after in str(p.value)]
        count = sum(str(piece.value).count(dataset.loss_after) for piece in holders)
        if count != 1:
            times = "never" if not count else f"{count} times"
            self.error(
                "SPAK528",
                f'the loss begins after "{dataset.loss_after}", which the text has {times}',
                holders[-1] if holders else dataset,
                "it must stand there once",
            )

    def _piece(self, piece: Expr, *, inner: bool = False) -> None:
        match piece:
            case Const(value=str()) if not inner:
                if any(character in "0123456789" for character in str(piece.value)):
                    self.error("SPAK527", "digits between numbers", piece, "would run into a number")
            case Query(name="reverse") if not inner:
                self._piece(piece.args[0], inner=True)
            case Ref(kind=RefKind.sample):
                pass
            case Const(value=int(value)) if not isinstance(value, bool) and value >= 0:
                pass
            case Apply(op="add" | "mul") | Query(name="digit_sum" | "complement"):
                for side in piece.args:
                    self._piece(side, inner=True)
            case Apply(op="mod"):
                self._piece(piece.args[0], inner=True)
                if not _constant(piece.args[1], 1, MOST_DIVISOR):
                    self.error(
                        "SPAK527",
                        f"a remainder is that of a constant from 1 to below {MOST_DIVISOR:,}",
                        piece.args[1],
                        "divided by this",
                    )
            case _ if not inner and _is_end(piece):
                pass
            case _:
                self.error(
                    "SPAK527",
                    "this cannot be written into a document",
                    piece,
                    "no piece of a text",
                    "a piece is a string, a number over samples with `+`, `*`, `%`, `digit_sum` and `complement`, "
                    "its `reverse(…)`, or `end`",
                )

    def _support(self, split: Split, facts: DatasetFacts) -> None:
        """The parameters of a split as values, and the digits its samples can have."""
        if split.fraction is not None:
            self.error(
                "SPAK525", f"split `{split.name}` is a fraction, but documents are drawn", split, "of what?"
            )
            return
        choices = []
        bound: dict[str, frozenset[int]] = {}
        for names, domain in split.binders:
            values = rows(domain, Env(), MOST_CHOICES)
            if isinstance(values, TooMany | Unknown) or not values:
                self.error(
                    "SPAK529", f"the parameters of split `{split.name}` have no known values", split, "here"
                )
                return
            if any(len(row) != len(names) or not all(_whole(v) for v in row) for row in values):
                self.error("SPAK529", "a parameter of a split is a whole number", split, "of this split")
                return
            integers = tuple(tuple(int(v) for v in row) for row in values)
            choices.append((names, integers))
            for column, name in enumerate(names):
                bound[name] = frozenset(row[column] for row in integers)
        facts.choices[split.name] = tuple(choices)
        facts.digits[split.name] = {
            name: self._counts(value, bound, split)
            for name, value in self.dataset.samples.items()
            if name not in split.given
        }
        for name, value in split.given.items():
            self._piece(value, inner=True)
            if self.errors:
                return
            width = facts.number_width(value, split.name)
            if width > MOST_DIGITS:
                self.error("SPAK529", f"a number has 1 to {MOST_DIGITS} digits", value, f"up to {width} here")
            facts.digits[split.name][name] = frozenset(range(1, width + 1))

    def _counts(self, sample: Expr, bound: Mapping[str, frozenset[int]], split: Split) -> frozenset[int]:
        """How many digits a sample can have."""
        assert isinstance(sample, Query)
        found = self._values(sample.args[0], bound, split)
        if (
            found is not None
            and (min(found) < 1 or max(found) > MOST_DIGITS)
            and not self.sink.has("SPAK529", sample.args[0].span)
        ):
            self.error(
                "SPAK529",
                f"a number has 1 to {MOST_DIGITS} digits",
                sample.args[0] if isinstance(sample.args[0], Const) else split,
                f"{min(found)} to {max(found)} here",
            )
        return found or frozenset((1,))

    def _values(self, node: Expr, bound: Mapping[str, frozenset[int]], split: Split) -> frozenset[int] | None:
        match node:
            case Const(value=int(value)) if _whole(value) and node.unit == NUMBER:
                return frozenset((value,))
            case Ref(kind=RefKind.parameter) if node.name in bound:
                return bound[node.name]
            case Ref(kind=RefKind.parameter):
                self.error(
                    "SPAK529", f"split `{split.name}` does not bind `{node.name}`", split, "not bound here"
                )
                return None
            case Interval(by=None):
                first, last = (self._values(bound_, bound, split) for bound_ in (node.first, node.last))
                if first is None or last is None:
                    return None
                if self._reversed(node, first, last, split):
                    message = f"a range of digits of split `{split.name}` ends before it begins"
                    self.error("SPAK529", message, node, f"from {max(first)} to {min(last)} somewhere")
                    return None
                return frozenset(range(min(first), max(last) + 1))
        self.error(
            "SPAK526", "a number of digits is a number, a parameter or a range of them", node, "none of these"
        )
        return None

    def _reversed(self, node: Interval, first: frozenset[int], last: frozenset[int], split: Split) -> bool:
        """Whether some document could have a range without a number. Parameters that are bound together have their
        values together."""
        names = tuple(n.name for n in (node.first, node.last) if isinstance(n, Ref))
        for bound, domain in split.binders:
            together = rows(domain, Env(), MOST_CHOICES)
            if len(names) == 2 and set(names) <= set(bound) and not isinstance(together, TooMany | Unknown):
                start, stop = (bound.index(name) for name in names)
                return any(row[start] > row[stop] for row in together)  # type: ignore[operator]
        return max(first) > min(last)

    def _vocabulary(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """All characters that a text can hold, in order, with the end, the padding and what stands for an answer
        to be given in parallel; and those of them that stand between numbers, in the order of the text."""
        written = [
            str(p.value) for p in self.dataset.text if isinstance(p, Const) and isinstance(p.value, str)
        ]
        separators = tuple(dict.fromkeys("".join(written)))
        blank = (BLANK,) if self.dataset.answer == "parallel" else ()
        return (*sorted({*separators, *"0123456789"}), END, PAD, *blank), separators

    # ---- laws ---------------------------------------------------------------------------------------

    def _law(self, law: Law, facts: DatasetFacts) -> LawStatus:
        node = law.proposition
        if isinstance(node, Query) and node.name == "disjoint" and law.when is None:
            return self._disjoint(law, node, facts)
        parts = [part for whole in (node, law.when) if whole is not None for part in walk(whole)]
        for part in parts:
            if isinstance(part, Query) and part.name == "disjoint":
                self.error(
                    "SPAK541", "`disjoint` is a law by itself", part, "a part of one", "write two laws"
                )
            if isinstance(part, Apply) and part.op not in LAW_OPERATIONS:
                message = f"`{part.op.removeprefix('cast_')}` has no meaning in a law of data"
                self.error("SPAK130", message, part, "not here", "laws of data are exact arithmetic")
            self._part_of_law(part)
        queries = [e for e in parts if isinstance(e, Query) and e.name == "max_length"]
        known = {q: facts.max_digits(_split(q.args[0])) for q in queries if _split(q.args[0]) in facts.digits}
        env = Env(queries=known)
        if law.when is not None and evaluate(law.when, env) is False:
            note = "its condition is false"
            return LawStatus(law, Status(Verdict.undecided, Means.proof, note=note, applicable=False))
        value = evaluate(implication(node, law.when), env)
        if isinstance(value, bool):
            if not value:
                self.error("SPAK203", f"law `{law.name}` does not hold", node, "false")
            return LawStatus(
                law, Status(Verdict.holds if value else Verdict.violated, Means.proof, witnesses=1)
            )
        means = max(means_of_law(law), Means.cases, key=list(Means).index)
        return LawStatus(law, Status(Verdict.undecided, means))

    def _part_of_law(self, part: Expr) -> None:
        """What is known when a document is read: its samples, its text, and what the file says of its splits."""
        if isinstance(part, Query) and part.name not in LAW_QUERIES:
            self.error(
                "SPAK130", f"`{part.name}` has no meaning in a law of data", part, "not known of a document"
            )
        read = _READS.get(part.name) if isinstance(part, Query) else None
        if isinstance(part, Query) and read is not None:
            inner = part.args[0]
            if not (isinstance(inner, Query) and inner.name == read):
                label = "write `number(answer(text))`" if read == "answer" else "write `answer(text)`"
                self.error(
                    "SPAK128",
                    f"`{part.name}` reads {'an answer' if read == 'answer' else 'the text'}",
                    inner,
                    label,
                )
        if isinstance(part, Ref) and part.kind is RefKind.fact:
            self.error("SPAK130", "a law of data knows no device", part, "a fact of a device")
        if isinstance(part, Const) and part.unit != NUMBER:
            self.error("SPAK319", "a law of data has no units", part, "this number has one")

    def _disjoint(self, law: Law, node: Query, facts: DatasetFacts) -> LawStatus:
        """Proved where the digit counts of some sample differ; else training leaves out what evaluation
        holds, and it is tested. Two evaluation splits over the same support can only be tested."""
        names = [_split(argument) for argument in node.args]
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        for a, b in pairs:
            if a == b or (facts.choices[a] == facts.choices[b] and _tiny(facts, a)):
                self.error("SPAK541", f"`{a}` and `{b}` share their samples", node, "these are not disjoint")
                return LawStatus(law, Status(Verdict.violated, Means.proof))
        if all(_apart(facts, a, b) for a, b in pairs):
            note = "some number has other digit counts in each split"
            return LawStatus(law, Status(Verdict.holds, Means.proof, witnesses=len(pairs), note=note))
        return LawStatus(
            law, Status(Verdict.undecided, Means.cases, note="training leaves out what is evaluated")
        )


def _apart(facts: DatasetFacts, a: str, b: str) -> bool:
    """Whether no document can be in both splits: some sample never has the same number of digits."""
    return any(not (facts.digits[a][name] & facts.digits[b][name]) for name in facts.dataset.samples)


def _tiny(facts: DatasetFacts, split: str) -> bool:
    """Whether a split has so few documents that two draws of it must meet."""
    samples = facts.digits[split].values()
    return len(list(product(*samples))) == 1 and all(max(counts) == 1 for counts in samples)


def _split(node: Expr) -> str:
    return node.name.rpartition(".")[2] if isinstance(node, Ref) else ""


def _is_end(node: object) -> bool:
    return isinstance(node, Ref) and node.kind is RefKind.symbol and node.name == "end"


def _constant(node: Expr, least: int, stop: int) -> bool:
    """A whole number of the file from `least` to below `stop`."""
    return isinstance(node, Const) and _whole(node.value) and least <= node.value < stop  # type: ignore[operator]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
