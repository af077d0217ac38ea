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
from spak_runtime.training.meanings import MEANINGS
from spak_runtime.training.ops import Computed, Ops
from spak_runtime.training.run import run_experiment
from spak_runtime.training.scopes import modules_named, scope
from spak_runtime.training.spec import TrainingError
from tests.unit.models.compiled import ROOT, adders, compile_path, compile_text

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
        "resize_",
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
    ops = Ops(
        experiment.model.uses if uses is None else uses, experiment.model.ops, artifact, torch.device("cuda")
    )
    data = build.build_data(experiment, artifact.root)
    model = build.build_model(experiment, settings, data, ops, cpu, 0)
    trainer = build.build_trainer(experiment, settings, model, ops, cpu, 0)
    context = settings.train.get("context")
    batches = data.batches(8, 0) if context is None else data.batches(8, 0, context)
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


ROWS = (
    ("norm", "layer_norm"),
    ("residual", "add_layer_norm"),
    ("activation", "gelu"),
    ("loss", "cross_entropy"),
)
ABSENT = {"loops": "norm", "runs": "residual"}
"""Every norm of the loops reads a sum, and the file names no kernel for those of `runs`."""


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


NAMES = {"loops": "LoopLM", "stack": "GPT", "letters": "GPT2", "runs": "RunRope"}
"""Experiments of the file, and what the classes of their models are called."""


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_accounted_for(artifact, as_one_kernel, name):
    events, ops = a_step(artifact, name)
    table = tabulate(launch(events, artifact), ops, artifact)
    assert table.violations() == []
    assert all(row.place and (row.owner or row.why) for row in table.rows)
    places = {row.place for row in table.rows}
    parts = {"mean", "loss", "clip", "schedule", "optimizer", "backward"}
    here = {"linear", "attention", "norm", "residual", "activation", "loss"} - {ABSENT.get(name)}
    assert places >= parts | here | {"Embedding"} and ABSENT.get(name) not in places
    for place in here:
        assert {row.backward for row in table.rows if row.place == place} == {False, True}, place
    owned = {(row.place, row.owner, row.backward) for row in table.rows if row.owner is not None}
    assert owned >= {
        ("linear", "matmul", False),
        ("linear", "matmul", True),
        ("optimizer", "looplm.adamw", False),
        *(
            (
                op,
                f"looplm.{'gelu_tanh' if name == 'letters' and op == 'activation' else kernel}{end}",
                bool(end),
            )
            for op, kernel in ROWS
            for end in ("", "_gradient")
            if op in here
        ),
    }
    for row in table.rows:
        if row.owner is None and row.place in MEANINGS.keys() - {"rotation"}:
            assert row.op in kernels._AROUND[row.place, row.backward]
    turned = {(row.backward, row.why) for row in table.rows if row.place == "rotation" and row.owner is None}
    why = "places in runs of digits: kernels count every token"
    assert turned == ({(False, why), (True, why)} if name == "runs" else set())
    products = [row for row in table.rows if row.op in ("aten::mm", "aten::bmm", "aten::addmm")]
    tables = ({"scores"} if name == "loops" else set()) | ({"Embedding"} if name != "letters" else set())
    assert {row.place for row in products} == tables, "gradients of small tables"
    (attention,) = [row for row in ops.table() if row.op == "attention"]
    assert attention.by.startswith("fmha_biased (" if name == "loops" else "fmha (")
    figures = table.to_json()
    assert figures["launches"] == sum(len(event.kernels) for event in events)
    assert figures["us"] == pytest.approx(sum(k.duration for event in events for k in event.kernels))
    assert sum(each["count"] for each in figures["exceptions"]) == sum(
        row.count for row in table.rows if row.owner is None
    )
    by_name = {each["place"] for each in figures["exceptions"]}
    assert by_name >= {"Embedding"} | ({"LoopLM"} if name == "loops" else set())
    adds = [row for row in table.rows if row.owner is None and row.op == "aten::add" and row.place == "Block"]
    assert bool(adds) == (name == "runs"), "sums of the residual stream are the kernel's where it has them"
    kernels.refuse(figures)
    shown = "\n".join(kernels.describe(figures))
    assert all(row.kernel in shown for row in table.rows) and all(p in shown for p in places)


def test_torch_in_the_place_of_a_kernel_is_refused(artifact, as_one_kernel, monkeypatch):
    from spak_runtime.training import products

    def in_torch(kernel, a, b, wanted=None, out=None, bias=None):
        return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)

    monkeypatch.setattr(products, "multiply", in_torch)
    events, ops = a_step(artifact, "stack")
    found = tabulate(launch(events, artifact), ops, artifact).violations()
    assert any("linear: aten::mm" in line and "the file gives linear to matmul" in line for line in found)
    assert any("linear, backward" in line for line in found)


