"""`spakc lsp` through its pipes, with the client of pygls: what an editor sends and what it is answered."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from spakc.diagnostics.codes import CODES
from spakc.lsp import edits
from spakc.lsp.project import look
from spakc.syntax.slips import FOREIGN_SIGNS, LOOKALIKES
from tests.unit.cli.invoke import invoke
from tests.unit.implement.files import PLAIN, project

PROJECT = """spak 1
use std.devices
targets h100, a100
# \U0001f600 a character that is two for an editor: "\U0001f600"
kernel mm: product {
  intent "\U0001f600"   dim M, N, K
  input  A: bf16 [M, K]
  input  B: same(A) [K, N]
  output C: bf16 [M, N]
  math {
    acc[m, n] = sum[k](A[m, k] * B[k, n])
    C[m, n] = acc[m, n]
  }
  schedule tiled {
    knob tile_m in {32, 64, 128}  knob tile_n in {32, 64, 128}  knob tile_k in {16, 32}
    let  smem = (tile_m + tile_n) * tile_k * sizeof(A)
    law  fits: smem <= 8 KiB
    law  room: smem <= device.smem_per_block
  }
  verify { cases 5 }
}
model Small {
  hyper width = 16
  part block(x: [B, T, width]) -> y: [B, T, width] { y = x + mlp(norm(x), hidden = 4 * width) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {
    x = block(embed(tokens, positions = learned))
    logits = unembed(norm(x), tied = true)
  }
}
claim peak on h100: speed(mm, M = 64, N = 64, K = 64, dtype = bf16) >= 1 TFLOP/s
"""
Session = Callable[["Editor"], Awaitable[None]]


class Editor:
    """A client with one folder, started as an editor starts the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = LanguageClient("editor", "1")
        self.diagnostics: dict[str, list[types.Diagnostic]] = {}
        self.log: list[str] = []
        self.news = asyncio.Event()
        self.version = 0
        self.texts: dict[str, str] = {}

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.diagnostics[params.uri] = list(params.diagnostics)
            self.news.set()

        @self.client.feature(types.WINDOW_LOG_MESSAGE)
        def logged(params: types.LogMessageParams) -> None:
            self.log.append(params.message)

    async def start(self) -> types.InitializeResult:
        await self.client.start_io(sys.executable, "-m", "spakc", "lsp", env=dict(os.environ))
        result = await self.client.initialize_async(
            types.InitializeParams(types.ClientCapabilities(), root_uri=self.folder.as_uri())
        )
        self.client.initialized(types.InitializedParams())
        return result

    async def stop(self) -> None:
        await self.client.shutdown_async(None)
        self.client.exit(None)
        await self.client.stop()

    async def open(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return await self.show((self.folder / name).as_uri(), text)

    async def show(self, uri: str, text: str) -> str:
        """Opens a document with a text that need not be a file's."""
        self.texts[uri] = text
        item = types.TextDocumentItem(uri, "spak", 0, text)
        self.news.clear()
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        await self.told(uri)
        return uri

    async def change(self, uri: str, text: str) -> None:
        self.version += 1
        self.texts[uri] = text
        self.diagnostics.pop(uri, None)
        document = types.VersionedTextDocumentIdentifier(self.version, uri)
        whole = types.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(document, [whole]))
        await self.told(uri)

    async def told(self, uri: str) -> None:
        async def wait() -> None:
            while uri not in self.diagnostics:
                self.news.clear()
                await self.news.wait()

        await asyncio.wait_for(wait(), 60)

    def codes(self, uri: str) -> list[object]:
        return [diagnostic.code for diagnostic in self.diagnostics[uri]]

    def at(self, uri: str, marked: str) -> dict[str, Any]:
        """The document and the place of `|` in a part of its text that stands there once."""
        before, _, after = marked.partition("|")
        text = self.texts[uri]
        assert text.count(before + after) == 1, marked
        return {
            "text_document": types.TextDocumentIdentifier(uri),
            "position": position(text, text.index(before + after) + len(before)),
        }


def position(text: str, offset: int) -> types.Position:
    line = text.count("\n", 0, offset)
    start = text.rfind("\n", 0, offset) + 1
    return types.Position(line, len(text[start:offset].encode("utf-16-le")) // 2)


def applied(text: str, edits: list[types.TextEdit]) -> str:
    def offset(at: types.Position) -> int:
        lines = text.split("\n")
        before = sum(len(line) + 1 for line in lines[: at.line])
        units = lines[at.line].encode("utf-16-le")[: 2 * at.character] if at.line < len(lines) else b""
        return before + len(units.decode("utf-16-le"))

    for edit in sorted(edits, key=lambda e: -offset(e.range.start)):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text


def edit(folder: Path, session: Session) -> None:
    async def run() -> None:
        editor = Editor(folder)
        await editor.start()
        try:
            await session(editor)
            assert editor.log == []
        finally:
            await editor.stop()

    asyncio.run(asyncio.wait_for(run(), 120))


def test_what_the_server_offers(tmp_path: Path) -> None:
    async def run() -> None:
        editor = Editor(tmp_path)
        offered = (await editor.start()).capabilities
        await editor.stop()
        for name in (
            "hover_provider", "completion_provider", "definition_provider", "references_provider",
            "rename_provider", "document_formatting_provider", "code_action_provider",
        ):  # fmt: skip
            assert getattr(offered, name), name

    asyncio.run(asyncio.wait_for(run(), 60))


def test_diagnostics_follow_the_text(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)
        assert editor.codes(uri) == []
        wrong = PROJECT.replace("smem <= 8 KiB", "smme <= 8 KiB")
        await editor.change(uri, wrong)
        (found,) = editor.diagnostics[uri]
        assert found.code == "SPAK120" and found.severity is types.DiagnosticSeverity.Error
        assert "did you mean `smem`?" in found.message
        start, end = (position(wrong, wrong.index("smme") + n) for n in (0, 4))
        assert (found.range.start, found.range.end) == (start, end)
        assert found.related_information is not None
        assert found.related_information[0].location.range.start == position(wrong, wrong.index("smem ="))
        await editor.change(uri, PROJECT.replace('"\U0001f600"   dim', '"\U0001f600"   dmi'))
        (found,) = editor.diagnostics[uri]
        assert found.range.start == position(PROJECT, PROJECT.index("dim M")), "counted in units of UTF-16"
        for text in ("", "spak", "spak 1\n" + "(" * 500, "\x00", PROJECT[:200]):
            await editor.change(uri, text)
            assert len(editor.diagnostics[uri]) >= 1
        await editor.change(uri, PROJECT)
        assert editor.codes(uri) == []

    edit(tmp_path, session)


def test_a_mistake_in_a_used_file_is_shown_there(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        part = await editor.open("part.spak", "spak 1\nlet small = 3\nlaw low: small < 9\n")
        root = await editor.open("root.spak", 'spak 1\nuse "part.spak"\nlaw high: small > 2\n')
        assert editor.codes(part) == editor.codes(root) == []
        editor.diagnostics.pop(root)
        await editor.change(part, "spak 1\nlet small = 1\nlaw low: small < 9\n")
        await editor.told(root)
        assert editor.codes(root) == ["SPAK203"], "what is in the editor counts, saved or not"
        await editor.change(part, "spak 1\nlet tiny = 3\n")
        place = await editor.client.text_document_definition_async(
            types.DefinitionParams(**editor.at(root, "small| > 2"))
        )
        assert place in ([], None)

    edit(tmp_path, session)


def test_hover(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)

        async def hover(marked: str) -> str:
            found = await editor.client.text_document_hover_async(types.HoverParams(**editor.at(uri, marked)))
            assert found is not None, marked
            assert isinstance(found.contents, types.MarkupContent)
            return found.contents.value

        law = await hover("law  fi|ts")
        assert (
            "cuts 5 of 18 points of mm.tiled on h100, 5 of them alone" in law and "**holds** by proof" in law
        )
        knob = await hover("tile_n) * ti|le_k")
        assert "knob tile_k in {16, 32}" in knob and "lawful in mm.tiled on a100: 16, 32" in knob
        assert "shape: f32 [M, N]" in await hover("ac|c[m, n] =")
        assert "shape: [B, T, width]" in await hover("x| = block(")
        assert "input A: bf16 [M, K]" in await hover("sizeof(A|)")
        assert "h100: " in await hover("device.smem_per_bl|ock")
        assert "13 of 18 points" in await hover("schedule ti|led")
        assert "undecided" in await hover("claim pe|ak")
        assert "sizeof(" in await hover("siz|eof(A)")
        nothing = await editor.client.text_document_hover_async(
            types.HoverParams(**editor.at(uri, "targets| h100"))
        )
        assert nothing is None

    edit(tmp_path, session)


def test_completion(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)

        async def labels(marked: str) -> set[str]:
            found = await editor.client.text_document_completion_async(
                types.CompletionParams(**editor.at(uri, marked))
            )
            items = found.items if isinstance(found, types.CompletionList) else found
            return {item.label for item in items or ()}

        inside = await labels("law  fits: sm|em")
        assert {"smem", "tile_m", "A", "M", "sizeof"} <= inside
        assert not {"kernel", "hyper", "width", "knob", "prefer"} & inside, "an operand, no statement"
        assert {"knob", "prefer", "law", "tile_m"} <= await labels("    |law  fits")
        assert {"smem_per_block", "cp_async"} == await labels("device.|smem_per_block") & {
            "smem_per_block",
            "cp_async",
        }
        assert {"hyper", "part", "width"} <= await labels("  hyper| width")
        assert {"claim", "kernel", "roles"} <= await labels("|claim peak")
        broken = PROJECT.replace("law  room: smem <= device.smem_per_block", "law  room: smem <= device.")
        await editor.change(uri, broken)
        assert "smem_per_block" in await labels("smem <= device.|")
        await editor.change(
            uri, PROJECT.replace("    law  room: smem", "    law more: ti\n    law  room: smem")
        )
        assert {"tile_m", "smem"} <= await labels("law more: ti|")

    edit(tmp_path, session)


PLACES = [
    ("", "use std.|", {"devices"}),
    ("", "targets |", {"h100", "a100"}),
    ("", "targets h100, |", {"a100"}),
    ("", "kernel x: |", {"product", "elementwise", "rows", "attention", "chain"}),
    ("", "roles { architect owns |", {"law", "kernel", "schedule"}),
    ("", "roles { architect owns law, |", {"knob", "kernel"}),
    ("", "claim c on |", {"h100"}),
    ("", "implement |", {"mm"}),
    ("", "device mine like |", {"h100"}),
    ("", "device mine { |", {"arch", "smem_per_block"}),
    ("", "experiment e { model |", {"Small"}),
    ("", "model M { uses |", {"mm"}),
    ("", "model M { uses mm for |", {"linear", "attention"}),
    ("kernel", "input Z: |", {"bf16", "f32", "same"}),
    ("kernel", "input Z: bf16 | |", {"f16"}),
    ("kernel", "input Z: bf16 [M] layout |", {"row", "column"}),
    ("kernel", "option act: |", {"gelu", "identity", "bool"}),
    ("kernel", "accumulate |", {"f32"}),
    ("kernel", "schedule more like |", {"tiled"}),
    ("kernel", "verify { values |", {"normal", "integers", "uniform"}),
    ("kernel", "verify { values normal, |", {"integers"}),
]  # fmt: skip
"""Where one of a closed list of words may stand, and some of them."""


def test_completion_knows_what_a_place_takes(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)
        for where, written, expected in PLACES:
            typed = written.removesuffix("|")
            at = PROJECT.index("  verify {") if where == "kernel" else PROJECT.index("model Small")
            for more in ("", next(iter(expected))[:1]):  # nothing typed yet, and a first letter
                text = f"{PROJECT[:at]}{typed}{more}\n{PROJECT[at:]}"
                await editor.change(uri, text)
                place = position(text, at + len(typed) + len(more))
                params = types.CompletionParams(types.TextDocumentIdentifier(uri), place)
                found = await editor.client.text_document_completion_async(params)
                labels = {item.label for item in found or ()}  # type: ignore[union-attr]
                assert expected <= labels, (written, labels)
                assert not labels & {"sizeof", "cubin", "A", "tile_m"}, (written, labels)

    edit(tmp_path, session)


def test_definition_of_a_used_file(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        (tmp_path / "part.spak").write_text("spak 1\nlet cap = 5\n")
        uri = await editor.open("mine.spak", PROJECT.replace("use std", 'use "part.spak"\nuse std'))
        for place, file in (("use std.dev|ices", "/std/devices.spak"), ('use "pa|rt.spak"', "/part.spak")):
            params = types.DefinitionParams(**editor.at(uri, place))
            (found,) = await editor.client.text_document_definition_async(params) or ()
            assert found.uri.endswith(file) and found.range.start == types.Position(0, 0)  # type: ignore[union-attr]

    edit(tmp_path, session)


def test_definition_references_and_rename(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)
        at = editor.at(uri, "law  fits: sm|em")
        (place,) = await editor.client.text_document_definition_async(types.DefinitionParams(**at)) or ()
        assert isinstance(place, types.Location)
        assert place.range.start == position(PROJECT, PROJECT.index("smem = "))
        device = await editor.client.text_document_definition_async(
            types.DefinitionParams(**editor.at(uri, "targets h1|00"))
        )
        assert device is not None and device[0].uri.endswith("/std/devices.spak")  # type: ignore[index,union-attr]
        references = types.ReferenceParams(context=types.ReferenceContext(True), **at)
        assert len(await editor.client.text_document_references_async(references) or ()) == 3
        changed = await editor.client.text_document_rename_async(
            types.RenameParams(new_name="bytes_used", **at)
        )
        assert changed is not None and changed.changes is not None
        text = applied(PROJECT, list(changed.changes[uri]))
        assert text == PROJECT.replace("smem =", "bytes_used =").replace("smem <=", "bytes_used <=")
        dim = await editor.client.text_document_rename_async(
            types.RenameParams(new_name="Rows", **editor.at(uri, "dim M|, N, K"))
        )
        assert dim is not None and dim.changes is not None
        await editor.change(uri, applied(PROJECT, list(dim.changes[uri])))
        assert editor.codes(uri) == [] and "speed(mm, Rows = 64" in editor.texts[uri]

    edit(tmp_path, session)


def test_a_name_of_a_used_file_is_renamed_in_the_open_files_that_use_it(tmp_path: Path) -> None:
    used = "spak 1\nlet cap = 5\n"
    root = 'spak 1\nuse "parts/used.spak"\nlet other = 1\nlaw low: cap > other\n'

    async def session(editor: Editor) -> None:
        (tmp_path / "parts").mkdir()
        part = await editor.open("parts/used.spak", used)
        uri = await editor.open("mine.spak", root)
        at = editor.at(part, "let ca|p")
        references = types.ReferenceParams(context=types.ReferenceContext(True), **at)
        found = await editor.client.text_document_references_async(references) or ()
        assert sorted(each.uri for each in found) == sorted([part, uri])
        changed = await editor.client.text_document_rename_async(types.RenameParams(new_name="top", **at))
        assert changed is not None and changed.changes is not None
        assert applied(used, list(changed.changes[part])) == used.replace("cap", "top")
        assert applied(root, list(changed.changes[uri])) == root.replace("cap", "top")
        with pytest.raises(JsonRpcException, match="`other` is declared here and in a used file"):
            await editor.client.text_document_rename_async(types.RenameParams(new_name="other", **at))

    edit(tmp_path, session)


@pytest.mark.parametrize(
    ("marked", "new", "why"),
    [
        ("law  fits: sm|em", "tile_m", "tile_m"),
        ("law  fits: sm|em", "9lives", "cannot be a name"),
        ("law  fits: sm|em", "step", "cannot be a name"),
        ("knob tile|_m in", "width", "as its template names it"),
        ("schedule ti|led", "other", "template"),
        ("targets h1|00", "mine", "module of the compiler"),
    ],
)
def test_a_rename_that_would_break_something_is_refused(
    marked: str, new: str, why: str, tmp_path: Path
) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)
        with pytest.raises(JsonRpcException, match=why):
            await editor.client.text_document_rename_async(
                types.RenameParams(new_name=new, **editor.at(uri, marked))
            )

    edit(tmp_path, session)


def test_formatting_is_that_of_the_command(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", PROJECT)
        params = types.DocumentFormattingParams(
            types.TextDocumentIdentifier(uri), types.FormattingOptions(tab_size=8, insert_spaces=False)
        )
        edits = await editor.client.text_document_formatting_async(params)
        assert edits
        text = applied(PROJECT, list(edits))
        assert invoke("fmt", tmp_path / "mine.spak").exit_code == 0
        assert text == (tmp_path / "mine.spak").read_text() != PROJECT
        await editor.change(uri, text)
        assert await editor.client.text_document_formatting_async(params) is None
        await editor.change(uri, "spak 1\nlaw")
        assert await editor.client.text_document_formatting_async(params) is None

    edit(tmp_path, session)


FIXES = [
    ("smem <= 8 KiB", "smme <= 8 KiB"),
    ("device.smem_per_block", "device.smem_per_blok"),
    ("targets h100, a100", "targets h100, a10"),
    ("kernel mm: product", "kernel mm: produkt"),
    ("sizeof(A)\n", "sizeoff(A)\n"),
    ("spak 1\nuse", "use"),
    ("spak 1\nuse", "spak 2\nuse"),
    ("use std.devices", "use std.device"),
    ("smem <= 8 KiB", "smem ≤ 8 KiB"),
    ("smem <= 8 KiB", "smem <= 8 KB"),
    ("smem <= 8 KiB", "smem =< 8 KiB"),
    ("sizeof(A)\n", "sizeof(A]\n"),
    ("sizeof(A)\n", "sizeof(A);\n"),
]


@pytest.mark.parametrize(("right", "wrong"), FIXES)
def test_a_quick_fix_mends_what_it_is_offered_for(right: str, wrong: str, tmp_path: Path) -> None:
    broken = PROJECT.replace(right, wrong)

    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", broken)
        first = editor.diagnostics[uri][0]
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(uri), first.range, types.CodeActionContext([first])
        )
        actions = await editor.client.text_document_code_action_async(params)
        assert actions, first.message
        (action,) = actions
        assert (
            isinstance(action, types.CodeAction)
            and action.edit is not None
            and action.edit.changes is not None
        )
        await editor.change(uri, applied(broken, list(action.edit.changes[uri])))
        assert editor.texts[uri] == PROJECT and editor.codes(uri) == []

    edit(tmp_path, session)


def test_a_config_is_brought_to_the_nearest_lawful_value(tmp_path: Path) -> None:
    text = PROJECT.replace("  verify {", "").replace(" cases 5 }", "")
    text = text.replace(
        "    law  fits", "    config wide { tile_m = 128  tile_n = 128  tile_k = 32 }\n    law  fits"
    )

    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", text)
        (found,) = editor.diagnostics[uri]
        assert found.code == "SPAK201"
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(uri), found.range, types.CodeActionContext([found])
        )
        actions = await editor.client.text_document_code_action_async(params)
        assert actions
        for action in actions:
            assert (
                isinstance(action, types.CodeAction)
                and action.edit is not None
                and action.edit.changes is not None
            )
            await editor.change(uri, applied(text, list(action.edit.changes[uri])))
            assert editor.codes(uri) == [], action.title

    edit(tmp_path, session)


def test_closing_takes_the_diagnostics_back(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", "spak 1\nlaw")
        assert editor.codes(uri) == ["SPAK101"]
        editor.diagnostics.pop(uri)
        editor.client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        )
        await editor.told(uri)
        assert editor.codes(uri) == []

    edit(tmp_path, session)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain.spak", "plain.spak"),
        ("mein größtes Stück.spak", None),
        ("mein größtes Stück.spak", "mein größtes Stück.spak"),  # an editor that escapes nothing
        ("50%20x#1?.spak", None),
        ("a(1)+b.spak", "a%281%29%2Bb.spak"),
    ],
)
def test_the_text_of_the_editor_counts_whatever_its_path(
    name: str, written: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "Übung 1"
    folder.mkdir()
    (folder / name).write_text("spak 1\nlet small = 3\nlaw low: small < 9\n")
    (folder / "root.spak").write_text(f'spak 1\nuse "{name}"\nlaw high: small > 2\n')

    async def session(editor: Editor) -> None:
        uri = (folder / name).as_uri() if written is None else f"{folder.as_uri()}/{written}"
        await editor.show(uri, "spak 1\nlaw")
        assert editor.codes(uri) == ["SPAK101"]
        await editor.change(uri, "spak 1\nlet small = 1\nlaw low: small < 9\nlaw lower: small < 0\n")
        assert editor.codes(uri) == ["SPAK203"]
        await editor.change(uri, "spak 1\nlet small = 1\nlaw low: small < 9\n")
        root = await editor.show((folder / "root.spak").as_uri(), (folder / "root.spak").read_text())
        assert editor.codes(root) == ["SPAK203"], "the text of a file that is used"
        place = await editor.client.text_document_definition_async(
            types.DefinitionParams(**editor.at(root, "small| > 2"))
        )
        assert isinstance(place, list) and [each.uri for each in place] == [uri]
        await editor.change(uri, "spak 1\nlet small = 4\nlaw low: small < 9\n")
        edits = await editor.client.text_document_rename_async(
            types.RenameParams(new_name="little", **editor.at(root, "small| > 2"))
        )
        assert edits is not None and edits.changes is not None and edits.changes.keys() == {uri, root}
        assert editor.diagnostics.keys() == {uri, root}, "each file under the name that the editor gave it"

    edit(tmp_path, session)


def test_a_document_that_is_no_file_keeps_its_uri(tmp_path: Path) -> None:
    async def session(editor: Editor) -> None:
        uri = await editor.show("untitled:Untitled-1", "spak 1\nlaw high: 1 > 2\n")
        assert editor.codes(uri) == ["SPAK203"]
        await editor.change(uri, "spak 1\nlet small = 3\nlaw low: small < 9\n")
        assert editor.codes(uri) == []
        place = await editor.client.text_document_definition_async(
            types.DefinitionParams(**editor.at(uri, "small| < 9"))
        )
        assert isinstance(place, list) and [each.uri for each in place] == [uri]
        assert editor.diagnostics.keys() == {uri}

    edit(tmp_path, session)


STATED = [
    code for code in sorted(CODES) if code in edits.REPLACED or code in edits.DELETED or code == "SPAK005"
]


@pytest.mark.parametrize("code", STATED)
def test_advice_that_says_what_to_write_is_a_fix_that_mends(code: str, tmp_path: Path) -> None:
    path, wrong = tmp_path / "mine.spak", CODES[code].wrong
    found = next(each for each in look(path, {path: wrong}).diagnostics if each.code == code)
    offered = list(edits.fixes(found, None))
    assert offered, found.help
    for fix in offered:
        mended = look(path, {path: edits.applied(wrong, [*fix.edits])})
        assert code not in [each.code for each in mended.diagnostics], fix.title


KERNEL = "spak 1\nkernel k: elementwise {{ dim M, N input x: f32 [M, N] output y: f32 [M, N] {} }}\n"
COPY = "math { y[m, n] = x[m, n] }"
DATA = """spak 1
dataset d { sample a: digits(n) text a, "=", a, end loss after "=" answer sideways split train n in {1} }
"""
REPAIRED = {
    "115 declared": ("spak 1\nlet step = 2\n", "SPAK115", ["let step_ = 2"]),
    "115 set": ("spak 1\nlet a = 1 let loop = 2\n", "SPAK115", ["let loop_ = 2"]),
    "115 used": (
        KERNEL.format(COPY + " law l: step > 0") + "let step = 3 law m: step > 2\n",
        "SPAK115",
        ["law l: step_ > 0 }\nlet step_ = 3 law m: step_ > 2"],
    ),
    "115 assigned": (KERNEL.format("math { y[m, n] = x[m, n] step[m] = 1 }"), "SPAK115", ["step_[m] = 1"]),
    "140 numbers": (KERNEL.format(COPY + " verify { shapes M in {4, 4} }"), "SPAK140", ["M in {4} }"]),
    "140 types": (KERNEL.format("input z: bf16 | bf16 [M] " + COPY), "SPAK140", ["z: bf16 [M]"]),
    "140 values": (
        KERNEL.format(COPY + " verify { values normal , normal }"),
        "SPAK140",
        ["values normal }"],
    ),
    "140 words": (KERNEL.format("option o: relu | gelu | relu = relu " + COPY), "SPAK140", ["relu | gelu ="]),
    "316 division": (KERNEL.format("math { y[m, n] = x[m, n / 2] }"), "SPAK316", ["n // 2]"]),
    "316 number": (KERNEL.format("math { y[m, n] = x[m, n * 0.5] }"), "SPAK316", ["int32(n * 0.5)"]),
    "317 truth": (KERNEL.format("math { y[m, n] = x[m, n] * (n > 1) }"), "SPAK317", ["where(n > 1, 1, 0)"]),
    "317 sum": (KERNEL.format(COPY + " law l: 1 + (M > 1) > 0"), "SPAK317", ["where(M > 1, 1, 0)"]),
    "317 division": (KERNEL.format(COPY + " law l: (M / 2) % 2 >= 0"), "SPAK317", ["M // 2"]),
    "318 truth": (KERNEL.format("math { y[m, n] = x[m, n] > 0 }"), "SPAK318", ["= where(x[m, n] > 0, 1, 0)"]),
    "318 integer": (
        KERNEL.format("output z: int32 [M] math { y[m, n] = x[m, n] z[m] = x[m, 0] }"),
        "SPAK318",
        ["z[m] = int32(x[m, 0])"],
    ),
    "322 truth": (KERNEL.format("option o: bool = 1 " + COPY), "SPAK322", ["bool = true"]),
    "322 integer": (KERNEL.format("option o: int = 4.0 " + COPY), "SPAK322", ["int = 4 "]),
    "522": (DATA, "SPAK522", ["answer autoregressive", "answer parallel"]),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_is_what_the_diagnostic_knows(name: str, tmp_path: Path) -> None:
    text, code, after = REPAIRED[name]
    path = tmp_path / "mine.spak"
    state = look(path, {path: text})
    found = next(each for each in state.diagnostics if each.code == code)
    names = state.names if state.current else None
    mended = [edits.applied(text, [*fix.edits]) for fix in edits.fixes(found, names)]
    assert [part for part, text in zip(after, mended, strict=True) if part not in text] == [], mended
    for each in mended:
        again = look(path, {path: each}).diagnostics
        assert code not in [d.code for d in again], again


def test_a_repair_that_renames_is_an_edit_at_every_use(tmp_path: Path) -> None:
    text = KERNEL.format("let loop = M law k: loop > 0 " + COPY)

    async def session(editor: Editor) -> None:
        uri = await editor.open("mine.spak", text)
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(uri), editor.diagnostics[uri][0].range, types.CodeActionContext([])
        )
        (action,) = await editor.client.text_document_code_action_async(params) or ()
        assert isinstance(action, types.CodeAction) and action.edit is not None and action.edit.changes
        assert applied(text, list(action.edit.changes[uri])) == text.replace("loop", "loop_")
        await editor.change(uri, text.replace("loop", "loop_"))
        assert editor.codes(uri) == []

    edit(tmp_path, session)


def test_a_name_that_stands_twice_is_renamed_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.spak"
    state = look(path, {path: "spak 1\n" + "let step = 1\n" * 3})
    offered = [list(edits.fixes(each, state.names)) for each in state.diagnostics]
    assert [[len(fix.edits) for fix in each] for each in offered] == [[3], [1], [1]]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (KERNEL.format("math { y[m, n] = where(n, x[m, n], 0) }"), "SPAK317"),
        (KERNEL.format("output z: bool [M] math { y[m, n] = x[m, n] z[m] = x[m, 0] }"), "SPAK318"),
        (KERNEL.format("option o: bool | f32 = true " + COPY), "SPAK322"),
        (KERNEL.format("option o: int = 0.5 " + COPY), "SPAK322"),
        (KERNEL.format(COPY + " verify { shapes M in {4, # four\n 4} }"), "SPAK140"),
    ],
)
def test_no_repair_is_offered_where_there_are_several_ways(text: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.spak"
    found = next(each for each in look(path, {path: text}).diagnostics if each.code == code)
    assert list(edits.fixes(found, None)) == []


@pytest.mark.parametrize("sign", [*FOREIGN_SIGNS, *LOOKALIKES])
def test_a_sign_of_another_language_is_replaced_where_one_sign_will_do(sign: str, tmp_path: Path) -> None:
    text = f"spak 1\nlet a = 1\nlet b = 2\nlaw l: a{sign}b\n"
    path = tmp_path / "mine.spak"
    found = next(iter(look(path, {path: text}).diagnostics), None)
    for fix in edits.fixes(found, None) if found is not None else ():
        again = look(path, {path: edits.applied(text, [*fix.edits])}).diagnostics
        assert (found.code, found.labels[0].span.start) not in [
            (e.code, e.labels[0].span.start) for e in again
        ], sign


def test_the_sources_of_hand_written_kernels_are_read(tmp_path: Path) -> None:
    """Also when another program has changed them, and as the editor holds them."""
    path = project(tmp_path, {"mine": PLAIN})

    async def session(editor: Editor) -> None:
        uri = await editor.open("add.spak", path.read_text())
        assert editor.codes(uri) == []
        (tmp_path / "mine.cu").write_text("// nothing here\n")
        editor.diagnostics.pop(uri)
        event = types.FileEvent((tmp_path / "mine.cu").as_uri(), types.FileChangeType.Changed)
        editor.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
        await editor.told(uri)
        assert editor.codes(uri) == ["SPAK324"]
        (tmp_path / "mine.cu").unlink()
        await editor.change(uri, path.read_text() + "\n")
        assert editor.codes(uri) == ["SPAK001"]

    edit(tmp_path, session)
