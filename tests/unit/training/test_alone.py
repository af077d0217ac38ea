"""The lock of a folder that runs write into: one holder, and nothing left of a dead one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spak_runtime.training.alone import LOCK, Taken, alone_in

HOLD = """
import sys, time
from pathlib import Path
from spak_runtime.training.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    return process


def test_the_second_is_told_who_is_first_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(Taken, match=f"process {process.pid}"), alone_in(tmp_path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with alone_in(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
        with pytest.raises(Taken), alone_in(tmp_path):  # another handle of this process is another holder
            pass
    with alone_in(tmp_path):
        pass


def test_whoever_has_patience_comes_in_when_the_first_leaves(tmp_path: Path) -> None:
    process = holder(tmp_path)
    threading.Timer(0.3, process.kill).start()
    begun = time.monotonic()
    with alone_in(tmp_path, patience=60):
        assert time.monotonic() - begun >= 0.2
    process.wait()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(other)
    with pytest.raises(OSError), alone_in(tmp_path / "out"):
        pass
    assert other.read_text() == "mine"
