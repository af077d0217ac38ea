"""compute-sanitizer's memcheck, racecheck and synccheck over every kernel that is for this device, hand-written ones
included, told in one table.

    python -m tests.gpu.sanitize [--cases N]       what `make sanitize` runs

What the tools cannot see, and what they see in error, is said in docs/emulator.md; the emulator looks for both.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from spakc.record import record

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "kernels"
TOOLS = ("memcheck", "racecheck", "synccheck")
SECONDS = 900
LAUNCH = (sys.executable, "-m", "tests.gpu.launch_every_kernel")
_SUMMARY = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+) ")


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
    options = ("--target-processes", "all", "--report-api-errors", "no", "--error-exitcode", "9")
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


def row(found: Found) -> str:
    """One line for a reader, with how much was looked at."""
    verdict = "clean" if found.clean else "NOT CLEAN"
    count = "nothing said" if found.findings is None else f"{found.findings} findings"
    templates = launched(found)
    looked = f", {sum(templates.values())} launches of {len(templates)} templates" if templates else ""
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
    clean = True
    for each in everything(path, asked.cases, asked.seconds):
        clean = clean and each.clean
        if not each.clean:
            print(each.said[-6000:])
        print(row(each), flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
