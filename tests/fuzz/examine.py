"""One input through check, fmt and what the language server answers with. Raises what nothing should raise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

from spakc.commands.fmt import formatted
from spakc.diagnostics import Sink
from spakc.diagnostics.render import render_json, render_text
from spakc.lsp.complete import complete
from spakc.lsp.edits import CannotRename, applied, fixes, rename
from spakc.lsp.hover import hover
from spakc.lsp.project import State, look
from spakc.resources import resource
from spakc.source import SourceFile
from tests.fuzz.inputs import input_of

PLACE = Path(str(resource("examples"))) / "kernels" / "fuzz.spak"
"""Where the text would stand: from there an example finds what it uses. Nothing is written."""

CURSORS = 2
"""Places of a text that are asked about."""

TWICE = 4
"""Of so many formatted texts one is formatted again, and must stay."""

REFUSED = 4
"""Of so many texts that do not parse one is formatted: it would be refused by the same parser for the same reason."""

PAGES = 4
"""Of so many sound files one is planned and emitted, since its hovers ask for what is known of its statements."""

_KNOWN = re.compile(r"\b(?:kernel|law|claim|schedule|knob)\s+(?=[A-Za-z_])")
"""Before names whose hovers say what is known."""


def examine(number: int) -> str:
    """The kind of an input and what came of it: the first code, or `right`."""
    kind, text = input_of(number)
    state = look(PLACE, {PLACE: text})
    wrong = any(d.severity == "error" for d in state.diagnostics)
    assert (state.checked is None) == wrong, "neither right nor wrong"
    _told(state)
    _asked(state, number)
    if state.current or number % REFUSED == 0:
        _shaped(text, number)
    return f"{kind} {'right' if state.checked is not None else state.diagnostics[0].code}"


def _shaped(text: str, number: int) -> None:
    """A text in its shape, once and again, or diagnostics."""
    sink = Sink()
    shaped = formatted(SourceFile("fuzz.spak", text), sink)
    assert (shaped is None) == sink.has_errors
    if shaped is not None and number % TWICE == 0:
        assert formatted(SourceFile("fuzz.spak", shaped), sink) == shaped, "formatted twice, it changes"


def _told(state: State) -> None:
    """Diagnostics as people, programs and editors get them."""
    if state.diagnostics:
        assert render_text(state.diagnostics)
    for diagnostic in state.diagnostics:
        assert json.loads(render_json(diagnostic))["code"] == diagnostic.code
        for fix in fixes(diagnostic, state.names if state.current else None):
            applied(state.text, [edit for edit in fix.edits if edit.span.source.text == state.text])


def _asked(state: State, number: int) -> None:
    """What an editor asks at places of the text."""
    random = Random(number)
    places = [random.randrange(len(state.text) + 1) for _ in range(CURSORS)]
    if state.checked is not None and number % PAGES == 0:
        places += [match.end() for match in _KNOWN.finditer(state.text)]
    elif state.checked is not None:
        state._page = []
    for offset in places:
        complete(state, PLACE.name, offset)
        hover(state, PLACE.name, offset)
        found = state.names.at(PLACE.name, offset) if state.names is not None and state.current else None
        if found is not None and not found[0].fixed:
            try:
                edits = rename(state, found[0], "another_name", {PLACE: state.text})
            except CannotRename:
                continue
            if PLACE in edits:
                applied(state.text, edits[PLACE])
