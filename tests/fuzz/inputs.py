"""The inputs of a campaign: bytes, tokens, derivations of the grammar, and changed files. Each is a function of its
number, so that a failure is named by one.

Most changed files are small: the examples of the code table, one for every diagnostic and one for its repair, reach
every check in a few lines. Whole examples come now and then."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from spakc.diagnostics.codes import CODES
from spakc.resources import resource
from spakc.syntax.parse import lark_parser
from spakc.syntax.surface import Surface
from tests.property.grammar_fuzz import changed, derivation
from tests.property.kin import mutant as kin

SMALL = 1500
"""Characters of a small file, at most."""


def of_bytes(seed: int) -> str:
    """Random bytes, as far as they are text; half of them behind a first line that is right."""
    random = Random(seed)
    data = random.randbytes(random.choice((1, 10, 100, 1000)))
    head = "spak 1\n" if random.random() < 0.5 else ""
    return head + data.decode("utf-8", errors=random.choice(("ignore", "replace")))


def of_tokens(seed: int) -> str:
    """Words and signs of the language in any order."""
    random = Random(seed)
    words = _tokens()
    return "spak 1\n" + " ".join(random.choice(words) for _ in range(random.choice((3, 10, 40, 200))))


def of_derivation(seed: int) -> str:
    """A file that the grammar derives; one in ten as long as it gets."""
    return derivation(seed, depth=14 if seed % 10 == 0 else 9)


def of_mutant(seed: int) -> str:
    """A small file with one to three lexemes deleted, doubled, exchanged or replaced."""
    random = Random(seed)
    return changed(random.choice(small()), random)


def of_kin(seed: int) -> str:
    """A small file with a few words exchanged for others of their kind: it parses, and means something else."""
    random = Random(seed)
    return kin(random.choice(small()), random)


def of_joined(seed: int) -> str:
    """Two small files in one, one of them changed: names that meet."""
    random = Random(seed)
    one, two = random.choice(small()), kin(random.choice(small()), random)
    return one.rstrip() + "\n" + two.partition("\n")[2]


def of_example(seed: int) -> str:
    """A whole example, changed."""
    random = Random(seed)
    text = random.choice(_examples())
    return changed(text, random) if random.random() < 0.5 else kin(text, random)


MAKERS: dict[str, Callable[[int], str]] = {
    "bytes": of_bytes, "tokens": of_tokens, "derivation": of_derivation, "mutant": of_mutant, "kin": of_kin,
    "joined": of_joined, "example": of_example,
}  # fmt: skip

SHARES = {"bytes": 12, "tokens": 12, "derivation": 24, "mutant": 20, "kin": 25, "joined": 6, "example": 1}
"""Of a hundred inputs."""


@cache
def _kinds() -> tuple[str, ...]:
    """A hundred kinds, mixed, so that every slice has of each."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    Random(0).shuffle(kinds)
    return tuple(kinds)


def input_of(number: int) -> tuple[str, str]:
    """The kind and the text of an input."""
    kind = _kinds()[number % 100]
    return kind, MAKERS[kind](number)


@cache
def small() -> tuple[str, ...]:
    """The small files: of the code table."""
    texts = [text for code in CODES.values() for text in (code.wrong, code.right)]
    return tuple(text for text in texts if text.startswith("spak 1\n") and len(text) <= SMALL)


@cache
def _examples() -> tuple[str, ...]:
    paths = sorted(Path(str(resource("examples"))).rglob("*.spak"))
    return tuple(path.read_text("utf-8") for path in paths)


@cache
def _tokens() -> tuple[str, ...]:
    surface = Surface(lark_parser())
    values = ["a", "b", "M", "1", "2.5", "64 KiB", "50%", '"t"'] * 4
    return (*sorted(surface.words), *sorted(surface.signs) * 2, *values)
