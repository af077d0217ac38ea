"""`spakc fmt FILE …`: the one shape of a file."""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path

import click

from spakc import driver
from spakc.cli import DIAGNOSTICS, OK, show
from spakc.diagnostics import Sink
from spakc.resources import write_atomically
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.format import format_text
from spakc.syntax.parse import parse

STDIN = Path("-")


def run(files: tuple[Path, ...], check: bool, diff: bool, format: str) -> int:
    """Writes files anew where their shape is another; `-` reads standard input and prints. With `check` or `diff`
    nothing is written, and a file of another shape is exit 1. A file with a mistake is left alone, the others are
    not."""
    sink = Sink()
    for path in files:
        source = _source(path, sink)
        if source is None:
            continue
        text = formatted(source, sink)
        if text is None:
            continue
        changed = text != source.text
        if changed and check:
            sink.report("SPAK008", f"`{source.shown_as}` is not formatted", None)
        if format == "json":
            row = {"schema": "spak-format/1", "file": source.shown_as, "changed": changed}
            click.echo(json.dumps(row | ({"text": text} if path == STDIN else {})))
        if diff:
            _print_diff(source, text)
        elif path == STDIN and not check and format == "text":
            click.echo(text, nl=False)
        elif changed and not check and path != STDIN:
            _write(path, text, source.shown_as, sink)
        if changed and diff and not check:
            sink.report("SPAK008", f"`{source.shown_as}` is not formatted", None)
    show(sink.diagnostics, format == "json")
    return DIAGNOSTICS if sink.has_errors else OK


def formatted(source: SourceFile, sink: Sink) -> str | None:
    """The text in the one shape, or None after diagnostics."""
    tree = parse(source, sink)
    if tree is None:
        return None
    text = format_text(tree, source.text)
    again = SourceFile(source.name, text, source.shown_as)
    shaped = parse(again, sink)
    if shaped is None:
        return None  # more blanks than a file may have
    nobody = Sink()  # what is wrong with the file is for `spakc check`
    same = build_ast(shaped, again, nobody) == build_ast(tree, source, nobody)
    assert same, "formatting changed what a file says"
    return text


def _source(path: Path, sink: Sink) -> SourceFile | None:
    if path != STDIN:
        return driver.read_source(path, path.name, sink)
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sink.report("SPAK002", f"standard input is not UTF-8 (byte {error.start})", None)
        return None
    return SourceFile("<stdin>", text)


def _print_diff(source: SourceFile, text: str) -> None:
    lines = difflib.unified_diff(
        source.text.splitlines(True), text.splitlines(True), source.shown_as, f"{source.shown_as} (formatted)"
    )
    for line in lines:
        click.echo(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", nl=False)


def _write(path: Path, text: str, shown: str, sink: Sink) -> None:
    """What a link points to is replaced, not the link."""
    try:
        write_atomically(Path(os.path.realpath(path)), text)
    except OSError as error:
        sink.report("SPAK007", f"`{shown}` cannot be written: {error.strerror}", None)
