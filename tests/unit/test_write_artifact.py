"""An artifact is replaced in one step: whoever is killed leaves the old one or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spakc import driver

ROOT = Path(__file__).parents[2]
WRITER = """
import itertools, sys
from pathlib import Path
from spakc.driver import write_artifact
for n in itertools.count():
    schema = '{"schema": "spak-artifact/1", "n": %d}' % n
    write_artifact({"manifest.json": schema, "kernels/a.cu": schema, "kernels/b.cu": schema}, Path(sys.argv[1]))
    if n == 0:
        print("written", flush=True)
"""


def test_a_kill_leaves_a_whole_artifact(tmp_path: Path) -> None:
    if not _can_exchange(tmp_path):
        pytest.skip("this file system cannot exchange two folders")
    out = tmp_path / "out"
    for attempt in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "runtime")))},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        texts = {path.read_text() for path in out.rglob("*") if path.is_file()}
        assert len(texts) == 1 and len(list(out.rglob("*.cu"))) == 2


def test_without_an_exchange_it_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "exchange", lambda one, other: False)
    out = tmp_path / "out"
    for n in range(2):
        driver.write_artifact({"manifest.json": '{"schema": "spak-artifact/1"}', f"kernels/{n}.cu": ""}, out)
    assert [path.name for path in (out / "kernels").iterdir()] == ["1.cu"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _can_exchange(folder: Path) -> bool:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    return driver.exchange(folder / "a", folder / "b")
