"""compute-sanitizer's memcheck, racecheck and synccheck over every kernel that is for this device, hand-written ones
included, told in one table.

    python -m tests.gpu.sanitize [--cases N]       what `make sanitize` runs

What the tools cannot see, and what they see in error, is said in docs/emulator.md; the emulator looks for both. A
finding of a schedule in `RINGS_OF_ROWS` is only taken for an error of racecheck where racecheck, in the same call, also
finds fault with such a ring alone that is right, finds none with one whose every lane arrives, and finds the one that
nobody waits for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from spakc.record import record

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "kernels"
TOOLS = ("memcheck", "racecheck", "synccheck")
SECONDS = 900
LAUNCH = (sys.executable, "-m", "tests.gpu.launch_every_kernel")
RINGS = (sys.executable, "-m", "tests.gpu.launch_rings")
RINGS_OF_ROWS = ("gradient_tma",)
"""Schedules in which a warp writes rows of a ring plainly, and one lane arrives at an mbarrier for all."""
_SUMMARY = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+) ")
_RACE = re.compile(r"Race reported between .*access at (?:\S+ in )?([A-Za-z_]\w*)")


@record
class Found:
    """What one tool said of one program: `findings` of the tool, None if it said nothing."""

    tool: str
    what: str
    findings: int | None
    exit_code: int
    seconds: float
    said: str

    @property
    def clean(self) -> bool:
        return self.exit_code == 0 and self.findings == 0

    @property
    def races(self) -> Counter[str]:
        """How many findings of racecheck each kernel has."""
        return Counter(_RACE.findall(self.said))


@record
class Rings:
    """What racecheck said of rings of rows alone: of which is it right to find fault?"""

    found: Found

    @property
    def clean(self) -> bool:
        """It tells the ring that nobody waits for from the one whose every lane arrives: findings mean something."""
        races = self.found.races
        return (
            "rows_unwaited" in races and "rows_by_every_lane" not in races and '"wrong": [' in self.found.said
        )

    @property
    def misjudged(self) -> bool:
        """It finds fault with one lane that arrives for all, which is right."""
        return self.clean and "rows_by_one_lane" in self.found.races

    def excuses(self, found: Found) -> bool:
        """Whether all that a tool found is what this one shows to be an error of racecheck."""
        named = found.races
        rings = all(kernel.endswith(tuple(f"_{schedule}" for schedule in RINGS_OF_ROWS)) for kernel in named)
        everything = found.findings == named.total() > 0 and '"wrong": 0' in found.said
        return self.misjudged and found.tool == "racecheck" and everything and rings


def sanitizer() -> str | None:
    """Where the tool is, None if it is not installed."""
    places = (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda")
    return shutil.which("compute-sanitizer") or next(
        (str(p) for place in places if place and (p := Path(place, "bin", "compute-sanitizer")).exists()),
        None,
    )


def under(
    path: str, tool: str, what: str, command: tuple[str, ...], device: int = 0, seconds: float = SECONDS
) -> Found:
    """Runs a program, and what it starts, under one tool on one device; ends it after so long."""
    options = (
        "--target-processes",
        "all",
        "--report-api-errors",
        "no",
        "--error-exitcode",
        "9",
        "--print-limit",
        "0",
    )
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        program = subprocess.Popen(
            [path, "--tool", tool, *options, *command],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(device)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = program.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            code = program.wait()
        said.seek(0)
        text = said.read()
    counts = [int(count) for count in _SUMMARY.findall(text)]
    return Found(tool, what, sum(counts) if counts else None, code, time.monotonic() - start, text)


def build() -> None:
    """Builds every cubin first, on every core: a tool makes that slow."""
    subprocess.run([*LAUNCH, "--build"], cwd=ROOT, check=True, timeout=SECONDS)


def by_hand(folder: Path) -> tuple[str, ...]:
    """The command that runs the hand-written kernels of the examples, on a copy of them: it writes evidence."""
    copy = Path(shutil.copytree(EXAMPLES, folder / "kernels"))
    return (
        sys.executable,
        "-m",
        "spakc",
        "verify",
        str(copy / "train.spak"),
        "--kernel",
        "swiglu",
        "--on",
        "gpu",
        "--cases",
        "2",
    )


def everything(path: str, cases: int, seconds: float = SECONDS) -> Iterator[Found]:
    """Every tool over every kernel, side by side, on all devices that there are, as they end."""
    import torch

    devices = torch.cuda.device_count()
    with tempfile.TemporaryDirectory(prefix="spak-sanitize-") as name, ThreadPoolExecutor() as pool:
        running = []
        for number, tool in enumerate(TOOLS):
            programs = {
                "generated kernels": (*LAUNCH, "--cases", str(cases)),
                "hand-written kernels": by_hand(Path(name, tool)),
            }
            device = number % devices
            running += [
                pool.submit(under, path, tool, what, each, device, seconds) for what, each in programs.items()
            ]
        yield from (each.result() for each in as_completed(running))


def launched(found: Found) -> dict[str, int]:
    """How many cases came to each template; empty where the program did not end."""
    lines = [line for line in found.said.splitlines() if line.startswith('{"launched"')]
    return json.loads(lines[-1])["launched"] if lines else {}


def rings(path: str) -> Rings:
    """What racecheck says of rings of rows alone."""
    return Rings(under(path, "racecheck", "rings of rows", RINGS))


def ring_row(asked: Rings) -> str:
    """One line for a reader: which rings racecheck finds fault with."""
    races = ", ".join(f"{kernel} {count}" for kernel, count in sorted(asked.found.races.items())) or "none"
    verdict = "as it should" if asked.clean else "NOT CLEAN"
    if asked.misjudged:
        verdict = "in error"
    return f"racecheck  rings of rows        {verdict:9} findings: {races}, {asked.found.seconds:.0f} s"


def row(found: Found, asked: Rings) -> str:
    """One line for a reader, with how much was looked at."""
    verdict = "clean" if found.clean else "NOT CLEAN"
    if asked.excuses(found):
        verdict = "in error"
    count = "nothing said" if found.findings is None else f"{found.findings} findings"
    templates = launched(found)
    looked = f", {sum(templates.values())} launches of {len(templates)} templates" if templates else ""
    if found.races:
        count += f" ({', '.join(f'{kernel} {n}' for kernel, n in sorted(found.races.items()))})"
    ended = f"exit {found.exit_code}, {found.seconds:.0f} s"
    return f"{found.tool:10} {found.what:20} {verdict:9} {count}, {ended}{looked}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a tool is ended after so long")
    asked = parser.parse_args()
    path = sanitizer()
    if path is None:
        print("not run: compute-sanitizer is not installed")
        return 5
    build()
    alone = rings(path)
    print(ring_row(alone), flush=True)
    clean = alone.clean
    if not clean:
        print(alone.found.said[-6000:])
    for each in everything(path, asked.cases, asked.seconds):
        if not each.clean and not alone.excuses(each):
            clean = False
            print(each.said[-6000:])
        print(row(each, alone), flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
