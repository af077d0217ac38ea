"""Budgets of time that hold on a slower host and beside busy neighbours, and still fail when the product slows down.

What is counted is the CPU time of this process, in seconds of the machine on which the budgets were set: beside every
piece of work stands a reference piece whose time there is known.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable

REFERENCE_SECONDS = 0.05
"""CPU time of `reference` where the budgets were set (a quiet core of a server of 2023, Python 3.11)."""

TRIES = 3


def reference() -> float:
    """CPU seconds of a fixed piece of work that is like a compiler's: small objects, strings, hashing, sorting."""
    begin = time.process_time()
    table = {f"name_{(i * 7919) % 20_011}": (i, str(i)) for i in range(20_000)}
    for _ in range(3):
        total = sum(len(name) + value[0] % 7 for name, value in sorted(table.items()))
    assert total
    return time.process_time() - begin


def seconds(work: Callable[[], object], enough: float = 0.0) -> float:
    """The best of up to three runs of `work`, in reference seconds; no further run once `enough` is met.

    A slower machine divides by how much longer the reference takes there; a faster one earns nothing, so a
    budget is never wider than it says. `work` must do all of it anew at every run.
    """
    best = math.inf
    for _ in range(TRIES):
        beside = [reference() for _ in range(2)]
        begin = time.process_time()
        work()
        spent = time.process_time() - begin
        beside += [reference() for _ in range(2)]
        best = min(best, spent / max(1.0, sum(beside) / len(beside) / REFERENCE_SECONDS))
        if best < enough:
            break
    return best


def assert_within(budget: float, work: Callable[[], object]) -> None:
    """Fails where `work` takes `budget` reference seconds or more at its best."""
    best = seconds(work, budget)
    assert best < budget, f"{best:.3f} s at the best of {TRIES} runs; the budget is {budget} s"


def command_seconds(work: Callable[[], object]) -> float:
    """CPU seconds, in those of the reference, of the processes that `work` starts and waits for, and of those that
    they do."""
    beside = [reference() for _ in range(2)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    beside += [reference() for _ in range(2)]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / max(1.0, sum(beside) / len(beside) / REFERENCE_SECONDS)
