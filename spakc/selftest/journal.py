"""Verdicts as they come, a line each, so that a self-test goes on where it was. An edge.

A verdict counts again only while all that led to it is the same: the sources that were damaged, the checks that judged
them, the emulator, the cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import spakc.selftest
import spakc.verify
from spak_runtime.emulator.toolchain import runtime_library
from spakc.selftest.judge import Verdict
from spakc.selftest.mutants import Mutant
from spakc.selftest.subjects import Subject

Key = tuple[str, str, str, int]


class States:
    """What the verdict of each mutant depends on, as a digest. Raises ToolError without a compiler for the emulator."""

    def __init__(self, cases: int, seed: int) -> None:
        digest = hashlib.sha256(f"{cases} {seed} {runtime_library().name}".encode())
        for package in (spakc.verify, spakc.selftest):
            for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
                digest.update(path.read_bytes())
        self.checks = digest.hexdigest()
        self.subjects: dict[int, str] = {}

    def of(self, by: Iterable[Subject]) -> str:
        """Of a mutant that these judge: the checks, and what they judge by."""
        together = " ".join([self.checks, *map(self._of_subject, by)])
        return hashlib.sha256(together.encode()).hexdigest()[:16]

    def _of_subject(self, subject: Subject) -> str:
        """Its own sources, the headers that these reach, and everything else of the artifact that is no other
        kernel's source."""
        if id(subject) not in self.subjects:
            digest = hashlib.sha256(subject.name.encode())
            for name, text in sorted(subject.files.items()):
                header = name.removeprefix("include/")
                if (
                    name in subject.sources
                    or (name != header and subject.reaches(header))
                    or not name.endswith((".cu", ".cuh"))
                ):
                    digest.update(f"{name}\0{text}\0".encode())
            self.subjects[id(subject)] = digest.hexdigest()
        return self.subjects[id(subject)]


class Journal:
    """The lines of one file; `known` are the verdicts of the states at hand, by mutant, `seconds` how long all took."""

    def __init__(self, path: Path, states: Mapping[Key, str]) -> None:
        self.path, self.states = path, states
        self.known: dict[Key, Verdict] = {}
        self.seconds = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):  # a line that was cut off
            text += "\n"
            path.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            try:
                row = json.loads(line)
                file, text, becomes, nth = row["mutant"]
                if row["state"] != states.get((file, text, becomes, nth)):
                    continue
                verdict = Verdict(**row["verdict"])
            except (ValueError, KeyError, TypeError):
                continue
            self.known[file, text, becomes, nth] = verdict
            self.seconds += row["seconds"]

    def keep(self, mutant: Mutant, verdict: Verdict, seconds: float) -> None:
        row = {
            "state": self.states[mutant.key],
            "mutant": list(mutant.key),
            "verdict": asdict(verdict),
            "seconds": round(seconds, 2),
        }
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        self.known[mutant.key] = verdict
        self.seconds += seconds

    def missing(self, mutants: Sequence[Mutant]) -> list[int]:
        """The places of those that have no verdict."""
        return [place for place, mutant in enumerate(mutants) if mutant.key not in self.known]
