"""`spakc check FILE`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spakc import driver, kept
from spakc.cli import numpy_without_threads, show
from spakc.diagnostics import Diagnostic, Sink
from spakc.lower.program import Program
from spakc.record import record

if TYPE_CHECKING:
    from spakc.check.check_claims import ClaimStatus
    from spakc.check.check_space import SpaceKey
    from spakc.check.checked import CheckedModule
    from spakc.check.space import Space
    from spakc.check.verdict import LawStatus, Status
    from spakc.ir.module import Implementation, Module


@record
class Outcome:
    """What `check` says of a file: warnings, a line for every space, a row for every law and every claim. The sources
    of hand-written kernels are no part of that and read each time."""

    implementations: tuple[Implementation, ...]
    diagnostics: tuple[Diagnostic, ...]
    spaces: tuple[str, ...]
    laws: tuple[dict[str, object], ...]
    claims: tuple[dict[str, object], ...]


def run(file: Path, format: str) -> int:
    """Prints what was proved, what is left open and by which means, and what each law cuts."""
    sink = Sink()
    outcome = _outcome(file, driver.load(file, sink), sink)
    show(outcome.diagnostics, format == "json")
    if format == "json":
        for row in (*outcome.laws, *outcome.claims):
            click.echo(json.dumps(row))
        return 0
    for line in outcome.spaces:
        click.echo(line)
    _tell("law", [row for row in outcome.laws if row["applicable"]])
    if outcome.claims:
        _tell("claim", outcome.claims)
    return 0


def _tell(kind: str, rows: Sequence[dict[str, object]]) -> None:
    """Those that are violated one by one, of all how many there are of each verdict and means."""
    for row in rows:
        if row["verdict"] == "violated":
            target = f" on {row['target']}" if row["target"] else ""
            click.echo(f"violated: {kind} {row[kind]}{target}: {row['note']}")
    counts = Counter(f"{row['verdict']} ({row['means']})" for row in rows)
    click.echo(f"{kind}s: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))


def _outcome(file: Path, program: Program, sink: Sink) -> Outcome:
    """The outcome for these texts, which may be one that was kept."""
    decides = ("check", *driver.texts(program))
    if isinstance(known := kept.find(*decides), Outcome):
        sink.diagnostics[:] = known.diagnostics  # a source that may not be read is told beside them
        driver.read_by_hand(known.implementations, file, sink)
        return known
    kernels = _Kernels(program)
    checked = driver.check_loaded(file, program, sink, established=kernels.established).module
    kernels.learn(checked, sink)
    laws = [law for data in checked.data.values() for law in data.laws]
    laws += (law for experiment in checked.experiments.values() for law in experiment.laws)
    said = [kernels.said[name] for name in checked.module.kernels]
    outcome = Outcome(
        checked.module.implementations,
        tuple(sink.diagnostics),
        tuple(line for each in said for line in each.spaces),
        (
            *(_of_law(law) for law in checked.laws if not law.law.scope),
            *(row for each in said for row in each.laws),
            *map(_of_law, laws),
        ),
        tuple(map(_of_claim, checked.claims)),
    )
    kept.keep(outcome, *decides)
    return outcome


# ---- kernels ------------------------------------------------------------------------------------------


@record
class KernelSaid:
    """What `check` says of a sound kernel: lines of its spaces, rows of its laws."""

    spaces: tuple[str, ...]
    laws: tuple[dict[str, object], ...]


class _Kernels:
    """What is known of the kernels of a program. It hangs on the file in which they stand, those that it uses and the
    targets, and is kept under these, so that an edit elsewhere asks for none of it again."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.said: dict[str, KernelSaid] = {}
        self._anew: dict[str, list[str]] = {}
        self._targets = ""

    def established(self, module: Module) -> Collection[str]:
        """The names of kernels of which everything is known."""
        from spakc.check.check_space import targets_of

        self._targets = repr([(d.name, sorted(d.facts.items())) for d in targets_of(module)])
        for path, names in self._by_file(module).items():
            known = kept.find(*self._decides(path, names))
            if isinstance(known, tuple):
                self.said.update(zip(names, known, strict=True))
            else:
                self._anew[path] = names
        if self._anew:
            numpy_without_threads()
        return self.said.keys()

    def learn(self, checked: CheckedModule, sink: Sink) -> None:
        """Keeps what was found out now, of files without a warning: that would have to be given again."""
        warned = {label.span.source.name for each in sink.diagnostics for label in each.labels}
        for path, names in self._anew.items():
            found = tuple(_of_kernel(name, checked) for name in names)
            self.said.update(zip(names, found, strict=True))
            if path not in warned:
                kept.keep(found, *self._decides(path, names))

    def _by_file(self, module: Module) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, kernel in module.kernels.items():
            found.setdefault(kernel.span.source.name, []).append(name)
        return found

    def _decides(self, path: str, names: Sequence[str]) -> tuple[str, ...]:
        files = [self.program.files[each].span.source for each in _reached(path, self.program)]
        texts = (part for source in files for part in (source.name, source.text))
        return ("kernels", self._targets, *names, "of", *texts)


def _reached(path: str, program: Program) -> list[str]:
    """A file and all that it uses, in a fixed order."""
    found = [path]
    for each in found:
        found += (used for _, used in program.uses[each] if used not in found)
    return found


def _of_kernel(name: str, checked: CheckedModule) -> KernelSaid:
    spaces = (_space(key, space) for key, space in checked.spaces.items() if key[0] == name)
    laws = (_of_law(law) for law in checked.laws if law.law.scope[:1] == (name,))
    return KernelSaid(tuple(spaces), tuple(laws))


def _of_law(law: LawStatus) -> dict[str, object]:
    return {
        "schema": "spak-law/1",
        "law": law.law.qualified,
        "subject": law.subject,
        "target": law.status.target,
        "applicable": law.status.applicable,
        **_known(law.status),
    }


def _of_claim(claim: ClaimStatus) -> dict[str, object]:
    return {
        "schema": "spak-claim/1",
        "claim": claim.claim.name,
        "target": claim.status.target,
        **_known(claim.status),
    }


def _known(status: Status) -> dict[str, object]:
    return {
        "verdict": status.verdict.value,
        "means": status.means.value,
        "witnesses": status.witnesses,
        "note": status.note,
    }


def _space(key: SpaceKey, space: Space) -> str:
    kernel, schedule, target = key
    cuts = [f"{cut.law.name} cuts {cut.alone + cut.among}" for cut in space.cuts if cut.alone + cut.among]
    lawful = f"{kernel}.{schedule} on {target}: {space.lawful_points} of {space.points} points are lawful"
    return "; ".join((lawful, *cuts))
