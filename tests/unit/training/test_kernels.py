"""The kernel table of a step, on a CPU: a real step is profiled, and every operation that computes is given the
kernel that a device would have run for it. Kernels of the artifact are their mathematics, run as one."""

import contextlib
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

import spak_runtime
import spakc
from spak_runtime.function import KernelFunction
from spak_runtime.training import build, kernels, spec
from spak_runtime.training.loop import Trainer
from spak_runtime.training.ops import Computed, Ops
from spak_runtime.training.run import run_experiment
from spak_runtime.training.scopes import modules_named, scope
from spak_runtime.training.spec import TrainingError

FILE = Path(__file__).parents[2] / "gpu" / "training.spak"
Kernel = namedtuple("Kernel", "name device duration")
OURS = "ours: "
ENGINE = "autograd::engine::evaluate_function: "
IDLE = tuple(
    f"aten::{name}"
    for name in [
        "alias",
        "as_strided",
        "contiguous",
        "detach",
        "empty",
        "expand",
        "flatten",
        "lift",
        "narrow",
        "new_empty",
        "permute",
        "reshape",
        "resolve",
        "result_type",
        "select",
        "slice",
        "split",
        "squeeze",
        "to",
        "transpose",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "_reshape_alias",
        "_unsafe_view",
    ]
)
"""Operations that launch nothing, by the beginnings of their names."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    out = tmp_path_factory.mktemp("artifact")
    spakc.compile_file(FILE, out)
    return spak_runtime.load(out)


@pytest.fixture
def as_one_kernel(monkeypatch):
    """Each call of a kernel of an artifact is one event of its own, and a CPU trains in bfloat16 as a GPU does."""
    call = KernelFunction.__call__

    def recorded(self, /, *args, **kwargs):
        with record_function(OURS + self.spec.name):
            return call(self, *args, **kwargs)

    differentiate = KernelFunction.differentiate

    def back(self, *args):
        with record_function(OURS + self.spec.gradients[0].kernel):
            return differentiate(self, *args)

    monkeypatch.setattr(KernelFunction, "__call__", recorded)
    monkeypatch.setattr(KernelFunction, "differentiate", back)
    monkeypatch.setattr(Trainer, "autocast", lambda self: torch.autocast("cpu", dtype=torch.bfloat16))


def a_step(artifact, name, uses=None):
    """The events of one step, in bfloat16, of a model whose operations believe that they are on a device."""
    experiment = spec.read(artifact.root / "models" / name)
    settings = experiment.point(None)
    cpu = torch.device("cpu")
    ops = Ops(uses or experiment.model.uses, experiment.model.ops, artifact, torch.device("cuda"))
    data = build.build_data(experiment, artifact.root)
    model = build.build_model(experiment, settings, data, ops, cpu, 0)
    trainer = build.build_trainer(experiment, settings, model, ops, cpu, 0)
    batches = data.batches(8, 0)
    taken = profile(activities=[ProfilerActivity.CPU])

    @contextlib.contextmanager
    def around(step):
        with contextlib.ExitStack() as opened:
            if step == 2:
                opened.enter_context(taken)
                opened.enter_context(modules_named(model))
                opened.enter_context(scope("step"))
            yield

    trainer.train(batches, 4, around=around)
    return taken.events(), ops


ROWS = (("norm", "layer_norm"), ("activation", "gelu"), ("loss", "cross_entropy"))


def ancestors(event):
    while event is not None:
        yield event
        event = event.cpu_parent


def launch(events, artifact):
    """Gives every event that computes the kernel of a device. Torch differentiates mathematics on a CPU: those nodes
    stand for the kernel's gradient, which a device runs."""

    def entries(kernel):
        return [launch.entry for launch in artifact.manifest.kernels[kernel].variants[0].launches]

    def ours(event):
        return next((each.name for each in ancestors(event) if each.name.startswith(OURS)), None)

    last = {}
    for event in events:
        if event.sequence_nr >= 0 and not any(each.name.startswith(ENGINE) for each in ancestors(event)):
            last[event.sequence_nr] = event
    inside = {number: ours(event) for number, event in last.items() if ours(event) is not None}
    for event in events:
        event.kernels = []
        above = list(ancestors(event))[1:]
        if any(each.name.startswith(OURS) for each in above):
            continue
        if any(each.name.startswith(ENGINE) and each.sequence_nr in inside for each in above):
            continue
        if event.name.startswith(OURS):
            event.kernels = [Kernel(entry, 0, 3.0) for entry in entries(event.name.removeprefix(OURS))]
        elif event.name.startswith(ENGINE) and event.sequence_nr in inside:
            kernel = inside[event.sequence_nr].removeprefix(OURS)
            event.kernels = [Kernel(entry, 0, 3.0) for entry in entries(f"{kernel}_gradient")]
        elif event.name.startswith("aten::") and computes(event) and not idle(event):
            event.kernels = [Kernel(f"void at::{event.name[6:]}_kernel", 0, 1.0)]
    return events


