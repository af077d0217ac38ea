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
import subprocess
import sys
import tempfile
import time
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


def under(path: str, tool: str, what: str, command: tuple[str, ...]) -> Found:
    """Runs a program, and what it starts, under one tool."""
    options = ("--target-processes", "all", "--report-api-errors", "no", "--error-exitcode", "9")
    start = time.monotonic()
    done = subprocess.run(
        [path, "--tool", tool, *options, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    text = done.stdout + done.stderr
    counts = [int(count) for count in _SUMMARY.findall(text)]
    return Found(tool, what, sum(counts) if counts else None, done.returncode, time.monotonic() - start, text)


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
        "swiglu",
        "--on",
        "gpu",
        "--cases",
        "2",
    )


def everything(path: str, cases: int) -> list[Found]:
    """Every tool over every kernel."""
    found = []
    with tempfile.TemporaryDirectory(prefix="spak-sanitize-") as name:
        hand = by_hand(Path(name))
        for tool in TOOLS:
            found.append(under(path, tool, "generated kernels", (*LAUNCH, "--cases", str(cases))))
            found.append(under(path, tool, "hand-written kernels", hand))
    return found


def launched(found: Found) -> dict[str, int]:
    """How many cases came to each template; empty where the program did not end."""
    lines = [line for line in found.said.splitlines() if line.startswith('{"launched"')]
    return json.loads(lines[-1])["launched"] if lines else {}


def summary(found: list[Found]) -> list[str]:
    """One table for a reader."""
    rows = []
    for each in found:
        verdict = "clean" if each.clean else "NOT CLEAN"
        count = "nothing said" if each.findings is None else f"{each.findings} findings"
        rows.append(
            f"{each.tool:10} {each.what:22} {count:14} exit {each.exit_code}  {each.seconds:5.0f} s  {verdict}"
        )
    templates = launched(found[0]) if found else {}
    total = sum(templates.values())
    rows.append(
        f"{total} cases of {len(templates)} templates: " + ", ".join(f"{t} {n}" for t, n in templates.items())
    )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2)
    asked = parser.parse_args()
    path = sanitizer()
    if path is None:
        print("not run: compute-sanitizer is not installed")
        return 5
    build()
    found = everything(path, asked.cases)
    for each in found:
        if not each.clean:
            print(each.said[-6000:])
    for row in summary(found):
        print(row)
    return 0 if all(each.clean for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
