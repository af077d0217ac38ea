"""One run: one point of one experiment with one seed, from the artifact's folder to figures."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spak_runtime.artifact import Artifact
from spak_runtime.training import build, checkpoint, evaluate, kernels, spec
from spak_runtime.training.alone import Taken, alone_in
from spak_runtime.training.corpus import CharacterData
from spak_runtime.training.documents import DocumentData, Documents
from spak_runtime.training.figures import read_figures, sealed
from spak_runtime.training.gates import GateResult, Judge
from spak_runtime.training.loop import SAVE_SECONDS, Log, Trainer, answer_loss
from spak_runtime.training.ops import Ops
from spak_runtime.training.progress import Progress, Quiet
from spak_runtime.training.spec import Experiment, Gate, Readout, Settings
from spak_runtime.training.together import Group

SCHEMA = "spak-figures/1"
SMOKE_BATCH = 32
"""Documents of a batch where a gate trains on a fixed number of batches and names no other size."""
_QUICK = 200
_WINDOWS = 200

_BY_LOOPS = 1000
"""Documents of a split by which accuracy is read off loop by loop."""

_NO_MEMORY = "DefaultCPUAllocator"
"""What torch says on a CPU, by no exception of its own."""

PATIENCE = 10.0
"""Seconds in which a process whose parent was killed has left the folder of its run."""

LAST = Readout("last", "last", None)
BEYOND = 2
"""Accuracy is read off at every loop up to so many times those trained."""


def run_experiment(
    folder: Path,
    out: Path,
    *,
    profile: str | None = None,
    seed: int = 0,
    point: str = "",
    device: torch.device | str | None = None,
    artifact: Artifact | None = None,
    base: Path | None = None,
    progress: Progress | None = None,
    save_seconds: float = SAVE_SECONDS,
    strict: bool = False,
    group: Group | None = None,
    ranks: int = 1,
) -> dict[str, Any]:
    """Trains and evaluates, and returns the figures (also written to `out/figures.json`).

    `folder` is `models/<experiment>` of an artifact, `out` the folder of this one run: it gets `log.jsonl`,
    `checkpoint.safetensors` with `measured.json` (time and the kernels of a step), `model.safetensors`,
    `figures.json`. `artifact` computes what the model gives to kernels; files of corpora are relative to
    `base`. A run that was killed goes on from its checkpoint and ends in the same bits, checkpoint and log
    included; a finished one is read, not repeated, unless what computed it has changed. On a GPU one step is
    profiled, and with `strict` a kernel that is neither the artifact's nor an exception with a name ends the
    run with StrictError, before the training goes on; so does, on any device and before it begins, an operation
    that the file gives to no kernel though one could compute it. `group` is set in each process of a run that
    several share (`together.py`), of which the first writes; `ranks` says how many had a run that is only to be
    read. Raises TrainingError for what a user can put right."""
    experiment = spec.read(folder)
    settings = experiment.point(profile, point)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise spec.TrainingError(f"`{out}` cannot be made: {error.strerror}") from error
    ranks = ranks if group is None else group.ranks
    shared = (ranks,) if ranks > 1 else ()
    computed_by = artifact.digest if artifact is not None and chosen.type == "cuda" else artifact is not None
    identity = build.fingerprint(experiment, profile, point, seed, chosen.type, computed_by, *shared)
    ops = build.build_ops(experiment, artifact, chosen)
    if strict:
        kernels.refuse_unnamed(ops)
    figures = _finished(out / "figures.json", identity)
    if figures is not None:
        if strict:
            kernels.refuse(figures["kernels"])
        return figures
    run = _Run(
        experiment,
        settings,
        ops,
        chosen,
        seed,
        out,
        identity,
        progress or Quiet(),
        save_seconds,
        base or folder,
        artifact,
        strict,
        group,
    )
    with contextlib.ExitStack() as held:
        if group is None or not group.rank:  # the first process of a group writes
            _enter(held, out)
        held.enter_context(_within_memory(experiment.name))
        return run.run(profile, point)


@contextlib.contextmanager
def _within_memory(name: str) -> Iterator[None]:
    """Says that there is not memory enough as what a user can put right."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY in str(error)
        if not known:
            raise
        message = f"experiment {name} needs more memory than there is: {str(error).splitlines()[0]}"
        raise spec.TrainingError(message) from error


