"""Files with words exchanged for others of their kind: they parse, and mean something else."""

from __future__ import annotations

import re
from random import Random

_WORDS = r'#[^\n]*|"[^"\n]*"|[A-Za-z_]\w*|\d[\w.]*(?: ?(?:KiB|GB/s|TFLOP/s)|%)?'
LEXEME = re.compile(rf"{_WORDS}|//|[<>=!]=|\s+|.")
NUMBERS = ("0", "1", "2", "7", "64", "1.5", "999_999_999_999", "64 KiB", "50%", "1e30", "3 ms")
OPERATORS = ("+", "-", "*", "/", "//", "<", "<=", ">", ">=", "==", "!=")


def mutant(text: str, random: Random) -> str:
    """A few names, numbers and operators replaced by others that may stand in the same place."""
    pieces = LEXEME.findall(text)
    names = [piece for piece in pieces if re.match(r"[A-Za-z_]", piece)]
    for _ in range(random.choice((1, 1, 2, 4))):
        while True:
            position = random.randrange(len(pieces))
            piece = pieces[position]
            if re.match(r"[A-Za-z_]", piece):
                pieces[position] = random.choice(names)
            elif piece[0].isdigit():
                pieces[position] = random.choice(NUMBERS)
            elif piece in OPERATORS:
                pieces[position] = random.choice(OPERATORS)
            elif piece == "-":
                pieces[position] = "+"
            else:
                continue
            break
    return "".join(pieces)
