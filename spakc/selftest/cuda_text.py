"""Just enough reading of CUDA text for mutants: where code stands, where a bracket closes, which functions
synchronise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|^[ \t]*#(?:\\\n|[^\n])*|\b(?:static_assert|SPAK_KERNEL)\b",
    re.DOTALL | re.MULTILINE,
)
_FUNCTION = re.compile(r"SPAK_DEVICE\s+(?:static\s+)?void\s+(\w+)\s*\(")
_CALL = re.compile(r"(?:[A-Za-z_]\w*(?:<[^<>;(){}]*>)?(?:::|\.))*([A-Za-z_]\w*)(?:<[^<>;(){}]*>)?\(")
_WORDS = frozenset(("sync", "wait", "commit", "fence", "arrive", "expect", "release", "init"))
_OPERANDS = re.compile(r"(?:(?:const )?u32\b[^,<>]*(?:,|$)\s*)*")
"""Of a function that only synchronises: addresses, counts and ranks."""


def code_of(text: str) -> str:
    """The text with everything blank that is no code: comments, strings, directives, and what is checked
    rather than computed (`static_assert`, launch bounds). Same length, same lines."""
    found = list(text)
    at = 0
    while (match := _NOT_CODE.search(text, at)) is not None:
        end = match.end()
        if match[0] in ("static_assert", "SPAK_KERNEL"):
            start = text.find("(", end)
            end = closing(text, start) + 1 if start >= 0 else end
        for place in range(match.start(), end):
            if found[place] != "\n":
                found[place] = " "
        at = max(end, match.start() + 1)
    return "".join(found)


def closing(text: str, start: int) -> int:
    """Where the bracket at `start` closes; the end of the text if it does not."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    opened, closed = text[start], pairs[text[start]]
    depth = 0
    for place in range(start, len(text)):
        if text[place] == opened:
            depth += 1
        elif text[place] == closed:
            depth -= 1
            if depth == 0:
                return place
    return len(text) - 1


def synchronising(primitives: Iterable[str]) -> frozenset[str]:
    """The primitives that only synchronise: they return nothing, take addresses and counts, and a word of
    their name says so."""
    found = set()
    for text in map(code_of, primitives):
        for match in _FUNCTION.finditer(text):
            start = match.end() - 1
            operands = text[start + 1 : closing(text, start)].replace("\n", " ").strip()
            if _WORDS & set(match[1].split("_")) and _OPERANDS.fullmatch(operands):
                found.add(match[1])
    return frozenset(found)


def wrapping(headers: Iterable[str], known: frozenset[str]) -> frozenset[str]:
    """The functions of shared headers that return nothing and call one of `known`, through others or not."""
    bodies: dict[str, str] = {}
    for text in map(code_of, headers):
        for match in _FUNCTION.finditer(text):
            body = text.find("{", closing(text, match.end() - 1))
            if body >= 0:
                bodies[match[1]] = bodies.get(match[1], "") + text[body : closing(text, body)]
    found: set[str] = set()
    while True:
        more = {
            name
            for name, body in bodies.items()
            if name not in found and any(call[1] in known | found for call in _CALL.finditer(body))
        }
        if not more:
            return frozenset(found)
        found |= more


def call_statements(code: str) -> Iterator[tuple[int, int, str]]:
    """Every statement that is one call: where it begins, where it ends (after the semicolon), and the
    function's name."""
    for match in _CALL.finditer(code):
        before = code[: match.start()].rstrip()
        if before and before[-1] not in "{};)" and not re.search(r"\belse$", before):
            continue
        end = closing(code, match.end() - 1) + 1
        after = re.match(r"\s*;", code[end:])
        if after is not None:
            yield match.start(), end + after.end(), match[1]
