"""Questions → figures: every call of a question is timed on the current CUDA device, in turns. An edge."""

from __future__ import annotations

import functools
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spak_runtime.artifact import Artifact
from spak_runtime.errors import ArchError, NoVariantError, SpakRuntimeError
from spakc.bench.baselines import NoBaseline, baseline, rivals
from spakc.bench.questions import Call, Question, options_of
from spakc.bench.work import operations
from spakc.figures import key_of
from spakc.ir.ops import Query
from spakc.plan.plan import Plan
from spakc.record import record

if TYPE_CHECKING:
    from spak_runtime.bench import Effort
    from spak_runtime.function import KernelFunction


@record
class Timed:
    """One subject of a question. `seconds` is one figure a round; `by` the variant that answered, or the
    library operation; `work` the floating-point operations of the call, 1 where its family has none. No `query`: the
    claim does not ask for it."""

    query: Query | None
    subject: str
    by: str
    seconds: tuple[float, ...]
    work: float

    @property
    def rates(self) -> list[float]:
        return [self.work / each for each in self.seconds]


@record
class Answer:
    """`missing` says why nothing was timed; empty where everything was. `clocks` is what the driver said of the
    device right after; `skipped` are backends that were asked for and not timed, with the reason."""

    question: Question
    timed: tuple[Timed, ...]
    missing: str = ""
    clocks: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def quantities(self) -> Iterator[dict[str, Any]]:
        """As evidence keeps them: figures of one question were taken in the same rounds."""
        rounds = f"{self.question.statement.id} {dict(self.question.point)}"
        for each in self.timed:
            if each.query is not None:
                samples = each.rates if each.query.name == "speed" else list(each.seconds)
                point = dict(self.question.point)
                yield {"query": key_of(each.query), "at": point, "samples": samples, "rounds": rounds}


def answer(
    question: Question,
    decided: Plan,
    artifact: Artifact,
    effort: Effort,
    by_schedule: bool = False,
    against: Sequence[str] = (),
    tiles: Artifact | None = None,
) -> Answer:
    """Times every subject of a question on the same buffers; `by_schedule` each schedule of a kernel apart; what the
    backends of `against` have for the same call as well. `tiles` is the file's artifact for cuTile."""
    import torch

    from spak_runtime import bench

    device = torch.device("cuda")
    subjects: dict[str, Callable[[int], object]] = {}
    told: list[tuple[Query | None, str, str, float]] = []
    skipped: list[str] = []
    call = question.subjects[0][1]
    spec = artifact[call.kernel].spec
    try:
        first = bench.operands(spec, call.dims, call.dtype, call.layouts, 0, device)
        seeds = range(1, bench.sets_for(first))
        sets = [first, *(bench.operands(spec, call.dims, call.dtype, call.layouts, s, device) for s in seeds)]
        for query, asked, library in question.subjects:
            problem = decided.kernels[asked.kernel].problem
            options = options_of(decided.kernels[asked.kernel].kernel, asked)
            name = f"{library or asked.kernel} {len(subjects)}"
            work = operations(problem, asked.dims, options) or 1.0
            if library is not None:
                theirs = baseline(library, problem, asked.dims, options)
                subjects[name] = functools.partial(_theirs, theirs, sets)
                told.append((query, name, library, work))
                continue
            kernel = artifact[asked.kernel]
            for rung, part in _rungs(kernel) if by_schedule else [("", kernel)]:
                variant = _answering(part, {**first, **asked.options}, by_schedule)
                if variant is not None:
                    subjects[name + rung] = functools.partial(_ours, part, sets, asked.options)
                    told.append((query, name + rung, variant, work))
        problem, options = (
            decided.kernels[call.kernel].problem,
            options_of(decided.kernels[call.kernel].kernel, call),
        )
        named = {library for _, _, library in question.subjects}
        for backend in against:
            try:
                if backend == "cutile":
                    found = {f"cutile.{call.kernel}": _by_tiles(tiles, call)}
                else:
                    found = rivals(backend, problem, call.dims, options)
                for name, theirs in found.items():
                    if name not in named:
                        theirs(first)  # built, so that what it cannot do is known before anything is timed
                        subjects[name] = functools.partial(_theirs, theirs, sets)
                        told.append((None, name, name, operations(problem, call.dims, options) or 1.0))
            except (NoBaseline, SpakRuntimeError, RuntimeError) as why:
                skipped.append(f"{backend}: skipped: {str(why).splitlines()[0]}")
        seconds = bench.interleaved(subjects, len(sets), effort)
    except NoBaseline as why:
        return Answer(question, (), str(why))
    except (SpakRuntimeError, RuntimeError) as error:
        return Answer(question, (), f"{type(error).__name__}: {str(error).splitlines()[0]}")
    timed = [Timed(query, name, by, tuple(seconds[name]), work) for query, name, by, work in told]
    return Answer(question, tuple(timed), clocks=clocks(), skipped=tuple(skipped))


def _by_tiles(tiles: Artifact | None, call: Call) -> Callable[[Mapping[str, Any]], Any]:
    """The same call of the kernel that is written for cuTile. Raises NoBaseline."""
    if tiles is None or not tiles[call.kernel].spec.variants:
        raise NoBaseline("it has no form for this kernel")
    kernel = tiles[call.kernel]
    return lambda tensors: kernel(**tensors, **call.options)


def _rungs(kernel: KernelFunction) -> list[tuple[str, KernelFunction]]:
    """A kernel by its schedules, in the order of the file: each with its variants alone."""
    groups: dict[str, list[str]] = {}
    for variant in kernel.spec.variants:
        groups.setdefault(variant.schedule, []).append(variant.id)
    return [(f" {schedule}", kernel.only(*ids)) for schedule, ids in reversed(groups.items())]


def _answering(kernel: KernelFunction, arguments: Mapping[str, Any], may_refuse: bool) -> str | None:
    """The variant that a call gets; None where every one refuses it and that is allowed."""
    try:
        return kernel.explain(**arguments).variant or "torch"
    except (NoVariantError, ArchError):
        if may_refuse:
            return None
        raise


def _ours(
    kernel: Callable[..., Any], sets: Sequence[Mapping[str, Any]], options: Mapping[str, Any], n: int
) -> Any:
    return kernel(**sets[n], **options)


def _theirs(library: Callable[..., Any], sets: Sequence[Mapping[str, Any]], n: int) -> Any:
    return library(sets[n])


def clocks() -> str:
    """Clock, power and temperature as the driver reports them; empty where its tool is not installed."""
    return _asked("clocks.sm,clocks.mem,power.draw,temperature.gpu")


def driver_version() -> str:
    """The version of the driver that is loaded; empty where its tool is not installed."""
    return _asked("driver_version")


def _asked(asked: str) -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, f"--query-gpu={asked}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def ratio(ours: Timed, theirs: Timed) -> tuple[float, float, float]:
    """How much faster ours is, round by round: the quartiles (low, median, high)."""
    found = sorted(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))
    low, middle, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return low, middle, high
