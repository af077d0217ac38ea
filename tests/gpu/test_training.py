"""Training on a device through generated kernels: the losses of the CPU, the kernels that the file names and no
other, and the same bits after a kill."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import spak_runtime
from spak_runtime.training import build, kernels, spec
from spak_runtime.training.graph import own_stream
from spak_runtime.training.loop import Log
from spak_runtime.training.run import run_experiment

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # evaluation in float32 asks the vendor's library

HERE = Path(__file__).parent
STEPS = 60
LIBRARIES = ("cutlass", "cublas", "nvjet", "gemm", "xmma", "cudnn", "flash")
NAMES = ("loops", "stack", "runs", "letters")
ROWS = ("layer_norm", "add_layer_norm", "gelu", "cross_entropy")
ABSENT = {"loops": "layer_norm", "runs": "add_layer_norm"}
"""Every norm of the loops reads a sum, and the file names no kernel for those of `runs`."""
CPU = torch.device("cpu")
DEVICE = torch.device("cuda")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    import spakc

    out = tmp_path_factory.mktemp("training")
    spakc.compile_file(HERE / "training.spak", out)
    return spak_runtime.load(out)


@pytest.fixture(scope="module")
def runs(artifact, tmp_path_factory):
    """A strict run of each experiment, its figures and its folder."""
    out = tmp_path_factory.mktemp("runs")
    found = {}
    for name in NAMES:
        with deterministic():
            folder = artifact.root / "models" / name
            figures = run_experiment(
                folder, out / name, artifact=artifact, device=DEVICE, strict=True, save_seconds=0.0
            )
        found[name] = figures, out / name
    return found


@contextlib.contextmanager
def deterministic():
    """Torch takes its deterministic kernels, and fills no memory beside them."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def trainer_of(artifact, name, device, by_kernels, seed=0, data_seed=None):
    """A trainer at step 0, its batches and its operations."""
    experiment = spec.read(artifact.root / "models" / name)
    settings = experiment.point(None)
    ops = build.build_ops(experiment, artifact if by_kernels else None, device)
    data = build.build_data(experiment, artifact.root)
    model = build.build_model(experiment, settings, data, ops, device, seed)
    trainer = build.build_trainer(experiment, settings, model, ops, device, seed)
    size, data_seed = int(settings.train["batch"]), seed if data_seed is None else data_seed
    return trainer, data.batches(size, data_seed, device=device), ops


def curve(artifact, name, device, by_kernels=False, **others):
    """The loss of every step [STEPS]."""
    trainer, batches, _ = trainer_of(artifact, name, device, by_kernels, **others)
    losses = []
    for step in range(1, STEPS + 1):
        trainer.train(batches, step, schedule=STEPS)
        losses.append(trainer.loss)
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_losses_are_those_of_the_cpu(artifact, name):
    """The same seed and data in three ways. What bfloat16 may change is measured by torch's own bfloat16 on the same
    device; and it must be small against what another initialisation changes."""
    reference = curve(artifact, name, CPU)
    ours = curve(artifact, name, DEVICE, by_kernels=True)
    torchs = curve(artifact, name, DEVICE)
    other = curve(artifact, name, DEVICE, seed=1, data_seed=0)
    noise, distance = (torchs - reference).abs().max(), (ours - reference).abs().max()
    seeds = (other - torchs).abs().mean()
    print(
        f"\n{name}: loss {reference[0]:.4f} to {reference[-1]:.4f}; from the CPU's float32 at most: kernels "
        f"{distance:.2e}, torch in bfloat16 {noise:.2e}; another seed, on average: {seeds:.2e}"
    )
    assert reference[-1] < reference[0] - 0.2, "the model learns, so that the curves can differ"
    assert distance <= 4 * noise + 2.0**-9 * reference[0]
    assert (ours - reference).abs().mean() <= seeds / 2


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_batches_are_made_on_the_device(artifact, name):
    """The same documents as on the host, and none of them comes from there after a block is drawn."""
    _, here, _ = trainer_of(artifact, name, CPU, False)
    _, there, _ = trainer_of(artifact, name, DEVICE, False)
    for _ in range(70):
        batch, other = next(there), next(here)
        for part in ("inputs", "targets", "mask"):
            assert getattr(batch, part).is_cuda
            assert torch.equal(getattr(batch, part).cpu(), getattr(other, part))


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_a_captured_step_is_the_step(artifact, name):
    """Forty steps, most of them replayed, end in the bits of forty steps that were launched one by one."""
    weights = []
    for capture in (True, False):
        with deterministic():
            trainer, batches, _ = trainer_of(artifact, name, DEVICE, True)
            trainer.capture = capture
            trainer.train(batches, 40)
        assert trainer.captured == ("yes" if capture else "no: not asked for")
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_replay_does_not_wait_for_the_device(artifact):
    trainer, batches, _ = trainer_of(artifact, "stack", DEVICE, True)
    trainer.train(batches, 9, schedule=STEPS)
    with own_stream(DEVICE) as stream:
        trainer.optimizer.prepare(9, STEPS)
        replay = trainer._captured(next(batches), stream)
        assert replay is not None, trainer.captured
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(5):
                replay(next(batches))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.optimizer.tables.step) == 14, "capturing computes nothing, a replay is one step"


