"""`make bench-check`: how long commands take from the shell's point of view, beside their budgets."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPEATS = 11
COLD_REPEATS = 3
CHECK, COLD, WARM = 0.3, 5.0, 0.5
"""Budgets on a quiet machine, in seconds of wall time: `check` of the largest example, `compile` of matmul's selected
variants for one architecture with nothing kept of it, neither plan nor kernels, and again."""


def once(*arguments: str, environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds of a command, and CPU seconds of it and what it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(what: str, times: list[tuple[float, float]], budget: float | None = None) -> None:
    wall, cpu = zip(*times, strict=True)
    middle = statistics.median
    line = f"{what:52} wall {middle(wall):6.3f} s (best {min(wall):.3f}), CPU {middle(cpu):6.3f} s"
    print(line + ("" if budget is None else f"; budget {budget} s"), flush=True)


def changed(example: Path, environment: dict[str, str]) -> list[tuple[float, float]]:
    """Times of `check` of a file beside an example that differs from it by a comment, another one each time."""
    copy = example.with_name("changed.spak")
    found = []
    try:
        for n in range(REPEATS):
            copy.write_text(f"{example.read_text()}\n# {n}\n")
            found.append(once("-m", "spakc", "check", str(copy), environment=environment))
    finally:
        copy.unlink()
    return found


def main() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    examples = sorted((ROOT / "examples").rglob("*.spak"), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"  # as an installation has it: compiled once
        environment["SPAK_CACHE_DIR"] = kernels = f"{folder}/cache"
        environment["XDG_CACHE_HOME"] = f"{folder}/derived"
        for path in examples:
            shown = path.relative_to(ROOT).as_posix()
            arguments = ("-m", "spakc", "check", shown)
            report(f"spakc check {shown}, first", [once(*arguments, environment=environment)])
            found = [once(*arguments, environment=environment) for _ in range(REPEATS)]
            report("the same, unchanged", found, CHECK if path == examples[-1] else None)
        report(f"spakc check {shown}, changed each time", changed(examples[-1], environment), CHECK)
        compile_ = (
            "-m",
            "spakc",
            "compile",
            "examples/kernels/matmul.spak",
            "-o",
            f"{folder}/out",
            "--arch",
            "sm_90a",
        )
        once(*compile_, environment=environment)
        cold = []
        for _ in range(COLD_REPEATS):
            shutil.rmtree(kernels)
            shutil.rmtree(f"{folder}/derived/spakc/kept")
            cold.append(once(*compile_, environment=environment))
        report("spakc compile matmul.spak --arch sm_90a, cold", cold, COLD)
        report("the same, warm", [once(*compile_, environment=environment) for _ in range(REPEATS)], WARM)
        report(
            "(only `import numpy`)",
            [once("-c", "import numpy", environment=environment) for _ in range(REPEATS)],
        )
    print(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; beside busy neighbours read the CPU seconds"
    )


if __name__ == "__main__":
    main()
