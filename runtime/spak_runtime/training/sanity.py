"""Are the data what the file says? Judged from decoded text alone, by a parser that shares nothing with the
generator: Python strings and Python integers."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from spak_runtime.training.batch import END, PAD, Vocabulary
from spak_runtime.training.documents import DocumentData, Documents
from spak_runtime.training.spec import DataLaw, Expression

CHECKED = 1000
"""Documents of each split that the laws of the data are tested on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One law or property, and what was found. `cases` is the number of documents looked at (0: proved
    before)."""

    name: str
    holds: bool
    cases: int
    detail: str = ""


@contextmanager
def long_numbers() -> Iterator[None]:
    """Numbers are written and read whatever their length, which Python limits against strangers' texts."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


@dataclass(frozen=True, slots=True)
class Reading:
    """One document as text: `prompt` and `answer` (with its end), and the numbers that its samples are."""

    prompt: str
    answer: str
    samples: dict[str, int]

    @property
    def text(self) -> str:
        return self.prompt + self.answer


def read(documents: Documents, vocabulary: Vocabulary, limit: int = CHECKED) -> list[Reading]:
    """The text of documents, cut at the answer by the tokens that the loss counts."""
    readings = []
    batch = documents.batch()
    for row in range(min(limit, len(documents.tokens))):
        first = [vocabulary.tokens[i] for i in documents.tokens[row, :1].tolist()]
        tokens = first + [vocabulary.tokens[i] for i in batch.targets[row].tolist()]
        counted = [False, *(bool(m) for m in batch.mask[row].tolist())]
        shown = [(token, count) for token, count in zip(tokens, counted, strict=True) if token != PAD]
        prompt = "".join(token for token, count in shown if not count)
        answer = "".join(token for token, count in shown if count)
        samples = {
            name: int("".join(map(str, reversed(value.digits[row, : int(value.length[row])].tolist()))))
            for name, value in documents.samples.items()
        }
        readings.append(Reading(prompt, answer, samples))
    return readings


def check_alignment(data: DocumentData, name: str, documents: Documents) -> Finding:
    """Tokens, targets, mask, prompt and answer of a row belong together: the prompt ends with the marker,
    the answer with the end token, and both together are what the text of the file gives for the row's
    samples."""
    program = data.dataset
    for number, reading in enumerate(read(documents, data.vocabulary)):
        wanted = render(program.text, reading.samples)
        marker = program.loss_after
        if reading.text != wanted:
            return Finding(f"aligned({name})", False, number + 1, f"{reading.text} is not {wanted}")
        if marker is not None and reading.prompt != wanted[: wanted.index(marker) + len(marker)]:
            return Finding(
                f"aligned({name})", False, number + 1, f"the answer of {wanted} is taken as {reading.answer}"
            )
    return Finding(f"aligned({name})", True, min(CHECKED, len(documents.tokens)))


def render(text: Sequence[Expression], samples: dict[str, int]) -> str:
    """What the file's text is for given samples, in Python's own arithmetic."""
    return "".join(_piece(piece, samples) for piece in text)


def _piece(piece: Expression, samples: dict[str, int]) -> str:
    if isinstance(piece, list) and piece[0] == "text":
        return str(piece[1])
    if piece == ["end"]:
        return END
    if isinstance(piece, list) and piece[0] == "reverse":
        return _piece(piece[1], samples)[::-1]
    return str(_number(piece, samples))


def _number(expression: Expression, samples: dict[str, int]) -> int:
    if not isinstance(expression, list):
        return int(expression)
    if expression[0] == "sample":
        return samples[expression[1]]
    numbers = [_number(side, samples) for side in expression[1:]]
    return NUMBERS[expression[0]](*numbers)


def check_law(law: DataLaw, data: DocumentData, splits: dict[str, Documents]) -> Finding:
    """A law of the dataset. One that the compiler has proved is not tested again; one that has no truth value for a
    document does not hold."""
    if law.means == "proof":
        return Finding(law.name, True, 0, "proved when the file was compiled")
    if law.proposition[0] == "disjoint":
        return _disjoint(law, data, splits)
    cases, turned = 0, _turned(data.dataset.text)
    for name, documents in splits.items():
        for reading in read(documents, data.vocabulary):
            try:
                if law.when is not None and not _truth(law.when, reading, turned):
                    continue
                cases += 1
                if not _truth(law.proposition, reading, turned):
                    return Finding(law.name, False, cases, f"false for {reading.text} of {name}")
            except (ArithmeticError, ValueError) as error:
                detail = f"has no truth value for {reading.text} of {name}: {error}"
                return Finding(law.name, False, cases, detail)
    return Finding(law.name, True, cases, "" if cases else "its condition was never true")


