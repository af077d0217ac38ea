"""Ctrl-C, as a terminal sends it: to a command and to every process that it started. It ends with 130 and leaves
neither a process nor a traceback; what was judged before is kept."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spakc import cli
from spakc.tune.timer import JsonChild

ROOT = Path(__file__).parents[3]
TRAIN = str(ROOT / "examples" / "kernels" / "train.spak")
ADDITION = str(ROOT / "examples" / "looplm" / "addition.spak")

Begun = Callable[[int], bool]
"""Whether what a session of processes, named by its first one, is interrupted in has begun."""


def members(session: int) -> list[int]:
    """The processes of a session that are not over."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, own, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if own == str(session) and state != "Z":
            found.append(int(entry.name))
    return found


def starts(count: int) -> Begun:
    return lambda session: len(members(session)) >= count


def deaf(count: int) -> Begun:
    """So many processes to which the interrupt does not come, and a moment for them to be at work."""

    def begun(session: int) -> bool:
        spared = [pid for pid in members(session) if _blocked(pid)]
        if len(spared) >= count:
            time.sleep(0.5)
        return len(spared) >= count

    return begun


def serves(session: int) -> bool:
    """Whether it catches the interrupt and has slept for a second: it waits for what comes in, however long a busy
    machine took to start it."""
    for _ in range(20):
        if not _has("SigCgt", session) or _status(session).get("State", "")[:1] != "S":
            return False
        time.sleep(0.05)
    return True


def _blocked(pid: int) -> bool:
    return _has("SigBlk", pid)


def _has(mask: str, pid: int) -> bool:
    """Whether the interrupt is in a set of signals of a process."""
    return bool(int(_status(pid).get(mask, "0"), 16) >> (signal.SIGINT - 1) & 1)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def interrupted(process: subprocess.Popen[str], begun: Begun) -> str:
    """What it printed until it was over."""
    wait_for(lambda: begun(process.pid), process)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    wait_for(lambda: not members(process.pid), None)
    return said


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str] | None) -> None:
    until = time.monotonic() + 180
    while not what():
        assert process is None or process.poll() is None, "over before it was interrupted"
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


COMMANDS: dict[str, tuple[tuple[str, ...], Begun]] = {
    "run": (("run", ADDITION, "--profile", "cpu", "--jobs", "2"), deaf(2)),
    "verify": (("verify", TRAIN, "--kernel", "swiglu", "--cases", "50"), starts(2)),
    "cheats": (("selftest", "--cheats", "--on", "emulator"), deaf(1)),
    "mcp": (("mcp", TRAIN), serves),
    "lsp": (("lsp",), serves),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_ends_all_that_it_started(name: str, tmp_path: Path) -> None:
    arguments, begun = COMMANDS[name]
    output = ("-o", str(tmp_path / "out")) if arguments[0] == "run" else ()
    with started("-m", "spakc", *arguments, *output) as process:
        said = interrupted(process, begun)
    assert "Traceback" not in said and "Interrupt" not in said
    assert process.returncode == 130 or (name == "lsp" and process.returncode == 0), (
        said
    )  # pygls ends as if asked to


def test_an_interrupt_while_the_collector_calls_back_comes_a_moment_later() -> None:
    """What is raised there is printed and forgotten: the command would go on."""
    calls = []

    def callback(_phase: str, _info: dict[str, int]) -> None:
        calls.append(None)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, cli.interrupted)
    gc.callbacks.append(callback)
    try:
        gc.collect()
        assert calls
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
    finally:
        gc.callbacks.remove(callback)
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_selftest_keeps_what_it_has_judged(tmp_path: Path) -> None:
    journal = tmp_path / "score.jsonl"
    arguments = ("selftest", TRAIN, "--template", "grid_stride", "--jobs", "2", "--cases", "1")
    with started("-m", "spakc", *arguments, "-o", str(tmp_path / "score.json")) as process:
        said = interrupted(process, lambda _: journal.exists() and journal.read_text().count("\n") >= 2)
    assert "Traceback" not in said and process.returncode == 130, said
    kept = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(kept) >= 2
    assert not (tmp_path / "score.json").exists()


ECHO = """
import json, signal, sys
for _ in sys.stdin:
    print(json.dumps({"held": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())}), flush=True)
"""


def test_the_child_that_times_configs_is_spared() -> None:
    """`tune` needs a device; how its child is started does not."""
    with JsonChild({}, command=(sys.executable, "-c", ECHO)) as child:
        assert child.ask({}) == {"held": True}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
