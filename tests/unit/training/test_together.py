"""A run whose batches two processes share, over gloo on the host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spak_runtime.training import spec
from spak_runtime.training.run import run_experiment
from spak_runtime.training.together import together
from tests.unit.models.compiled import adders, compile_text


def shared(folder: Path, out: Path, ranks: int = 2) -> dict[str, object]:
    call = {"folder": folder, "out": out, "profile": "tiny", "device": "cpu"}
    together(call, None, ranks)
    figures = run_experiment(**call, ranks=ranks)  # type: ignore[arg-type]
    assert figures["ranks"] == ranks, "what the processes left is read, not done again by one"
    return figures


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_two_processes_end_in_the_same_bits_each_time(tmp_path: Path) -> None:
    folder = compile_text(adders()).write(tmp_path / "adders") / "wheel"
    first, second = (shared(folder, tmp_path / name) for name in ("first", "second"))
    for name in ("model.safetensors", "checkpoint.safetensors", "log.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert first["rows"] == second["rows"]
    alone = run_experiment(folder, tmp_path / "alone", profile="tiny", device="cpu")
    assert alone["identity"] != first["identity"]
    assert losses(tmp_path / "first") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4), (
        "the same training"
    )


def test_a_batch_that_does_not_share_out_is_one_clear_error(tmp_path: Path) -> None:
    folder = compile_text(adders()).write(tmp_path / "adders") / "stack"
    with pytest.raises(spec.TrainingError, match="does not share out over 3 devices"):
        shared(folder, tmp_path / "out", ranks=3)
