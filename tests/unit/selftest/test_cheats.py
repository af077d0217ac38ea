"""What pretends is refused by what is there to refuse it; where that is taken away, the self-test says so."""

from __future__ import annotations

import datetime
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spak_runtime.emulator.imports import foreign
from spak_runtime.emulator.toolchain import kernel_library
from spak_runtime.errors import BuildError
from spakc import evidence
from spakc.cli import cli
from spakc.implement import examine
from spakc.implement.hosted import for_host
from spakc.resources import resource
from spakc.selftest import cheating

INCLUDE = [resource("templates") / "cuda" / "include"]
KERNEL = """#include "spak/primitives.cuh"
using namespace spak;
struct Params { f32* y; };
BEFORE
SPAK_KERNEL(k, Params, 32) { HERE store(params.y + thread_index(), __builtin_expf(params.y[0])); }
"""


def verdicts(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(
        cli, ["selftest", "--cheats", "--on", "emulator", "--format", "json", *arguments]
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["schema"] for row in rows} == {"spak-cheats/1"}, result.output
    return result.exit_code, {row["cheat"]: row for row in rows}


def test_every_cheat_is_caught_and_honest_work_accepted() -> None:
    code, found = verdicts()
    said = {name: row["verdict"] for name, row in found.items()}
    assert {name for name, row in found.items() if row["control"]} == {"honest", "clock"}
    assert said.pop("honest") == said.pop("clock") == "accepted"
    assert said.pop("output_already_there") == "skipped", "there is no device here"
    assert set(said.values()) == {"caught"} and len(said) == 16, found
    assert said.keys() >= {
        "zeros",
        "cached",
        "judges_memory",
        "writes_less",
        "spoils_inputs",
        "stream_of_its_own",
        "patched_timer",
    }
    assert code == 0


def test_a_cheat_that_gets_through_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    once = functools.partial(examine.verify_variant)
    monkeypatch.setattr(examine, "verify_variant", lambda *a, fresh, **more: once(*a, **more))
    monkeypatch.setattr(cheating, "disagreement", lambda *_: "")
    monkeypatch.setattr(evidence, "CLOCKS_APART", datetime.timedelta(days=365 * 2000))
    code, found = verdicts()
    through = {name for name, row in found.items() if row["verdict"] == "GOT THROUGH"}
    assert through == {"cached", "patched_timer", "row_of_tomorrow"} and code == 3, found


def test_a_refused_control_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what is refused for another reason than its own counts as accepted."""
    project = Path(shutil.copytree(cheating.PROJECT.parent, tmp_path / "cheats"))
    for name in ("honest", "zeros"):
        source = project / f"{name}.cu"
        source.write_text(source.read_text().replace("i32 at =", "nonsense at ="))
    monkeypatch.setattr(cheating, "PROJECT", project / cheating.PROJECT.name)
    trial = cheating._tried(cheating.PROJECT, "emulator", 0)
    assert cheating._control(trial).verdict == "REFUSED"
    zeros = cheating._source(trial, "zeros", cheating.CAUGHT["zeros"])
    assert zeros.verdict == "GOT THROUGH" and "caught by accident" in zeros.by


def built(before: str = "", here: str = "") -> Path:
    text = for_host(KERNEL.replace("BEFORE", before).replace("HERE", here))
    return kernel_library(text, "k.cu", INCLUDE, (), True)


def test_a_kernel_asks_for_the_emulator_and_arithmetic_only() -> None:
    assert foreign(built()) == []
    asked = 'extern "C" long getpid();'
    with pytest.raises(BuildError, match="asks the host for `getpid`, which no device has"):
        built(asked, "if (getpid() < 0) return;")
    with pytest.raises(BuildError, match="`dlopen`"):
        built('extern "C" void* dlopen(const char*, int); static void* p = dlopen("libc.so.6", 2);')
    with pytest.raises(BuildError, match="`spak_emu_run`"):
        built('extern "C" const char* spak_emu_run(void*);', "spak_emu_run(nullptr);")


@pytest.mark.parametrize(
    "here",
    ['asm("nop");', '__asm__ volatile("nop");', '__asm("nop");', 'JOIN(__as, m__)("nop");'],
)  # fmt: skip
def test_a_kernel_has_no_instructions_of_the_host(here: str) -> None:
    with pytest.raises(BuildError, match="instructions_of_the_host"):
        built("#define JOIN(a, b) a##b", here)


@pytest.mark.parametrize(
    "line",
    ["#undef asm", "  #  undef __asm__", "#un\\\ndef asm", "#/**/undef asm", "%:undef __asm", "??=undef asm"],
)
def test_and_none_by_another_name(line: str) -> None:
    with pytest.raises(BuildError, match="instructions of the host"):
        built(line, 'asm("nop");')
