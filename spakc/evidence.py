"""The evidence file: JSON lines beside the `.spak` file, one measured or counted fact a line, no verdicts.

A row has two keys. `meaning` is the hash of the statement's checked canonical form with all it depends on.
`subject` is the hash of what was examined, a list of named parts that the row keeps, so that a stale row can
say what changed. Which parts matter depends on the kind of fact (`KINDS`): a compiled kernel does not depend
on the oracle, a measured time does. Facts about values outlive a change of a kernel whose present source has
fresh verification evidence; facts about time and memory do not.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, TypeGuard

from spakc.check.statements import Statement, by_hand_of
from spakc.diagnostics import Diagnostic, Sink, SpakError
from spakc.record import record

SCHEMA = "spak-evidence/1"

KERNEL_PARTS = frozenset(("source", "header", "flags"))
"""What a kernel is made of: the emitted source with the constants of its config, the headers it was compiled
against, and the compiler's other flags."""

EXPERIMENT_PARTS = frozenset(("math", "model", "data", "settings", "runtime"))
"""What decides the values of a run: the meaning of the kernels' maths, the emitted model, the meaning of the
datasets, the settings of the experiment, the training runtime."""

PART_KINDS = KERNEL_PARTS | EXPERIMENT_PARTS | {"emulator", "oracle", "cases"}
"""All kinds. `emulator` is its own source, `oracle` how a reference is evaluated, `cases` how cases are drawn
and judged."""


@record
class Kind:
    """A kind of fact: the parts it depends on, and those that fresh verification of their kernel stands
    for."""

    parts: frozenset[str]
    verified_parts: frozenset[str] = frozenset()


KINDS: dict[str, Kind] = {
    "compiled": Kind(KERNEL_PARTS),
    "cases": Kind(frozenset(("source", "header", "math", "data", "emulator", "oracle", "cases"))),
    "device_cases": Kind(KERNEL_PARTS | {"math", "data", "oracle", "cases"}),
    "counters": Kind(frozenset(("source", "header", "emulator", "cases"))),
    "values": Kind(KERNEL_PARTS | EXPERIMENT_PARTS, verified_parts=frozenset(("source", "header"))),
    "time": Kind(KERNEL_PARTS | EXPERIMENT_PARTS),
    "memory": Kind(KERNEL_PARTS | EXPERIMENT_PARTS),
}
"""`cases` ran on the emulator, `device_cases` on a device; `counters` are the emulator's counts of
traffic and conflicts. Proofs and guards have no rows: they are established anew at every check, in less
time than it takes to read one."""

MEASURED = frozenset(("values", "time", "memory"))
"""What hand-written kernels that were chosen took part in. They are verified by themselves."""

CLOCKS_APART = datetime.timedelta(minutes=10)
"""How far the clocks of two machines may be apart."""

_ORIGIN = re.compile(r"\S+\.spak:\d+(-\d+)?")
_LINE_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(line[ \t]+)?\d+.*\n?", re.MULTILINE)
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def hash_text(text: str) -> str:
    """The hash used everywhere in evidence: 128 bits in hex."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_source(text: str, python: bool = False) -> str:
    """The hash of emitted CUDA, or Python: what it does, not where it comes from. Line directives, the
    places in `.spak` files that lines cite, and the comments of CUDA (they quote the file) take no part
    in it."""
    text = _ORIGIN.sub("", _LINE_DIRECTIVE.sub("", text))
    if not python:
        text = _COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else "", text)
    lines = (line.rstrip(" \t#") for line in text.splitlines())
    return hash_text("\n".join(line for line in lines if line))


# ---- what was examined --------------------------------------------------------------------------------


@record
class Part:
    """One thing that was examined. `owner` is the kernel, experiment or dataset that it belongs to, empty
    for the tool's own. `variant` is the schedule, or the profile of an experiment (`MAIN` for none);
    `arch` the architecture it was made for. An empty `variant` or `arch` belongs to all of them."""

    kind: str
    owner: str
    name: str
    hash: str
    variant: str = ""
    arch: str = ""

    def __post_init__(self) -> None:
        assert self.kind in PART_KINDS, self.kind

    @property
    def key(self) -> str:
        return "|".join((self.kind, self.owner, self.variant, self.arch, self.name))


MAIN = "main"
"""The variant of an experiment's parts when it runs as written, under no profile."""


