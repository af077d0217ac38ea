"""`spakc mcp` through the client of the official SDK: over its pipes, as an agent's host starts it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from spakc import extras
from spakc.agents.project import Project, Refused
from spakc.agents.replay import differences, play
from spakc.agents.server import make_server
from spakc.diagnostics import SpakError
from tests.unit.cli.invoke import ROOT, invoke, rows

AGENTS = ROOT / "examples" / "agents"
PRODUCT = (AGENTS / "product.spak").read_text("utf-8")
WIDER = PRODUCT.replace("knob tile_k in {16, 32}", "knob tile_k in {16, 32, 64}")
LOOSER = PRODUCT.replace("smem_bytes <= device.smem_per_block", "smem_bytes <= 2 * device.smem_per_block")
Session = Callable[[Client], Awaitable[None]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    path = folder / "product.spak"
    path.write_text(PRODUCT)
    return path


def over_pipes(file: Path, session: Session, *options: str) -> None:
    async def run() -> None:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "spakc", "mcp", str(file), *options], env=dict(os.environ)
        )
        async with Client(stdio_client(command)) as client:
            await session(client)

    asyncio.run(asyncio.wait_for(run(), 300))


def in_process(file: Path, role: str | None, session: Session) -> None:
    async def run() -> None:
        async with Client(make_server(Project(file.resolve(), file.parent.resolve(), role))) as client:
            await session(client)

    asyncio.run(asyncio.wait_for(run(), 300))


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def codes(answer: dict[str, Any]) -> list[str]:
    return [diagnostic["code"] for diagnostic in answer["diagnostics"]]


def test_every_command_is_a_tool_and_write_is_for_a_role(file: Path) -> None:
    common = {"check", "explain", "contract", "status", "diff", "read", "compile", "verify", "bench", "tune"}

    def tools(role: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def session(client: Client) -> None:
            found.update({tool.name: tool for tool in (await client.list_tools()).tools})

        in_process(file, role, session)
        return found

    assert common <= tools(None).keys() and "write" not in tools(None)
    assert tools("implementer").keys() - tools(None).keys() == {"write"}
    for tool in tools("implementer").values():
        assert len(tool.description) > 30 and tool.annotations is not None
        assert tool.annotations.read_only_hint == (
            tool.name not in ("compile", "verify", "bench", "tune", "write")
        )


def test_answers_are_the_json_of_the_command(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def session(client: Client) -> None:
        assert client.server_info is not None and client.server_info.name == "spakc"
        monkeypatch.chdir(file.parent)
        for tool in ("check", "status"):
            answer = await call(client, tool)
            assert answer["exit_code"] == 0 and answer["diagnostics"] == []
            assert answer["results"] == rows(invoke(tool, "product.spak", "--format", "json").stdout)
        contract = await call(client, "contract", role="architect")
        said = invoke("contract", "product.spak", "--role", "architect", "--format", "json").stdout
        assert contract["results"] == [json.loads(said)]
        assert (await call(client, "contract"))["results"][0]["role"] == "implementer"
        explained = await call(client, "explain", code="spak601")
        assert explained["results"][0]["title"] == "a statement of another role was changed"
        assert (await call(client, "explain", code="--help"))["exit_code"] == 2
        compiled = await call(client, "compile", output="made")
        assert compiled["exit_code"] == 0 and (file.parent / "made" / "manifest.json").is_file()
        verified = await call(client, "verify", cases=1, kernels=["mm"])
        assert verified["results"][-1]["kernels"][0]["kernel"] == "mm"
        assert (file.parent / "product.evidence.jsonl").is_file()

    over_pipes(file, session, "--role", "implementer")


COMMANDS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "check": ({}, ("check", "product.spak")),
    "explain": ({"code": "SPAK601"}, ("explain", "SPAK601")),
    "contract": ({"role": "architect"}, ("contract", "product.spak", "--role", "architect")),
    "compile": ({"output": "made"}, ("compile", "product.spak", "-o", "made")),
    "verify": ({"cases": 1, "seed": 5}, ("verify", "product.spak", "--cases", "1", "--seed", "5")),
    "tune": ({"at": ["M=64,N=64,K=64"]}, ("tune", "product.spak", "--at", "M=64,N=64,K=64")),
    "bench": ({"rounds": 3}, ("bench", "product.spak", "--rounds", "3")),
    "diff": (
        {"old": "before.spak", "file": "product.spak", "role": "implementer"},
        ("diff", "before.spak", "product.spak", "--role", "implementer"),
    ),
    "status": ({}, ("status", "product.spak")),
}
"""Every tool that is a command, with arguments, and the command line for the same."""


@pytest.mark.slow
def test_every_tool_answers_the_json_of_its_command(file: Path) -> None:
    """The command line runs in a twin of the folder, so that what both write does not meet."""
    twin = Path(shutil.copytree(file.parent, file.parent.with_name("twin")))
    for folder in (file.parent, twin):
        (folder / "before.spak").write_text(LOOSER)

    def said(*words: str) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
        command = [sys.executable, "-m", "spakc", *words, "--format", "json"]
        done = subprocess.run(command, cwd=twin, capture_output=True, text=True, check=False)
        whole = [json.loads(done.stdout)] if words[0] == "contract" else rows(done.stdout)
        return done.returncode, whole, [row for row in rows(done.stderr) if "code" in row]

    def rows(text: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    async def session(client: Client) -> None:
        for tool, (arguments, words) in COMMANDS.items():
            answer = await call(client, tool, **arguments)
            code, results, diagnostics = said(*words)
            for row in (*answer["results"], *results):
                row.pop("date", None)  # of two verifications
            assert (answer["exit_code"], answer["results"], answer["diagnostics"]) == (
                code,
                results,
                diagnostics,
            ), tool
            assert answer["results"] or tool == "bench", tool

    over_pipes(file, session, "--role", "implementer")


def test_the_page_for_agents_starts_the_server(file: Path) -> None:
    page = (ROOT / "docs" / "agents.md").read_text("utf-8")
    (host,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (replayed,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    command, *options = json.loads(host)["mcpServers"]["spak"]["args"]
    assert json.loads(host)["mcpServers"]["spak"]["command"] == "spakc"
    assert (command, options) == ("mcp", ["project.spak", "--role", "implementer"])
    module, session = re.fullmatch(r"python -m (\S+) (\S+)\n", replayed).groups()  # type: ignore[union-attr]
    assert module == play.__module__ and (ROOT / session).is_file()


def test_a_mistake_is_an_answer(file: Path) -> None:
    file.write_text("spak 1\nkernel {")

    async def session(client: Client) -> None:
        answer = await call(client, "check")
        assert answer["exit_code"] == 1 and answer["results"] == [] and codes(answer) == ["SPAK101"]
        assert answer["diagnostics"][0]["labels"][0]["line"] == 2
        refused = await client.call_tool("verify", {"cases": 0})
        assert refused.is_error

    in_process(file, None, session)


def test_bench_without_a_device_says_so(file: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a device")

    async def session(client: Client) -> None:
        answer = await call(client, "bench")
        assert (answer["exit_code"], answer["text"]) == (5, "not run: no device")

    in_process(file, None, session)


def test_an_argument_that_a_tool_does_not_have_is_refused(file: Path) -> None:
    """Not dropped: `file` left out is the root file."""
    wrong: list[tuple[str, str, dict[str, object]]] = [
        ("write", "path", {"path": "part.spak", "text": WIDER}),
        ("write", "role", {"text": LOOSER, "role": "architect"}),
        ("read", "path", {"path": "/etc/passwd"}),
        ("verify", "kernel", {"kernel": "mm", "cases": 1}),
    ]

    async def session(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert len(tools) == 11
        for tool in tools:
            assert tool.input_schema["additionalProperties"] is False, tool.name
            refused = await client.call_tool(tool.name, {"else": 1})
            assert refused.is_error and f"`{tool.name}` has no argument `else`" in refused.content[0].text
        for name, argument, arguments in wrong:
            refused = await client.call_tool(name, arguments)
            assert refused.is_error and refused.structured_content is None
            (said,) = refused.content
            assert f"`{name}` has no argument `{argument}`; its arguments are " in said.text
            assert "`file`" in said.text
        assert (await client.call_tool("nothing", {"else": 1})).is_error

    over_pipes(file, session, "--role", "implementer")
    assert file.read_text() == PRODUCT
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_role_writes_what_it_owns_and_nothing_else(file: Path) -> None:
    async def session(client: Client) -> None:
        asked = await call(client, "diff", text=LOOSER)
        assert (asked["exit_code"], codes(asked)) == (1, ["SPAK601"])
        assert asked["results"][0]["statement"] == "law mm.tiled.fits"
        refused = await call(client, "write", text=LOOSER)
        assert (refused["written"], codes(refused)) == (False, ["SPAK601"])
        assert [row["allowed"] for row in refused["results"]] == [False]
        wrong = await call(client, "write", text=PRODUCT.replace("tile_m = 32", "tile_m = 33"))
        assert (wrong["written"], codes(wrong)) == (False, ["SPAK306"])
        both = LOOSER.replace("knob tile_k in {16, 32}", "knob tile_k in {16, 32, 64}")
        assert (await call(client, "write", text=both))["written"] is False, "as a whole or not at all"
        assert file.read_text() == PRODUCT
        assert (await call(client, "write", text=WIDER))["written"] is True
        assert file.read_text() == WIDER
        assert (await call(client, "read"))["results"] == [{"file": "product.spak", "text": WIDER}]
        as_other = await call(client, "diff", text=PRODUCT, role="architect")
        assert codes(as_other) == ["SPAK601"]

    in_process(file, "implementer", session)


def test_two_servers_write_one_after_the_other(file: Path) -> None:
    """What the implementer was about to write was made from a text that the architect has changed meanwhile."""
    stricter = PRODUCT.replace("cases 6", "cases 60")
    implementer = Project(file, file.parent, "implementer")
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        said: list[BaseException] = []

        def write() -> None:
            try:
                implementer.write(None, WIDER)
            except Refused as error:
                said.append(error)

        writing = threading.Thread(target=write)
        writing.start()
        writing.join(2)
        assert writing.is_alive() and file.read_text() == PRODUCT
        file.write_text(stricter)
    finally:
        os.close(folder)
    writing.join(60)
    assert file.read_text() == stricter
    assert [each.code for error in said for each in error.diagnostics] == ["SPAK601"]  # type: ignore[attr-defined]


def test_a_file_keeps_its_mode(file: Path) -> None:
    new = file.parent / "new.spak"

    async def session(client: Client) -> None:
        for mode, text in ((0o644, WIDER), (0o664, PRODUCT), (0o600, WIDER)):
            file.chmod(mode)
            assert (await call(client, "write", text=text))["written"] is True
            assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (text, mode)
        for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
            before = os.umask(umask)
            try:
                assert (await call(client, "write", file=new.name, text="spak 1\n"))["written"] is True
            finally:
                os.umask(before)
            assert stat.S_IMODE(new.stat().st_mode) == mode
            new.unlink()

    in_process(file, "implementer", session)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_nothing_outside_of_the_project_is_read_or_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (file.parent / "link.spak").symlink_to(tmp_path / "secret.txt")
    (file.parent / "product.evidence.jsonl").write_text("")

    async def session(client: Client) -> None:
        for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link.spak"):
            for tool in ("read", "check", "status", "contract", "verify", "compile"):
                assert codes(await call(client, tool, file=path)) == ["SPAK006"], (tool, path)
            assert codes(await call(client, "write", file=path, text=PRODUCT)) == ["SPAK006"], path
        assert codes(await call(client, "compile", output="../elsewhere")) == ["SPAK006"]
        assert codes(await call(client, "diff", old="../secret.txt")) == ["SPAK006"]
        for name in ("product.evidence.jsonl", "notes.txt"):
            assert codes(await call(client, "write", file=name, text=PRODUCT)) == ["SPAK605"], name
        assert codes(await call(client, "read", file="nothing.spak")) == ["SPAK002"]
        for name in ("x" * 300 + ".spak", "nul\0.spak", "x/" * 3000 + "x.spak"):
            for tool in ("read", "check"):
                assert codes(await call(client, tool, file=name)) == ["SPAK002"], name
            assert codes(await call(client, "write", file=name, text=PRODUCT)) == ["SPAK002"], name
            assert codes(await call(client, "compile", output=name)) == ["SPAK002"], name

    in_process(file, "architect", session)
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert not (tmp_path / "elsewhere").exists()


SWIGLU = """spak 1
use std.devices
targets h100
kernel swiglu: elementwise {
  dim N, D
  input  x: f32 [N, D]
  input  gate: f32 [N, D]
  output y: f32 [N, D]
  math { y[n, i] = x[n, i] * gate[n, i] }
  schedule grid_stride { knob vector in {1}  knob threads in {128} }
}
roles {
  architect   owns kernel, math, roles
  implementer owns implement, schedule, knob
}
"""
KERNEL = """#include "tail.cuh"
SPAK_KERNEL(by_hand, Product) { tail(); }
"""
BOUND = (
    SWIGLU
    + 'implement swiglu as mine on h100 { source = "mine.cu"  entry = "by_hand"  threads = 256  grid = 1 }\n'
)


def test_a_role_that_owns_implement_writes_its_kernels(tmp_path: Path) -> None:
    file = tmp_path / "project" / "swiglu.spak"
    file.parent.mkdir()
    file.write_text(SWIGLU)
    (file.parent / "others.cu").write_text("int main() {}\n")
    mine = file.parent / "mine.cu"

    async def architect(client: Client) -> None:
        for name in ("mine.cu", "tail.cuh"):
            assert codes(await call(client, "write", file=name, text=KERNEL)) == ["SPAK605"], name

    async def implementer(client: Client) -> None:
        for name in ("../mine.cu", "/tmp/mine.cu"):
            assert codes(await call(client, "write", file=name, text=KERNEL)) == ["SPAK006"]
        for name in ("others.cu", "mine.py", "Makefile", "swiglu.evidence.jsonl", "nowhere/mine.cu"):
            assert codes(await call(client, "write", file=name, text=KERNEL)) == ["SPAK605"], name
        assert codes(await call(client, "write", file="large.cu", text="/" * (1 << 21))) == ["SPAK003"]
        assert codes(await call(client, "write", text=BOUND)) == ["SPAK001"]
        assert (await call(client, "write", file="tail.cuh", text="void tail() {}\n"))["written"] is True
        assert (await call(client, "write", file="mine.cu", text=KERNEL))["written"] is True
        assert (await call(client, "write", text=BOUND))["written"] is True
        faster = KERNEL + "// faster\n"
        (row,) = (await call(client, "diff", file="mine.cu", text=faster))["results"]
        assert (row["statement"], row["change"], row["allowed"]) == (
            "implement swiglu as mine",
            "changed",
            True,
        )
        answer = await call(client, "write", file="mine.cu", text=faster)
        assert answer["written"] is True and mine.read_text() == faster
        assert (await call(client, "write", file="tail.cuh", text="void tail() { }\n"))["written"] is True
        assert codes(await call(client, "write", file="mine.cu", text="int other() {}\n")) == ["SPAK324"]
        assert codes(await call(client, "write", file="mine.cu", text='#include "/etc/passwd"\n')) == [
            "SPAK006"
        ]
        assert codes(await call(client, "write", file="others.cu", text=KERNEL)) == ["SPAK605"]
        assert mine.read_text() == faster

    async def again(client: Client) -> None:
        refused = await call(client, "write", file="mine.cu", text=KERNEL)
        assert codes(refused) == ["SPAK601"] and refused["results"][0]["owner"] == "implementer"
        assert "// faster" in mine.read_text()

    in_process(file, "architect", architect)
    in_process(file, "implementer", implementer)
    in_process(file, "architect", again)
    assert (file.parent / "others.cu").read_text() == "int main() {}\n"


def test_a_file_that_is_used_is_judged_by_the_roles_of_the_root(file: Path) -> None:
    part = file.parent / "part.spak"
    part_text = "spak 1\nlaw small: 1 < 2\n"
    uses = PRODUCT.replace("spak 1\n", 'spak 1\nuse "part.spak"\n').replace(
        "owns kernel,", "owns use, kernel,"
    )

    async def add(client: Client) -> None:
        assert codes(await call(client, "write", file="part.spak", text="spak 1\nlaw")) == ["SPAK101"]
        assert (await call(client, "write", file="part.spak", text=part_text))["written"] is True
        owns_use = PRODUCT.replace("owns kernel,", "owns use, kernel,")
        assert (await call(client, "write", text=owns_use))["written"] is True
        answer = await call(client, "write", text=uses)
        assert answer["written"] is True
        assert {row["statement"] for row in answer["results"]} == {"use part.spak", "law small"}

    async def change(client: Client) -> None:
        refused = await call(client, "write", file="part.spak", text=part_text.replace("1 < 2", "1 < 3"))
        assert codes(refused) == ["SPAK601"] and part.read_text() == part_text

    in_process(file, "architect", add)
    in_process(file, "implementer", change)


def test_the_server_starts_only_for_a_role_that_there_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = invoke("mcp", file, "--role", "implementor")
    assert refused.exit_code == 1 and "SPAK602" in refused.stderr
    assert "SPAK001" in invoke("mcp", file.parent / "none.spak").stderr
    assert "SPAK006" in invoke("mcp", file, "--root", file.parent / "sub").stderr
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    missing = invoke("mcp", file)
    assert missing.exit_code == 1 and "SPAK709" in missing.stderr and "spakc[mcp]" in missing.stderr
    with pytest.raises(SpakError):
        extras.needs_extra("lsp", "pygls")


@pytest.mark.slow
def test_the_recorded_session_is_answered_as_it_was(tmp_path: Path) -> None:
    session = json.loads((AGENTS / "session.json").read_text("utf-8"))
    played = asyncio.run(play(session, AGENTS, tmp_path))
    assert differences(session, played) == []
    said = [(step["role"], step["tool"], step["answer"]["exit_code"]) for step in played]
    assert said.count(("implementer", "write", 1)) == 3 and said.count(("implementer", "write", 0)) == 2
    other = json.loads(json.dumps(session))
    other["steps"][1]["answer"]["exit_code"] = 0
    assert len(differences(other, played)) == 1
