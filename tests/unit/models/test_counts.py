"""Parameters are counted from the text, exactly, and the generated model agrees."""

from pathlib import Path

import pytest
import torch

from spak_runtime.training import build, spec
from spakc.check.check_experiment import count_parameters
from spakc.check.count import Sizes, count
from tests.unit.models.compiled import ADDITION, NANOGPT, adders, compile_path, compile_text

ADDERS_SIZES = Sizes(vocabulary=14, tokens=16, digits=5, other_kinds=3)


@pytest.fixture(scope="module")
def addition():
    return compile_path(ADDITION)


@pytest.mark.parametrize(
    ("model", "hypers", "parameters"),
    [
        ("GPT", {"n_layer": 12, "n_head": 12, "n_embd": 768}, 84_964_608),
        ("GPT", {"n_layer": 12, "n_head": 4, "n_embd": 256}, 9_447_168),
        ("LoopLM", {"n_embd": 256, "num_loops": 12}, 793_856 + 40),
        ("LoopLM", {"n_embd": 256, "num_loops": 30}, 798_464 + 40),
        ("LoopLM", {"n_embd": 768, "num_loops": 12}, 7_100_160 + 40),
        ("LoopLM", {"n_embd": 128, "num_loops": 12}, 200_320 + 40),
    ],
)
def test_known_counts(addition, model, hypers, parameters):
    """The figures of the models that the experiments are about; 40 is the bias table of relative
    positions."""
    values = {"n_head": 4, "inject_x0": False, "clip": 3, **hypers}
    found = count(addition.module.models[model], addition.shapes[model], values, ADDERS_SIZES)
    assert found.parameters == parameters


def test_gpt2(tmp_path: Path):
    """124,439,808 parameters, counted from the file and built; its shapes without memory or arithmetic."""
    compiled = compile_path(NANOGPT)
    assert count_parameters(compiled.experiments["gpt2"], "default") == 124_439_808
    experiment = spec.read(compiled.write(tmp_path) / "gpt2")
    settings, device = experiment.point(None), torch.device("meta")
    data, ops = build.build_data(experiment, tmp_path), build.build_ops(experiment, None, device)
    with device:
        model = build.build_model(experiment, settings, data, ops, device, 0)
        logits = model(torch.zeros(2, 1024, dtype=torch.int64))
        assert logits.shape == (2, 1024, 50_257)
        logits.float().mean().backward()
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_loops_cost_arithmetic_and_no_weights(addition):
    model, shapes = addition.module.models["LoopLM"], addition.shapes["LoopLM"]
    base = {"n_head": 4, "n_embd": 64, "inject_x0": False, "clip": 3}
    two, four = (count(model, shapes, {**base, "num_loops": n}, ADDERS_SIZES) for n in (2, 4))
    assert four.parameters - two.parameters == 2 * 64  # two more step vectors
    block = 2 * 12 * 64 * 64 + 4 * 16 * 64
    assert four.flops - two.flops == 2 * block


POSITIONS = [
    "none",
    "learned",
    "rope(10_000)",
    "rope(100, index = digit_run)",
    "relative(clip = 2, index = digit_run, scale = 8)",
    "window(clip = 2, index = digit_run)",
    "coupled(random_offset = 6)",
]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("tied", ["true", "false"])
def test_the_generated_model_has_what_was_counted(tmp_path: Path, positions: str, tied: str):
    compiled = compile_text(adders(positions=positions, tied=tied))
    models = compiled.write(tmp_path)
    for name in ("stack", "wheel"):
        experiment = spec.read(models / name)
        settings = experiment.point("tiny")
        data = build.build_data(experiment, tmp_path)
        ops = build.build_ops(experiment, None, torch.device("cpu"))
        model = build.build_model(experiment, settings, data, ops, torch.device("cpu"), 0)
        counted = count_parameters(compiled.experiments[name], "tiny")
        assert sum(p.numel() for p in model.parameters()) == counted
