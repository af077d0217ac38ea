"""What the documents of a dataset are written of: samples, pieces of text, the characters in them."""

from __future__ import annotations

from spakc.check.data_facts import Report, is_constant, is_end
from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind
from spakc.ir.types import NUMBER

MOST_DIVISOR = 10**15
"""Below this, ten times a remainder and a digit are a number of 64 bits."""

END = "<end>"
PAD = "<pad>"
BLANK = "<blank>"
"""Stands where an answer is to be given in parallel."""


def check_samples(check: Report) -> None:
    for name, value in check.dataset.samples.items():
        if not (isinstance(value, Query) and value.name == "digits"):
            check.error(
                "SPAK526", f"`{name}` is nothing that can be drawn", value, "no draw", "write `digits(n)`"
            )
            continue
        below = dict(value.named).get("below")
        if below is not None and not is_constant(below, 2, 11):
            check.error("SPAK526", "digits are below a number from 2 to 10", below, "this is none")


def check_text(check: Report) -> None:
    dataset = check.dataset
    for piece in dataset.text:
        check_piece(check, piece)
    ends = [piece for piece in dataset.text if is_end(piece)]
    if len(ends) != 1 or not is_end(dataset.text[-1]):
        where = ends[0] if ends else (dataset.text[-1] if dataset.text else dataset)
        check.error("SPAK527", "a document closes with one `end`", where, "the last piece is to be `end`")
    if dataset.loss_after is None:
        return
    holders = [p for p in dataset.text if isinstance(p, Const) and dataset.loss_after in str(p.value)]
    count = sum(str(piece.value).count(dataset.loss_after) for piece in holders)
    if count != 1:
        times = "never" if not count else f"{count} times"
        check.error(
            "SPAK528",
            f'the loss begins after "{dataset.loss_after}", which the text has {times}',
            holders[-1] if holders else dataset,
            "it must stand there once",
        )


def check_piece(check: Report, piece: Expr, *, inner: bool = False) -> None:
    match piece:
        case Const(value=str()) if not inner:
            if any(character in "0123456789" for character in str(piece.value)):
                check.error("SPAK527", "digits between numbers", piece, "would run into a number")
        case Query(name="reverse") if not inner:
            check_piece(check, piece.args[0], inner=True)
        case Ref(kind=RefKind.sample):
            pass
        case Const(value=int(value)) if not isinstance(value, bool) and value >= 0 and piece.unit == NUMBER:
            pass
        case Apply(op="add" | "mul") | Query(name="digit_sum" | "complement"):
            for side in piece.args:
                check_piece(check, side, inner=True)
        case Apply(op="mod"):
            check_piece(check, piece.args[0], inner=True)
            if not is_constant(piece.args[1], 1, MOST_DIVISOR):
                check.error(
                    "SPAK527",
                    f"a remainder is that of a constant from 1 to below {MOST_DIVISOR:,}",
                    piece.args[1],
                    "divided by this",
                )
        case _ if not inner and is_end(piece):
            pass
        case _:
            check.error(
                "SPAK527",
                "this cannot be written into a document",
                piece,
                "no piece of a text",
                "a piece is a string, a number over samples with `+`, `*`, `%`, `digit_sum` and `complement`, "
                "its `reverse(…)`, or `end`",
            )


def vocabulary(check: Report) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All characters that a text can hold, in order, with the end, the padding and what stands for an answer
    to be given in parallel; and those of them that stand between numbers, in the order of the text."""
    written = [str(p.value) for p in check.dataset.text if isinstance(p, Const) and isinstance(p.value, str)]
    separators = tuple(dict.fromkeys("".join(written)))
    blank = (BLANK,) if check.dataset.answer == "parallel" else ()
    return (*sorted({*separators, *"0123456789"}), END, PAD, *blank), separators
