"""`spakc run`: a tiny experiment from the file to verdicts, its exit codes, and a kill at a random moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from spak_runtime.training.alone import LOCK, alone_in
from tests.unit.cli.invoke import invoke, rows

EXPERIMENT = """spak 1
model Tiny {{
  hyper wide = 16, floors = 1
  part floor(x: [B, T, wide]) -> y: [B, T, wide] {{
    y = x + mlp(norm(x), hidden = 2 * wide, activation = relu)
  }}
  forward(tokens: int [B, T]) -> scores: [B, T, vocab] {{
    x = embed(tokens)
    repeat floors {{ x = floor(x) }}
    scores = unembed(norm(x), tied = true)
  }}
}}
dataset echo {{
  sample a: digits(n)
  text a, "=", a, end
  loss after "="
  split train n in {{1}}
  split longer n in {{2}} size 20
  law apart: disjoint(train, longer)
}}
protocol careful {{
  gate sane {{ require laws(data) }}
  gate smoke {{ train(steps = 5, batches = 1)  require loss < {bound} }}
}}
experiment e {{
  model Tiny
  data echo
  protocol careful
  train(steps = {steps}, batch = 8, seeds = {{{seeds}}}, clip = 1.0)
  optimizer adamw(betas = (0.9, 0.95))
  lr cosine(peak = 3e-3, warmup = 5)
  profile quick {{ train.steps = 3  train.seeds = {{0}} }}
}}
claim small: parameters(e) <= {limit}
{more}
"""
SETTINGS: Mapping[str, Any] = {"bound": 100, "steps": 12, "limit": 10_000, "seeds": "0, 1", "more": ""}


def write(folder: Path, **settings: Any) -> Path:
    path = folder / "tiny.spak"
    path.write_text(EXPERIMENT.format(**{**SETTINGS, **settings}))
    return path


def run(folder: Path, *arguments: str, **settings: Any) -> Result:
    return invoke("run", write(folder, **settings), "-o", folder / "out", *arguments)


def test_a_strict_run_of_a_file_without_kernels_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "--strict")
    assert result.exit_code == 1
    assert "SPAK561" in result.stderr and "names no kernel for activation, linear, loss" in result.stderr
    assert "who computed what" not in result.stdout


def test_lines_of_what_a_run_refuses_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of kernels came as one line with pictures of line breaks in it."""
    from spak_runtime.training import kernels
    from spak_runtime.training import run as training

    def refuse(*_arguments: Any, **_options: Any) -> None:
        kernels.refuse(kernels.Table(2, (), 0, ()).to_json())

    monkeypatch.setattr(training, "run_experiment", refuse)
    lines = run(tmp_path).stderr.splitlines()
    assert lines[0] == "error[SPAK561]: a step is not what the file says:"
    assert any("the profiler saw no kernel" in line for line in lines[1:])


def test_from_the_file_to_verdicts(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    for part in ("gates: sane holds, smoke holds", "who computed what", "claim small", "holds", "e seed 1"):
        assert part in result.stdout
    out = tmp_path / "out"
    for name in (
        "artifact/manifest.json",
        "report.html",
        "report.png",
        "status.txt",
        "runs/e-0/model.safetensors",
    ):
        assert (out / name).stat().st_size > 0
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tiny.evidence.jsonl", "tiny.spak"]
    again = run(tmp_path, "--format", "json")
    found = rows(again.stdout)
    assert [row["experiment"] for row in found if row["schema"] == "spak-run/1"] == ["e", "e"]
    assert [row["schema"] for row in found].count("spak-status/1") == 1


def test_runs_side_by_side_leave_what_runs_in_turn_leave(tmp_path: Path) -> None:
    for folder, arguments in (("turn", ()), ("abreast", ("--jobs", "2"))):
        (tmp_path / folder).mkdir()
        result = run(tmp_path / folder, *arguments, seeds="0, 1, 2", steps=6)
        assert result.exit_code == 0, result.output
    assert "3 runs, 2 at a time" in result.stdout and "e seed 2: done" in result.stdout
    for seed in range(3):
        one, other = (tmp_path / folder / "out" / "runs" / f"e-{seed}" for folder in ("turn", "abreast"))
        assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        assert _figures(one) == _figures(other)


def _figures(folder: Path) -> Any:
    figures = json.loads((folder / "figures.json").read_text())
    return [figures[key] for key in ("identity", "seed", "loss", "rows", "gates", "steps")]


def test_a_mistake_in_a_run_at_the_side_is_one_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "runs" / "e-1").write_text("in the way")
    result = run(tmp_path, "--jobs", "2")
    assert result.exit_code == 1 and result.stderr.count("error[") == 1, result.output


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"limit": 10}, 4),
        ({"bound": "0.000001"}, 5),
        ({"more": "claim fast: time(e) <= 1 us"}, 5),
    ],
    ids=["refuted", "gate", "open"],
)
def test_exit_codes(settings: dict[str, Any], code: int, tmp_path: Path) -> None:
    result = run(tmp_path, **settings)
    assert result.exit_code == code, result.output


def test_a_profile_settles_no_claim(tmp_path: Path) -> None:
    result = run(tmp_path, "--profile", "quick")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "runs" / "e-quick-0" / "figures.json").is_file()


