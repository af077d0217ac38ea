"""The kernel table of a training step: every kernel that the GPU ran, whose it is, and why torch computed the
rest.

One step in the middle of training is profiled. A kernel is the artifact's if it has the name of one of its
entries. Any other was launched by a torch operation, which belongs to a part of the step: forward by the
scope that was open, backward by the scope that its gradient opened, or that of the forward operation whose
gradient it is. What no kernel can be given (an embedding, a residual sum, the norm of the gradient …) is an
exception by its place and torch's operation, and listed by name. A violation is what torch computes of an
operation that a kernel could compute, whether the file names one or not; a kernel that belongs to no part;
and a step in which nothing is the artifact's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from torch._C._autograd import DeviceType

from spak_runtime.training.meanings import MEANINGS
from spak_runtime.training.ops import UNNAMED, Computed, Ops
from spak_runtime.training.scopes import PREFIX, modules_named, scope
from spak_runtime.training.spec import TrainingError

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact

WARM_UP = 5
"""Steps before the one that is profiled: kernels are built, memory is allocated, clocks are up."""
NO_DEVICE = "not run: no device"

_STEP = "step"
_PARTS = {
    "data": "what a step trains on is made by torch, on the device",
    "schedule": "rates come from a table on the device",
    "mean": "the mean of the loss over the tokens that count is torch's",
    "backward": "the root of the gradient",
    "sums": "gradients are summed into their parameters",
    "clip": "the norm of the gradient is torch's",
    "sum": "gradients of several devices are gathered and summed by torch",
}
"""The parts of a step that are no operation of the model, and why torch computes them."""

_CAST = {"aten::copy_": "a cast or a copy of what a kernel takes or gives"}
_FILLED = dict.fromkeys(("aten::fill_", "aten::zero_"), "memory that a kernel needs filled")
_JOINED = dict.fromkeys(("aten::add", "aten::add_"), "the sum of two gradients of one tensor")
_ADDED = {"aten::add": "the sum with a bias, where the kernel takes none"}
_BIAS = {"aten::sum": "the gradient of a bias"}
_AROUND: Mapping[tuple[str, bool], Mapping[str, str]] = {
    ("linear", False): _CAST | _FILLED | _ADDED,
    ("linear", True): _CAST | _FILLED | _JOINED | _BIAS,
    ("attention", False): _CAST,
    ("attention", True): _CAST | _FILLED | _JOINED,
    ("norm", False): _CAST | _FILLED,
    ("norm", True): _CAST | _FILLED | _JOINED,
    ("residual", False): _CAST | _FILLED,
    ("residual", True): _CAST | _FILLED | _JOINED,
    ("expand", False): _CAST | _FILLED,
    ("expand", True): _CAST | _FILLED | _JOINED | _BIAS,
    ("contract", False): _CAST | _FILLED | _ADDED,
    ("contract", True): _CAST | _FILLED | _JOINED | _BIAS,
    ("activation", False): _CAST,
    ("activation", True): _CAST | _JOINED,
    ("loss", False): _CAST,
    ("loss", True): _CAST | _FILLED | _JOINED,
    ("optimizer", False): _CAST | _FILLED,
}
"""What torch may do around the kernel of an operation, forward and backward, without computing what the kernel is
for."""

_TABLES = "what depends on tokens and places, and is looked up in tables"
_LOOKED_UP = {
    "Embedding": "vectors of tokens are looked up by torch, and their gradients summed",
    "Places": _TABLES,
    "Steps": _TABLES,
    "Rope": _TABLES,
    "Relative": _TABLES,
    "Window": _TABLES,
    "Coupled": _TABLES,
    "LongestRun": _TABLES,
    "scores": "the bias of scores comes from a table, whose gradient is a product with indicators",
}
"""Places of a model that no operation of a kernel is in. Modules are known by the names of their classes, which a part
of a model cannot have."""

_BETWEEN = (
    dict.fromkeys(
        ("aten::add", "aten::add_", "aten::sub", "aten::mul", "aten::div", "aten::neg", "aten::where"),
        "sums and products of elements that the model writes between its operations, as residual sums are",
    )
    | dict.fromkeys(("aten::sum", "aten::le", "aten::eq"), "their gradients, and what they compare")
    | dict.fromkeys(
        ("aten::copy_", "aten::fill_", "aten::zero_", "aten::cat", "aten::arange"),
        "copies and filled memory between operations",
    )
    | dict.fromkeys(
        ("aten::native_dropout", "aten::native_dropout_backward", "aten::bernoulli_", "aten::masked_scale"),
        "dropout",
    )
)
"""What torch may do in any other place of a model: no product, no norm, no softmax, no activation."""

_ENGINE = "autograd::engine::evaluate_function: "
_SUMS = "torch::autograd::AccumulateGrad"
_WAITS = frozenset(("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"))


class StrictError(TrainingError):
    """A step ran a kernel that is neither the artifact's nor an exception with a name."""

    code = "SPAK561"


