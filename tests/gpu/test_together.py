"""A run whose batches two GPUs share, over NCCL."""

import json
from pathlib import Path

import pytest
import torch

import spak_runtime
import spakc
from spak_runtime.training.run import run_experiment
from spak_runtime.training.together import together

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="not run: fewer than two devices")

FILE = Path(__file__).parent / "training.spak"


def losses(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("name", ["loops", "stack", "letters"])
def test_two_devices_end_in_the_same_bits_each_time(name, tmp_path):
    spakc.compile_file(FILE, tmp_path / "artifact")
    folder = tmp_path / "artifact" / "models" / name
    for out in ("first", "second"):
        together({"folder": folder, "out": tmp_path / out}, tmp_path / "artifact", 2)
    for file in ("model.safetensors", "checkpoint.safetensors", "log.jsonl"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    assert losses(tmp_path / "first"), "there is something to compare"
    run_experiment(folder, tmp_path / "alone", artifact=spak_runtime.load(tmp_path / "artifact"))
    assert losses(tmp_path / "first") == pytest.approx(losses(tmp_path / "alone"), rel=2e-2), (
        "the same training"
    )