def idle(event):
    return event.name == "aten::t" or event.name.startswith(IDLE)


def computes(event):
    return all(idle(child) for child in event.cpu_children)


def tabulate(events, ops, artifact):
    return kernels.tabulate(events, 2, kernels.owners(artifact), ops.uses, ops.table())


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_a_step_is_accounted_for(artifact, as_one_kernel, name):
    events, ops = a_step(artifact, name)
    table = tabulate(launch(events, artifact), ops, artifact)
    assert table.violations() == []
    assert all(row.place and (row.owner or row.why) for row in table.rows)
    places = {row.place for row in table.rows}
    parts = {"mean", "loss", "clip", "schedule", "optimizer", "backward"}
    assert places >= parts | {"linear", "attention", "norm", "activation", "Embedding"}
    for place in ("norm", "activation", "loss", "attention", "linear"):
        assert {row.backward for row in table.rows if row.place == place} == {False, True}, place
    owned = {(row.place, row.owner, row.backward) for row in table.rows if row.owner is not None}
    assert owned >= {
        ("linear", "matmul", False),
        ("linear", "matmul", True),
        ("optimizer", "looplm.adamw", False),
        *((op, f"looplm.{kernel}{end}", bool(end)) for op, kernel in ROWS for end in ("", "_gradient")),
    }
    by_torch = {row.op for row in table.rows if row.place in ("norm", "activation", "loss", "optimizer")} - {
        ""
    }
    assert by_torch <= kernels._AROUND.keys()
    products = [row for row in table.rows if row.op in ("aten::mm", "aten::bmm", "aten::addmm")]
    assert {row.place for row in products} <= {"attention"}
    (attention,) = [row for row in ops.table() if row.op == "attention"]
    assert attention.excepted == (name == "loops") and (attention.by == "torch") == (name == "loops")
    figures = table.to_json()
    assert figures["launches"] == sum(len(event.kernels) for event in events)
    assert figures["us"] == pytest.approx(sum(k.duration for event in events for k in event.kernels))
    assert sum(each["count"] for each in figures["exceptions"]) == sum(
        row.count for row in table.rows if row.owner is None
    )
    by_name = [each for each in figures["exceptions"] if "takes no bias" in each["why"]]
    assert bool(by_name) == (name == "loops")
    kernels.refuse(figures)
    shown = "\n".join(kernels.describe(figures))
    assert all(row.kernel in shown for row in table.rows) and all(p in shown for p in places)


def test_torch_in_the_place_of_a_kernel_is_refused(artifact, as_one_kernel, monkeypatch):
    from spak_runtime.training import ops as module

    def in_torch(kernel, a, b, wanted=None, out=None, bias=None):
        return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)

    monkeypatch.setattr(module, "_multiply", in_torch)
    events, ops = a_step(artifact, "stack")
    found = tabulate(launch(events, artifact), ops, artifact).violations()
    assert any("linear: aten::mm" in line and "the file gives linear to matmul" in line for line in found)
    assert any("linear, backward" in line for line in found)


def test_a_fallback_is_refused(artifact, as_one_kernel):
    events, ops = a_step(artifact, "stack", {"linear": "matmul", "attention": "vanished"})
    table = tabulate(launch(events, artifact), ops, artifact)
    assert "attention: the file gives it to vanished, but torch computed it" in table.violations()[0]
    with pytest.raises(kernels.StrictError, match="SPAK561") as refused:
        kernels.refuse(table.to_json())
    assert isinstance(refused.value, TrainingError) and "kernels of step 2" in refused.value.message