class Event(Protocol):
    """What is read of an event of torch's profiler."""

    name: str
    thread: int
    sequence_nr: int
    device_type: Any
    time_range: Any
    kernels: Sequence[Any]
    cpu_parent: Any


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel, launched `count` times in the step from one place. `owner` is the artifact's kernel that it
    belongs to, else None: then `op` is the torch operation that launched it and `why` the reason. `place` is
    a part of the step or an operation of the model, with `backward` of its gradient."""

    kernel: str
    count: int
    us: float
    owner: str | None
    op: str
    place: str
    backward: bool
    why: str
    excepted: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The rows by time. `waits` is how often the host waited for the device. `fallbacks` are operations that a
    kernel could compute while torch computed them, without a reason that is an exception."""

    step: int
    rows: tuple[Row, ...]
    waits: int
    fallbacks: tuple[str, ...]

    def violations(self) -> list[str]:
        """What `--strict` refuses, one line each; empty where the step is as the file says."""
        if not self.rows:
            return ["the profiler saw no kernel, so nothing is known of the step"]
        if all(row.owner is None for row in self.rows):
            nothing = ["no kernel of the step is the artifact's"]
        else:
            nothing = []
        strange = [
            f"{_place(row)}: {row.op or 'no operation'} launched {row.kernel} ({row.count}×): {row.why}"
            for row in self.rows
            if row.owner is None and not row.excepted
        ]
        return [*nothing, *self.fallbacks, *strange]

    def to_json(self) -> dict[str, Any]:
        """For figures: the rows, sums of them, the exceptions by name, the violations."""
        total = sum(row.us for row in self.rows)
        ours = sum(row.us for row in self.rows if row.owner is not None)
        return {
            "status": "run",
            "step": self.step,
            "launches": sum(row.count for row in self.rows),
            "us": total,
            "share": ours / total if total else 0.0,
            "waits": self.waits,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "exceptions": _exceptions(self.rows),
            "violations": self.violations(),
        }


def not_run() -> dict[str, Any]:
    """What figures hold in place of a table where there is no device."""
    return {"status": NO_DEVICE, "violations": [], "exceptions": [], "rows": []}


def refuse_unnamed(ops: Ops) -> None:
    """Raises StrictError, before anything is trained, for operations that the file gives to no kernel."""
    if unnamed := ops.unnamed():
        raise StrictError(f"the file names no kernel for {', '.join(unnamed)}: torch would compute that")


def refuse(figures: Mapping[str, Any]) -> None:
    """Raises StrictError with the table if it has violations."""
    found = figures["violations"]
    if found:
        raise StrictError("\n".join(["a step is not what the file says:", *found, *describe(figures)]))


def describe(figures: Mapping[str, Any], rows: bool = True) -> list[str]:
    """The table as lines for a terminal; without `rows` only its sums and exceptions."""
    if figures["status"] != "run":
        return [f"kernels of a step: {figures['status']}"]
    lines = [
        f"kernels of step {figures['step']}: {figures['launches']} launches, {figures['us'] / 1e3:.2f} ms on "
        f"the device, {figures['share']:.0%} of it in kernels of the artifact; the host waited "
        f"{figures['waits']} times"
    ]
    if rows:
        lines.append(f"  {'µs':>9} {'count':>6}  {'by':<22} {'in':<26} kernel")
        for row in figures["rows"]:
            by = row["owner"] or f"torch ({row['op'] or '?'})"
            where = row["place"] + (", backward" if row["backward"] else "")
            lines.append(f"  {row['us']:9.1f} {row['count']:6}  {by:<22} {where:<26} {row['kernel'][:90]}")
    lines += [
        f"  exception: {each['place']}: {each['why']} ({each['count']} launches, {each['us']:.0f} µs)"
        for each in figures["exceptions"]
    ]
    return lines


