"""Verdicts as they come, a line each, so that a self-test goes on where it was. An edge.

A verdict counts again only while all that led to it is the same: the sources that were damaged, the checks that judged
them, the emulator, the cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import spakc.selftest
import spakc.verify
from spak_runtime.emulator.toolchain import runtime_library
from spakc.selftest.judge import Verdict
from spakc.selftest.mutants import Mutant
from spakc.selftest.subjects import Subject

Key = tuple[str, str, str, int]


def state_of(subjects: Iterable[Subject], cases: int, seed: int) -> str:
    """A digest of all that a verdict depends on. Raises ToolError without a compiler for the emulator."""
    digest = hashlib.sha256(f"{cases} {seed} {runtime_library().name}".encode())
    for package in (spakc.verify, spakc.selftest):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    texts = {text for subject in subjects for text in subject.files.values()}
    for text in sorted(texts):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


class Journal:
    """The lines of one file; `known` are the verdicts of this state, `seconds` how long they took."""

    def __init__(self, path: Path, state: str) -> None:
        self.path, self.state = path, state
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
                if row["state"] != state:
                    continue
                file, text, becomes, nth = row["mutant"]
                verdict = Verdict(**row["verdict"])
            except (ValueError, KeyError, TypeError):
                continue
            self.known[file, text, becomes, nth] = verdict
            self.seconds += row["seconds"]

    def keep(self, mutant: Mutant, verdict: Verdict, seconds: float) -> None:
        row = {
            "state": self.state,
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
