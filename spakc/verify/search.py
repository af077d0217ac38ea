"""Drawing cases until one fails, and shrinking that one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import hypothesis.configuration
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from spak_runtime.cache import default_root
from spakc.record import record
from spakc.verify.case import Case
from spakc.verify.failure import Failure

hypothesis.configuration.set_hypothesis_home_dir(
    default_root() / "hypothesis"
)  # else a folder where the user is

ROUND = 10
"""Cases drawn before hypothesis begins anew; the first of them is always the simplest."""

SHRINK_SECONDS = 60.0
"""Once a case failed, simpler ones are looked for this long."""


class NoCase(Exception):
    """The laws, the shapes and the guards leave no case."""


@record
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
    """Tries `cases` different cases; the same seed draws the same ones. Raises NoCase."""
    fine: set[str] = set()
    known: dict[str, Failure] = {}
    started: list[float] = []

    def judge(case: Case) -> None:
        if case.token in fine or (not started and len(fine) >= cases):
            return
        failure = known.get(case.token)
        if failure is None and started and time.monotonic() - started[0] > shrink_seconds:
            return  # what is not known to fail by now counts as fine, so that shrinking ends
        failure = failure or check(case)
        if failure is None:
            fine.add(case.token)
            return
        known[case.token] = failure
        if not started:
            started.extend((time.monotonic(), len(fine)))
        raise _Failed(case.token)

    try:
        _drive(strategy, judge, lambda: len(fine) >= cases, cases, seed)
    except _Failed as last:
        return Found(int(started[1]), known[str(last)])
    if not fine:
        raise NoCase
    return Found(len(fine), None)


def some(strategy: st.SearchStrategy[Case], count: int, seed: int) -> list[Case]:
    """Up to `count` different cases, always the same for a seed. Raises NoCase."""
    found: dict[str, Case] = {}

    def keep(case: Case) -> None:
        if len(found) < count:
            found.setdefault(case.token, case)

    _drive(strategy, keep, lambda: len(found) >= count, count, seed)
    if not found:
        raise NoCase
    return list(found.values())


def another(strategy: st.SearchStrategy[Case], seed: int) -> Case:
    """A case that is not the simplest, if there is one: always the same for a seed. Raises NoCase."""
    drawn: list[Case] = []
    _drive(strategy, drawn.append, lambda: len(drawn) > 1, 1, seed, 2)
    if not drawn:
        raise NoCase
    return drawn[-1]


def _drive(
    strategy: st.SearchStrategy[Case],
    body: Callable[[Case], None],
    enough: Callable[[], bool],
    cases: int,
    seed: int,
    size: int = ROUND,
) -> None:
    """Gives cases to `body` until there are enough, in rounds of `size`: hypothesis makes the later cases of a long
    round out of earlier ones, and those of kernels are better unlike each other."""

    def test(case: Case) -> None:
        body(case)

    configured: Any = settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    for number in range(2 * -(-cases // (size - 1))):
        if enough():
            return
        try:
            hypothesis.seed(f"{seed} {number}")(configured(given(strategy)(test)))()
        except Unsatisfiable:
            raise NoCase from None
