"""The generated model.py: readable, deterministic, and right: causal, differentiable, halting as said."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spak_runtime.training import build, spec
from spak_runtime.training.loop import answer_loss
from spak_runtime.training.ops import Ops
from tests.unit.models.compiled import (
    ADDITION,
    NANOGPT,
    ROOT,
    adders,
    compile_path,
    compile_text,
    with_config,
)
from tests.unit.models.test_counts import POSITIONS

CPU = torch.device("cpu")
BY_TORCH = Ops({}, (), None, CPU)


def make(folder: Path, name: str, positions: str = "rope(10_000)", **options):
    """(model, data) of one experiment, in evaluation mode."""
    experiment = spec.read(compile_text(adders(positions=positions, **options)).write(folder) / name)
    return build_one(experiment)


def build_one(experiment, settings=None):
    data = build.build_data(experiment, Path())
    ops = build.build_ops(experiment, None, CPU)
    settings = settings or experiment.point("tiny")
    return build.build_model(experiment, settings, data, ops, CPU, 0).eval(), data


@pytest.mark.parametrize("path", [ADDITION, NANOGPT], ids=["addition", "nanogpt"])
def test_lint_and_determinism(tmp_path: Path, path: Path):
    files = compile_path(path).files()
    assert files == compile_path(path).files()
    models = []
    for name, text in files.items():
        if name.endswith(".py"):
            models.append(tmp_path / name)
            models[-1].parent.mkdir(parents=True)
            models[-1].write_text(text)
    assert len(models) >= 4
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml"), *map(str, models)]
    for command in (["check", *config], ["format", "--check", *config]):
        done = subprocess.run([*ruff, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("positions", POSITIONS)
def test_lint_of_every_kind_of_positions(tmp_path: Path, positions: str):
    models = compile_text(adders(positions=positions, tied="false", beyond="none", mode="freeze")).write(
        tmp_path
    )
    config = ["--config", str(ROOT / "pyproject.toml"), *map(str, models.glob("*/model.py"))]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_hostile_names_become_plain_python(tmp_path: Path):
    """Names that Python, torch or the template use for something else change nothing but the text."""
    renamed = adders()
    names = {
        "floor": "cuda",
        "tell": "state_dict",
        "wide": "lambda",
        "turns": "self",
        "first": "rope",
        "t": "l",
    }
    names |= {
        "scores": "torch",
        "u": "loops",
        "again": "nn",
        "h": "math",
        "heads": "Config",
        "layers": "kinds",
    }
    for old, new in names.items():
        renamed = re.sub(rf"\b{old}\b(?! = heads)", new, renamed)
    renamed = renamed.replace("Config = heads", "heads = Config").replace("Config = Config", "heads = Config")
    models = compile_text(renamed).write(tmp_path / "a")
    plain = compile_text(adders()).write(tmp_path / "b")
    for name in ("stack", "wheel"):
        ast.parse((models / name / "model.py").read_text())
        (model, data), (other, _) = (build_one(spec.read(folder / name)) for folder in (models, plain))
        tokens = data.evaluation("held").tokens
        assert torch.equal(model(tokens), other(tokens))


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", ["stack", "wheel"])
def test_causal_and_differentiable(tmp_path: Path, positions: str, name: str):
    model, data = make(tmp_path, name, positions)
    tokens = data.evaluation("long").tokens[:6]
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 10
    a, b = model(tokens), model(changed)
    torch.testing.assert_close(a[:, :9], b[:, :9])
    assert not torch.allclose(a[:, 9:], b[:, 9:])
    model.train()
    answer_loss(model, data.training(8, 0).batch(), BY_TORCH).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert dead == []


def test_coupled_positions_are_moved_in_training_only(tmp_path: Path):
    model, data = make(tmp_path, "stack", "coupled(random_offset = 6)")
    tokens = data.evaluation("held").tokens[:4]
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert len({model(tokens).sum().item() for _ in range(4)}) > 1


def test_a_window_hides_far_digits(tmp_path: Path):
    """With one turn and one layer, a digit far from its place in the run cannot be felt at all."""
    experiment = spec.read(
        compile_text(adders("window(clip = 2, index = digit_run)")).write(tmp_path) / "stack"
    )
    model, data = build_one(experiment, with_config(experiment.point("tiny"), layers=1))
    tokens = data.evaluation("long").tokens[:8]
    changed = tokens.clone()
    changed[:, 4] = data.vocabulary.number("0")  # the fifth digit of the first number
    at = 6  # the first digit of the second: four places away
    assert torch.equal(model(tokens)[:, at], model(changed)[:, at])
    assert not torch.equal(model(tokens)[:, 9], model(changed)[:, 9])


@pytest.mark.parametrize("groups", [0, 2], ids=["own keys", "shared keys"])
def test_a_long_document_is_read_by_few_keys_as_by_all(tmp_path: Path, groups: int):
    """Runs of every length, separators beside each other, a document that ends early: the same logits either way."""
    text = adders("window(clip = 2, index = digit_run, scale = 8)")
    if groups:
        text = text.replace("causal = true", f"causal = true, groups = {groups}")
    experiment = spec.read(compile_text(text).write(tmp_path) / "stack")
    model, data = build_one(experiment)
    module = sys.modules[type(model).__module__]
    draw = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, len(data.vocabulary.tokens), (3, 200), generator=draw)
    tokens[1, 20:170] = 4  # one long run
    tokens[2, 60:] = data.pad
    with torch.no_grad():
        few = model(tokens)
        assert model.window(tokens)[2] is not None
        module.DENSE = tokens.shape[1]
        assert model.window(tokens)[2] is None
        all_keys = model(tokens)
    assert model.dense < tokens.shape[1]
    torch.testing.assert_close(few, all_keys, atol=2e-5, rtol=1e-4)
    assert (few.argmax(-1) == all_keys.argmax(-1)).float().mean() > 0.999


def test_digit_run_is_told_from_the_left(tmp_path: Path):
    model, data = make(tmp_path, "stack", "relative(clip = 2, scale = 8)")
    module = sys.modules[type(model).__module__]
    run = module.digit_run(torch.tensor([data.vocabulary.encode("120+07=1")]), model.relative.kinds)
    assert run.tolist() == [[1, 2, 3, 0, 1, 2, 0, 1]]


def test_loops_beyond_training(tmp_path: Path):
    last, data = make(tmp_path / "last", "wheel", beyond="last")
    none, _ = make(tmp_path / "none", "wheel", beyond="none")
    tokens = data.evaluation("held").tokens[:4]
    assert torch.equal(last(tokens), last(tokens, 4)) and torch.equal(last(tokens), none(tokens))
    assert not torch.allclose(last(tokens, 6), none(tokens, 6))
    assert torch.equal(last.step(9), last.step(4)) and not none.step(9).any()
    readings = last(tokens, 6, read_at=(4, 6))
    torch.testing.assert_close(readings[0], last(tokens))
    torch.testing.assert_close(readings[1], last(tokens, 6))


def test_supervision_trains_the_second_half(tmp_path: Path):
    model, data = make(tmp_path, "wheel")
    assert list(model.supervised) == [3, 4]
    batch = data.training(8, 0).batch()
    whole = float(answer_loss(model, batch, BY_TORCH))
    readings = model(batch.inputs, read_at=(3, 4))
    each = [
        torch.nn.functional.cross_entropy(r[batch.mask > 0], batch.targets[batch.mask > 0]) for r in readings
    ]
    assert whole == pytest.approx(float(sum(each)) / 2, rel=1e-5)


def test_injection_is_a_hyper(tmp_path: Path):
    experiment = spec.read(compile_text(adders()).write(tmp_path) / "sweep")
    labels = [settings.label for settings in experiment.settings["tiny"]]
    assert labels == [
        "turns=1,again=true",
        "turns=1,again=false",
        "turns=2,again=true",
        "turns=2,again=false",
    ]
    on, off = (
        build_one(experiment, experiment.point("tiny", f"turns=2,again={b}")) for b in ("true", "false")
    )
    tokens = on[1].evaluation("held").tokens[:4]
    assert not torch.allclose(on[0](tokens), off[0](tokens))


class TestHalting:
    def sure(self, model, at: torch.Tensor) -> None:
        """Makes `model` certain of itself from loop `at` [B, T] on, by replacing its readout."""

        class Tell(torch.nn.Module):
            calls = 0

            def forward(inner, x, *_):
                inner.calls += 1
                logits = torch.zeros(*x.shape[:2], 14)
                loop = inner.loop()
                logits[..., loop] = torch.where(at <= loop, 20.0, 0.0)
                return logits

        tell = Tell()
        tell.loop = lambda: self.loop
        model.tell = tell
        step = model.step

        def count(loop):
            self.loop = loop
            return step(loop)

        model.step.forward = count
        step = type(model.step).forward.__get__(model.step)

    def test_exit_is_the_first_sure_loop_from_the_earliest_on(self, tmp_path: Path):
        model, data = make(tmp_path, "wheel")
        tokens = data.evaluation("held").tokens[:4]
        at = torch.full(tokens.shape, 4)
        at[0], at[1], at[2] = 1, 3, 9
        self.sure(model, at)
        logits, loops = model.halt(tokens, mode="exit")
        assert loops[0].unique().tolist() == [3], "sure from the start, but 3 is the earliest"
        assert loops[1].unique().tolist() == [3]
        assert loops[2].unique().tolist() == [4], "never sure: the last loop"
        assert loops[3].unique().tolist() == [4]
        assert logits[3].argmax(-1).unique().tolist() == [4]

    def test_the_threshold_waits_for_the_marker(self, tmp_path: Path):
        model, data = make(tmp_path, "wheel")
        text = "12+3=51"
        threshold = model.threshold(torch.tensor([data.vocabulary.encode(text)]))
        assert threshold[0].tolist() == pytest.approx([0.3] * 4 + [0.6] * 3)

    def test_exit_leaves_the_last_loop_alone_and_freeze_does_not(self, tmp_path: Path):
        model, data = make(tmp_path, "wheel")
        with torch.no_grad():
            model.embed.weight.mul_(100)  # surer than a fresh model
        tokens = data.evaluation("held").tokens
        plain = model(tokens)
        _, left = model.halt(tokens, 8, "exit")
        assert left.min() < 8, "some token halts early"
        torch.testing.assert_close(model(tokens, read_at=(4,))[0], plain)
        frozen = model(tokens, 8, read_at=(8,), freeze=True)[0]
        assert not torch.allclose(frozen, model(tokens, 8))

    def test_freeze_keeps_the_state_of_a_halted_token(self, tmp_path: Path):
        model, data = make(tmp_path, "wheel")
        tokens = data.evaluation("held").tokens[:3]
        model.threshold = lambda tokens: torch.zeros(tokens.shape)  # everything halts at the earliest loop
        early = model(tokens, read_at=(3,))[0]
        torch.testing.assert_close(model(tokens, 8, read_at=(8,), freeze=True)[0], early)
        logits, loops = model.halt(tokens, 8, "freeze")
        torch.testing.assert_close(logits, early)
        assert loops.unique().tolist() == [3]


def test_pairs_of_a_sweep_and_of_a_split_go_together(tmp_path: Path):
    """Tuples are points, no product of their columns."""
    text = adders().replace(
        "vary turns in {1, 2}, again in {true, false}", "vary (turns, again) in {(1, true), (2, false)}"
    )
    experiment = spec.read(compile_text(text).write(tmp_path) / "sweep")
    points = [(point.config["turns"], point.config["again"]) for point in experiment.settings["default"]]
    assert points == [(1, True), (2, False)]
