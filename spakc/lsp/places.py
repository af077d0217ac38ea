"""Places as an editor counts them: a line, and units of its encoding from the beginning of the line."""

from __future__ import annotations

from lsprotocol import types

from spakc.source import SourceFile, Span


def units(text: str, encoding: str) -> int:
    """How long a text is for the client."""
    if encoding == types.PositionEncodingKind.Utf8:
        return len(text.encode(errors="surrogatepass"))
    if encoding == types.PositionEncodingKind.Utf32:
        return len(text)
    return len(text) + sum(ord(char) > 0xFFFF for char in text)


def range_of(span: Span, encoding: str) -> types.Range:
    return types.Range(*(position_of(span.source, offset, encoding) for offset in (span.start, span.end)))


def position_of(source: SourceFile, offset: int, encoding: str) -> types.Position:
    line, column = source.position(offset)
    return types.Position(line - 1, units(source.text[offset - column + 1 : offset], encoding))


def offset_of(source: SourceFile, position: types.Position, encoding: str) -> int:
    """The place in the text; beyond a line its end, beyond the text the end of it."""
    starts = source._line_starts
    if position.line >= len(starts):
        return len(source.text)
    offset = starts[position.line]
    left = position.character
    while left > 0 and offset < len(source.text) and source.text[offset] != "\n":
        left -= units(source.text[offset], encoding)
        offset += 1
    return offset
