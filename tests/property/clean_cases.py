"""`make bench-clean`: cases of kernels that are right, over all variants in turn; whatever is found is a false alarm.

    python -m tests.property.clean_cases --cases 10000 [--minutes M] [-o out/clean_cases.jsonl]

Goes on where it was: a line of the file says what one seed of one variant came to. Lines of other sources of kernels,
checks or emulator are left where they are and do not count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
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


def rounds(every: list[tuple[UnderTest, OnEmulator]]) -> Iterator[tuple[int, UnderTest, OnEmulator]]:
    seed = 0
    while True:
        for tested, run in every:
            yield seed, tested, run
        seed += 1


def clean_cases(path: Path, wanted: int, seconds: float = float("inf")) -> tuple[int, int]:
    """Runs cases until there are as many, or so long. Returns how many there are by now, and how many alarms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    every, now, start = everything(), state(), time.monotonic()
    rows = done_so_far(path, now)
    with path.open("a") as kept:
        if path.stat().st_size and not path.read_text().endswith("\n"):
            kept.write("\n")
        for seed, tested, run in rounds(every):
            if (
                sum(int(str(row["cases"])) for row in rows.values()) >= wanted
                or time.monotonic() - start > seconds
            ):
                break
            if (tested.name, seed) in rows:
                continue
            begun = time.monotonic()
            outcome = verify_variant(tested, run, AT_ONCE, seed, shrink_seconds=5)
            alarm = outcome.failure
            row: dict[str, object] = {
                "state": now,
                "variant": tested.name,
                "seed": seed,
                "cases": outcome.cases,
                "seconds": round(time.monotonic() - begun, 2),
            }
            if alarm is not None:
                row["alarm"] = [alarm.code, alarm.messages[0], alarm.case.token if alarm.case else ""]
                print(f"{tested.name}: {alarm.code}: {alarm.messages[0]}: {alarm.case}", flush=True)
            rows[tested.name, seed] = row
            kept.write(json.dumps(row) + "\n")
            kept.flush()
    return sum(int(str(row["cases"])) for row in rows.values()), sum("alarm" in row for row in rows.values())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("-o", "--output", type=Path, default=Path("out/clean_cases.jsonl"))
    asked = parser.parse_args()
    prepare()
    cases, alarms = clean_cases(asked.output, asked.cases, 60 * asked.minutes)
    print(f"{alarms} false alarms in {cases:,} of {asked.cases:,} clean cases, kept in {asked.output}")
    return 0 if not alarms and cases >= asked.cases else 1


if __name__ == "__main__":
    sys.exit(main())
