"""The server: each command is a tool that runs the command itself, so its answer is the command's JSON.

A tool's answer is `exit_code` and its `meaning`, `results` (the objects that the command prints, in order),
`diagnostics`, and `text` where the command said something that is no JSON. Commands run in processes of their own:
what they print, and how they end, cannot disturb the protocol.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import Tool, ToolAnnotations
from pydantic import Field

from spakc import __version__, driver
from spakc.agents.project import Project, Refused
from spakc.cli import DIAGNOSTICS, EXIT_CODES, OK
from spakc.diagnostics import Diagnostic, SpakError
from spakc.diagnostics.render import render_json

Answer = dict[str, Any]
File = Annotated[str | None, Field(description="Path inside the project's folder (default: its root file).")]
Text = Annotated[str, Field(description="The whole new text of the file.")]
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_RECORDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

_INSTRUCTIONS = """\
SPAK: one .spak file is the single source of truth of a GPU kernel project. Begin with `contract`: it says what is
demanded and which statements your role owns. Change the file with `write`, which refuses what your role does not own;
`diff` with `text` says beforehand what a change means. Then `check`, `verify`, and read `status`. `explain` says what
a code such as SPAK201 means and how to mend it. Nothing is true because a file says so: `status` says what is known.
"""


def serve(project: Project) -> None:
    """Serves on standard input and output until the other side closes them."""
    make_server(project).run("stdio")


def make_server(project: Project) -> MCPServer[Any]:
    """The server of a project, with a tool for each command there is; `write` only for a role."""
    server = _Server(
        "spakc", version=__version__, instructions=_INSTRUCTIONS + _role_text(project), log_level="ERROR"
    )
    tools = _Tools(project)
    for name, (tool, hints) in tools.all().items():
        server.add_tool(tool, name=name, annotations=hints)
    return server


class _Server(MCPServer[Any]):
    """Refuses arguments that a tool does not have, and its schemas say so. The SDK drops them: then a call that
    misspells the argument `file` would read or replace the root file."""

    async def list_tools(self) -> list[Tool]:
        tools = await super().list_tools()
        for tool in tools:
            tool.input_schema = {**tool.input_schema, "additionalProperties": False}
        return tools

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        schemas = {tool.name: tool.input_schema for tool in await super().list_tools()}
        known = schemas[name]["properties"] if name in schemas else arguments
        if unknown := [each for each in arguments if each not in known]:
            raise ToolError(f"`{name}` has no argument {_names(unknown)}; its arguments are {_names(known)}")
        return await super().call_tool(name, arguments, context)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{driver.shorten(name)}`" for name in names)


def _role_text(project: Project) -> str:
    root = f"The project is {project.shown(project.file)}."
    if project.role is None:
        return f"{root} No role was given, so no file can be written.\n"
    return f"{root} Your role is {project.role}.\n"


class _Tools:
    """The tools as methods; their docstrings are what an agent reads."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def all(self) -> dict[str, tuple[Callable[..., Any], ToolAnnotations]]:
        tools: dict[str, tuple[Callable[..., Any], ToolAnnotations]] = {
            "check": (self.check, _READS),
            "explain": (self.explain, _READS),
            "contract": (self.contract, _READS),
            "status": (self.status, _READS),
            "diff": (self.diff, _READS),
            "read": (self.read, _READS),
            "compile": (self.compile, _RECORDS),
            "verify": (self.verify, _RECORDS),
            "bench": (self.bench, _RECORDS),
            "tune": (self.tune, _RECORDS),
        }
        if self.project.role is not None:
            tools["write"] = (self.write, ToolAnnotations(read_only_hint=False, destructive_hint=True))
        return tools

    async def check(self, file: File = None) -> Answer:
        """Prove what can be proved without compiling: names, shapes, units, laws. One result a law and target."""
        return await self._command("check", file)

    async def explain(
        self, code: Annotated[str, Field(description="A diagnostic's code, such as SPAK201.")]
    ) -> Answer:
        """What a diagnostic means, why, the smallest file that earns it, and its repair."""
        return await self._run("explain", "--format", "json", "--", code)

    async def contract(
        self, role: Literal["implementer", "architect"] | None = None, file: File = None
    ) -> Answer:
        """What a role has to know (default: your own): mathematics, laws with their status, lawful values of knobs,
        what verification demands, claims, the statements that the role owns; for the architect what laws cut,
        which conflict, what is violated, stale or only prose."""
        own = self.project.role if self.project.role in ("implementer", "architect") else "implementer"
        return await self._command("contract", file, "--role", role or own or "implementer")

    async def status(self, file: File = None) -> Answer:
        """Every statement: verdict, by which means it is known, whether that is fresh, on which device."""
        return await self._command("status", file)

    async def diff(
        self,
        text: Annotated[
            str | None, Field(description="Compare the file as it is with this text for it.")
        ] = None,
        file: File = None,
        old: Annotated[str | None, Field(description="Or compare this root file with `file`.")] = None,
        role: Annotated[str | None, Field(description="Judge as this role (default: your own).")] = None,
    ) -> Answer:
        """What changed by meaning: added, removed, weakened, strengthened, changed, reworded, moved; and whether the
        role may make each change. Nothing is written."""
        judged_as = role or self.project.role
        if text is not None:
            return await asyncio.to_thread(self._proposed, file, text, judged_as)
        with_role = ("--role", judged_as) if judged_as is not None else ()
        try:
            paths = [self.project.shown(self.project.path(name)) for name in (old, file)]
        except SpakError as error:
            return _answer(DIAGNOSTICS, [], error.diagnostics)
        return await self._run("diff", *with_role, "--format", "json", "--", *paths)

    async def read(self, file: File = None) -> Answer:
        """The text of a file of the project's folder."""
        try:
            path = self.project.path(file)
            return _answer(OK, [{"file": self.project.shown(path), "text": path.read_text("utf-8")}], ())
        except SpakError as error:
            return _answer(DIAGNOSTICS, [], error.diagnostics)
        except (OSError, UnicodeDecodeError):
            return _answer(DIAGNOSTICS, [], [Diagnostic("SPAK002", f"`{file}` cannot be read as text")])

    async def compile(
        self,
        file: File = None,
        output: Annotated[
            str | None, Field(description="Folder of the artifact, inside the project's.")
        ] = None,
        arch: Annotated[list[str], Field(description="Also build cubins: sm_80, sm_90a, …")] = [],  # noqa: B006
    ) -> Answer:
        """Compile to an artifact: CUDA, PyTorch, a manifest; with `arch` cubins, without a GPU. Says which variants
        were chosen and why."""
        options = ["--arch", ",".join(arch)] if arch else []
        if output is not None:
            try:
                options += ["-o", self.project.shown(self.project.path(output))]
            except SpakError as error:
                return _answer(DIAGNOSTICS, [], error.diagnostics)
        return await self._command("compile", file, *options)

    async def verify(
        self,
        file: File = None,
        kernels: Annotated[list[str], Field(description="Only these kernels.")] = [],  # noqa: B006
        cases: Annotated[
            int | None, Field(ge=1, description="Cases of each variant (default: the file's).")
        ] = None,
        seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
        on: Literal["emulator", "gpu"] = "emulator",
        replay: Annotated[str | None, Field(description="Run one case again: the word of a failure.")] = None,
    ) -> Answer:
        """Hold kernels to their mathematics by random cases, and establish the laws that need code or cases. What is
        found is appended to the evidence. Exit code 3: a kernel is wrong or breaks a law."""
        options = ["--on", on, "--seed", str(seed), *_each("--kernel", kernels)]
        options += ["--cases", str(cases)] if cases is not None else []
        options += [f"--replay={replay}"] if replay is not None else []
        return await self._command("verify", file, *options)

    async def bench(
        self,
        file: File = None,
        claims: Annotated[list[str], Field(description="Only these claims.")] = [],  # noqa: B006
        rounds: Annotated[int, Field(ge=3, le=1000)] = 15,
    ) -> Answer:
        """Time what claims compare, in turns with the library, on this machine's GPU. The figures are appended to the
        evidence. Exit code 5: there is no device, or a claim stays open."""
        return await self._command("bench", file, "--rounds", str(rounds), after=claims)

    async def tune(
        self,
        file: File = None,
        kernel: Annotated[str, Field(description="Only this kernel.")] = "",
        schedule: Annotated[
            str, Field(description="This schedule (default: the fastest by the model).")
        ] = "",
        at: Annotated[
            list[str], Field(description="Calls, `M=64,N=64,K=64` (default: those of claims).")
        ] = [],  # noqa: B006
        seconds: Annotated[float, Field(gt=0, le=86_400, description="For all calls together.")] = 60,
    ) -> Answer:
        """Time configs of a schedule on this machine's GPU, and append the times to the evidence; says which `prefer`
        they support. Without a device (exit code 5) the cost model ranks."""
        options = [f"--kernel={kernel}", f"--schedule={schedule}", *_each("--at", at), f"--budget={seconds}s"]
        return await self._command("tune", file, *options)

    async def write(self, text: Text, file: File = None) -> Answer:
        """Replace the text of a file of the project. Refused as a whole, with the reasons, if the project would not
        check, or if one of the changes alters a statement that your role does not own."""
        return await asyncio.to_thread(self._written, file, text)

    # ---- running --------------------------------------------------------------------------------------

    def _proposed(self, file: str | None, text: str, role: str | None) -> Answer:
        try:
            rows, said = self.project.propose(file, text, role)
        except SpakError as error:
            return _answer(DIAGNOSTICS, [], error.diagnostics)
        wrong = any(diagnostic.severity == "error" for diagnostic in said)
        return _answer(DIAGNOSTICS if wrong else OK, rows, said)

    def _written(self, file: str | None, text: str) -> Answer:
        try:
            rows, said = self.project.write(file, text)
        except Refused as error:
            return _answer(DIAGNOSTICS, error.rows, error.diagnostics) | {"written": False}
        except SpakError as error:
            return _answer(DIAGNOSTICS, [], error.diagnostics) | {"written": False}
        return _answer(OK, rows, said) | {"written": True}

    async def _command(
        self, name: str, file: str | None, *options: str, after: list[str] | None = None
    ) -> Answer:
        try:
            path = self.project.shown(self.project.path(file))
        except SpakError as error:
            return _answer(DIAGNOSTICS, [], error.diagnostics)
        return await self._run(name, *options, "--format", "json", "--", path, *(after or []))

    async def _run(self, *arguments: str) -> Answer:
        """One command in a process of its own, in the project's folder; it ends when the call is cancelled."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "spakc", *arguments),
            cwd=self.project.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await child.communicate()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        results, text = _objects(out.decode(errors="replace"))
        diagnostics, more = _objects(err.decode(errors="replace"))
        code = child.returncode if child.returncode is not None else DIAGNOSTICS
        said = [*text, *more]
        answer = {"exit_code": code, "meaning": EXIT_CODES.get(code, "stopped"), "results": results}
        return answer | {"diagnostics": diagnostics} | ({"text": "\n".join(said)} if said else {})


def _each(option: str, values: list[str]) -> list[str]:
    return [f"{option}={value}" for value in values]


def _answer(code: int, rows: list[Answer], said: Any) -> Answer:
    diagnostics = [json.loads(render_json(diagnostic)) for diagnostic in said]
    return {"exit_code": code, "meaning": EXIT_CODES[code], "results": rows, "diagnostics": diagnostics}


def _objects(text: str) -> tuple[list[Answer], list[str]]:
    """The objects that a command printed, one document or one a line, and the lines that are none."""
    try:
        whole = json.loads(text)
        return ([whole], []) if isinstance(whole, dict) else ([], [text])
    except ValueError:
        pass
    found: list[Answer] = []
    rest: list[str] = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            found.append(value)
        elif line.strip():
            rest.append(line)
    return found, rest
