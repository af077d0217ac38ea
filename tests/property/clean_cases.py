"""`make bench-clean`: cases of kernels that are right, over all variants in turn; whatever is found is a false alarm.

    python -m tests.property.clean_cases --cases 10000 [--jobs N] [--minutes M] [-o out/clean_cases.jsonl]

Goes on where it was: a line of the file says what one seed of one variant came to. Lines of other sources of kernels,
checks or emulator are left where they are and do not count.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from spak_runtime.emulator import prepare
from spakc import driver
from spakc.commands.verify import variants_of
from spakc.emulator_runner import OnEmulator
from spakc.verify.campaign import verify_variant
from spakc.verify.tested import UnderTest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "kernels"
AT_ONCE = 5
"""Cases of a variant before it is the next one's turn."""

LIFE = 40
"""Turns of a worker before another takes its place: what it has built stays loaded."""

JUDGING = ("spakc/verify", "runtime/spak_runtime/emulator", "templates/cuda", "examples/kernels")
"""What decides whether a case is an alarm."""


def everything() -> list[tuple[UnderTest, OnEmulator]]:
    """Every variant of the example kernels, and what runs it."""
    found = []
    for file in sorted(EXAMPLES.glob("*.spak")):
        decided = driver.plan_file(driver.check_file(file))
        files = driver.emit_files(decided)
        found += [(tested, OnEmulator(files)) for tested in variants_of(decided, files)]
    return found


def state() -> str:
    """A digest of all that judges and is judged."""
    digest = hashlib.sha256()
    for folder in JUDGING:
        for path in sorted(
            p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ):
            if not path.name.endswith(".evidence.jsonl"):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def done_so_far(path: Path, now: str) -> dict[tuple[str, int], dict[str, object]]:
    """The lines of this state by variant and seed. A last line that was cut off does not count."""
    found: dict[tuple[str, int], dict[str, object]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["state"] == now:
            found[row["variant"], row["seed"]] = row
    return found


_every: list[tuple[UnderTest, OnEmulator]] = []
"""What workers try: they are copies of this process, made when it is set."""

Turn = tuple[int, int]
"""A variant, by its place, and a seed."""


def turns(rows: Mapping[tuple[str, int], object]) -> Iterator[Turn]:
    """All variants with one seed, then with the next; not those that are done."""
    for seed in itertools.count():
        for place, (tested, _) in enumerate(_every):
            if (tested.name, seed) not in rows:
                yield place, seed


def tried(turn: Turn) -> dict[str, object]:
    """What a few cases of a variant came to."""
    tested, run = _every[turn[0]]
    begun = time.monotonic()
    outcome = verify_variant(tested, run, AT_ONCE, turn[1], shrink_seconds=5)
    row: dict[str, object] = {
        "variant": tested.name,
        "seed": turn[1],
        "cases": outcome.cases,
        "seconds": round(time.monotonic() - begun, 2),
    }
    alarm = outcome.failure
    if alarm is not None:
        row["alarm"] = [alarm.code, alarm.messages[0], alarm.case.token if alarm.case else ""]
        print(f"{tested.name}: {alarm.code}: {alarm.messages[0]}: {alarm.case}", flush=True)
    return row


def clean_cases(path: Path, wanted: int, seconds: float = float("inf"), jobs: int = 1) -> tuple[int, int]:
    """Runs cases until there are as many, or so long. Returns how many there are by now, and how many alarms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _every[:] = everything()
    gc.freeze()  # plans and sources stay: nobody need look through them again
    now, start = state(), time.monotonic()
    rows = done_so_far(path, now)

    def there() -> int:
        return sum(int(str(row["cases"])) for row in rows.values())

    def over() -> bool:
        return there() >= wanted or time.monotonic() - start > seconds

    with path.open("a") as kept, multiprocessing.get_context("fork").Pool(jobs, None, (), LIFE) as workers:
        if path.stat().st_size and not path.read_text().endswith("\n"):
            kept.write("\n")
        while not over():
            some = list(itertools.islice(turns(rows), -(-(wanted - there()) // AT_ONCE)))
            for row in workers.imap_unordered(tried, some):
                rows[str(row["variant"]), int(str(row["seed"]))] = row
                kept.write(json.dumps({"state": now, **row}) + "\n")
                kept.flush()
                if over():
                    break
    return there(), sum("alarm" in row for row in rows.values())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=1, help="Processes.")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/clean_cases.jsonl"))
    asked = parser.parse_args()
    prepare()
    cases, alarms = clean_cases(asked.output, asked.cases, 60 * asked.minutes, asked.jobs)
    print(f"{alarms} false alarms in {cases:,} of {asked.cases:,} clean cases, kept in {asked.output}")
    return 0 if not alarms and cases >= asked.cases else 1


if __name__ == "__main__":
    sys.exit(main())