@pytest.mark.parametrize("name", ["figures.json", "log.jsonl", "checkpoint.safetensors", "measured.json"])
def test_what_a_run_left_and_something_damaged(name: str, tmp_path: Path) -> None:
    assert run(tmp_path, "--profile", "quick").exit_code == 0
    left = tmp_path / "out" / "runs" / "e-quick-0" / name
    left.write_bytes(left.read_bytes()[:-7] + bytes(range(250, 256)))
    result = run(tmp_path, "--profile", "quick")
    assert result.exit_code == 0, result.output


def test_figures_that_somebody_changed_are_taken_again(tmp_path: Path) -> None:
    assert run(tmp_path, "--profile", "quick").exit_code == 0
    left = tmp_path / "out" / "runs" / "e-quick-0" / "figures.json"
    whole = lasting(left.parent)
    for changes in (
        {"rows": "x"},
        {"gates": None},
        {"point": 5},
        {"experiment": "other"},
        {"loss": "NaN"},
        None,
    ):
        figures = json.loads(left.read_text())
        if changes is None:
            figures["rows"][0]["correct"] = -5
        left.write_text(json.dumps({**figures, **(changes or {})}))
        result = run(tmp_path, "--profile", "quick")
        assert result.exit_code == 0, result.output
        assert lasting(left.parent) == whole


def test_a_file_where_runs_should_stand(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "runs").write_text("mine")
    result = run(tmp_path, "--profile", "quick")
    assert result.exit_code == 1 and "SPAK559" in result.stderr
    assert (tmp_path / "out" / "runs").read_text() == "mine"


def test_a_second_run_in_the_folder_of_the_first_is_told_so_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with alone_in(out):
        result = run(tmp_path, "--profile", "quick")
        assert result.exit_code == 1 and result.stderr.count("error[") == 1 and "SPAK564" in result.stderr
        assert f"process {os.getpid()}" in result.stderr
        assert [path.name for path in out.iterdir()] == [LOCK]
    (out / "runs" / "e-quick-0").mkdir(parents=True)
    with alone_in(out / "runs" / "e-quick-0"):  # a process of a run whose parent was killed is still there
        monkeypatched = pytest.MonkeyPatch()
        monkeypatched.setattr("spak_runtime.training.run.PATIENCE", 0.1)
        result = run(tmp_path, "--profile", "quick")
        monkeypatched.undo()
    assert result.exit_code == 1 and "SPAK559" in result.stderr and "another process" in result.stderr
    assert run(tmp_path, "--profile", "quick").exit_code == 0


def test_two_runs_at_once_end_in_the_same_bits_as_one(tmp_path: Path) -> None:
    file = write(tmp_path, steps=40, seeds="0")
    assert invoke("run", file, "e", "-o", tmp_path / "alone").exit_code == 0
    out = tmp_path / "shared"
    command = [sys.executable, "-m", "spakc", "run", str(file), "e", "-o", str(out)]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = sorted((process.communicate()[1], process.returncode) for process in both)
    assert {code for _, code in ends} <= {0, 1} and 0 in {code for _, code in ends}
    assert all("SPAK564" in said for said, code in ends if code)
    assert lasting(out / "runs" / "e-0") == lasting(tmp_path / "alone" / "runs" / "e-0")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_whoever_may_read_what_else_is_written_may_read_what_a_run_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        assert run(tmp_path, "--profile", "quick").exit_code == 0
    finally:
        os.umask(before)
    left = [*(tmp_path / "out").rglob("*"), tmp_path / "tiny.evidence.jsonl"]
    assert {path.name for path in left} >= {"checkpoint.safetensors", "model.safetensors", "figures.json"}
    for path in left:
        whole = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == whole & ~umask, path


def test_a_model_that_no_memory_holds_is_one_diagnostic(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("wide = 16", "wide = 1_000_000").replace("claim small", "# "))
    result = invoke("run", file, "-o", tmp_path / "out", "--profile", "quick")
    assert result.exit_code == 1 and result.stderr.count("error[") == 1, result.output
    assert "SPAK559" in result.stderr and "more memory than there is" in result.stderr


def test_what_the_file_does_not_have(tmp_path: Path) -> None:
    assert "SPAK560" in run(tmp_path, "another").stderr
    assert not (tmp_path / "out").exists()
    result = run(tmp_path, "--profile", "anything")
    assert result.exit_code == 1 and "SPAK560" in result.stderr and "quick" in result.stderr


def lasting(folder: Path) -> dict[str, Any]:
    """What a run leaves that does not depend on when it ran."""
    figures = json.loads((folder / "figures.json").read_text())
    kept = {k: v for k, v in figures.items() if k not in ("date", "seconds", "checksum")}
    files = ("model.safetensors", "checkpoint.safetensors", "log.jsonl")
    return {"figures": kept, **{name: (folder / name).read_bytes() for name in files}}


def test_killed_at_a_random_moment_it_resumes_in_the_same_bits(tmp_path: Path) -> None:
    file = write(tmp_path, steps=150, seeds="0")
    assert invoke("run", file, "e", "-o", tmp_path / "whole").exit_code == 0
    out, log = tmp_path / "killed", tmp_path / "killed" / "runs" / "e-0" / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "spakc", "run", str(file), "e", "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not log.exists():
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = invoke("run", file, "e", "-o", out)
    assert result.exit_code == 0, result.output
    assert lasting(out / "runs" / "e-0") == lasting(tmp_path / "whole" / "runs" / "e-0")
    finished = json.loads((out / "runs" / "e-0" / "figures.json").read_text())
    invoke("run", file, "e", "-o", out)
    again = json.loads((out / "runs" / "e-0" / "figures.json").read_text())
    assert again == finished, "a finished run is read, not repeated"
