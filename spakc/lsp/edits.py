"""Edits that an editor offers: renaming, and the repairs that diagnostics propose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spakc import driver
from spakc.diagnostics import Diagnostic, Repair, SpakError
from spakc.lsp.names import Names
from spakc.lsp.project import State, path_of
from spakc.lsp.symbols import Symbol
from spakc.record import record
from spakc.source import Span
from spakc.syntax.surface import UNUSABLE_NAMES

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DID_YOU_MEAN = re.compile(r"did you mean `([^`]+)`\?")
_WRITE = re.compile(r"write `(\w+) (?:=|<=|>=) ([^`]+)`|(?:lower|raise) `(\w+)` to ([^\s,;]+)")
_INSTEAD = re.compile(r"write `([^`]+)`")
REPLACED = {
    **dict.fromkeys(("SPAK102", "SPAK106", "SPAK109", "SPAK111", "SPAK526"), False),
    **dict.fromkeys(("SPAK104", "SPAK110", "SPAK117", "SPAK304"), True),
}
"""Codes whose advice is what to write in the place that they are about, and whether it says more than that."""

DELETED = frozenset(("SPAK102", "SPAK106", "SPAK111", "SPAK113"))
_DELETE = re.compile(r"(.*: )?(delete it|leave it out)(; .*)?")
_FIRST_LINE = re.compile(r"write `(spak \d+)` as the first line")


@record
class Edit:
    span: Span
    text: str


class CannotRename(Exception):
    """Why not, in words for the user."""


def rename(state: State, symbol: Symbol, new: str, overlay: Mapping[Path, str]) -> dict[Path, list[Edit]]:
    """The edits that give a symbol another name everywhere. Raises CannotRename where the files would not check
    as before."""
    if symbol.fixed:
        raise CannotRename(symbol.fixed)
    if not _NAME.fullmatch(new) or new in UNUSABLE_NAMES:
        raise CannotRename(f"`{new}` cannot be a name")
    edits: dict[Path, list[Edit]] = {}
    for span in symbol.places:
        path = path_of(span.source.name, state.path)
        if path is None or span.source.name.startswith("<"):
            raise CannotRename(f"`{symbol.name}` is declared in a module of the compiler")
        edits.setdefault(path, []).append(Edit(span, new))
    if state.checked is None:
        raise CannotRename("the file has a mistake: mend it first, so that what a name means is known")
    _check(state, edits, overlay, new)
    return edits


def _check(state: State, edits: Mapping[Path, list[Edit]], overlay: Mapping[Path, str], new: str) -> None:
    texts = dict(overlay)
    for path, found in edits.items():
        texts[path] = applied(found[0].span.source.text, found)
    try:
        driver.check_file(state.path, texts)
    except SpakError as error:
        raise CannotRename(f"with the name `{new}`: {error.diagnostics[0].message}") from error


def applied(text: str, edits: list[Edit]) -> str:
    """A text with edits that do not overlap."""
    for edit in sorted(edits, key=lambda e: -e.span.start):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


@record
class Fix:
    title: str
    edits: tuple[Edit, ...]


def fixes(diagnostic: Diagnostic, names: Names | None) -> Iterator[Fix]:
    """The repairs that a diagnostic carries, and those that its advice states exactly. `names` are those of the text
    that it is about, if it has any."""
    for repair in diagnostic.repairs:
        title = f"write `{repair.text}`" if repair.text else f"delete `{repair.span.text.lstrip(',| ')}`"
        yield Fix(title, tuple(Edit(place, repair.text) for place in _places(repair, names)))
    if not diagnostic.labels:
        return
    place = diagnostic.labels[0].span
    for advice in diagnostic.help:
        for found in _DID_YOU_MEAN.finditer(advice):
            yield from _replace(place, found[1])
        for found in _WRITE.finditer(advice):
            key, value = found[1] or found[3], found[2] or found[4]
            edit = _setting(place, key, value)
            if edit is not None:
                yield Fix(f"write `{key} = {value}`", (edit,))
        if diagnostic.code in REPLACED:
            yield from _instead(place, advice, more=REPLACED[diagnostic.code])
        if diagnostic.code in DELETED and _DELETE.fullmatch(advice):
            yield Fix("delete it", (Edit(place, ""),))
        first = _FIRST_LINE.search(advice)
        if first is not None:
            source = place.source
            yield Fix(f"write `{first[1]}`", (Edit(Span(source, 0, 0), f"{first[1]}\n"),))


def _places(repair: Repair, names: Names | None) -> Sequence[Span]:
    """All that is to be replaced: with a name wherever it is used. A thousand declarations of one name are not a
    thousand times a thousand edits: the first stands for all."""
    if repair.renames and names is not None:
        found = names.at(repair.span.source.name, repair.span.start)
        if found is not None and found[0].declared[0][0] == repair.span:
            return found[0].places
    return [repair.span]


def _replace(place: Span, word: str) -> Iterator[Fix]:
    """The nearest name instead of the one that is not known. Where advice names a member with what stands before the
    dot, and the place is the member alone, only the member is written."""
    said = place.text
    if "." in word and "." not in said and not word.startswith("use "):
        word = word.rpartition(".")[2]
    if said and "\n" not in said and word != said:
        yield Fix(f"replace by `{word}`", (Edit(place, word),))


def _instead(place: Span, advice: str, *, more: bool) -> Iterator[Fix]:
    """What advice says to write in a place. `…` stands for what follows there already; the version of the language is
    named with its keyword, which stands in front."""
    advice = advice.replace(" …`", "`")
    found = _INSTEAD.match(advice) if more else _INSTEAD.fullmatch(advice)
    if found is None or "(x" in found[1] or "(cond" in found[1] or "\n" in place.text:
        return
    text = found[1].removeprefix("spak ")
    around = place.source.text
    if text[0].isalpha() and around[place.start - 1 : place.start].isalnum():
        text = f" {text}"
    if text[-1].isalpha() and around[place.end : place.end + 1].isalnum():
        text = f"{text} "
    yield Fix(f"write `{text.strip()}`", (Edit(place, text),))


def _setting(place: Span, key: str, value: str) -> Edit | None:
    """The value of a setting in the block around a place."""
    text = place.source.text
    start, end = text.rfind("{", 0, place.start) + 1, text.find("}", place.end)
    found = re.compile(rf"\b{re.escape(key)}\s*=\s*([A-Za-z0-9_]+)").search(text, start, max(start, end))
    return Edit(Span(place.source, *found.span(1)), value) if found is not None else None
