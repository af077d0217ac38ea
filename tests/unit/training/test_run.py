"""Whole runs: gates in order, figures, withheld figures, and the same bits after a kill at any moment."""

import json
import math
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spak_runtime.training import build, checkpoint, evaluate, loop, spec
from spak_runtime.training.optim import learning_rate, phased
from spak_runtime.training.progress import Quiet
from spak_runtime.training.report import plot
from spak_runtime.training.run import run_experiment
from spak_runtime.training.spec import TrainingError
from tests.unit.models.compiled import NANOGPT, adders, compile_path, compile_text


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_text(adders()).write(tmp_path_factory.mktemp("adders"))


def lasting(figures):
    """Figures without what depends on the moment."""
    return {key: value for key, value in figures.items() if key not in ("date", "seconds")}


def break_off(monkeypatch: pytest.MonkeyPatch, model: Path, out: Path, at: int):
    """Trains until a step, which an exception ends: quick, and possible at the ends too."""
    forward = loop.Trainer._forward_backward

    def stopped(self, batch):
        if self.step == at and "identity" in self.state:
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_forward_backward", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(model, out, profile="tiny", save_seconds=0.0)


@pytest.mark.parametrize("name", ["stack", "wheel"])
def test_a_killed_run_ends_in_the_same_bits(models: Path, tmp_path: Path, name: str):
    whole = run_experiment(models / name, tmp_path / "whole", save_seconds=0.01)
    out = tmp_path / "killed"
    script = Path(__file__).with_name("killed.py")
    runtime = str(Path(__file__).parents[3] / "runtime")
    for when in ("step:7", "saving:6", "step:31", "evaluating"):
        done = subprocess.run(
            [sys.executable, str(script), str(models / name), str(out), "", when],
            env={"PYTHONPATH": runtime, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (out / "figures.json").exists()
    assert checkpoint.read_state(out / "checkpoint.safetensors")["step"] == 40
    again = run_experiment(models / name, out, save_seconds=0.0)
    assert lasting(again) == lasting(whole)
    for file in ("log.jsonl", "checkpoint.safetensors", "model.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    measured = json.loads((out / "measured.json").read_text())
    assert measured["seconds"] == again["seconds"] > 0, "of all parts of the run, the killed ones too"


def test_resuming_from_the_first_and_the_last_step(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = run_experiment(models / "wheel", tmp_path / "whole", profile="tiny")
    for stop in (0, 1, 5, 9):
        out = tmp_path / str(stop)
        break_off(monkeypatch, models / "wheel", out, stop)
        assert lasting(run_experiment(models / "wheel", out, profile="tiny")) == lasting(whole)


@pytest.mark.parametrize("part", ["model", "optimizer", "state"])
def test_a_checkpoint_with_one_bit_changed_is_none(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
):
    whole = run_experiment(models / "wheel", tmp_path / "whole", profile="tiny")
    out = tmp_path / "out"
    break_off(monkeypatch, models / "wheel", out, 6)
    path = out / "checkpoint.safetensors"
    assert checkpoint.read_state(path)["step"] > 0
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    if part == "state":
        place = data.index(b'\\"loss\\": ') + len(b'\\"loss\\": ')
        data[place] ^= 1  # another digit
    else:
        name = next(n for n in header if n.startswith(part) and not n.endswith("step"))
        data[8 + size + header[name]["data_offsets"][0] + 2] ^= 1
    path.write_bytes(data)
    assert checkpoint.read_state(path) is None
    assert lasting(run_experiment(models / "wheel", out, profile="tiny")) == lasting(whole)


def test_random_models_resume_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = compile_text(adders("coupled(random_offset = 6)")).write(tmp_path)
    whole = run_experiment(models / "stack", tmp_path / "whole", profile="tiny")
    break_off(monkeypatch, models / "stack", tmp_path / "out", 6)
    torch.rand(100)  # what the process drew in between does not matter
    assert lasting(run_experiment(models / "stack", tmp_path / "out", profile="tiny")) == lasting(whole)


def test_seeds_differ_and_nothing_global_changes(models: Path, tmp_path: Path):
    before = torch.get_rng_state()
    first = run_experiment(models / "stack", tmp_path / "0", profile="tiny", seed=0)
    second = run_experiment(models / "stack", tmp_path / "1", profile="tiny", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first["loss"] != second["loss"]


def test_what_reads_answers_off_is_evaluation(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At every loop, too: what torch computes there is no row of the training."""
    made, phases = [], {}
    build_ops = build.build_ops
    monkeypatch.setattr(build, "build_ops", lambda *args: made.append(build_ops(*args)) or made[-1])
    for reader in (evaluate.exact_match, evaluate.by_loops):

        def recorded(*args, reader=reader):
            phases.setdefault(reader.__name__, set()).add(made[-1]._phase)
            return reader(*args)

        monkeypatch.setattr(evaluate, reader.__name__, recorded)
    run_experiment(models / "wheel", tmp_path / "out", profile="tiny")
    assert phases == {"exact_match": {"evaluation"}, "by_loops": {"evaluation"}}
    assert made[-1]._phase == "training"


def test_figures(models: Path, tmp_path: Path):
    progress = Quiet()
    figures = run_experiment(models / "wheel", tmp_path / "out", profile="tiny", progress=progress)
    assert figures["passed"] and [gate["name"] for gate in figures["gates"]] == [
        "sane",
        "alike",
        "learns",
        "long_run",
    ]
    assert sum("<end>" in line for line in progress.lines) == 4, "`show decoded(batch)`"
    rows = {(row["split"], row["readout"]): row for row in figures["rows"]}
    assert set(rows) == {(s, r) for s in ("train", "held", "long") for r in ("last", "exit")}
    held = rows["held", "last"]
    assert held["n"] == 40 == sum(n for _, n in held["by_digits"].values())
    assert held["interval"][0] <= held["correct"] / 40 <= held["interval"][1]
    assert rows["held", "exit"]["loops"] >= 3
    by_loops = held["by_loops"]
    assert by_loops["n"] == 40 and len(by_loops["correct"]) == 8 and by_loops["correct"][3] == held["correct"]
    halting = rows["long", "exit"]["halting"]
    assert list(halting) == ["5"] and len(halting["5"]) in (6, 7) and min(halting["5"]) >= 3
    assert figures["parameters"] == spec.read(models / "wheel").point("tiny").parameters
    assert any("bf16" in note for note in figures["notes"])
    assert {row["op"] for row in figures["computed"]} >= {
        "attention",
        "activation",
        "linear",
        "norm",
        "embed",
    }
    assert not {row["op"] for row in figures["computed"]} & {"mlp", "unembed"}, (
        "these are products and an activation"
    )
    plot([(figures, tmp_path / "out")], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    for line in (tmp_path / "out/log.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_finished_run_is_not_repeated(models: Path, tmp_path: Path):
    figures = run_experiment(models / "stack", tmp_path, profile="tiny")
    assert run_experiment(models / "stack", tmp_path, profile="tiny") == figures
    assert run_experiment(models / "stack", tmp_path, profile="tiny", seed=1)["seed"] == 1


def change(out: Path, old: str, new: str) -> Path:
    text = adders().replace(old, new)
    assert text != adders()
    return compile_text(text).write(out)


def test_a_gate_that_fails_withholds_what_would_mislead(tmp_path: Path):
    folder = change(tmp_path / "art", "accuracy(self, train) >= 0%", "accuracy(self, train) >= 99%")
    figures = run_experiment(folder / "stack", tmp_path / "out", profile="tiny")
    assert not figures["passed"]
    assert {row["split"] for row in figures["rows"]} == {"train", "held"}
    assert "accuracy(self, train) >= 99%" in figures["hidden"]["long"]


def test_a_gate_that_fails_stops_the_run(tmp_path: Path):
    folder = change(tmp_path / "art", "require loss < 5", "require loss < 0.001")
    figures = run_experiment(folder / "stack", tmp_path / "out", profile="tiny")
    assert not figures["passed"] and figures["steps"] == 0 and figures["rows"] == []
    assert set(figures["hidden"]) == {"train", "held", "long"}
    assert [gate["name"] for gate in figures["gates"]] == ["sane", "alike", "learns"]


def test_a_false_law_stops_the_run(tmp_path: Path):
    folder = change(tmp_path / "art", "number(answer(text)) == p + q", "number(answer(text)) == p + q + 1")
    figures = run_experiment(folder / "stack", tmp_path / "out", profile="tiny")
    assert [gate["holds"] for gate in figures["gates"]] == [False]
    assert "right" in figures["gates"][0]["verdicts"][0]["figures"]["laws"]


def test_a_small_stack_learns(models: Path, tmp_path: Path):
    """40 steps bring the loss below that of a guess among ten digits."""
    assert run_experiment(models / "stack", tmp_path)["loss"] < 2.3 < math.log(14)


def test_a_corpus_trains(tmp_path: Path):
    folder = compile_path(NANOGPT).write(tmp_path)
    path = folder / "baby/experiment.json"
    described = json.loads(path.read_text())
    described["settings"]["cpu"][0]["train"]["steps"] = 12
    path.write_text(json.dumps(described))
    figures = run_experiment(folder / "baby", tmp_path / "out", profile="cpu")
    losses = {row["split"]: row["loss"] for row in figures["rows"]}
    assert set(losses) == {"train", "validation"} and 2 < losses["validation"] < 4.6


def test_mistakes_are_one_clear_error(models: Path, tmp_path: Path):
    for arguments in ({"profile": "gpu"}, {"point": "turns=9"}):
        with pytest.raises(TrainingError, match="SPAK559"):
            run_experiment(models / "stack", tmp_path, **arguments)
    with pytest.raises(TrainingError, match="SPAK559"):
        run_experiment(tmp_path / "nowhere", tmp_path)


def test_schedules():
    cosine = {"name": "cosine", "peak": 1.0, "warmup": 10, "floor": 0.1}
    rates = [learning_rate(cosine, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55) and rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate({"name": "constant", "rate": 2.0, "warmup": 0}, 50, 100) == 2.0
    decay = {"first": 1e-4, "second": 1e-1, "from": 0.5}
    assert [phased(decay, step, 100) for step in (0, 49, 50, 99)] == [1e-4, 1e-4, 1e-1, 1e-1]
