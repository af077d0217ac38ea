"""The pass from text to the parser's tree."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from spakc import resources
from spakc.diagnostics import Sink
from spakc.source import SourceFile, Span
from spakc.syntax.limits import MAX_BYTES, text_within_limits, tree_within_limits
from spakc.syntax.machine import Machine, Tree, key_of, read, seal
from spakc.syntax.scan import without_mark

if TYPE_CHECKING:
    from lark import Lark

__all__ = ["LANGUAGE_VERSION", "MAX_BYTES", "parse"]

LANGUAGE_VERSION = 1

# Possessive, so that a text of many # is read once.
_BLANK = r"(?:\s|\ufeff|#[^\n]*+)*+"
_HEAD = re.compile(rf"{_BLANK}(?:(?P<word>spak)\b(?:{_BLANK}(?P<version>[0-9][0-9_.]*))?)?(?P<rest>\S*)")


def parse(source: SourceFile, sink: Sink) -> Tree | None:
    """The tree of grammar/spak.lark for a file, or None after reporting the one mistake that stopped it.

    Needs decoded text; a byte order mark and carriage returns before line feeds are fine. Guarantees that
    offsets in the tree are those of `source`, and that its depth is bounded so that recursion over it is
    safe. Reports what exceeds a limit (limits.py), a missing or unknown language version, or a syntax error
    in the words of the language (syntax_errors.py). Leaves alone: what anything means.
    """
    if not text_within_limits(source, sink) or not _version_is_known(source, sink):
        return None
    tree = machine().parse(without_mark(source.text))
    if tree is None:
        _say_why(source, sink)
        return None
    return tree if tree_within_limits(tree, source, sink) else None


@cache
def machine() -> Machine:
    """The parser, from its saved tables where there are any."""
    grammar = resources.grammar_text()
    key = key_of(grammar)

    def make() -> str:
        from spakc.syntax import tables

        return seal(tables.machine_table(grammar), key)

    return resources.derived("spak.machine", key, load=lambda text: read(text, key), make=make)


@cache
def lark_parser() -> Lark:
    """Lark over the same grammar, from its own saved tables: it knows what is wrong with a text."""
    from spakc.syntax import tables

    grammar = resources.grammar_text()
    key = tables.tables_key(grammar)
    return resources.derived(
        "spak.tables",
        key,
        load=lambda text: tables.load_tables(text, key),
        make=lambda: tables.build_tables(grammar),
    )


def _say_why(source: SourceFile, sink: Sink) -> None:
    from lark.exceptions import UnexpectedInput

    from spakc.syntax.syntax_errors import report_syntax_error

    try:
        lark_parser().parse(without_mark(source.text))
    except UnexpectedInput as error:
        report_syntax_error(error, lark_parser(), source, sink)
    else:
        raise AssertionError("two parsers of one grammar differ")


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