def _enter(held: contextlib.ExitStack, out: Path) -> None:
    """Nobody else writes into the folder of the run from here on."""
    try:
        held.enter_context(alone_in(out, PATIENCE))
    except Taken as taken:
        raise spec.TrainingError(str(taken)) from None
    except OSError as error:
        raise spec.TrainingError(f"`{out}` cannot be written: {error.strerror}") from error


def _finished(path: Path, identity: str) -> dict[str, Any] | None:
    figures = read_figures(path)
    return figures if figures is not None and figures.get("identity") == identity else None


@dataclass(slots=True)
class _Run:
    """The state of one run."""

    experiment: Experiment
    settings: Settings
    ops: Ops
    device: torch.device
    seed: int
    out: Path
    identity: str
    progress: Progress
    save_seconds: float
    base: Path
    artifact: Artifact | None
    strict: bool
    group: Group | None
    data: build.Data = dataclasses.field(init=False)
    model: nn.Module = dataclasses.field(init=False)
    answers: dict[tuple[str, str, int | None], evaluate.Answers] = dataclasses.field(default_factory=dict)
    gates: list[GateResult] = dataclasses.field(default_factory=list)
    trained: Trainer | None = None
    step_kernels: dict[str, Any] = dataclasses.field(default_factory=kernels.not_run)

    def run(self, profile: str | None, point: str) -> dict[str, Any]:
        self.data = build.build_data(self.experiment, self.base)
        self.model = self._fresh_model()
        documents = self.data if isinstance(self.data, DocumentData) else None
        judge = Judge(documents, self._accuracy, self.seed)
        hidden = self._gates(judge)
        stopped = any(not gate.holds for gate in self.gates)
        if self.trained is None and not stopped:
            self._train({})
        if self.group is not None and self.group.rank:
            return {}  # the first process evaluates and writes
        rows = self._rows(hidden) if self.trained is not None else []
        figures = self._figures(profile, point, rows, hidden)
        if self.trained is not None:
            checkpoint.save(self.out / "model.safetensors", self.model, None, {"identity": self.identity})
        temporary = self.out / "figures.json.new"
        temporary.write_text(sealed(figures), encoding="utf-8")
        temporary.replace(self.out / "figures.json")
        return figures

    def _fresh_model(self) -> nn.Module:
        return build.build_model(self.experiment, self.settings, self.data, self.ops, self.device, self.seed)

    # ---- gates and training -------------------------------------------------------------------------

    def _gates(self, judge: Judge) -> dict[str, str]:
        """Runs the gates in order, up to the first that fails. Returns the splits that are withheld, with
        why."""
        for gate in self.experiment.gates:
            if gate.train is not None:
                judge.loss = self._smoke(gate) if "batches" in gate.train else self._train(gate.train)
            result = judge.judge(gate)
            self.gates.append(result)
            for line in result.shown:
                self.progress.say(f"  {line}")
            if not result.holds:
                self.progress.say(f"{self.experiment.name}: {result.reason()}")
                every = self.experiment.data.splits
                return dict.fromkeys(result.hides or every, result.reason())
        return {}

    def _smoke(self, gate: Gate) -> float:
        """Trains a model of its own on a few batches again and again, with a short warm-up, and returns the
        loss."""
        assert gate.train is not None
        steps, distinct = int(gate.train["steps"]), int(gate.train["batches"])
        size = int(gate.train.get("batch", SMOKE_BATCH))
        peak = self.settings.lr.get("peak", self.settings.lr.get("rate"))
        settings = dataclasses.replace(
            self.settings, lr={"name": "constant", "rate": peak, "warmup": min(10, steps)}
        )
        model = self._fresh_model()
        trainer = build.build_trainer(self.experiment, settings, model, self.ops, self.device, self.seed)
        stream = self._batches(size, 0)
        batches = [next(stream) for _ in range(distinct)]
        self.progress.start(f"{self.experiment.name}: {gate.name}", steps)
        trainer.train((batches[step % distinct] for step in range(steps)), steps, progress=self.progress)
        with torch.no_grad(), trainer.autocast():
            model.eval()
            return (
                sum(float(answer_loss(model, batch.to(self.device), self.ops)) for batch in batches)
                / distinct
            )

    def _train(self, wanted: Mapping[str, Any]) -> float:
        """The training of the experiment, from where a checkpoint left it. `wanted` are settings of a
        gate."""
        settings = {**self.settings.train, **wanted}
        steps, size = int(settings["steps"]), int(settings["batch"])
        trainer = build.build_trainer(
            self.experiment, self.settings, self.model, self.ops, self.device, self.seed, self.group
        )
        path = self.out / "checkpoint.safetensors"
        trainer.state = {"identity": self.identity}
        state = trainer.resume(path, trainer.state)
        writes = self.group is None or self.group.rank == 0
        log = Log(self.out / "log.jsonl", state["log"] if state else 0) if writes else None
        if state:
            self.progress.say(f"{self.experiment.name}: goes on at step {trainer.step} of {steps}")
        self.progress.start(f"{self.experiment.name} seed {self.seed}", steps)
        every = {int(settings["eval_every"]): self._quick} if "eval_every" in settings else {}
        profiled = self._profile(trainer, steps)
        if trainer.step < steps:
            trainer.train(
                self._batches(size, trainer.step),
                steps,
                progress=self.progress,
                log=log,
                save_to=path if writes else None,
                save_seconds=self.save_seconds,
                every=every,
                around=profiled,
            )
        if log is not None:
            log.close()
        self.trained = trainer
        return trainer.loss

    def _profile(self, trainer: Trainer, steps: int) -> kernels.StepProfile | None:
        """What profiles a step of the training that goes on. The table is kept beside checkpoints, for a run that goes
        on behind its last step."""
        if self.device.type != "cuda" or (self.group is not None and self.group.rank):
            return None
        self.step_kernels = trainer.measured.get("kernels", self.step_kernels)

        def done(table: kernels.Table) -> None:
            self.step_kernels = trainer.measured["kernels"] = table.to_json()
            if self.strict:
                kernels.refuse(self.step_kernels)

        at = min(trainer.step + kernels.WARM_UP, steps - 1)
        return kernels.StepProfile(self.model, self.ops, self.artifact, at, done)

    def _batches(self, size: int, start: int) -> Any:
        if isinstance(self.data, DocumentData):
            return self.data.batches(size, self.seed, start, device=self.device)
        context = int(self.settings.train["context"])
        return self.data.batches(size, self.seed, context, start, device=self.device)

    # ---- evaluation ---------------------------------------------------------------------------------

    def _quick(self, _step: int) -> dict[str, Any]:
        """Accuracy on what is trained on, for the log. Other splits are not looked at before the end."""
        if isinstance(self.data, CharacterData):
            return {"eval": {name: self._corpus_loss(name) for name in self.data.parts}}
        shares = {}
        for name in self.data.dataset.train:
            documents = self._documents(name).select(torch.arange(_QUICK))
            answers = self._exact(documents, LAST)
            shares[name] = float(answers.correct.float().mean())
        return {"eval": shares}

    def _accuracy(self, split: str, mode: str, loops: int | None) -> float:
        return float(self._answers(split, Readout(mode, mode, loops)).correct.float().mean())

    def _answers(self, split: str, readout: Readout) -> evaluate.Answers:
        key = (split, readout.mode, readout.loops)
        if key not in self.answers:
            self.progress.start(f"{self.experiment.name}: {split}, {readout.name}", 1)
            self.answers[key] = self._exact(self._documents(split), readout)
        return self.answers[key]

    def _exact(self, documents: Documents, readout: Readout) -> evaluate.Answers:
        assert isinstance(self.data, DocumentData)
        with self.ops.in_evaluation():
            return evaluate.exact_match(self.model, documents, readout, self.data.pad, self.device)

    def _documents(self, split: str) -> Documents:
        assert isinstance(self.data, DocumentData)
        return self.data.evaluation(split)

    @torch.no_grad()
    def _corpus_loss(self, split: str) -> float:
        assert isinstance(self.data, CharacterData)
        batch = self.data.evaluation(split, int(self.settings.train["context"]), _WINDOWS)
        self.model.eval()
        losses = []
        for rows in torch.split(torch.arange(len(batch.inputs)), 16):
            part = dataclasses.replace(
                batch, inputs=batch.inputs[rows], targets=batch.targets[rows], mask=batch.mask[rows]
            )
            with self.ops.in_evaluation():
                losses.append(float(answer_loss(self.model, part.to(self.device), self.ops)) * len(rows))
        return sum(losses) / len(batch.inputs)

    def _rows(self, hidden: Mapping[str, str]) -> list[dict[str, Any]]:
        """One row a split and readout; none of a split that is withheld."""
        if isinstance(self.data, CharacterData):
            return [
                {"split": name, "readout": "last", "loss": self._corpus_loss(name)}
                for name in self.data.parts
            ]
        shown = [split for split in self.data.dataset.splits if split not in hidden]
        return [self._row(split, readout) for split in shown for readout in self.experiment.readouts]

    def _row(self, split: str, readout: Readout) -> dict[str, Any]:
        answers, documents = self._answers(split, readout), self._documents(split)
        correct, count = int(answers.correct.sum()), len(answers.correct)
        by_digits = {}
        for digits in sorted(set(documents.digits.tolist())):
            among = answers.correct[documents.digits == digits]
            by_digits[str(digits)] = [int(among.sum()), len(among)]
        bits = torch.nn.functional.pad(answers.correct.to(torch.uint8), (0, -count % 8)).view(-1, 8)
        packed = (bits << torch.arange(7, -1, -1, dtype=torch.uint8)).sum(1).to(torch.uint8)
        seen: dict[str, Any] = {}
        if answers.depth is not None:
            seen["halting"] = _halting(answers.depth, documents.digits)
        supervised = getattr(self.model, "supervised", None)
        if readout == LAST and supervised is not None:
            some = documents.select(torch.arange(min(count, _BY_LOOPS)))
            with self.ops.in_evaluation():
                right = evaluate.by_loops(self.model, some, BEYOND * supervised[-1], self.device)
            seen["by_loops"] = {"n": len(some.tokens), "correct": right}
        return {
            **seen,
            "split": split,
            "readout": readout.name,
            "n": count,
            "correct": correct,
            "interval": list(evaluate.wilson(correct, count)),
            "by_digits": by_digits,
            "bits": base64.b64encode(bytes(packed.tolist())).decode(),
            "loops": answers.loops,
        }

    # ---- what comes out -----------------------------------------------------------------------------

    def _figures(
        self, profile: str | None, point: str, rows: list[dict[str, Any]], hidden: Mapping[str, str]
    ) -> dict[str, Any]:
        train, trained = self.settings.train, self.trained
        notes = []
        if train.get("precision") == "bf16" and self.device.type != "cuda":
            notes.append("bf16 needs a GPU: trained in float32")
        cuda = self.device.type == "cuda"
        return {
            "schema": SCHEMA,
            "identity": self.identity,
            "experiment": self.experiment.name,
            "meaning": self.experiment.meaning,
            "subject": build.subject(),
            "profile": profile,
            "point": point,
            "seed": self.seed,
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "config": dict(self.settings.config),
            "steps": trained.step if trained else 0,
            "seconds": trained.seconds if trained else 0.0,
            "loss": trained.loss if trained else None,
            "memory": torch.cuda.max_memory_allocated(self.device) if cuda else None,
            "passed": all(gate.holds for gate in self.gates),
            "gates": [_gate(gate) for gate in self.gates],
            "hidden": dict(hidden),
            "rows": rows,
            "ranks": 1 if self.group is None else self.group.ranks,
            "captured": trained.captured if trained else "no: not trained",
            "kernels": self.step_kernels,
            "computed": [dataclasses.asdict(row) for row in self.ops.table()],
            "notes": notes,
        }


def _halting(depth: Tensor, digits: Tensor) -> dict[str, list[float]]:
    """By the digits of the longest number: the mean loop at which the first, second … token of an answer halted."""
    found = {}
    for number in sorted(set(digits.tolist())):
        mine = depth[digits == number]
        counts = (mine > 0).sum(0)
        means = mine.sum(0)[counts > 0] / counts[counts > 0]
        found[str(number)] = [round(mean, 3) for mean in means.tolist()]
    return found


def _gate(gate: GateResult) -> dict[str, Any]:
    return {
        "name": gate.name,
        "holds": gate.holds,
        "verdicts": [{"text": v.text, "holds": v.holds, "figures": dict(v.figures)} for v in gate.verdicts],
        "shown": list(gate.shown),
        "findings": [dataclasses.asdict(finding) for finding in gate.findings],
    }
