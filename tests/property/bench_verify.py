"""`make bench-verify`: how long verification takes on the emulator, and that it raises no false alarm.

    python -m tests.property.bench_verify [--jobs N] [--clean N] [--kernel NAME]

The first variant of every schedule of every example kernel is timed. Processor time stands beside elapsed time and is
what counts, for machines that are busy with something else. For 10,000 clean cases: `make bench-clean`.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from spak_runtime.emulator import prepare
from spakc.emulator_runner import OnEmulator
from spakc.verify.campaign import verify_variant
from spakc.verify.case import Case
from spakc.verify.properties import reference
from spakc.verify.search import NoCase, some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import cases
from spakc.verify.tested import UnderTest
from tests.property.clean_cases import clean_cases, everything

CASES, VARIANT_SECONDS, CUBE_MILLISECONDS, MEMORY_MB = 50, 10.0, 20.0, 300
CUBE = 128

_shown: list[tuple[UnderTest, OnEmulator]] = []
"""What workers time: they are copies of this process, made when it is set."""


def children() -> list[Path]:
    """The processes that this one has started and not yet waited for: the emulator's own stays for many launches."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [Path("/proc", pid) for task in tasks for pid in task.read_text().split()]


def used() -> float:
    """Processor seconds of this process and of those it started."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    living = sum(int((child / "schedstat").read_text().split()[0]) for child in children())
    return sum(each.ru_utime + each.ru_stime for each in both) + living / 1e9


def peak_mb() -> int:
    """The most that this process, or one that it started, held. Kernels run in a process of their own."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peaks = [
        int(line.split()[1])
        for child in children()
        for line in (child / "status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return max(*(resource.getrusage(who).ru_maxrss for who in whose), *peaks, 0) // 1024


def tell(what: str, figure: str, reach: str, reached: bool) -> bool:
    print(f"{what:64} {figure:34} {reach:16} {'reached' if reached else 'NOT REACHED'}", flush=True)
    return reached


def fifty_cases(tested: UnderTest, run: OnEmulator) -> bool:
    """All checks of as many cases: kernels built before, as in every run but the first."""
    verify_variant(tested, run, CASES, 1)
    start, cpu = time.perf_counter(), used()
    outcome = verify_variant(tested, run, CASES, 1)
    wall, cpu = time.perf_counter() - start, used() - cpu
    if outcome.failure is not None:
        print(f"{tested.name}: {outcome.failure}", flush=True)
        return False
    figure = f"{wall:.1f} s, processor {cpu:.1f} s"
    if outcome.cases < CASES:
        figure += f", {outcome.cases} there are"
    return tell(
        f"{CASES} cases of {tested.name}", figure, f"<= {VARIANT_SECONDS:.0f} s", cpu <= VARIANT_SECONDS
    )


def cube(tested: UnderTest, run: OnEmulator) -> bool:
    """A product of 128 x 128 x 128, one launch, everything looked for."""
    (drawn,) = some(cases(tested, pool(tested)[:1], Shapes(tested), plain=True), 1, 1)
    sizes = dict.fromkeys(drawn.dims, CUBE)
    case = replace(drawn, dims=sizes, pads={}, offsets={}, values="integers")
    given = reference(tested, case).given
    run(tested, case, given)
    times: list[tuple[float, float]] = []
    for _ in range(15):
        start, cpu = time.perf_counter(), used()
        observed = run(tested, case, given)
        times.append((1000 * (time.perf_counter() - start), 1000 * (used() - cpu)))
        assert not observed.findings, observed.findings
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    figure = f"{wall:.0f} ms, processor {cpu:.0f} ms"
    reach = f"<= {CUBE_MILLISECONDS:.0f} ms"
    return tell(
        f"a case of {CUBE} x {CUBE} x {CUBE} of {tested.name}", figure, reach, cpu <= CUBE_MILLISECONDS
    )


def timed(place: int) -> bool:
    """One of those that are shown."""
    tested, run = _shown[place]
    try:
        fine = fifty_cases(tested, run)
    except NoCase:
        return tell(tested.name, "its guards leave no case", "", True)
    if tested.name.startswith("matmul."):
        fine &= cube(tested, run)
    memory = peak_mb()
    if memory > MEMORY_MB:
        fine = tell(f"memory of {tested.name}", f"{memory} MB", f"<= {MEMORY_MB} MB", False)
    return fine


def first_of_each(every: list[tuple[UnderTest, OnEmulator]]) -> list[tuple[UnderTest, OnEmulator]]:
    """The first variant of every schedule of every kernel."""
    found: dict[tuple[str, str], tuple[UnderTest, OnEmulator]] = {}
    for tested, run in every:
        found.setdefault((tested.spec.name, tested.variant.schedule), (tested, run))
    return list(found.values())


def same_seed_same_run(tested: UnderTest, run: OnEmulator) -> bool:
    """The cases of a seed, and what a run of each says, twice."""

    def once() -> list[tuple[Case, object]]:
        seen: list[tuple[Case, object]] = []
        outcome = verify_variant(tested, run, 12, 5)
        seen += outcome.seen
        return seen

    return tell(f"12 cases of {tested.name}, twice", "cases and counters", "the same", once() == once())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clean", type=int, default=200, help="clean cases over all variants")
    parser.add_argument("--jobs", type=int, default=1, help="Processes.")
    parser.add_argument("--kernel", default="", help="Only kernels whose names begin so.")
    asked = parser.parse_args()
    prepare()
    every = everything()
    _shown[:] = [(t, r) for t, r in first_of_each(every) if t.name.startswith(asked.kernel)]
    gc.freeze()  # plans and sources stay: nobody need look through them again
    with multiprocessing.get_context("fork").Pool(asked.jobs, None, (), 1) as workers:
        fine = all(list(workers.imap_unordered(timed, range(len(_shown)))))
    fine &= same_seed_same_run(
        *next((t, r) for t, r in every if t.name.startswith("matmul.warp_specialized"))
    )
    if asked.clean:
        with tempfile.TemporaryDirectory(prefix="spak-clean-") as folder:
            start = time.perf_counter()
            done, alarms = clean_cases(Path(folder, "clean.jsonl"), asked.clean, jobs=asked.jobs)
            figure = f"{alarms} in {(time.perf_counter() - start) / 60:.1f} minutes"
            fine &= tell(f"false alarms in {done:,} clean cases", figure, "0", alarms == 0)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