@record
class Subject:
    """What was examined, by part: `kind|owner|variant|arch|name` to hash."""

    parts: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(parts: Iterable[Part]) -> Subject:
        return Subject({part.key: part.hash for part in sorted(parts, key=lambda p: p.key)})

    def about(self, statement: Statement, *, fact: str = "", profile: str = "", arch: str = "") -> Subject:
        """Of everything that there is, what a fact about `statement` depends on. `fact` is its kind, by
        default the statement's own; `profile` the one under which an experiment ran; `arch` that of the
        device on which a statement without a target was examined. Empty for a statement that no evidence
        can establish."""
        wanted = KINDS[fact or statement.fact].parts if fact or statement.fact else frozenset()
        made_for = statement.arch or arch
        about = statement.kernels
        if (fact or statement.fact) in MEASURED:
            about |= {by_hand_of(kernel) for kernel in statement.kernels}

        def belongs(key: str) -> bool:
            kind, owner, variant, for_arch, _ = key.split("|", 4)
            if kind not in wanted:
                return False
            if kind == "cases":
                return True
            if kind in ("emulator", "oracle"):
                return bool(statement.kernels)
            if kind in KERNEL_PARTS or kind == "math":
                return (
                    owner in about
                    and (not statement.schedule or variant in ("", statement.schedule))
                    and (not made_for or for_arch in ("", made_for))
                )
            if kind == "data":
                return owner in statement.datasets
            if kind == "runtime":
                return bool(statement.experiments)
            return owner in statement.experiments and variant in ("", profile or MAIN)

        return Subject({key: value for key, value in self.parts.items() if belongs(key)})

    @property
    def hash(self) -> str:
        return hash_text(json.dumps(dict(sorted(self.parts.items()))))


# ---- rows ---------------------------------------------------------------------------------------------


@record
class Row:
    """One line. `figures` are what was counted or measured, in the forms that `spakc/verdicts.py` reads.
    `profile` names the profile of an experiment that ran, empty for the experiment itself. `date` is ISO
    8601."""

    statement: str
    kind: str
    meaning: str
    subject: Subject
    figures: Mapping[str, Any]
    target: str = ""
    profile: str = ""
    device: str = ""
    toolchain: str = ""
    driver: str = ""
    baselines: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    seed: int | None = None

    def to_json(self) -> str:
        """One line without its newline; the last field guards the others against corruption."""
        data = {
            "schema": SCHEMA,
            "statement": self.statement,
            "kind": self.kind,
            "target": self.target,
            "profile": self.profile,
            "meaning": self.meaning,
            "subject": self.subject.hash,
            "parts": dict(self.subject.parts),
            "figures": dict(self.figures),
            "device": self.device,
            "toolchain": self.toolchain,
            "driver": self.driver,
            "baselines": dict(self.baselines),
            "date": self.date,
            "seed": self.seed,
        }
        return _dump({**data, "check": hash_text(_dump(data))})


def row_of_run(
    statement: Statement,
    now: Subject,
    figures: Mapping[str, Any],
    *,
    fact: str = "",
    target: str = "",
    arch: str = "",
    profile: str = "",
    **columns: Any,
) -> Row:
    """The row of what was just examined, with the two keys that `status` will look for. `fact` is its
    kind, by default the statement's own; `target` the declared device it was examined on (the
    statement's, where it has one) and `arch` that device's architecture; `columns` are the remaining
    fields of a row."""
    return Row(
        statement.id,
        fact or statement.fact,
        statement.meaning,
        now.about(statement, fact=fact, profile=profile, arch=arch),
        figures,
        statement.target or target,
        profile,
        **columns,
    )


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_STRINGS = (
    *("statement", "kind", "target", "profile", "meaning", "subject"),
    *("device", "toolchain", "driver", "date"),
)


