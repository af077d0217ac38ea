"""The server of `spakc lsp`: requests of an editor, answered from what checking says of the texts it holds.

A file is checked a moment after it was changed, in a thread of its own; answers that come for a text that has changed
again are dropped. Nothing that a file says can stop the server.
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls import uris
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from spakc import __version__
from spakc.commands.fmt import formatted
from spakc.diagnostics import CODES, Diagnostic, Sink
from spakc.driver import absolute
from spakc.lsp.complete import complete
from spakc.lsp.edits import CannotRename, fixes, rename
from spakc.lsp.hover import hover
from spakc.lsp.names import Symbol
from spakc.lsp.places import offset_of, range_of
from spakc.lsp.project import State, look, path_of
from spakc.source import SourceFile, Span

PAUSE = 0.15
"""Seconds without a change before a file is checked."""

_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
}
_KINDS = {
    "keyword": types.CompletionItemKind.Keyword,
    "name": types.CompletionItemKind.Variable,
    "member": types.CompletionItemKind.Field,
    "function": types.CompletionItemKind.Function,
}


class SpakServer(LanguageServer):
    """Keeps a state for every open file."""

    def __init__(self) -> None:
        super().__init__("spakc", __version__)
        self.states: dict[str, State] = {}
        self.waiting: dict[str, asyncio.Task[None]] = {}
        self.told: dict[str, set[str]] = {}  # of every open file: where it has put diagnostics

    # ---- looking --------------------------------------------------------------------------------------

    def overlay(self) -> dict[Path, str]:
        return {
            _path(uri): doc.source for uri, doc in self.workspace.text_documents.items() if uri in self.told
        }

    def changed(self, uri: str, pause: float = PAUSE) -> None:
        """Checks a file, and those that are open beside it and may use it, after a pause."""
        for each in (uri, *(other for other in self.told if other != uri)):
            task = self.waiting.pop(each, None)
            if task is not None:
                task.cancel()
            self.waiting[each] = asyncio.ensure_future(self._look_later(each, pause))

    async def _look_later(self, uri: str, pause: float) -> None:
        await asyncio.sleep(pause)
        state = await asyncio.to_thread(self._look, uri, self.overlay(), self.states.get(uri))
        if uri in self.told and state.text == self.workspace.get_text_document(uri).source:
            self.states[uri] = state
            self._publish(uri, state)

    def _look(self, uri: str, overlay: dict[Path, str], before: State | None) -> State:
        try:
            return look(_path(uri), overlay, before)
        except Exception:  # a mistake of the compiler: told to the editor's log, and the server goes on
            message = f"internal error of spakc while it checked {uri}:\n{traceback.format_exc()}"
            self.window_log_message(types.LogMessageParams(types.MessageType.Error, message))
            return State(_path(uri), overlay.get(_path(uri), ""))

    def state(self, uri: str) -> State:
        """The state of a file's present text."""
        known = self.states.get(uri)
        text = self.workspace.get_text_document(uri).source
        if known is None or known.text != text:
            known = self._look(uri, self.overlay() | {_path(uri): text}, known)
            self.states[uri] = known
        return known

    def _publish(self, uri: str, state: State) -> None:
        found: dict[str, list[types.Diagnostic]] = {uri: []}
        for diagnostic in state.diagnostics:
            place = diagnostic.labels[0].span if diagnostic.labels else None
            where = self.uri_of(place, uri) if place is not None else uri
            found.setdefault(where, []).append(self._diagnostic(diagnostic, uri))
        for gone in self.told[uri] - found.keys():
            found[gone] = []
        self.told[uri] = set(found)
        for where, diagnostics in found.items():
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(where, diagnostics))

    def _diagnostic(self, diagnostic: Diagnostic, uri: str) -> types.Diagnostic:
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
        path = path_of(span.source.name, _path(root))
        return _uri(path) if path is not None else root

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


_FIELD = {"note": "notes", "help": "help"}