def _disjoint(law: DataLaw, data: DocumentData, splits: dict[str, Documents]) -> Finding:
    """No sample of one split is in another; of a training split, as training draws it."""
    keys: dict[tuple[tuple[str, int], ...], str] = {}
    names = [str(name).rpartition(".")[2] for name in law.proposition[1:]]
    cases = 0
    for name in names:
        train = name in data.dataset.train
        documents = data.training(4 * CHECKED, "disjoint") if train else splits[name]
        for reading in read(documents, data.vocabulary, len(documents.tokens)):
            cases += 1
            other = keys.setdefault(tuple(sorted(reading.samples.items())), name)
            if other != name:
                return Finding(law.name, False, cases, f"{reading.text} is in {other} and in {name}")
    return Finding(law.name, True, cases)


def _turned(text: Sequence[Expression]) -> bool:
    """Whether the answer is written least significant digit first: the last number of the text is
    reversed."""
    numbers = [piece for piece in text if isinstance(piece, list) and piece[0] not in ("text", "end")]
    return bool(numbers) and numbers[-1][0] == "reverse"


def _truth(expression: Expression, reading: Reading, turned: bool) -> bool:
    """A proposition about one document. `number(answer(text))` is what a person reads off the answer."""

    def value(node: Expression) -> Any:
        if not isinstance(node, list):
            return node
        op, *arguments = node
        if op == "sample":
            return reading.samples[arguments[0]]
        if op == "text":
            return reading.text
        if op == "answer":
            return reading.answer
        if op == "number":
            digits = str(value(arguments[0])).removesuffix(END)
            if not re.fullmatch("[0-9]+", digits):
                return -1
            return int(digits[::-1] if turned else digits)
        if op in ("and", "or"):
            left, right = arguments
            return (value(left) and value(right)) if op == "and" else (value(left) or value(right))
        if op == "where":
            condition, yes, no = arguments
            return value(yes if value(condition) else no)
        if op == "interval":
            first, last, step = (*map(value, arguments), 1)[:3]
            return range(int(first), int(last) + 1, int(step))
        if op == "set":
            return tuple(map(value, arguments))
        return (NUMBERS.get(op) or OPERATORS[op])(*map(value, arguments))

    return bool(value(expression))


def _digits(a: Any) -> list[int]:
    if isinstance(a, bool) or a != int(a) or a < 0:
        raise ValueError(f"{a} has no digits")
    return [int(digit) for digit in str(int(a))]


NUMBERS: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "mod": lambda a, b: a % b,
    "digit_sum": lambda a: sum(_digits(a)),
    "complement": lambda a: int("".join(str(9 - digit) for digit in _digits(a))),
}
"""What the numbers of a text are computed by."""

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: Fraction(a) / Fraction(b),
    "floordiv": lambda a, b: a // b,
    "ceil_div": lambda a, b: -(-a // b),
    "neg": lambda a: -a,
    "abs": abs,
    "min": min,
    "max": max,
    "floor": math.floor,
    "ceil": math.ceil,
    "not": lambda a: not a,
    "member": lambda a, members: a in members,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
}
"""What a law of the data may compute, exactly; `LAW_OPERATIONS` of the compiler's check_data.py is the same list."""


def form_of(documents: Documents, vocabulary: Vocabulary) -> str:
    """The format of documents, told from their bytes: `#` for a number, its digits in order or `~` for
    reversed, and everything between as it is. Which it is shows in the numbers: over many documents only
    one reading has no leading zero. `?` where both have none (numbers of one digit)."""
    readings = read(documents, vocabulary)
    shapes = {re.sub("[0-9]+", "#", reading.text) for reading in readings}
    if len(shapes) != 1:
        return " | ".join(sorted(shapes))
    runs = [re.findall("[0-9]+", reading.text) for reading in readings]
    signs = []
    for column in range(len(runs[0])):
        values = [run[column] for run in runs]
        plain = not any(len(v) > 1 and v[0] == "0" for v in values)
        turned = not any(len(v) > 1 and v[-1] == "0" for v in values)
        signs.append({(True, False): "#", (False, True): "~"}.get((plain, turned), "?"))
    parts = re.split("#", next(iter(shapes)))
    return parts[0] + "".join(sign + part for sign, part in zip(signs, parts[1:], strict=True))
