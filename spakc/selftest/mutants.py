"""Mutants of kernel sources: one small change each, of the kinds that break kernels.

Pure: from the text of a generated source or a shared header to the changes that can be made in it. Nothing here
knows a template; what a primitive is for is read from the primitives' own declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spakc.record import record
from spakc.selftest.cuda_text import call_statements, closing, code_of

KINDS = {
    "sync": "a call deleted that only synchronises",
    "wrapped": "a call deleted that synchronises among other things",
    "literal": "an integer one more or one less",
    "index": "a slot, a stage, a turn or a parity one further",
    "swizzle": "an exclusive-or left out, another swizzle or major order",
    "mask": "a comparison that includes or excludes its bound, a condition weakened or left out",
}
SYNCHRONISING = ("sync", "wrapped")
"""Kinds that delete a call which synchronises: none may live, and all sources of a template are asked for them."""


@record
class Mutant:
    """A change of one place of a file. `file` is a template's path or a header's include name, `source` the
    generated source where it is made, empty for a header. `line` and `becomes` are the line before and after,
    `nth` which of equal lines of the file it is, from 1. `start`, `end` and `text` are the change."""

    kind: str
    file: str
    source: str
    number: int
    line: str
    becomes: str
    nth: int
    start: int
    end: int
    text: str

    def apply(self, whole: str) -> str:
        """The text of the file with the change. Lines stay where they are."""
        return whole[: self.start] + self.text + whole[self.end :]

    @property
    def name(self) -> str:
        return f"{self.file}:{self.number}: {self.kind}: {self.line}  =>  {self.becomes}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What stays the same when lines move."""
        return self.file, self.line, self.becomes, self.nth


Change = tuple[str, int, int, str]


def mutants_of(
    file: str, source: str, text: str, known: frozenset[str], wrappers: frozenset[str]
) -> list[Mutant]:
    """Every mutant of a text, in the order of its places. `known` are the primitives that synchronise,
    `wrappers` the shared functions that call them."""
    code = code_of(text)
    changes: list[Change] = [
        *_deletions(code, known, wrappers),
        *_literals(code),
        *_indices(code),
        *_swizzles(code),
        *_masks(code),
    ]
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    lines = text.split("\n")
    found: list[Mutant] = []
    seen: set[tuple[int, int, str]] = set()
    for kind, start, end, becomes in sorted(changes, key=lambda c: (c[1], c[2], c[3])):
        if (start, end, becomes) in seen:
            continue
        seen.add((start, end, becomes))
        row = text.count("\n", 0, start)
        column, last = start - starts[row], min(end, starts[row] + len(lines[row])) - starts[row]
        line = lines[row].strip()
        changed = lines[row][:column] + becomes.partition("\n")[0] + lines[row][last:]
        nth = sum(1 for other in lines[: row + 1] if other.strip() == line)
        found.append(Mutant(kind, file, source, row + 1, line, changed.strip(), nth, start, end, becomes))
    return found


def _deletions(code: str, known: frozenset[str], wrappers: frozenset[str]) -> Iterator[Change]:
    for start, end, name in call_statements(code):
        if name in known or name in wrappers:
            lines = "\n" * code.count("\n", start, end)
            yield "sync" if name in known else "wrapped", start, end, ";" + lines


_INTEGER = re.compile(r"(?<![\w.])(\d+)(u?)(?![\w.])")


def _literals(code: str) -> Iterator[Change]:
    for match in _INTEGER.finditer(code):
        for value in (int(match[1]) + 1, int(match[1]) - 1):
            yield "literal", match.start(), match.end(), f"{value}{match[2]}"


_PLACE = re.compile(
    r"\b(?:\w+\.)?\w*(?:slot|stage|round|parity|phase|turn|oldest)\w*\b(?![\w.:<(\[{])", re.IGNORECASE
)
_NO_VALUE = re.compile(r"\s*(?:=(?!=)|\+\+|--|[-+*/%^|&]=|\()")
_TYPE = r"(?:u8|u32|i32|u64|i64|auto|struct|class|enum|namespace|typename|Place)"
_DECLARED = re.compile(rf"(?:\b{_TYPE}\s*[&*]?\s*|\w\s*&\s)$")
"""Places, by the words that kernels have for them; not where one is assigned or declared."""


def _indices(code: str) -> Iterator[Change]:
    for match in _PLACE.finditer(code):
        if _NO_VALUE.match(code[match.end() :]) or _DECLARED.search(code[: match.start()]):
            continue
        if match[0] == "return" or code[: match.start()].endswith(("::", "++", "--")):
            continue
        yield "index", match.start(), match.end(), f"({match[0]} + 1)"


_XOR = re.compile(r" \^ (?:\((?:[^()\n]|\([^()\n]*\))*\)|[\w.]+)")
_OTHERS = {
    "Swizzle::b128": "Swizzle::b64",
    "Swizzle::b64": "Swizzle::b32",
    "Swizzle::b32": "Swizzle::b64",
    "Major::k": "Major::mn",
    "Major::mn": "Major::k",
}
_ENUMERATOR = re.compile(r"\b(?:" + "|".join(_OTHERS) + r")\b")


def _swizzles(code: str) -> Iterator[Change]:
    for match in _XOR.finditer(code):
        yield "swizzle", match.start(), match.end(), ""
    for match in re.finditer(r"\^=", code):
        yield "swizzle", match.start(), match.end(), "|="
    for match in _ENUMERATOR.finditer(code):
        yield "swizzle", match.start(), match.end(), _OTHERS[match[0]]


_BOUNDS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&"}
_COMPARISON = re.compile(r"(?<= )(?:<=|>=|==|!=|<|>|&&|\|\|)(?=[ \n])")
_IF = re.compile(r"\bif \(")


def _masks(code: str) -> Iterator[Change]:
    for match in _COMPARISON.finditer(code):
        yield "mask", match.start(), match.end(), _BOUNDS[match[0]]
    for match in _IF.finditer(code):
        end = closing(code, match.end() - 1)
        lines = "\n" * code.count("\n", match.end(), end)
        yield "mask", match.end(), end, "true" + lines