def strange(name, start=5.0):
    span = SimpleNamespace(start=start, end=start + 2.0)
    return SimpleNamespace(
        name=name,
        thread=1,
        sequence_nr=-1,
        device_type=DeviceType.CUDA,
        time_range=span,
        kernels=[],
        cpu_parent=None,
    )


def test_kernels_without_an_operation(artifact, as_one_kernel):
    """Those of the artifact are known by name; any other is refused. Labels and waits of the profiler are none."""
    events, ops = a_step(artifact, "stack")
    launch(events, artifact)
    entry = next(entry for entry, owner in kernels.owners(artifact).items() if owner == "fmha")
    known = [strange(k.name) for event in events for k in event.kernels]
    labels = [strange(name) for name in ("spak: step", "spak: linear", "Context Sync", "Stream Sync")]
    (step,) = [event for event in events if event.name == "spak: step"]
    step.kernels.append(Kernel("spak: linear", 0, 100.0))
    table = tabulate([*events, *known, *labels, strange(entry)], ops, artifact)
    assert table.violations() == []
    assert sum(row.count for row in table.rows) == len(known) + 1
    table = tabulate([*events, *known, strange("nvjet_tst_128x64")], ops, artifact)
    assert [line.split(" launched ")[1][:16] for line in table.violations()] == ["nvjet_tst_128x64"]


def test_nothing_seen_is_no_pass():
    assert kernels.Table(1, (), 0, ()).violations()


def test_waits_are_those_of_the_step():
    def host(name, start, end):
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(
            name=name,
            thread=1,
            sequence_nr=-1,
            device_type=DeviceType.CPU,
            time_range=span,
            kernels=[],
            cpu_parent=None,
        )

    step = host("spak: step", 0.0, 10.0)
    waits = [host("cudaStreamSynchronize", at, at + 1) for at in (3.0, 7.0, 12.0)]
    assert kernels.tabulate([step, *waits], 0, {}, {}, ()).waits == 2


def test_reasons_that_are_exceptions():
    rows = [Computed("attention", "training", "k", "torch", "takes no bias", True)]
    assert kernels.tabulate([], 0, {}, {"attention": "k"}, rows).fallbacks == ()
    evaluated = [Computed("attention", "evaluation", "k", "torch", "in float32")]
    assert kernels.tabulate([], 0, {}, {"attention": "k"}, evaluated).fallbacks == ()


def test_strict_on_a_cpu_says_that_it_did_not_look(artifact, tmp_path):
    folder = artifact.root / "models" / "loops"
    short = spec.read(folder)
    assert short.point(None).train["steps"] == 60
    figures = run_experiment(folder, tmp_path, artifact=artifact, device="cpu", strict=True)
    assert figures["kernels"]["status"] == "not run: no device"
    assert kernels.describe(figures["kernels"]) == ["kernels of a step: not run: no device"]


def test_scopes_cost_nothing_outside_of_a_profile():
    assert scope("linear") is scope("attention")


def curve(artifact, name, by_file, seed):
    """The losses of thirty steps on the host, its operations by the file's mathematics or by torch."""
    experiment = spec.read(artifact.root / "models" / name)
    settings, cpu = experiment.point(None), torch.device("cpu")
    data = build.build_data(experiment, artifact.root)
    device = torch.device(
        "cuda" if by_file else "cpu"
    )  # where operations believe to be: kernels are asked there
    ops = build.build_ops(experiment, artifact if by_file else None, device)
    model = build.build_model(experiment, settings, data, ops, cpu, seed)
    trainer = build.build_trainer(experiment, settings, model, ops, cpu, seed)
    batches, losses = data.batches(16, seed), []
    for step in range(1, 31):
        trainer.train(batches, step, schedule=30)
        losses.append(trainer.loss)
    return torch.tensor(losses)


@pytest.mark.parametrize("name", ["loops", "stack"])
def test_the_curve_is_within_the_noise_of_two_seeds(artifact, name):
    """The small form of the test on a device: here both are float32, so that they agree far better than that."""
    ours, torchs, other = (curve(artifact, name, *how) for how in ((True, 0), (False, 0), (False, 1)))
    assert ours[-1] < ours[0]
    assert (ours - torchs).abs().max() <= 0.05 * (other - torchs).abs().mean()
