"""Training steps by generated kernels beside PyTorch on the CUDA device at hand.

    python -m tests.gpu.bench_training OUT.json [--only WORD] [--rounds 7] [--steps 20]

Both train the same generated model from the same seed in bfloat16, a whole step captured in a CUDA graph: ours with
the operations that the file gives to kernels, theirs with all of them by torch, model and loss under torch.compile,
the fused AdamW. Replays are timed in turns with events; a batch lies on the device. Printed are the milliseconds of
a step (median and quartiles over rounds), the ratio by round, and where the time of one of our steps goes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

import spak_runtime
import spakc
from spak_runtime.training import build, kernels, spec
from spak_runtime.training.batch import Batch
from spak_runtime.training.graph import own_stream
from spak_runtime.training.loop import EAGER_STEPS, Trainer

FILE = Path(__file__).parent / "bench_training.spak"
NAMES = ("loops_12", "loops_4", "characters", "gpt2_124m", "stack_12", "loops_30")
DEVICE = torch.device("cuda")
STEPS = 10_000  # of the schedule; rates hardly move while it is timed


class Compiled(Trainer):
    """A trainer whose model and loss are compiled by torch."""

    __slots__ = ()
    compiled: ClassVar[dict[int, Callable[..., torch.Tensor]]] = {}

    def _forward_backward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        model = self.model

        def loss_of(inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            supervised = getattr(model, "supervised", None)
            readings = [model(inputs)] if supervised is None else model(inputs, read_at=supervised)
            total = torch.zeros((), device=inputs.device)
            for logits in readings:
                each = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
                total = total + (each * mask.flatten()).sum()
            return total / (mask.sum() * len(readings))

        compiled = Compiled.compiled.setdefault(id(model), torch.compile(loss_of))
        with self._randomness(), self.autocast():
            loss = compiled(batch.inputs, batch.targets, batch.mask)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip) if self.clip else None
        return loss.detach(), norm


def trainer_of(artifact: Any, name: str, by_kernels: bool) -> tuple[Trainer, Any]:
    """A trainer at step 0 and its batches."""
    experiment = spec.read(artifact.root / "models" / name)
    settings = experiment.point(None)
    ops = build.build_ops(experiment, artifact, DEVICE)
    data = build.build_data(experiment, artifact.root)
    model = build.build_model(experiment, settings, data, ops, DEVICE, 0)
    trainer = build.build_trainer(experiment, settings, model, ops, DEVICE, 0)
    if not by_kernels:
        trainer.__class__ = Compiled
    size = int(settings.train["batch"])
    if experiment.data.source is not None:
        return trainer, data.batches(size, 0, int(settings.train["context"]), device=DEVICE)
    return trainer, data.batches(size, 0, device=DEVICE)


def compiled_without_kernels(folder: Path) -> Any:
    """The artifact of the same models where no operation is given to a kernel."""
    root = Path(__file__).parents[2]
    shutil.copytree(root / "examples", folder / "examples")
    for path in [*(root / "examples").rglob("*.spak"), FILE]:
        copy = folder / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(re.sub(r"(?m)^ +uses .*\n", "", path.read_text()))
    spakc.compile_file(folder / FILE.relative_to(root), folder / "out")
    return spak_runtime.load(folder / "out")


def prepared(
    artifact: Any, name: str, by_kernels: bool, stream: Any, trainers: list[Trainer]
) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A step that can be replayed, and what is known of it."""
    trainer, batches = trainer_of(artifact, name, by_kernels)
    tables: list[kernels.Table] = []
    profile = kernels.StepProfile(trainer.model, trainer.ops, artifact, EAGER_STEPS - 2, tables.append)
    trainer.train(batches, EAGER_STEPS, schedule=STEPS, around=profile if by_kernels else None)
    drawn = next(batches).to(DEVICE)
    batch = Batch(drawn.inputs.clone(), drawn.targets.clone(), drawn.mask.clone())
    trainer.optimizer.prepare(EAGER_STEPS, STEPS)
    for _ in range(3):  # what is compiled for a batch that is laid out like the one of the graph
        trainer._forward_backward(batch)
        trainer.optimizer.step_on_device()
    replay = trainer._captured(batch, stream)
    if replay is None:
        raise SystemExit(f"{name} cannot be captured: {trainer.captured}")
    facts: dict[str, Any] = {"tokens": batch.inputs.numel(), "loss": trainer.loss}
    if tables:
        facts["table"] = tables[0].to_json()
    trainers.append(trainer)  # its weights are what the graph works on
    return lambda: replay(batch), facts


def timed(step: Callable[[], Any], steps: int) -> float:
    """Milliseconds of one of `steps` steps."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / steps


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def bench(artifact: Any, plain: Any, name: str, rounds: int, steps: int) -> dict[str, Any]:
    trainers: list[Trainer] = []
    with own_stream(DEVICE) as stream:
        ours, facts = prepared(artifact, name, True, stream, trainers)
        theirs = None if plain is None else prepared(plain, name, False, stream, trainers)[0]
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(-2, rounds):
            for label, step in (("ours", ours), ("theirs", theirs)):
                if step is not None:
                    taken = timed(step, steps)
                    if number >= 0:
                        times[label].append(taken)
    found = {"name": name, **facts, **times}
    middle, low, high = quartiles(times["ours"])
    line = f"{name}: {middle:.3f} ms ({low:.3f}, {high:.3f}) a step, {facts['tokens'] / middle / 1e3:.2f} M tokens/s"
    if times["theirs"]:
        theirs_ms = quartiles(times["theirs"])
        ratio = quartiles([b / a for a, b in zip(times["ours"], times["theirs"], strict=True)])
        found["ratio"] = ratio
        line += f"; torch.compile {theirs_ms[0]:.3f} ({theirs_ms[1]:.3f}, {theirs_ms[2]:.3f})"
        line += f"; {ratio[0]:.2f}x [{ratio[1]:.2f}, {ratio[2]:.2f}]"
    print(line, flush=True)
    rows: dict[tuple[str, bool, str], tuple[float, int]] = {}
    for row in facts["table"]["rows"]:
        key = (row["place"], row["backward"], row["owner"] or "torch")
        us, count = rows.get(key, (0.0, 0))
        rows[key] = us + row["us"], count + row["count"]
    for (place, backward, by), (us, count) in sorted(rows.items(), key=lambda each: -each[1][0])[:14]:
        print(
            f"    {us:9.1f} us {count:5}  {place + (', backward' if backward else ''):<24} {by}", flush=True
        )
    for line in facts["table"]["violations"]:
        print(f"    violation: {line}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--alone", action="store_true", help="without torch")
    given = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    with tempfile.TemporaryDirectory() as folder:
        spakc.compile_file(FILE, Path(folder) / "ours")
        artifact = spak_runtime.load(Path(folder) / "ours")
        plain = None if given.alone else compiled_without_kernels(Path(folder) / "plain")
        found = []
        for name in NAMES:
            if given.only in name:
                found.append(bench(artifact, plain, name, given.rounds, given.steps))
                given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
