"""The server of `spakc lsp`: what checking says of the texts that an editor holds.

A file is checked a moment after it was changed, in a thread of its own; answers that come for a text that has changed
again are dropped. Nothing that a file says can stop the server.

Files are known by their absolute path: a path has several URIs, and editors differ in what they escape. To the editor
an open file is named by the URI with which it was opened.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from spakc import __version__
from spakc.diagnostics import Diagnostic
from spakc.diagnostics.codes import CODES
from spakc.driver import absolute
from spakc.lsp.places import offset_of, range_of
from spakc.lsp.project import State, look, path_of
from spakc.lsp.symbols import Symbol
from spakc.source import SourceFile, Span

PAUSE = 0.15
"""Seconds without a change before a file is checked."""

_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
}


class SpakServer(LanguageServer):
    """Keeps a state for every open file."""

    def __init__(self) -> None:
        super().__init__("spakc", __version__)
        self.opened: dict[Path, str] = {}  # every open file, and its URI as the editor writes it
        self.states: dict[Path, State] = {}
        self.waiting: dict[Path, asyncio.Task[None]] = {}
        self.told: dict[Path, set[str]] = {}  # of every file that was looked at: where it has put diagnostics

    # ---- looking --------------------------------------------------------------------------------------

    def overlay(self) -> dict[Path, str]:
        return {path: self.workspace.get_text_document(uri).source for path, uri in self.opened.items()}

    def open(self, uri: str) -> None:
        self.opened[path_of_uri(uri)] = uri
        self.changed(uri, 0)

    def close(self, uri: str) -> None:
        """Forgets a file and takes back what was said of it."""
        path = path_of_uri(uri)
        self.opened.pop(path, None)
        self.states.pop(path, None)
        task = self.waiting.pop(path, None)
        if task is not None:
            task.cancel()
        for where in self.told.pop(path, set()):
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(where, []))

    def changed(self, uri: str, pause: float = PAUSE) -> None:
        """Checks a file, and those that are open beside it and may use it, after a pause."""
        path = path_of_uri(uri)
        for each in (path, *(other for other in self.opened if other != path)):
            task = self.waiting.pop(each, None)
            if task is not None:
                task.cancel()
            self.waiting[each] = asyncio.ensure_future(self._look_later(each, pause))

    def changed_outside(self) -> None:
        """Checks every open file again: one that it uses, or the source of a kernel, is another one on disk."""
        uri = next(iter(self.opened.values()), None)
        if uri is not None:  # the others are checked beside it
            self.changed(uri, 0)

    async def _look_later(self, path: Path, pause: float) -> None:
        await asyncio.sleep(pause)
        state = await asyncio.to_thread(self._look, path, self.overlay(), self.states.get(path))
        if path in self.opened and state.texts == self.overlay():
            self.states[path] = state
            self._publish(path, state)

    def _look(self, path: Path, overlay: dict[Path, str], before: State | None) -> State:
        try:
            return look(path, overlay, before)
        except Exception:  # a mistake of the compiler: told to the editor's log, and the server goes on
            message = f"internal error of spakc while it checked {path}:\n{traceback.format_exc()}"
            self.window_log_message(types.LogMessageParams(types.MessageType.Error, message))
            return State(path, overlay)

    def state(self, uri: str) -> State:
        """The state of a file as the editor holds it and those that it may use."""
        path = path_of_uri(uri)
        known = self.states.get(path)
        texts = self.overlay() | {path: self.workspace.get_text_document(uri).source}
        if known is None or known.texts != texts:
            known = self._look(path, texts, known)
            self.states[path] = known
        return known

    def _publish(self, path: Path, state: State) -> None:
        uri = self.opened[path]
        found: dict[str, list[types.Diagnostic]] = {uri: []}
        for diagnostic in state.diagnostics:
            place = diagnostic.labels[0].span if diagnostic.labels else None
            where = self.uri_of(place, uri) if place is not None else uri
            found.setdefault(where, []).append(self.diagnostic(diagnostic, uri))
        for gone in self.told.get(path, set()) - found.keys():
            found[gone] = []
        self.told[path] = set(found)
        for where, diagnostics in found.items():
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(where, diagnostics))

    def diagnostic(self, diagnostic: Diagnostic, uri: str) -> types.Diagnostic:
        first, *others = diagnostic.labels or (None,)
        zero = types.Range(types.Position(0, 0), types.Position(0, 0))
        more = [
            f"{label}: {text}" for label in ("note", "help") for text in getattr(diagnostic, _FIELD[label])
        ]
        said = [f"{diagnostic.message}", *([first.text] if first is not None and first.text else []), *more]
        related = [
            types.DiagnosticRelatedInformation(
                types.Location(self.uri_of(o.span, uri), self.range(o.span)), o.text
            )
            for o in others
            if o is not None
        ]
        return types.Diagnostic(
            range=self.range(first.span) if first is not None else zero,
            message="\n".join(said),
            severity=_SEVERITY[diagnostic.severity],
            code=diagnostic.code,
            source=f"spakc: {CODES[diagnostic.code].title}",
            related_information=related,
        )

    # ---- places ---------------------------------------------------------------------------------------

    def uri_of(self, span: Span, root: str) -> str:
        path = path_of(span.source.name, path_of_uri(root))
        return self.uri_of_path(path) if path is not None else root

    def uri_of_path(self, path: Path) -> str:
        return self.opened.get(path) or uris.from_fs_path(str(path)) or str(path)

    def range(self, span: Span) -> types.Range:
        """In the units of the client."""
        return range_of(span, self.encoding)

    @property
    def encoding(self) -> str:
        return str(self.workspace.position_encoding.value)  # type: ignore[union-attr]

    def offset(self, uri: str, position: types.Position) -> int:
        source = SourceFile("", self.workspace.get_text_document(uri).source)
        return offset_of(source, position, self.encoding)

    def symbol(self, uri: str, position: types.Position) -> tuple[State, Symbol, Span] | None:
        state = self.state(uri)
        if state.names is None or not state.current:
            return None
        found = state.names.at(state.path.name, self.offset(uri, position))
        return (state, *found) if found is not None else None

    def symbols(self, uri: str, position: types.Position) -> Iterator[tuple[State, Symbol]]:
        """The symbol at a place, as its own file has it and as each open file has it that uses that one."""
        path, offset = path_of_uri(uri), self.offset(uri, position)
        for each in {path: uri, **self.opened}.values():
            state = self.state(each)
            if state.names is not None and state.current:
                name = Path(os.path.relpath(path, state.path.parent)).as_posix()
                found = state.names.at(name, offset)
                if found is not None:
                    yield state, found[0]


_FIELD = {"note": "notes", "help": "help"}


def path_of_uri(uri: str) -> Path:
    return absolute(Path(uris.to_fs_path(uri) or uri))
