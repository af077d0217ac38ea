"""A recorded session of agents, played again: `python -m spakc.agents.replay SESSION [--record]`.

A session is a list of steps: which role calls which tool with which arguments, and what it was answered. Each role
has a server of its own, all on one copy of the project. A step's `edit` is an argument `text` made from the file as it
is then: what each line is replaced by. Answers are kept as digests: what was decided and why, no dates and no places.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

Step = dict[str, Any]


async def play(session: dict[str, Any], source: Path, folder: Path) -> list[Step]:
    """The steps as they are answered now, on a copy of the project in `folder`."""
    file = folder / session["project"]
    shutil.copyfile(source / session["project"], file)
    played: list[Step] = []
    async with AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        for role in dict.fromkeys(step["role"] for step in session["steps"]):
            command = StdioServerParameters(
                command=sys.executable,
                args=["-m", "spakc", "mcp", str(file), "--role", role],
                env=dict(os.environ),
            )
            clients[role] = await stack.enter_async_context(Client(stdio_client(command)))
        for step in session["steps"]:
            arguments = dict(step.get("arguments", {}))
            if "edit" in step:
                arguments["text"] = edited(file.read_text("utf-8"), step["edit"])
            result = await clients[step["role"]].call_tool(step["tool"], arguments)
            played.append({**step, "answer": digest(step["tool"], result.structured_content or {})})
    return played


def edited(text: str, edit: dict[str, str]) -> str:
    """The text with each line or part replaced. Raises ValueError for a part that is not there exactly once."""
    for old, new in edit.items():
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in the file")
        text = text.replace(old, new)
    return text


_KEEP = {
    "diff": ("change", "statement", "owner", "allowed", "detail"),
    "write": ("change", "statement", "owner", "allowed", "detail"),
    "status": ("statement", "verdict", "means", "fresh"),
    "check": ("law", "verdict", "means"),
}


def digest(tool: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What a step decided: exit code, diagnostics, and of each result what its tool is about."""
    found: dict[str, Any] = {"exit_code": answer.get("exit_code")}
    if "written" in answer:
        found["written"] = answer["written"]
    if answer.get("diagnostics"):
        found["diagnostics"] = [f"{d['code']}: {d['message']}" for d in answer["diagnostics"]]
    results = answer.get("results", [])
    if tool in _KEEP:
        found["results"] = [{key: row.get(key) for key in _KEEP[tool]} for row in results]
    elif tool == "verify":
        found["laws"] = [
            f"{law['statement']}: {law['verdict']}" for row in results for law in row.get("laws", [])
        ]
    elif tool == "contract":
        found["levers"] = [lever["statement"] for lever in results[0]["levers"]]
        found["open"] = [row["statement"] for row in results[0].get("undecided", [])]
        found["stale"] = [row["statement"] for row in results[0].get("stale", [])]
    return found


def differences(session: dict[str, Any], played: list[Step]) -> list[str]:
    """Where a replay was answered differently from the record."""
    found = []
    for i, (then, now) in enumerate(zip(session["steps"], played, strict=True), 1):
        if then.get("answer") != now["answer"]:
            said = f"step {i}, {then['role']} {then['tool']}"
            found.append(
                f"{said}:\n  then {json.dumps(then.get('answer'))}\n  now  {json.dumps(now['answer'])}"
            )
    return found


def main() -> int:
    """Replays and compares, or records anew. Exit 1: something was answered differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", type=Path)
    parser.add_argument("--record", action="store_true", help="Write the answers of now into the session.")
    asked = parser.parse_args()
    session = json.loads(asked.session.read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="spak-session-") as folder:
        played = asyncio.run(play(session, asked.session.parent, Path(folder)))
    if asked.record:
        asked.session.write_text(json.dumps(session | {"steps": played}, indent=1) + "\n", "utf-8")
        return 0
    for step in played:
        print(f"{step['role']}: {step['tool']}: {step.get('why', '')}")
    for difference in differences(session, played):
        print(difference, file=sys.stderr)
    return 1 if differences(session, played) else 0


if __name__ == "__main__":
    sys.exit(main())