def _path(uri: str) -> Path:
    return absolute(Path(uris.to_fs_path(uri) or uri))


def _uri(path: Path) -> str:
    return uris.from_fs_path(str(path)) or str(path)


def make_server() -> SpakServer:
    """The server with everything it answers."""
    server = SpakServer()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.told.setdefault(params.text_document.uri, set())
        server.changed(params.text_document.uri, 0)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.changed(params.text_document.uri, 0)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        task = server.waiting.pop(uri, None)
        if task is not None:
            task.cancel()
        server.states.pop(uri, None)
        for where in server.told.pop(uri, set()):
            server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(where, []))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(params: types.HoverParams) -> types.Hover | None:
        uri = params.text_document.uri
        state = server.state(uri)
        found = hover(state, state.path.name, server.offset(uri, params.position))
        if found is None:
            return None
        text, span = found
        where = server.range(span) if span is not None else None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), where)

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["."]))
    def completed(params: types.CompletionParams) -> list[types.CompletionItem]:
        uri = params.text_document.uri
        state = server.state(uri)
        found = complete(state, state.path.name, server.offset(uri, params.position))
        return [types.CompletionItem(p.label, kind=_KINDS[p.kind], detail=p.detail) for p in found]

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(params: types.DefinitionParams) -> list[types.Location]:
        found = server.symbol(params.text_document.uri, params.position)
        uri = params.text_document.uri
        return [_location(server, span, uri) for span, _ in found[1].declared] if found is not None else []

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def referred(params: types.ReferenceParams) -> list[types.Location]:
        found = server.symbol(params.text_document.uri, params.position)
        uri = params.text_document.uri
        return [_location(server, span, uri) for span in found[1].places] if found is not None else []

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def renamable(params: types.PrepareRenameParams) -> types.Range | None:
        found = server.symbol(params.text_document.uri, params.position)
        if found is None:
            return None
        if found[1].fixed:
            raise _refusal(found[1].fixed)
        return server.range(found[2])

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def renamed(params: types.RenameParams) -> types.WorkspaceEdit | None:
        uri = params.text_document.uri
        found = server.symbol(uri, params.position)
        if found is None:
            return None
        try:
            edits = rename(found[0], found[1], params.new_name, server.overlay())
        except CannotRename as error:
            raise _refusal(str(error)) from error
        return types.WorkspaceEdit(
            {_uri(p): [types.TextEdit(server.range(e.span), e.text) for e in es] for p, es in edits.items()}
        )

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def shaped(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        uri = params.text_document.uri
        document = server.workspace.get_text_document(uri)
        source = SourceFile(_path(uri).name, document.source)
        text = formatted(source, Sink())
        if text is None or text == document.source:
            return None
        return [types.TextEdit(server.range(Span(source, 0, len(source.text))), text)]

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix]),
    )
    def repaired(params: types.CodeActionParams) -> list[types.CodeAction]:
        return list(_actions(server, params))

    return server


def _location(server: SpakServer, span: Span, root: str) -> types.Location:
    return types.Location(server.uri_of(span, root), server.range(span))


def _refusal(message: str) -> JsonRpcException:
    return JsonRpcException(message, code=-32803)  # RequestFailed


def _actions(server: SpakServer, params: types.CodeActionParams) -> Any:
    uri = params.text_document.uri
    for diagnostic in server.state(uri).diagnostics:
        if not diagnostic.labels or server.uri_of(diagnostic.labels[0].span, uri) != uri:
            continue
        place = server.range(diagnostic.labels[0].span)
        if place.end < params.range.start or params.range.end < place.start:
            continue
        for fix in fixes(diagnostic):
            edit = types.TextEdit(server.range(fix.edit.span), fix.edit.text)
            yield types.CodeAction(
                fix.title,
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[server._diagnostic(diagnostic, uri)],
                edit=types.WorkspaceEdit({server.uri_of(fix.edit.span, uri): [edit]}),
            )
