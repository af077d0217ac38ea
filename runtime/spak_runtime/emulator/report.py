"""What a run on the emulator says: mistakes found, bytes moved, what accesses cost, how often it looked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spak_runtime.emulator.toolchain import call_paths


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the source, after any #line directive."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class EmulatorError:
    """One mistake. `kind` is a word of docs/emulator.md; `place` is None where it has no line; `other` is the
    other side of a race. `count` says how often it was met there, `block` and `thread` where first. `via` are
    the lines that called the function at `place`, the innermost first."""

    kind: str
    message: str
    place: Place | None
    other: Place | None
    count: int
    block: int | None
    thread: int | None
    via: tuple[Place, ...] = ()

    def __str__(self) -> str:
        called = "".join(f", called at {place}" for place in self.via)
        where = f"{self.place}{called}: " if self.place else ""
        other = f" (the other side: {self.other})" if self.other else ""
        who = f" [block {self.block}, thread {self.thread}]" if self.thread is not None else ""
        times = f" x {self.count}" if self.count > 1 else ""
        return f"{where}{self.kind}: {self.message}{other}{who}{times}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a launch asked a buffer for; a multicast load counts once."""

    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Access:
    """The cost of one line's memory accesses over the launch.

    `units` are wavefronts of shared memory or 32-byte sectors of global memory, `ideal` the fewest possible
    for the same bytes, `requests` how many warp-wide requests were looked at and `excess` how many of them
    cost more than the ideal.
    """

    space: str
    place: Place
    requests: int
    units: int
    ideal: int
    excess: int


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one launch.

    `conflicts` are the shared-memory accesses by line, `sectors` the global ones, both of every line that
    made any; `witnesses` counts what the checks looked at, so that silence can be told from absence. `visits` says how
    often threads came by each line that calls a primitive.
    """

    errors: Sequence[EmulatorError]
    bytes: Mapping[str, Traffic]
    sectors: Sequence[Access]
    conflicts: Sequence[Access]
    witnesses: Mapping[str, int]
    seed: int = 0
    async_mode: str = "late"
    visits: Mapping[Place, int] = field(default_factory=dict)
    kinds: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", frozenset(e.kind for e in self.errors))

    @property
    def ok(self) -> bool:
        """No mistake was found."""
        return not self.errors

    def bank_conflicts(self) -> list[Access]:
        """The lines whose shared-memory accesses took more wavefronts than they had to."""
        return [a for a in self.conflicts if a.units > a.ideal]


def parse_report(text: str, seed: int, async_mode: str, library: Path) -> Report:
    """Reads the runtime library's text: one record a line, tab-separated (src/report.cpp writes it)."""
    errors: list[tuple[EmulatorError, list[int]]] = []
    traffic: dict[str, Traffic] = {}
    accesses: list[Access] = []
    witnesses: dict[str, int] = {}
    visits: dict[Place, int] = {}
    for line in text.splitlines():
        kind, *fields = line.split("\t")
        if kind == "error":
            name, file, row, other_file, other_row, count, block, thread, frames, message = fields
            error = EmulatorError(
                name,
                message,
                _place(file, row),
                _place(other_file, other_row),
                int(count),
                _optional(block),
                _optional(thread),
            )
            errors.append((error, [int(address) for address in frames.split()]))
        elif kind == "buffer":
            traffic[fields[0]] = Traffic(int(fields[1]), int(fields[2]))
        elif kind == "access":
            place = _place(fields[1], fields[2])
            if place is not None:
                accesses.append(Access(fields[0], place, *map(int, fields[3:])))
        elif kind == "visit":
            place = _place(fields[0], fields[1])
            if place is not None:
                visits[place] = visits.get(place, 0) + int(fields[2])
        elif kind == "counter":
            witnesses[fields[0]] = int(fields[1])
    merged = _merge(accesses)
    return Report(
        _with_callers(errors, library),
        traffic,
        tuple(a for a in merged if a.space == "global"),
        tuple(a for a in merged if a.space == "shared"),
        witnesses,
        seed,
        async_mode,
        visits,
    )


def _with_callers(errors: list[tuple[EmulatorError, list[int]]], library: Path) -> tuple[EmulatorError, ...]:
    """Adds to each error the lines that lead to its place: what its frames say, less the primitive itself."""
    paths = iter(call_paths(library, [address for _, frames in errors for address in frames]))
    found = []
    for error, frames in errors:
        lines = [Place(*line) for _ in frames for line in next(paths)]
        lines = [line for line in lines if not line.file.startswith("spak/primitives/")]
        if error.place in lines:
            lines = lines[lines.index(error.place) + 1 :]
        found.append(dataclasses.replace(error, via=tuple(lines)))
    return tuple(found)


def _merge(accesses: list[Access]) -> list[Access]:
    """One entry a line: the same header included twice has two addresses for its name."""
    found: dict[tuple[str, str, int], Access] = {}
    for a in accesses:
        key = (a.space, a.place.file, a.place.line)
        b = found.get(key)
        found[key] = (
            a
            if b is None
            else Access(
                a.space,
                a.place,
                a.requests + b.requests,
                a.units + b.units,
                a.ideal + b.ideal,
                a.excess + b.excess,
            )
        )
    return [found[key] for key in sorted(found)]


def _place(file: str, line: str) -> Place | None:
    return Place(file, int(line)) if file else None


def _optional(n: str) -> int | None:
    return None if int(n) < 0 else int(n)
