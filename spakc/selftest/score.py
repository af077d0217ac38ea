"""The score of a self-test: what was killed, by what, what numerics alone would have missed, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spakc.record import record
from spakc.selftest.judge import KILLED, REFUSED, SAME_CODE, SURVIVED, Verdict
from spakc.selftest.mutants import KINDS, SYNCHRONISING, Mutant

SCHEMA = "spak-selftest/1"

LEAST_KILLED = 0.99
MOST_EXCUSED = 0.02
"""Of the mutants that are not equivalent; of all."""


@record
class Outcome:
    """A mutant with its verdict, and the reason why it may live, if the repository has one."""

    mutant: Mutant
    verdict: Verdict
    reason: str = ""

    @property
    def excused(self) -> bool:
        return self.verdict.status == SURVIVED and bool(self.reason)

    @property
    def survived(self) -> bool:
        return self.verdict.status == SURVIVED and not self.reason

    def to_json(self) -> dict[str, Any]:
        found = {
            "kind": self.mutant.kind,
            "file": self.mutant.file,
            "source": self.mutant.source,
            "number": self.mutant.number,
            "line": self.mutant.line,
            "becomes": self.mutant.becomes,
            "nth": self.mutant.nth,
            "status": self.verdict.status,
            "how": self.verdict.how,
            "evidence": self.verdict.evidence,
            "by": self.verdict.by,
            "by_numerics": self.verdict.by_numerics,
            "same_code_in": self.verdict.compiled,
            "reason": self.reason,
        }
        return {name: value for name, value in found.items() if value not in ("", None)}


@dataclass(frozen=True)
class Score:
    """`made` is how many mutants there are, `outcomes` those that were judged. `unused` are templates that no
    variant of the files uses; `stale` the reasons that no mutant has any more; `seconds` how long judging took, all
    processes together."""

    made: int
    outcomes: Sequence[Outcome]
    templates: Sequence[str]
    unused: Sequence[str]
    stale: Sequence[str]
    seed: int
    cases: int
    seconds: float

    def count(self, status: str) -> int:
        return sum(o.verdict.status == status for o in self.outcomes)

    @property
    def killed(self) -> int:
        return self.count(KILLED)

    @property
    def excused(self) -> int:
        return sum(o.excused for o in self.outcomes)

    @property
    def survivors(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.survived]

    @property
    def rate(self) -> float:
        """Killed, of those that are not equivalent. What a compiler refuses counts on neither side."""
        judged = self.killed + len(self.survivors)
        return self.killed / judged if judged else 1.0

    @property
    def missed_by_numerics(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.verdict.by_numerics is False]

    @property
    def shortfalls(self) -> list[str]:
        """What the self-test asks and did not get."""
        found = []
        if self.rate < LEAST_KILLED:
            found.append(f"{self.rate:.2%} killed, at least {LEAST_KILLED:.0%} are asked")
        alive = [o.mutant.name for o in self.survivors if o.mutant.kind in SYNCHRONISING]
        found += [f"a deleted sync call lives: {name}" for name in alive]
        if self.excused > MOST_EXCUSED * len(self.outcomes):
            found.append(f"{self.excused} of {len(self.outcomes)} excused, at most {MOST_EXCUSED:.0%} may be")
        found += [f"a reason for no mutant: {each}" for each in self.stale]
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "cases": self.cases,
            "seconds": round(self.seconds, 1),
            "templates": list(self.templates),
            "unused_templates": list(self.unused),
            "mutants": self.made,
            "judged": len(self.outcomes),
            "killed": self.killed,
            "survived": len(self.survivors),
            "same_machine_code": self.count(SAME_CODE),
            "excused": self.excused,
            "refused_by_a_compiler": self.count(REFUSED),
            "rate": self.rate,
            "missed_by_numerics": len(self.missed_by_numerics),
            "shortfalls": self.shortfalls,
            "outcomes": [o.to_json() for o in self.outcomes],
        }


def score_text(score: Score) -> Iterator[str]:
    """What a reader wants to know, the score last but for what is left to do."""
    yield f"{len(score.outcomes)} of {score.made} mutants of {len(score.templates)} templates, seed {score.seed}"
    kinds = Counter(o.mutant.kind for o in score.outcomes)
    for kind, meaning in KINDS.items():
        mine = [o for o in score.outcomes if o.mutant.kind == kind]
        killed = sum(o.verdict.status == KILLED for o in mine)
        lived = sum(o.survived for o in mine)
        if kinds[kind]:
            yield f"  {kind}: {killed} killed, {lived} survived of {len(mine)} ({meaning})"
    hows = Counter(o.verdict.how for o in score.outcomes if o.verdict.status == KILLED)
    yield "  found by: " + ", ".join(f"{how} {count}" for how, count in hows.most_common())
    yield (
        f"  equivalent: {score.count(SAME_CODE)} have the same machine code, {score.excused} a reason; "
        f"{score.count(REFUSED)} were refused by a compiler"
    )
    missed = score.missed_by_numerics
    deleted = sum(o.mutant.kind == "sync" for o in missed)
    yield f"  numerics alone would have missed {len(missed)} of the killed, {deleted} deleted sync calls among them"
    for outcome in score.survivors:
        yield f"  survived: {outcome.mutant.name}"
    for template in score.unused:
        yield f"  not covered: no kernel of these files uses {template}"
    for shortfall in score.shortfalls:
        yield f"  not enough: {shortfall}"
    judged = score.killed + len(score.survivors)
    yield f"score: {score.killed} of {judged} killed ({score.rate:.2%}), {score.seconds:.0f} s"
