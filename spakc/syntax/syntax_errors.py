"""Turns the parser's refusal into one diagnostic in the words of the language."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from spakc.diagnostics import Repair, Sink
from spakc.source import SourceFile, Span
from spakc.syntax.place import Opening, Place, place_of
from spakc.syntax.scan import CLOSING, OPENING, Lexeme
from spakc.syntax.slips import FOREIGN_SIGNS, FOREIGN_WORDS, LOOKALIKES, UNIT_SLIPS, UNITS
from spakc.syntax.surface import TOP_LEVEL, UNUSABLE_NAMES

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput


def report_syntax_error(error: UnexpectedInput, parser: Lark, source: SourceFile, sink: Sink) -> None:
    """Reports the one place where the text leaves the grammar.

    Needs the error of a text that `parser` refused. Guarantees exactly one diagnostic: the first frequent
    slip that fits, else what was found and what could stand there instead.
    """
    place = place_of(error, parser, source)
    for check in _CHECKS:
        if check(place, sink):
            return
    _unexpected(place, sink)


# Each check reports a slip and returns True, or leaves the sink alone and returns False.


def _text(place: Place, sink: Sink) -> bool:
    """`"abc` and `"\\q"`."""
    if place.found is None or place.found.kind != "string":
        return False
    escape = re.search(r'(?<!\\)(?:\\\\)*(\\[^"\\nt])', place.text)
    if escape is not None:
        span = Span(
            place.source,
            place.found.start + escape.start(1),
            min(place.found.start + escape.end(1), place.span.end),
        )
        help = ['the escapes are `\\"`, `\\\\`, `\\n` and `\\t`']
        sink.report("SPAK112", f"a text has no escape `{escape.group(1)}`", span, help=help)
        return True
    if len(place.text) > 1 and place.text.endswith('"') and not place.text.endswith('\\"'):
        return False
    sink.report("SPAK112", "a text ends on the line where it began", place.span, 'no `"` closes it')
    return True


def _unit(place: Place, sink: Sink) -> bool:
    """`227 KB`, `227KB`; the unit is the refused word, or the one before it when that was read as a name."""
    at, number = place.statement_word, None
    if place.found is not None and place.found.kind == "number":  # the lexer refuses a number glued to a word
        number, at = place.found, place.next
        if at is None or at.start != number.end:
            return False
    elif at is not None:
        index = place.before.index(at) if at in place.before else len(place.before)
        number = place.before[index - 1] if index else None
    if at is None or number is None or number.kind != "number" or at.kind != "word":
        return False
    if "\n" in place.source.text[number.end : at.start]:
        return False
    lower = at.text.lower()
    near = get_close_matches(lower, [unit.lower() for unit in UNITS], 1, 0.6)
    glued = number.end == at.start
    if not glued and lower not in UNIT_SLIPS and not near:
        return False
    unit = next((u for u in UNITS if near and u.lower() == near[0]), None)
    hint = UNIT_SLIPS.get(lower) or (f"write `{unit}`" if unit else "put an operator or a blank between them")
    sink.report(
        "SPAK109",
        f"`{at.text}` is no unit",
        place.span_of(at),
        f"behind the number {number.text}",
        notes=[f"the units are {', '.join(UNITS)}, and % without a blank"],
        help=[hint],
    )
    return True


def _foreign_sign(place: Place, sink: Sink) -> bool:
    """The longest sign of another language that the refused sign is part of."""
    if place.found is None or place.found.kind != "sign":
        return False
    text, start = place.source.text, place.found.start
    for sign in sorted(FOREIGN_SIGNS, key=len, reverse=True):
        for at in range(max(0, start - len(sign) + 1), start + 1):
            if text.startswith(sign, at):
                span = Span(place.source, at, at + len(sign))
                sink.report(
                    "SPAK111", f"`{sign}` is no sign of the language", span, help=[FOREIGN_SIGNS[sign]]
                )
                return True
    return False


def _character(place: Place, sink: Sink) -> bool:
    if place.found is None or place.found.kind != "sign" or place.text in place.surface.signs:
        return False
    instead = LOOKALIKES.get(place.text)
    name = f"`{place.text}`" if place.text.isprintable() else "an invisible character"
    sink.report(
        "SPAK102",
        f"{name} (U+{ord(place.text[0]):04X}) does not belong to the language",
        place.span,
        "only texts in quotes and comments may hold it",
        help=[] if instead is None else [f"write `{instead}`" if instead.strip() else "delete it"],
    )
    return True


def _closing_bracket(place: Place, sink: Sink) -> bool:
    if place.text not in CLOSING:
        return False
    if not place.open:
        sink.report("SPAK106", f"this `{place.text}` closes nothing", place.span, help=["leave it out"])
        return True
    wanted = CLOSING[place.text]
    innermost = place.open[-1]
    if innermost.bracket.text == wanted:
        return False
    if any(opening.bracket.text == wanted for opening in place.open):
        _never_closed(place, sink, innermost, (place.span, f"this `{place.text}` closes what is around it"))
        return True
    sink.report(
        "SPAK106",
        f"`{place.text}` does not close `{innermost.bracket.text}`",
        place.span,
        also=[(place.span_of(innermost.bracket), "this is open")],
        help=[f"write `{OPENING[innermost.bracket.text]}`"],
    )
    return True


def _end_of_file(place: Place, sink: Sink) -> bool:
    if place.found is not None or not place.open:
        return False
    _never_closed(place, sink, place.open[-1], None)
    return True


def _never_closed(place: Place, sink: Sink, opening: Opening, also: tuple[Span, str] | None) -> None:
    what = f"this `{opening.bracket.text}`" if opening.head is None else f"the block of this `{opening.head}`"
    sink.report(
        "SPAK105",
        f"{what} is never closed",
        place.span_of(opening.bracket),
        "opened here",
        also=[also] if also is not None else [],
    )


def _reserved_name(place: Place, sink: Sink) -> bool:
    """`a = 1 step = 2`, `loop = 3`: a word that means something where a statement may begin."""
    previous = place.previous()
    if place.text in UNUSABLE_NAMES and place.next is not None and place.next.text in ("=", "["):
        word = place.found
    elif place.text in ("=", "[", ".") and previous is not None and previous.text in UNUSABLE_NAMES:
        word = previous
    else:
        return False
    assert word is not None, "both cases have a word"
    sink.report(
        "SPAK115",
        f"`{word.text}` cannot be the name of a value",
        place.span_of(word),
        "this word is part of the language where a statement may begin",
        help=[f"choose another name, e.g. `{word.text}_`"],
        repairs=[Repair(place.span_of(word), f"{word.text}_")],
    )
    return True


def _equals(place: Place, sink: Sink) -> bool:
    if place.text != "=" or not place.after_expression:
        return False
    sink.report(
        "SPAK110", "`=` gives a value, it does not compare", place.span, help=["write `==` to compare"]
    )
    return True


def _wrong_block(place: Place, sink: Sink) -> bool:
    """A statement of another block: a block before it is not closed, or it stands in the wrong one."""
    word = place.statement_word
    homes = place.surface.homes(word.text) if word is not None else []
    if word is None or not homes or word.text in place.accepted_words:
        return False
    around = [opening.head for opening in place.open[:-1] if opening.head is not None] + [TOP_LEVEL]
    if place.open and (place.open[-1].head is None or set(around) & set(homes)):
        opening = place.open[-1]
        if opening.head is None or place.stands_left_of(word, opening):
            why = f"`{word.text}` does not belong into it"
            _never_closed(place, sink, opening, (place.span_of(word), why))
            return True
    if word is place.found and not place.statement_may_begin:
        return False
    _misplaced(place, sink, word, homes)
    return True


def _misplaced(place: Place, sink: Sink, word: Lexeme, homes: list[str]) -> None:
    blocks = [f"`{home}`" for home in homes if home != TOP_LEVEL]
    belongs = f"into {' or '.join(blocks)}" if blocks else "to the top level"
    if place.block == TOP_LEVEL and TOP_LEVEL in homes:
        belongs = "to the beginning of the file, behind its version"
    where = "at the top level" if place.block == TOP_LEVEL else f"in `{place.block}`"
    sink.report(
        "SPAK118",
        f"`{word.text}` cannot stand {where}",
        place.span_of(word),
        f"it belongs {belongs}",
    )


def _misspelt(place: Place, sink: Sink) -> bool:
    word = place.statement_word
    if word is None or word.text in place.surface.words:
        return False
    read_as_name = word is not place.found
    known = sorted(place.surface.statements[place.block]) if read_as_name else place.accepted_words
    foreign = FOREIGN_WORDS.get(word.text.lower())
    near = [foreign] if foreign in known else get_close_matches(word.text.lower(), known, 1, 0.7)
    if not near:
        return False
    sink.report(
        "SPAK116",
        f"nothing here begins with `{word.text}`",
        place.span_of(word),
        help=[f"did you mean `{near[0]}`?"],
    )
    return True


def _percentage(place: Place, sink: Sink) -> bool:
    """`8%n`: a glued percentage and an operand."""
    sign, number = place.previous(1), place.previous(2)
    if place.found is None or sign is None or number is None or place.text in place.surface.words:
        return False
    if sign.text != "%" or number.kind != "number" or number.end != sign.start:
        return False
    if place.found.kind not in ("number", "word") and place.text != "(":
        return False
    sink.report(
        "SPAK117",
        f"`{number.text}%` is a percentage",
        place.span_of(number).to(place.span_of(sign)),
        also=[(place.span, "so nothing can follow it here")],
        help=[f"write `{number.text} % …`, with a blank before the sign, for the remainder"],
    )
    return True


def _unexpected(place: Place, sink: Sink) -> None:
    """What was found and what could stand there."""
    also = []
    if place.statement is not None:
        also.append((place.span_of(place.statement), f"in this `{place.statement.text}`"))
    message = "the file ends too early" if place.found is None else f"`{place.text}` cannot stand here"
    sink.report("SPAK101", message, place.span, f"expected {place.expected}", also=also, help=_hints(place))


def _hints(place: Place) -> list[str]:
    """What else may have been meant."""
    if place.found is None:
        return []
    start = place.source.text.rfind("\n", 0, place.found.start) + 1
    if place.after_expression and "//" in place.source.text[start : place.found.start]:
        return ["a comment begins with `#`; `//` divides integers"]
    previous = place.previous()
    if place.text == "." and previous is not None and previous.kind == "number":
        return [f"write `{previous.text}.0`"]
    if place.text == "." and place.next is not None and place.next.kind == "number":
        return [f"write `0.{place.next.text}`"]
    return []


_CHECKS: tuple[Callable[[Place, Sink], bool], ...] = (
    _text,
    _unit,
    _foreign_sign,
    _character,
    _closing_bracket,
    _end_of_file,
    _reserved_name,
    _equals,
    _wrong_block,
    _misspelt,
    _percentage,
)
