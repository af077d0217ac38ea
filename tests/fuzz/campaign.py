"""Inputs of every kind through check, fmt and the language server: `make fuzz`, or
`python -m tests.fuzz.campaign --inputs 1000000 --jobs 16 --minutes 10`.

Whatever comes, there is a diagnostic or an answer: no exception (which would be exit 70), no hang, no process that
dies. Inputs are functions of their numbers (tests/fuzz/inputs.py). Workers judge them in their own process, each with a
timer of processor time; one that does not come back, or dies, is replaced, and its input has failed. A failure is kept
as a file beside the log, and the campaign goes on. What was done is kept, so that the next start goes on from there,
unless the compiler or the fuzzer changed. The last line says it all; the exit code is 1 where anything failed.
Of packages it needs click, jinja2, lark, numpy and platformdirs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spak_runtime
import spakc
from spakc.resources import resource
from tests.fuzz.crew import Crew, Result
from tests.fuzz.inputs import input_of

CHUNK = 500
"""Inputs that are given to a worker at once, and that are done again where a campaign is broken off."""

PARSED = 0.3
"""The share of inputs that must get past the parser."""

STOPPED = {"SPAK002", "SPAK003", *(f"SPAK{n}" for n in range(100, 120))}
"""Codes of what does not parse. A wrong `use` (SPAK001 and on) does."""


@dataclass
class Log:
    """What is known of a campaign: outcomes of inputs by kind and first code, those that failed, the chunks done."""

    version: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values()) + len(self.failed)

    @property
    def past_the_parser(self) -> float:
        return past_the_parser(self.outcomes)

    def to_json(self) -> str:
        data = {
            "version": self.version,
            "inputs": self.inputs,
            "past_the_parser": self.past_the_parser,
            "seconds": self.seconds,
            "failed": self.failed,
            "done": sorted(self.done),
            "outcomes": dict(sorted(self.outcomes.items())),
        }
        return json.dumps(data, indent=1) + "\n"


def past_the_parser(outcomes: Counter[str]) -> float:
    """The share of inputs that parsed: they are right, or wrong in what they use or mean."""
    there = sum(n for name, n in outcomes.items() if name.split()[1] not in STOPPED)
    return there / max(1, sum(outcomes.values()))


def version() -> str:
    """A digest of the compiler and of the fuzzer."""
    digest = hashlib.sha256()
    folders = [Path(next(iter(package.__path__))) for package in (spakc, spak_runtime)]
    folders += [resource("grammar"), resource("templates"), resource("examples")]
    folders += [Path(__file__).parent, Path(__file__).parents[1] / "property"]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".py", ".lark", ".j2", ".cuh", ".spak"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def opened(path: Path, today: str) -> Log:
    """The log of a campaign that goes on; a new one where there is none, or of another version."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        if data["version"] == today:
            return Log(today, Counter(data["outcomes"]), data["failed"], set(data["done"]), data["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Log(today)


def save(log: Log, path: Path) -> None:
    """In one step: who is killed meanwhile leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(log.to_json())
    fresh.replace(path)


def keep(result: Result, folder: Path) -> None:
    """The inputs of a chunk that failed, and why."""
    for number, why in result.failed:
        kind, text = input_of(number)
        (folder / f"{number}-{kind}.spak").write_text(text, "utf-8", "surrogatepass")
        (folder / f"{number}-{kind}.txt").write_text(why)


def _chunks(first: int, inputs: int, done: set[int]) -> Iterator[range]:
    for start in range(first, first + inputs, CHUNK):
        if start not in done:
            yield range(start, min(start + CHUNK, first + inputs))


def summary(log: Log, rate: float, began: int, jobs: int) -> str:
    return (
        f"{log.inputs:,} inputs ({log.inputs - began:,} now, {rate:.0f}/s, {rate / jobs:.0f}/s a process), "
        f"{log.past_the_parser:.0%} past the parser, {len(log.failed)} failed"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="How many, those of earlier starts included."
    )
    parser.add_argument("--first", type=int, default=0, help="Number of the first input.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes.")
    parser.add_argument(
        "--minutes", type=float, default=0, help="Ends after so long; 0: when all inputs are done."
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out/fuzz"), help="Folder of the log and failures."
    )
    asked = parser.parse_args()
    path: Path = asked.output / "summary.json"
    asked.output.mkdir(parents=True, exist_ok=True)
    log = opened(path, version())
    began, start, spent = log.inputs, time.monotonic(), log.seconds
    if began:
        print(f"goes on behind {began:,} inputs", flush=True)
    told = start
    with Crew(asked.jobs) as crew:
        for result in crew.work(_chunks(asked.first, asked.inputs, log.done)):
            now = time.monotonic()
            log.outcomes += Counter(result.outcomes)
            log.failed += [number for number, _ in result.failed]
            log.done.add(result.numbers.start)
            log.seconds = spent + now - start
            keep(result, asked.output)
            if now - told > 10:
                told = now
                save(log, path)
                print(summary(log, (log.inputs - began) / (now - start), began, asked.jobs), flush=True)
            if asked.minutes and now - start > 60 * asked.minutes:
                break
    save(log, path)
    rate = (log.inputs - began) / max(1e-9, time.monotonic() - start)
    print(summary(log, rate, began, asked.jobs) + f"; log in {path}")
    return 1 if log.failed or log.past_the_parser < PARSED else 0


if __name__ == "__main__":
    sys.exit(main())
