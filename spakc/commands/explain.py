"""`spakc explain CODE`."""

from __future__ import annotations

import difflib
import json
import textwrap

import click

from spakc.diagnostics.codes import CODES


def run(name: str, format: str) -> int:
    """Prints the entry of a code. Exit 2 for a code that does not exist, with the nearest one."""
    key = name.upper()
    key = key if key.startswith("SPAK") else f"SPAK{key}"
    if key not in CODES:
        near = difflib.get_close_matches(key, CODES, 1)
        hint = f"; the nearest is {near[0]}" if near else ""
        click.echo(f"there is no code {name}{hint}", err=True)
        return 2
    code = CODES[key]
    if format == "json":
        fields = {
            "code": code.id,
            "title": code.title,
            "why": code.why,
            "wrong": code.wrong,
            "right": code.right,
        }
        click.echo(json.dumps({"schema": "spak-code/1"} | fields))
        return 0
    click.echo(f"{code.id}: {code.title}\n")
    click.echo(textwrap.fill(code.why, 100))
    for title, example in (("Wrong", code.wrong), ("Right", code.right)):
        if example:
            click.echo(f"\n{title}:\n\n{textwrap.indent(example.strip(), '    ')}")
    return 0
