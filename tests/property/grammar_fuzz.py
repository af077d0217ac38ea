"""Random `.spak` files: derivations of the grammar, and examples with a few lexemes changed.

Every file is a function of its seed, so that a failure is named by a number.
"""

from __future__ import annotations

from functools import cache
from random import Random

from spakc.resources import resource
from spakc.syntax.parse import lark_parser
from spakc.syntax.scan import Lexeme, lexemes
from spakc.syntax.surface import Surface

_DEPTH = 14
_SAMPLES = {
    "NAME": tuple("a b k x_1 N tile_m device sum f32 cubin h100".split()),  # noqa: SIM905
    "INT": ("0", "1", "2", "7", "16", "64", "1_000", "999999999999999999"),
    "FLOAT": ("0.0", "1.5", "1e-3", "2.5e8", "1_0.5"),
    "QUANTITY": ("1 KiB", "227KiB", "3350 GB/s", "4.5 us", "800 TFLOP/s", "1 sec"),
    "PERCENT": ("0%", "50%", "99.5%", "1_000%"),
    "STRING": ('""', '"text"', r'"a \"b\" \\ \n"', '"# { [ ( \u00e4"', '"std.spak"'),
    "ADD": ("+", "-"),
    "MUL": ("*", "/", "//", "%"),
    "COMPARE": ("<", "<=", "==", "!=", ">=", ">"),
}
_OPERATORS = frozenset(("+", "-", "*", "/", "//", "<", "<=", ">", ">=", "!=", "=="))
_STRANGERS = (
    *(
        "=",
        "==",
        "&&",
        "**",
        "!",
        ";",
        "'",
        '"',
        "\\",
        "@",
        "\u2264",
        "\t",
        "1e999",
        "9" * 20,
        "12abc",
        "3 KB",
        "8%n",
    ),
    *(
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "..",
        "...",
        ".",
        ",",
        ":",
        "->",
        "|",
        "#",
        "-",
        "\x00",
        "\u202e",
        "spak",
    ),
)


def derivation(seed: int, depth: int = _DEPTH) -> str:
    """A file that the grammar derives. A few names are words of the language, so the parser may refuse it. Beyond
    `depth` it takes the shortest way to its end."""
    random = Random(seed)
    literals = _surface().literals
    words: list[str] = []

    def expand(symbol: str, level: int) -> None:
        if symbol not in _expansions():
            words.append(_token(symbol, literals, random, words))
            return
        expansions = _expansions()[symbol]
        if level > depth:
            height = min(_height(e) for e in expansions)
            expansions = [e for e in expansions if _height(e) == height]
        more = [e for e in expansions if symbol in e] if random.random() < 0.7 else expansions  # longer lists
        for child in random.choice(more or expansions):
            expand(child, level + 1)

    expand("start", 0)
    return "".join(word + random.choice((" ", " ", "\n", "\n", "\t", "  # note\n")) for word in words)


def mutant(seed: int) -> str:
    """A file of the examples with one to three lexemes deleted, doubled, exchanged or replaced. Half of the
    changes put a lexeme in the place of another of its kind: such a mutant is wrong only in what it means."""
    random = Random(seed)
    return changed(_examples()[random.choice(sorted(_examples()))], random)


def changed(text: str, random: Random) -> str:
    """A text with one to three lexemes deleted, doubled, exchanged or replaced."""
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(lexemes(text))
        one, two = random.choice(places), random.choice(places)
        kin = random.choice([other.text for other in places if _kind(other) == _kind(one)])
        new = {
            "kin": kin,
            "delete": "",
            "double": f"{one.text} {one.text}",
            "copy": two.text,
            "insert": f"{two.text} {one.text}",
            "stranger": random.choice(_STRANGERS),
            "word": random.choice(sorted(_surface().words)),
            "typo": one.text[:-1] + random.choice("aex_1"),
        }[random.choice(("kin",) * 7 + ("delete", "double", "copy", "insert", "stranger", "word", "typo"))]
        text = text[: one.start] + new + text[one.end :]
    return text if random.random() < 0.95 else text[: random.randrange(len(text))]


def _kind(lexeme: Lexeme) -> str:
    """What may stand for what: names, words of the language, numbers, texts, operators, each other sign."""
    if lexeme.kind == "word":
        return "word" if lexeme.text in _surface().words else "name"
    if lexeme.kind == "sign":
        return "operator" if lexeme.text in _OPERATORS else lexeme.text
    return lexeme.kind


def _token(terminal: str, literals: dict[str, str], random: Random, before: list[str]) -> str:
    if before[-1:] == ["spak"]:
        return "1"
    if terminal == "NAME" and random.random() < 0.01:
        return random.choice(sorted(_surface().words))
    return random.choice(_SAMPLES[terminal]) if terminal in _SAMPLES else literals[terminal]


@cache
def _surface() -> Surface:
    return Surface(lark_parser())


@cache
def _expansions() -> dict[str, list[tuple[str, ...]]]:
    expansions: dict[str, list[tuple[str, ...]]] = {}
    for rule in lark_parser().rules:
        expansions.setdefault(str(rule.origin.name), []).append(tuple(s.name for s in rule.expansion))
    return expansions


@cache
def _heights() -> dict[str, int]:
    """The height of the lowest derivation of every rule."""
    heights = dict.fromkeys(_expansions(), 1_000)
    while True:
        lower = {
            rule: 1 + min(max((heights.get(s, 0) for s in e), default=0) for e in expansions)
            for rule, expansions in _expansions().items()
        }
        if lower == heights:
            return heights
        heights = lower


def _height(expansion: tuple[str, ...]) -> int:
    return max((_heights().get(symbol, 0) for symbol in expansion), default=0)


@cache
def _examples() -> dict[str, str]:
    return {path.name: path.read_text() for path in resource("examples").rglob("*.spak")}
