"""What an editor may ask of `spakc lsp`: each request, answered from the state of its file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from spakc.commands.fmt import formatted
from spakc.diagnostics import Sink
from spakc.lsp.complete import complete
from spakc.lsp.edits import CannotRename, Edit, fixes, rename
from spakc.lsp.hover import hover
from spakc.lsp.names import used_at
from spakc.lsp.server import SpakServer, path_of_uri
from spakc.source import SourceFile, Span

_KINDS = {
    "keyword": types.CompletionItemKind.Keyword,
    "name": types.CompletionItemKind.Variable,
    "member": types.CompletionItemKind.Field,
    "function": types.CompletionItemKind.Function,
}


def make_server() -> SpakServer:
    """The server with everything it answers."""
    server = SpakServer()
    _documents(server)
    _questions(server)
    _edits(server)
    return server


def _documents(server: SpakServer) -> None:
    """Files that are opened, changed, saved and closed."""

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.open(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.changed(params.text_document.uri, 0)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def changed_outside(_: types.DidChangeWatchedFilesParams) -> None:
        server.changed_outside()

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.close(params.text_document.uri)


def _questions(server: SpakServer) -> None:
    """What is asked about a place of a file."""

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
        uri = params.text_document.uri
        found = server.symbol(uri, params.position)
        if found is not None:
            return [_location(server, span, uri) for span, _ in found[1].declared]
        state = server.state(uri)
        used = used_at(state.names, state.path.name, server.offset(uri, params.position))
        return [_location(server, used, uri)] if used is not None else []

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def referred(params: types.ReferenceParams) -> list[types.Location]:
        found: dict[tuple[str, int], Span] = {}
        for state, symbol in server.symbols(params.text_document.uri, params.position):
            root = server.uri_of_path(state.path)
            found.update({(server.uri_of(span, root), span.start): span for span in symbol.places})
        return [types.Location(where, server.range(span)) for (where, _), span in found.items()]


def _edits(server: SpakServer) -> None:
    """What changes files."""

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
        edits: dict[tuple[str, int], Edit] = {}
        try:
            for state, symbol in server.symbols(params.text_document.uri, params.position):
                for path, found in rename(state, symbol, params.new_name, server.overlay()).items():
                    edits.update({(server.uri_of_path(path), edit.span.start): edit for edit in found})
        except CannotRename as error:
            raise _refusal(str(error)) from error
        return _changes(server, [(where, edit) for (where, _), edit in edits.items()]) if edits else None

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def shaped(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        uri = params.text_document.uri
        document = server.workspace.get_text_document(uri)
        source = SourceFile(path_of_uri(uri).name, document.source)
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


def _location(server: SpakServer, span: Span, root: str) -> types.Location:
    return types.Location(server.uri_of(span, root), server.range(span))


def _changes(server: SpakServer, edits: Iterable[tuple[str, Edit]]) -> types.WorkspaceEdit:
    """Edits, each with the URI of its file."""
    changes: dict[str, list[types.TextEdit]] = {}
    for uri, edit in edits:
        changes.setdefault(uri, []).append(types.TextEdit(server.range(edit.span), edit.text))
    return types.WorkspaceEdit(changes)


def _refusal(message: str) -> JsonRpcException:
    return JsonRpcException(message, code=-32803)  # RequestFailed


def _actions(server: SpakServer, params: types.CodeActionParams) -> Any:
    uri = params.text_document.uri
    own = server.uri_of_path(path_of_uri(uri))
    state = server.state(uri)
    names = state.names if state.current else None
    for diagnostic in state.diagnostics:
        if not diagnostic.labels or server.uri_of(diagnostic.labels[0].span, uri) != own:
            continue
        place = server.range(diagnostic.labels[0].span)
        if place.end < params.range.start or params.range.end < place.start:
            continue
        for fix in fixes(diagnostic, names):
            yield types.CodeAction(
                fix.title,
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[server.diagnostic(diagnostic, uri)],
                edit=_changes(server, [(server.uri_of(e.span, uri), e) for e in fix.edits]),
            )
