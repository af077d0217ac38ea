"""Objects that the emulator keeps: whatever happens to them, what runs is what was built."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spak_runtime.emulator import kept, toolchain
from spak_runtime.emulator.toolchain import kernel_library
from spak_runtime.errors import ToolError
from spakc.resources import resource

TEXT = """#include "spak/primitives.cuh"
using namespace spak;
struct Params { f32* y; };
SPAK_KERNEL(k, Params, 32) { store(params.y + thread_index(), VALUE); }
"""


def built(value: str = "1.0f") -> Path:
    return kernel_library(
        TEXT.replace("VALUE", value), "k.cu", [resource("templates/cuda/include")], (), True
    )


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path / "cache"))


def exchange(path: Path, other: Path) -> None:
    """Another kernel under its name, with the digest that lay beside that one."""
    for suffix in (path.suffix, ".sha256"):
        path.with_suffix(suffix).write_bytes(other.with_suffix(suffix).read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:4000]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: path.write_bytes(built("2.0f").read_bytes()),  # another kernel under its name
        lambda path: exchange(path, built("2.0f")),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".sha256").write_bytes(b"\xff"),
        lambda path: path.with_suffix(".sha256").unlink(),
    ],
)
def test_what_was_cut_off_damaged_or_exchanged_is_built_again(damage: Callable[[Path], object]) -> None:
    path = built()
    right = path.read_bytes()
    damage(path)
    assert not kept.is_sound(path)
    assert built() == path and path.read_bytes() == right


@pytest.mark.parametrize("suffix", [".so", ".sha256"])
def test_a_place_where_nothing_can_be_kept_is_one_clear_error(suffix: str) -> None:
    place = built().with_suffix(suffix)
    place.unlink()
    place.mkdir()
    with pytest.raises(ToolError, match="cannot keep its builds in"):
        built()


def test_what_is_sound_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = built()
    kept._looked_at.clear()
    monkeypatch.setattr(toolchain, "_run", lambda *_: pytest.fail("it is there"))
    assert built() == path and kept.is_sound(path)


def test_what_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    path = built()
    kept.forget(path)
    assert not list(path.parent.glob("kernel-*"))


WORKER = """
import sys, random
from pathlib import Path
from tests.unit.emulator.test_kept import built
from spak_runtime.emulator import kept
for turn in range(12):
    kept._looked_at.clear()
    path = built()
    data = path.read_bytes()
    if turn % 3 == int(sys.argv[1]):  # while the other builds and reads
        path.write_bytes(data[: len(data) // 2])
    elif kept.is_sound(path):
        assert data.startswith(b"\\x7fELF")
"""


def test_two_processes_that_build_and_damage_never_load_a_wrong_one() -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(i)], stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    path = built()
    assert kept.is_sound(path) and path.read_bytes().startswith(b"\x7fELF")
