"""The pass from text to the parser's tree."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from spakc import resources
from spakc.diagnostics import Sink
from spakc.source import SourceFile, Span
from spakc.syntax.limits import MAX_BYTES, text_within_limits, tree_within_limits
from spakc.syntax.scan import without_mark

if TYPE_CHECKING:
    from lark import Lark, Tree

__all__ = ["LANGUAGE_VERSION", "MAX_BYTES", "parse"]

LANGUAGE_VERSION = 1

# Possessive, so that a text of many # is read once.
_BLANK = r"(?:\s|\ufeff|#[^\n]*+)*+"
_HEAD = re.compile(rf"{_BLANK}(?:(?P<word>spak)\b(?:{_BLANK}(?P<version>[0-9][0-9_.]*))?)?(?P<rest>\S*)")


def parse(source: SourceFile, sink: Sink) -> Tree[Any] | None:
    """The tree of grammar/spak.lark for a file, or None after reporting the one mistake that stopped it.

    Needs decoded text; a byte order mark and carriage returns before line feeds are fine. Guarantees that
    offsets in the tree are those of `source`, and that its depth is bounded so that recursion over it is
    safe. Reports what exceeds a limit (limits.py), a missing or unknown language version, or a syntax error
    in the words of the language (syntax_errors.py). Leaves alone: what anything means.
    """
    if not text_within_limits(source, sink) or not _version_is_known(source, sink):
        return None
    from lark.exceptions import UnexpectedInput

    from spakc.syntax.syntax_errors import report_syntax_error

    lark = parser()
    try:
        tree = lark.parse(without_mark(source.text))
    except UnexpectedInput as error:
        report_syntax_error(error, lark, source, sink)
        return None
    return tree if tree_within_limits(tree, source, sink) else None


@cache
def parser() -> Lark:
    """The parser, from its saved tables where there are any."""
    from spakc.syntax import tables

    grammar = resources.grammar_text()
    key = tables.tables_key(grammar)
    return resources.derived(
        "spak.tables",
        key,
        load=lambda text: tables.load_tables(text, key),
        make=lambda: tables.build_tables(grammar),
    )


def _version_is_known(source: SourceFile, sink: Sink) -> bool:
    head = _HEAD.match(source.text)
    assert head is not None, "every part of the pattern is optional"
    if head["version"] is None:
        start = head.start("rest" if head["word"] is None else "word")
        sink.report(
            "SPAK103",
            "a .spak file begins with the version of the language",
            Span(source, start, head.end()),
            f"`spak {LANGUAGE_VERSION}` is expected here",
            help=[f"write `spak {LANGUAGE_VERSION}` as the first line"],
        )
        return False
    if head["version"] == str(LANGUAGE_VERSION):
        return True
    sink.report(
        "SPAK104",
        f"this compiler does not know version {head['version']} of the language",
        Span(source, head.start("version"), head.end("version")),
        f"version {LANGUAGE_VERSION} is the only one it knows",
        help=[f"write `spak {LANGUAGE_VERSION}`, or install a newer spakc"],
    )
    return False