def logged(artifact, name, folder, by_kernels, seed):
    """The losses of every tenth of 500 steps."""
    trainer, batches, _ = trainer_of(artifact, name, DEVICE, by_kernels, seed=seed)
    log = Log(folder / f"{by_kernels}-{seed}.jsonl", 0)
    trainer.train(batches, 500, log=log)
    log.close()
    rows = (folder / f"{by_kernels}-{seed}.jsonl").read_text().splitlines()
    return torch.tensor([json.loads(row)["loss"] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_500_steps_are_within_the_noise_of_two_seeds(artifact, name, tmp_path):
    """The same seed by kernels and by torch, against two seeds of torch: in the mean over the curve, and at its
    end, where differences have had time to grow."""
    ours = logged(artifact, name, tmp_path, True, 0)
    torchs, other = (logged(artifact, name, tmp_path, False, seed) for seed in (0, 1))
    distance, noise = (ours - torchs).abs(), (other - torchs).abs()
    print(
        f"\n{name}: loss {ours[0]:.4f} to {ours[-1]:.4f}; from torch with the same seed on average "
        f"{distance.mean():.2e}, at the end {distance[-10:].mean():.2e}; two seeds of torch {noise.mean():.2e}, "
        f"{noise[-10:].mean():.2e}"
    )
    assert ours[-1] < ours[0] - 0.5
    assert distance.mean() <= noise.mean()
    assert distance[-10:].mean() <= 2 * noise[-10:].mean()


@pytest.mark.parametrize("name", NAMES)
def test_only_the_kernels_of_the_file_run(runs, name):
    table = runs[name][0]["kernels"]
    print("\n" + "\n".join(kernels.describe(table)))
    assert table["status"] == "run" and table["violations"] == []
    owners = {row["owner"] for row in table["rows"]} - {None}
    swapped = {"gelu": "gelu_tanh"} if name == "letters" else {}
    called = [swapped.get(kernel, kernel) for kernel in ROWS if kernel != ABSENT.get(name)]
    rows = {f"looplm.{kernel}{end}" for kernel in called for end in ("", "_gradient")}
    rotation = {"looplm.rope", "looplm.rope_gradient"}
    biased = {"fmha_biased", "fmha_biased_gradient"}  # relative positions are a bias on the scores
    attention = biased if name == "loops" else {"fmha", "fmha_gradient"}
    attention |= rotation if name == "stack" else set()
    assert owners == {"matmul", "looplm.adamw", *rows, *attention}
    strangers = [row for row in table["rows"] if row["owner"] is None]
    assert all(row["excepted"] and row["why"] and row["place"] for row in strangers)
    libraries = [row for row in strangers if any(word in row["kernel"].lower() for word in LIBRARIES)]
    assert {row["place"] for row in libraries} <= {"scores", "Embedding"}  # gradients of small tables
    assert table["waits"] == 0, "the host waits for the device where it logs, and nowhere else"


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_who_computes_is_stated(runs, name):
    """Training is the kernels'; evaluation is float32, which these kernels do not take."""
    rows = {(row["op"], row["phase"]): row for row in runs[name][0]["computed"]}
    ops = ("norm", "residual", "activation", "loss", "optimizer")
    for op, kernel in zip(ops, (*ROWS, "adamw"), strict=True):
        if kernel != ABSENT.get(name):
            assert rows[op, "training"]["by"].startswith(f"looplm.{kernel} ("), op
    assert rows["linear", "training"]["by"].startswith("matmul (")
    evaluation = rows["linear", "evaluation"]
    assert evaluation["by"] == "torch" and "f32" in evaluation["why"]
    by = "fmha (" if name == "stack" else "fmha_biased (packed."
    assert rows["attention", "training"]["by"].startswith(by)


def test_a_strict_run_without_kernels_is_refused(tmp_path):
    import spakc

    spakc.compile_file(HERE.parents[1] / "examples/looplm/depth.spak", tmp_path / "depth")
    folder = next(iter((tmp_path / "depth" / "models").iterdir()))
    with pytest.raises(kernels.StrictError, match="names no kernel for activation, attention"):
        run_experiment(folder, tmp_path / "run", device=DEVICE, strict=True)


def test_a_strict_run_in_float32_is_refused(artifact, tmp_path):
    """These kernels do not take it, so torch would compute: nothing passes in silence."""
    folder = artifact.root / "models" / "stack"
    with pytest.raises(kernels.StrictError, match="matmul takes bf16, f16"):
        run_experiment(folder, tmp_path, profile="float32", artifact=artifact, device=DEVICE, strict=True)
    assert not (tmp_path / "figures.json").exists()


def test_a_step_does_not_wait_for_the_device(artifact):
    trainer, batches, _ = trainer_of(artifact, "stack", DEVICE, by_kernels=True)
    trainer.train(batches, 3, schedule=STEPS)  # builds the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(3, 6):
            trainer._forward_backward(next(batches).to(DEVICE))
            trainer.optimizer.step(step, STEPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_a_killed_run_ends_in_the_same_bits(artifact, runs, tmp_path, name):
    figures, whole = runs[name]
    script = HERE / "die_in_training.py"
    killed = subprocess.run(
        [sys.executable, str(script), str(artifact.root), name, str(tmp_path), "23"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "figures.json").exists()
    folder = artifact.root / "models" / name
    with deterministic():
        again = run_experiment(folder, tmp_path, artifact=artifact, device=DEVICE, save_seconds=0.0)
    ours, theirs = (load_file(out / "model.safetensors") for out in (tmp_path, whole))
    different = [key for key in theirs if not torch.equal(ours[key], theirs[key])]
    assert ours.keys() == theirs.keys() and different == []
    for file in ("log.jsonl", "checkpoint.safetensors"):
        assert (tmp_path / file).read_bytes() == (whole / file).read_bytes(), file
    assert again["captured"] == figures["captured"] == "yes", "the kill fell between replays"
    moment = ("date", "seconds", "memory", "kernels")
    assert {k: v for k, v in again.items() if k not in moment} == {
        k: v for k, v in json.loads(json.dumps(figures)).items() if k not in moment
    }


def test_a_run_by_other_kernels_is_another_run(artifact, runs, tmp_path):
    """Figures and checkpoints of kernels that have changed since are neither read nor gone on from."""
    figures, _ = runs["loops"]
    other = spak_runtime.load(artifact.root)
    other.digest = "0" * len(other.digest)
    folder = artifact.root / "models" / "loops"
    assert run_experiment(folder, tmp_path, artifact=other, device=DEVICE)["identity"] != figures["identity"]