def parse_row(line: str) -> Row:
    """The row of one line. Raises ValueError that says what is wrong with it."""
    try:
        data = json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not a JSON object ({error})") from None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    check = data.pop("check", None)
    if check != hash_text(_dump(data)):
        raise ValueError("its checksum does not match: it was damaged or edited")
    if not all(isinstance(data.get(name), str) for name in _STRINGS):
        raise ValueError("a field is missing or no text")
    parts, baselines = data.get("parts"), data.get("baselines")
    if not (_is_text_map(parts) and _is_text_map(baselines) and isinstance(data.get("figures"), dict)):
        raise ValueError("parts, baselines and figures are objects")
    subject = Subject(parts)
    if data["kind"] not in KINDS or subject.hash != data["subject"]:
        raise ValueError("an unknown kind, or parts that do not make its subject")
    seed = data.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValueError("its seed is no integer")
    moment(data["date"])
    named = {name: data[name] for name in _STRINGS if name != "subject"}
    return Row(subject=subject, figures=data["figures"], baselines=baselines, seed=seed, **named)


BEGINNING = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def moment(date: str) -> datetime.datetime:
    """When a row was written; the beginning of time without a date. Raises ValueError."""
    if not date:
        return BEGINNING
    found = datetime.datetime.fromisoformat(date)
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _is_text_map(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


# ---- the file -----------------------------------------------------------------------------------------


def evidence_path(spak: Path) -> Path:
    """The evidence file of a `.spak` file: beside it, `matmul.spak` -> `matmul.evidence.jsonl`."""
    return spak.with_name(spak.stem + ".evidence.jsonl")


def read_evidence(path: Path, sink: Sink) -> list[Row]:
    """Every sound row, in the order of dates and never of lines; a file that is not there is empty.

    Reports, as warnings, rows that cannot be trusted, those dated ahead of now included (SPAK901), a last line that was
    cut off (SPAK902) and a file that cannot be read (SPAK903). What is reported is ignored: it establishes nothing."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError(errno.EINVAL, "not a file")
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = error.strerror or "unknown"
        sink.report("SPAK903", f"evidence `{path.name}` cannot be read: {reason}", None, severity="warning")
        return []
    rows: list[tuple[datetime.datetime, bytes, Row]] = []
    ahead = datetime.datetime.now(datetime.UTC) + CLOCKS_APART
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            row = parse_row(raw.decode())
            if (when := moment(row.date)) > ahead:
                raise ValueError("its date lies ahead, where no other could come after it")
            rows.append((when, raw, row))
        except ValueError as error:
            cut = number == len(lines)  # no newline after it
            what = "was cut off" if cut else f"is ignored: {_reason(error)}"
            sink.report(
                "SPAK902" if cut else "SPAK901",
                f"line {number} of `{path.name}` {what}",
                None,
                severity="warning",
            )
    return [row for _, _, row in sorted(rows, key=lambda each: each[:2])]


def _reason(error: ValueError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def append_evidence(path: Path, rows: Iterable[Row]) -> None:
    """Appends rows durably, all in one write under a lock: two processes never mix their lines, and a crash
    leaves at most one unfinished last line, which the next append closes off. SPAK904 where that is not
    possible."""
    try:
        _append(path, rows)
    except OSError as error:
        reason = error.strerror or "unknown"
        raise SpakError(
            Diagnostic("SPAK904", f"evidence `{path.name}` cannot be written: {reason}")
        ) from error


def _append(path: Path, rows: Iterable[Row]) -> None:
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file")
    text = "".join(row.to_json() + "\n" for row in rows).encode()
    if not text:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text
        while text:
            text = text[os.write(descriptor, text) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- freshness ----------------------------------------------------------------------------------------


def staleness(row: Row, meaning: str, subject: Subject, verified: Collection[str] = ()) -> tuple[str, ...]:
    """Why a row says nothing about the present, in words; empty for a fresh row.

    `meaning` and `subject` are those of its statement now. `verified` names the kernels whose present
    source has fresh verification evidence."""
    reasons = [] if row.meaning == meaning else ["the statement, or something it depends on, changed"]
    waived = KINDS[row.kind].verified_parts
    then, now = row.subject.parts, subject.parts
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) == now.get(key):
            continue
        kind, owner, variant, _, name = [*key.split("|", 4), "", "", "", ""][:5]
        if kind in waived and owner in verified:
            continue
        of = ".".join(part for part in (owner, variant) if part and part != MAIN)
        what = " ".join(word for word in (kind, name, f"of {of}" if of else "") if word)
        reasons.append(
            f"{what} {'is new' if key not in then else 'is gone' if key not in now else 'changed'}"
        )
    return tuple(reasons)