# ---- taking the profile -----------------------------------------------------------------------------


class StepProfile:
    """Profiles one step of a training on a CUDA device; every other step runs as it is.

    Used as the `around` of a trainer. `done` gets the table before the next step begins, and what it raises
    ends the training."""

    def __init__(
        self, model: nn.Module, ops: Ops, artifact: Artifact | None, at: int, done: Callable[[Table], None]
    ) -> None:
        self._model = model
        self._ops = ops
        self._owners = owners(artifact)
        self._at = at
        self._done = done

    @contextlib.contextmanager
    def __call__(self, step: int) -> Iterator[None]:
        """Around step `step`."""
        if step != self._at:
            yield
            return
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        torch.cuda.synchronize()
        # The first profile of a process may lose its first events: this one is for nothing else.
        with torch.profiler.profile(activities=kinds, acc_events=True):
            torch.zeros(1, device="cuda")
            torch.cuda.synchronize()
        with torch.profiler.profile(activities=kinds, acc_events=True) as profile:
            with modules_named(self._model), scope(_STEP):
                yield
            torch.cuda.synchronize()
        self._done(tabulate(profile.events() or [], step, self._owners, self._ops.uses, self._ops.table()))


def owners(artifact: Artifact | None) -> dict[str, str]:
    """The kernel of the artifact by the name of each of its entries."""
    if artifact is None:
        return {}
    return {
        launch.entry: name
        for name, kernel in artifact.manifest.kernels.items()
        for variant in kernel.variants
        for launch in variant.launches
    }


# ---- from events to rows ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a kernel was launched."""

    op: str
    place: str
    backward: bool


_NOWHERE = _Site("", "", False)


def tabulate(
    events: Sequence[Event],
    step: int,
    entries: Mapping[str, str],
    uses: Mapping[str, str],
    computed: Sequence[Computed],
) -> Table:
    """The table of a profiled step. `entries` maps kernels of the device to the artifact's, `uses` the
    operations of the model to the kernels that the file gives them to, `computed` says who computed them."""
    on_host = [event for event in events if event.device_type == DeviceType.CPU]
    launched: dict[str, Counter[_Site]] = {}
    micros: dict[tuple[str, _Site], float] = {}
    places = _forward_places(on_host)
    labels = {event.name for event in on_host}  # the profiler repeats scopes on the device's time line
    for event in on_host:
        for kernel in event.kernels:
            if kernel.name in labels:
                continue
            site = _site(event, places)
            launched.setdefault(kernel.name, Counter())[site] += 1
            micros[kernel.name, site] = micros.get((kernel.name, site), 0.0) + float(kernel.duration)
    _add_unlaunched([event for event in events if event.name not in labels], launched, micros)
    rows = [
        _row(name, site, count, micros[name, site], entries, uses, computed)
        for name, sites in launched.items()
        for site, count in sites.items()
    ]
    inside = [event for event in on_host if event.name in _WAITS and _in_step(event, on_host)]
    return Table(step, tuple(sorted(rows, key=lambda row: -row.us)), len(inside), _fallbacks(computed))


def _add_unlaunched(
    events: Sequence[Event],
    launched: dict[str, Counter[_Site]],
    micros: dict[tuple[str, _Site], float],
) -> None:
    """Kernels that no torch operation launched: those that the runtime launches itself, outside of any."""
    count: Counter[str] = Counter()
    total: dict[str, float] = {}
    for event in events:
        if event.device_type != DeviceType.CUDA or event.name.endswith(" Sync"):
            continue
        count[event.name] += 1
        total[event.name] = total.get(event.name, 0.0) + event.time_range.end - event.time_range.start
    for name, seen in count.items():
        sites = launched.setdefault(name, Counter())
        known = sum(sites.values())
        if seen > known:
            rest = total[name] - sum(micros[name, site] for site in sites)
            sites[_NOWHERE] += seen - known
            micros[name, _NOWHERE] = micros.get((name, _NOWHERE), 0.0) + max(0.0, rest)


def _forward_places(on_host: Sequence[Event]) -> dict[int, str]:
    """The place of the forward operation whose gradient has a sequence number. Operations without a gradient
    carry the number of the next one that has one, so the last to begin is meant."""
    places: dict[int, tuple[float, str]] = {}
    for event in on_host:
        if event.sequence_nr < 0 or _gradient(event) is not None:
            continue
        place = _scope_of(event)
        if place is not None:
            begin = float(event.time_range.start)
            if event.sequence_nr not in places or places[event.sequence_nr][0] <= begin:
                places[event.sequence_nr] = (begin, place)
    return {number: place for number, (_, place) in places.items()}


