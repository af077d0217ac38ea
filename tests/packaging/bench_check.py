"""`make bench-check`: the time of `spakc check` of each example, from the shell's point of view."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPEATS = 11


def seconds(*arguments: str, environment: dict[str, str]) -> list[float]:
    """Sorted wall times of a command, after one that fills the caches."""
    found = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT, env=environment
        )
        found.append(time.perf_counter() - start)
    return sorted(found[1:])


def main() -> None:
    with tempfile.TemporaryDirectory() as compiled:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled  # as an installation has it: compiled once
        for path in sorted((ROOT / "examples").rglob("*.spak")):
            shown = path.relative_to(ROOT).as_posix()
            times = seconds("-m", "spakc", "check", shown, environment=environment)
            print(f"{shown:32} median {statistics.median(times):.3f} s, best {times[0]:.3f} s of {REPEATS}")
        times = seconds("-c", "import numpy", environment=environment)
        print(f"{'(only `import numpy`)':32} median {statistics.median(times):.3f} s, best {times[0]:.3f} s")
        load, cores = os.getloadavg()[0], os.cpu_count()
        print(f"load {load:.1f} on {cores} cores; on a busy machine these are times of the neighbours, too")


if __name__ == "__main__":
    main()