def test_nothing_by_the_artifact_is_refused(artifact, as_one_kernel):
    """A step of torch alone passed as long as the file named no kernel."""
    events, ops = a_step(artifact, "stack", {})
    table = tabulate(launch(events, artifact), ops, artifact)
    assert all(row.owner is None for row in table.rows)
    first, *found = table.violations()
    assert first == "no kernel of the step is the artifact's"
    apart = set(MEANINGS) - {"expand", "contract"}  # an activation that no kernel computes with a product
    for op in apart:
        assert f"{op}: torch computed it: the file names no kernel for it" in found
    assert {row.op for row in ops.table()} == {*apart, "embed"}, "what is written with operations has no row"


def test_the_wrong_kernel_is_refused(artifact, as_one_kernel):
    """What a kernel does not cover is an exception beside calls that it computes, and none where it computes none."""
    uses = {**spec.read(artifact.root / "models" / "stack").model.uses, "norm": "looplm.rms_norm"}
    events, ops = a_step(artifact, "stack", uses)
    found = tabulate(launch(events, artifact), ops, artifact).violations()
    why = "looplm.rms_norm computes norm(kind = rms)"
    assert found[0] == f"norm: the file gives it to looplm.rms_norm, but torch computed it: {why}"
    beside = Computed("norm", "training", "k", "torch", why, beside=True)
    other = Computed("norm", "training", "k", "k (warp)", "")
    assert kernels.tabulate([], 0, {}, {"norm": "k"}, [beside, other]).fallbacks == ()
    assert kernels.tabulate([], 0, {}, {"norm": "k"}, [beside]).fallbacks


@pytest.mark.parametrize(
    ("place", "op", "backward", "excepted"),
    [
        ("LayerNorm", "aten::native_layer_norm", False, False),
        ("Linear", "aten::mm", False, False),
        ("Block", "aten::gelu", False, False),
        ("Block", "aten::add", False, True),
        ("norm", "aten::add", False, False),
        ("norm", "aten::add", True, True),
        ("norm", "aten::sum", True, False),
        ("activation", "aten::sum", True, False),
        ("linear", "aten::sum", True, True),
        ("linear", "aten::sum", False, False),
        ("optimizer", "aten::add_", False, False),
        ("attention", "aten::fill_", False, False),
    ],
)
def test_what_torch_may_do_depends_on_the_place(place, op, backward, excepted):
    """A sum is the gradient of a bias in a product, and nobody's business in a norm."""
    outer = host(f"spak: {place}", 0.0, 10.0, sequence_nr=7)
    forward = host("aten::empty", 1.0, 2.0, parent=outer, sequence_nr=7)
    around = host(f"{ENGINE}Back", 4.0, 9.0, sequence_nr=7) if backward else outer
    event = host(op, 5.0, 6.0, parent=around)
    event.kernels = [Kernel("void at::work", 0, 1.0)]
    uses = dict.fromkeys(MEANINGS, "k")
    (row,) = kernels.tabulate([outer, forward, around, event], 0, {}, uses, ()).rows
    assert (row.place, row.backward, row.excepted) == (place, backward, excepted), row.why


def test_a_fallback_is_refused(artifact, as_one_kernel):
    uses = {**spec.read(artifact.root / "models" / "stack").model.uses, "attention": "vanished"}
    events, ops = a_step(artifact, "stack", uses)
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


def host(name, start, end, parent=None, sequence_nr=-1):
    return SimpleNamespace(
        name=name,
        thread=1,
        sequence_nr=sequence_nr,
        device_type=DeviceType.CPU,
        time_range=SimpleNamespace(start=start, end=end),
        kernels=[],
        cpu_parent=parent,
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


def test_operations_without_a_kernel_are_refused_before_training(tmp_path):
    """On any device. A strict run of a file that names no kernel trained, and passed."""
    models = compile_text(adders()).write(tmp_path)
    with pytest.raises(kernels.StrictError) as refused:
        run_experiment(models / "stack", tmp_path / "run", device="cpu", strict=True)
    ops = "activation, attention, linear, loss, norm, optimizer"
    assert refused.value.message == f"the file names no kernel for {ops}: torch would compute that"
    assert not (tmp_path / "run" / "log.jsonl").exists()


EXAMPLES = ("looplm/addition", "looplm/frontier", "looplm/seed_table", "nanogpt/nanogpt")


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_give_every_operation_to_a_kernel(tmp_path, example):
    compile_path(ROOT / f"examples/{example}.spak").write(tmp_path)
    for folder in (tmp_path / "models").iterdir():
        model = spec.read(folder).model
        assert Ops(model.uses, model.ops, None, torch.device("cpu")).unnamed() == [], folder.name


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
