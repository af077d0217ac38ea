"""Drawing cases until one fails, and shrinking that one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from spakc.verify.case import Case
from spakc.verify.failure import Failure

SHRINK_SECONDS = 60.0
"""Once a case failed, simpler ones are looked for this long."""


class NoCase(Exception):
    """The laws, the shapes and the guards leave no case."""


@dataclass(frozen=True, slots=True)
class Found:
    """`cases` were tried before any failed; `failure` is the simplest one that was found."""

    cases: int
    failure: Failure | None


class _Failed(Exception):
    pass


def search(
    strategy: st.SearchStrategy[Case],
    check: Callable[[Case], Failure | None],
    cases: int,
    seed: int,
    shrink_seconds: float = SHRINK_SECONDS,
) -> Found:
    """Tries `cases` cases; the same seed draws the same ones. Raises NoCase."""
    tried = 0
    known: dict[str, Failure] = {}
    started: list[float] = []

    def judge(case: Case) -> None:
        nonlocal tried
        failure = known.get(case.token)
        if failure is None and started and time.monotonic() - started[0] > shrink_seconds:
            return  # what is not known to fail by now counts as fine, so that shrinking ends
        if failure is None:
            failure = check(case)
            tried += not started
        if failure is not None:
            known[case.token] = failure
            if not started:
                started.append(time.monotonic())
            raise _Failed(case.token)

    try:
        _drive(strategy, judge, cases, seed)
    except _Failed as last:
        return Found(tried, known[str(last)])
    except Unsatisfiable:
        raise NoCase from None
    if not tried:
        raise NoCase
    return Found(tried, None)


def some(strategy: st.SearchStrategy[Case], count: int, seed: int) -> list[Case]:
    """Up to `count` different cases, always the same for a seed. Raises NoCase."""
    found: dict[str, Case] = {}

    def keep(case: Case) -> None:
        found.setdefault(case.token, case)

    try:
        _drive(strategy, keep, count, seed)
    except Unsatisfiable:
        raise NoCase from None
    if not found:
        raise NoCase
    return list(found.values())


def _drive(strategy: st.SearchStrategy[Case], body: Callable[[Case], None], cases: int, seed: int) -> None:
    def test(case: Case) -> None:
        body(case)

    configured: Any = settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    hypothesis.seed(seed)(configured(given(strategy)(test)))()
