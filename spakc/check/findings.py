"""One mistake that shows on several targets, or in several experiments, is one diagnostic that names them."""

from __future__ import annotations

from dataclasses import dataclass, field

from spakc.diagnostics import Severity, Sink
from spakc.record import record
from spakc.source import Span

MOST_NAMED = 6


@record
class Finding:
    """A diagnostic in waiting; `message` has `{on}` where the places go. Findings of one code and span that have the
    same `mistake` (the message, unless said) are one."""

    code: str
    message: str
    span: Span
    label: str = ""
    also: tuple[tuple[Span, str], ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"
    mistake: str = ""

    def at(self, places: str) -> str:
        """The message with its places."""
        return self.message.replace("{on}", f" {places}" if places else "")


@dataclass(slots=True)
class Findings:
    """Collects per place, reports once."""

    _places: dict[tuple[str, Span, str], dict[Finding, list[str]]] = field(default_factory=dict)

    def add(self, finding: Finding, place: str = "") -> None:
        """`place` names a target, or is `` for `…` `` of something else."""
        key = finding.code, finding.span, finding.mistake or finding.message
        places = self._places.setdefault(key, {}).setdefault(finding, [])
        if place and place not in places:
            places.append(place)

    def report(self, sink: Sink) -> None:
        """Hands everything to the sink, in the order found. What is said of the first place is said in full; of
        the others what differs."""
        for alike in self._places.values():
            (first, places), *others = alike.items()
            everywhere = [p for other, named in others if other.message == first.message for p in named]
            more = [text for other, named in others if (text := _differs(first, other, named))]
            if len(more) > MOST_NAMED:
                more[MOST_NAMED:] = [f"and {len(more) - MOST_NAMED} more"]
            sink.report(
                first.code,
                first.at(_joined(list(dict.fromkeys((*places, *everywhere))))),
                first.span,
                first.label,
                also=first.also,
                notes=(*first.notes, *more),
                help=first.help,
                severity=first.severity,
            )


def _differs(first: Finding, other: Finding, places: list[str]) -> str:
    """What is said of other places and not of the first, or nothing."""
    if other.message != first.message:
        return other.at(_joined(places))
    known = {first.label, *(text for _, text in first.also)}
    texts = [text for text in (other.label, *(text for _, text in other.also)) if text not in known]
    return f"{_joined(places)}: {'; '.join(texts)}" if texts else ""


def _joined(places: list[str]) -> str:
    """`on a, b` of targets, `for c, d` of what is for something."""
    word = "for" if places and places[0].startswith("for ") else "on"
    names = [place.removeprefix("for ") for place in places]
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{word} {', '.join(names[:MOST_NAMED])}{rest}" if names else ""