def _ancestors(event: Event) -> Iterator[Event]:
    at: Event | None = event
    while at is not None:
        yield at
        at = at.cpu_parent


def _scope_of(event: Event, inside: Event | None = None) -> str | None:
    """The innermost scope around an event; of those opened `inside` of another, if one is given."""
    around = itertools.takewhile(lambda each: each is not inside, _ancestors(event))
    return next((each.name.removeprefix(PREFIX) for each in around if each.name.startswith(PREFIX)), None)


def _gradient(event: Event) -> Event | None:
    """The node of the gradient that an event is part of."""
    return next((each for each in _ancestors(event) if each.name.startswith(_ENGINE)), None)


def _site(event: Event, places: Mapping[int, str]) -> _Site:
    op = next((each.name for each in _ancestors(event) if each.name.startswith("aten::")), event.name)
    node = _gradient(event)
    if node is None:
        place = _scope_of(event)
        return _Site(op, "" if place in (None, _STEP) else str(place), False)
    if node.name == _ENGINE + _SUMS:
        return _Site(op, "sums", True)
    opened = _scope_of(event, node)
    return _Site(op, places.get(node.sequence_nr, "") if opened is None else opened, True)


def _in_step(event: Event, on_host: Sequence[Event]) -> bool:
    return any(
        each.name == PREFIX + _STEP and each.time_range.start <= event.time_range.start <= each.time_range.end
        for each in on_host
    )


# ---- whose, and why ---------------------------------------------------------------------------------


def _row(
    name: str,
    site: _Site,
    count: int,
    us: float,
    entries: Mapping[str, str],
    uses: Mapping[str, str],
    computed: Sequence[Computed],
) -> Row:
    owner = entries.get(name)
    if owner is not None:
        return Row(name, count, us, owner, "", site.place, site.backward, "", False)
    why, excepted = _why(site, uses, computed)
    return Row(name, count, us, None, site.op, site.place, site.backward, why, excepted)


def _why(site: _Site, uses: Mapping[str, str], computed: Sequence[Computed]) -> tuple[str, bool]:
    """Why torch computes something, and whether that is an exception."""
    if not site.place:
        return "it belongs to no part of the step", False
    if site.place in _PARTS:
        return _PARTS[site.place], True
    if site.place in _LOOKED_UP:
        return _LOOKED_UP[site.place], True
    if site.place not in MEANINGS:
        why = _BETWEEN.get(site.op)
        return why or "torch may only add, scale and copy between operations", why is not None
    rows = [row for row in computed if row.op == site.place and row.phase == "training" and row.by == "torch"]
    if rows:
        return rows[0].why, all(_is_exception(row, computed) for row in rows)
    around = _AROUND.get((site.place, site.backward), {})
    kernel = uses.get(site.place)
    if kernel is None:
        return UNNAMED, False
    if site.op in around:
        return f"beside {kernel}: {around[site.op]}", True
    return f"the file gives {site.place} to {kernel}", False


def _is_exception(row: Computed, computed: Sequence[Computed]) -> bool:
    """Whether torch may compute this. What a kernel does not cover is an exception beside what it computes; where it
    computes nothing, the file names the wrong one."""
    return row.excepted or (
        row.beside
        and any(each.op == row.op and each.phase == row.phase and each.by != "torch" for each in computed)
    )


def _fallbacks(computed: Sequence[Computed]) -> tuple[str, ...]:
    return tuple(
        f"{row.op}: the file gives it to {row.kernel}, but torch computed it: {row.why}"
        if row.kernel is not None
        else f"{row.op}: torch computed it: {row.why}"
        for row in computed
        if row.by == "torch" and row.phase == "training" and not _is_exception(row, computed)
    )


def _exceptions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry a place and reason."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.owner is None and row.excepted:
            grouped.setdefault((row.place, row.why), []).append(row)
    return [
        {
            "place": place,
            "why": why,
            "count": sum(row.count for row in group),
            "us": sum(row.us for row in group),
            "kernels": sorted({row.kernel for row in group}),
        }
        for (place, why), group in sorted(grouped.items())
    ]


def _place(row: Row) -> str:
    return (row.place or "outside of every part") + (", backward" if row.backward else "")
