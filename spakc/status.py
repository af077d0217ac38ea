"""The one page: every statement of a file, what is known of it, how, on which device, since when.

Nothing here is stored and nothing is believed: proofs and guards come from the check that just ran,
everything else is judged anew from the figures of fresh evidence.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from spakc.check.check_experiment import Counter, compile_time_counts
from spakc.check.checked import CheckedModule
from spakc.check.statements import LATER, Statement, gradient_of, statements
from spakc.check.verdict import LawStatus, Status, Verdict
from spakc.diagnostics import Sink
from spakc.evidence import Row, Subject, moment, staleness
from spakc.figures import Malformed
from spakc.implement.judge import judge_held
from spakc.ir.constraint import Env
from spakc.ir.module import Module
from spakc.ir.queries import Means
from spakc.record import record
from spakc.verdicts import (
    NOTHING,
    Judgement,
    judge_checks,
    judge_claim,
    judge_gate,
    judge_law,
    witnesses_of,
)

SCHEMA = "spak-status/1"


@record
class StatementStatus:
    """One line of the page. `stale_because` says what changed since the evidence was recorded; `device` and
    `date` are those of the evidence, empty where none was needed or none is there."""

    statement: Statement
    status: Status
    stale_because: tuple[str, ...] = ()
    device: str = ""
    date: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, one object a statement and target."""
        span, status = self.statement.span, self.status
        return {
            "schema": SCHEMA,
            "statement": self.statement.id,
            "kind": self.statement.kind,
            "text": self.statement.text,
            "file": span.source.name if span is not None else "",
            "line": span.line if span is not None else 0,
            "target": self.statement.target,
            "applicable": status.applicable,
            "verdict": status.verdict.value,
            "means": status.means.value,
            "fresh": status.fresh,
            "stale_because": list(self.stale_because),
            "witnesses": status.witnesses,
            "note": status.note,
            "device": self.device,
            "date": self.date,
            "meaning": self.statement.meaning,
        }


def status(
    checked: CheckedModule,
    rows: Iterable[Row],
    now: Subject,
    sink: Sink,
) -> list[StatementStatus]:
    """The status of every statement, in the order of the module.

    `rows` is the evidence, `now` every part that exists at present: emitted sources, headers, flags, oracle …
    Reports rows whose figures make no sense (SPAK901, a warning); they are ignored."""
    counted = compile_time_counts(checked.experiments, checked.data)
    module = checked.module
    found = list(statements(module))
    claims = {(each.claim.name, each.status.target): each.status for each in checked.claims}
    by_statement = _by_statement(rows, sink, found)
    page = _Page(module, _by_law(_laws(checked)), by_statement, now, counted, claims, frozenset())
    verified = _verified([page.one(each) for each in found if each.kind in ("verify", "gradient")])
    page = replace(page, verified=verified)
    return [page.one(each) for each in found]


def _verified(entries: Iterable[StatementStatus]) -> frozenset[str]:
    """The kernels, and gradients of kernels, whose present source every such statement vouches for."""
    good: dict[str, bool] = {}
    for entry in entries:
        kernels = entry.statement.kernels
        names = (
            kernels
            if entry.statement.kind == "verify"
            else {k for k in kernels if gradient_of(k) not in kernels}
        )
        for name in names:
            known = entry.status.verdict is Verdict.holds and entry.status.fresh
            good[name] = good.get(name, True) and known
    return frozenset(name for name, known in good.items() if known)


def _laws(checked: CheckedModule) -> Iterator[LawStatus]:
    """What check said of every law, those of models and datasets included."""
    yield from checked.laws
    for data in checked.data.values():
        yield from data.laws
    for experiment in checked.experiments.values():
        yield from experiment.laws


def _by_law(found: Iterable[LawStatus]) -> dict[tuple[str, str], list[LawStatus]]:
    table: dict[tuple[str, str], list[LawStatus]] = {}
    for each in found:
        table.setdefault((each.law.qualified, each.status.target), []).append(each)
    return table


def _by_statement(rows: Iterable[Row], sink: Sink, found: Iterable[Statement]) -> dict[str, list[Row]]:
    """Sound rows in the order of their dates, so that the order of the file decides nothing."""
    bodies = {each.id: each for each in found}
    table: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (moment(r.date), r.to_json())):
        statement = bodies.get(row.statement)
        if statement is None:
            continue
        try:
            _judge(statement, [row.figures], Env(), lambda _: None)
        except Malformed as error:
            sink.report(
                "SPAK901",
                f"evidence for `{row.statement}` is ignored: {error}",
                None,
                severity="warning",
            )
            continue
        table.setdefault(row.statement, []).append(row)
    return table


def _judge(
    statement: Statement, figures: Sequence[Mapping[str, Any]], base: Env, counted: Counter
) -> Judgement:
    match statement.kind:
        case "law":
            return judge_law(statement.body, figures, base, witnesses_of(statement))
        case "verify":
            return judge_checks(statement.body.cases or 0, figures)
        case "gradient":
            checks = statement.body.verification
            return judge_checks((checks.cases or 0) if checks is not None else 0, figures)
        case "implement":
            return judge_held(statement.body, figures)
        case "gate":
            return judge_gate(statement.body, figures)
        case "claim":
            return judge_claim(statement.body, figures, counted)
        case _:
            return NOTHING


@record
class _Page:
    """What one entry is made from."""

    module: Module
    laws: Mapping[tuple[str, str], list[LawStatus]]
    rows: Mapping[str, list[Row]]
    now: Subject
    counted: Counter
    claims: Mapping[tuple[str, str], Status]
    verified: frozenset[str]

    def one(self, statement: Statement) -> StatementStatus:
        target, means = statement.target, statement.means
        if statement.kind == "law":
            known = self._checked_law(statement)
            waits = known is not None and known.means not in (Means.proof, Means.guard)
            if known is not None and not (waits and known.applicable and known.verdict is Verdict.undecided):
                return StatementStatus(statement, known)
            if known is not None:
                means = known.means
        if statement.kind == "intent":
            return StatementStatus(statement, Status(Verdict.undecided, Means.none, target, note="prose"))
        if statement.kind == "claim":
            proved = self.claims[statement.body.name, target]
            if proved.verdict is not Verdict.undecided or means is Means.proof:
                return StatementStatus(statement, proved)
        if means in (Means.proof, Means.guard, Means.none):
            note = {Means.proof: "nothing instantiates it", Means.none: "requires nothing"}.get(means, "")
            return StatementStatus(statement, Status(Verdict.undecided, means, target, note=note))
        later = LATER.get(statement.kind) or LATER.get(statement.fact)
        if later is not None and not self.rows.get(statement.id):
            return StatementStatus(statement, Status(Verdict.undecided, Means.none, target, note=later))
        return self._by_evidence(statement, means)

    def _checked_law(self, statement: Statement) -> Status | None:
        """What check said: of a law that is instantiated several times, the conjunction."""
        found = [each.status for each in self.laws.get((statement.body.qualified, statement.target), ())]
        said = [s for s in found if s.applicable]
        if not found:
            return None
        if not said:
            return found[0]
        for verdict in (Verdict.violated, Verdict.undecided):
            for each in said:
                if each.verdict is verdict:
                    return each
        first = said[0]
        return Status(
            Verdict.holds, first.means, first.target, sum(s.witnesses for s in said), note=first.note
        )

    def _by_evidence(self, statement: Statement, means: Means) -> StatementStatus:
        mine = [
            row
            for row in self.rows.get(statement.id, ())
            if not statement.target or row.target == statement.target
        ]
        runs = [(row, self._staleness(statement, row)) for row in mine if not row.profile]
        fresh = [row for row, reasons in runs if not reasons]
        if not runs:
            return self._by_profile(statement, means, [row for row in mine if row.profile])
        used = _latest_of_each(fresh) if fresh else [runs[-1][0]]
        judged = self._judged(statement, used)
        last = used[-1]
        known = Status(judged.verdict, means, statement.target, judged.witnesses, bool(fresh), judged.note)
        return StatementStatus(statement, known, () if fresh else runs[-1][1], last.device, last.date)

    def _by_profile(self, statement: Statement, means: Means, rows: list[Row]) -> StatementStatus:
        """A profile is another experiment: its figure is shown as the profile's, and decides nothing."""
        if not rows:
            return StatementStatus(statement, Status(Verdict.undecided, means, statement.target))
        runs = [(row, self._staleness(statement, row)) for row in rows]
        fresh = [row for row, reasons in runs if not reasons]
        last = fresh[-1] if fresh else rows[-1]
        used = _latest_of_each([row for row in fresh if row.profile == last.profile]) if fresh else [last]
        judged = self._judged(statement, used)
        note = (
            f"profile {last.profile}: {judged.note}" if judged.note else f"ran under profile {last.profile}"
        )
        known = Status(Verdict.undecided, means, statement.target, fresh=bool(fresh), note=note)
        return StatementStatus(statement, known, () if fresh else runs[-1][1], last.device, last.date)

    def _judged(self, statement: Statement, rows: list[Row]) -> Judgement:
        device = self.module.devices.get(statement.target)
        base = Env().facts(device.facts) if device is not None else Env()
        return _judge(statement, [row.figures for row in rows], base, self.counted)

    def _staleness(self, statement: Statement, row: Row) -> tuple[str, ...]:
        device = self.module.devices.get(row.target)
        subject = self.now.about(
            statement, fact=row.kind, profile=row.profile, arch=device.arch if device is not None else ""
        )
        return staleness(row, statement.meaning, subject, self.verified)


def _latest_of_each(rows: list[Row]) -> list[Row]:
    """A run that was repeated with the same seed on the same device counts once, as last recorded."""
    return list({(row.seed, row.device, row.target): row for row in rows}.values())


# ---- the page -----------------------------------------------------------------------------------------


def render(page: Sequence[StatementStatus], width: int = 120) -> str:
    """The page as plain text: a line a statement, stale ones with what changed, and a summary. Where a statement does
    not apply to a target is told only if there is no other for it."""
    applicable = {entry.statement.id for entry in page if entry.status.applicable}
    shown = [entry for entry in page if entry.status.applicable or entry.statement.id not in applicable]
    columns = [
        (entry.statement.id, entry.statement.target, entry.status.verdict.value, evidence_text(entry))
        for entry in shown
    ]
    widths = [max((len(row[i]) for row in columns), default=0) for i in range(4)]
    widths[0] = min(widths[0], width // 2)
    lines = []
    for entry, row in zip(shown, columns, strict=True):
        cells = [cut(cell, w).ljust(w) for cell, w in zip(row, widths, strict=True)]
        line = "  ".join([*cells, _since(entry)]).rstrip()
        lines.append(line)
        more = [text for text in (entry.status.note, *stale_text(entry)) if text]
        lines.extend(f"    {cut(text, width - 4)}" for text in more)
    return "\n".join([*lines, "", summary(page)]) + "\n"


def evidence_text(entry: StatementStatus) -> str:
    """By what means a verdict is known, by how many witnesses."""
    known = entry.status
    if known.verdict is Verdict.undecided and not known.witnesses:
        return f"({known.means.value})"
    return f"by {known.means.value} ({known.witnesses:,})" + ("" if known.fresh else ", stale")


def _since(entry: StatementStatus) -> str:
    return " ".join(part for part in (entry.device, entry.date[:10]) if part)


def stale_text(entry: StatementStatus) -> tuple[str, ...]:
    """What first came to differ since the evidence was recorded, and how much more did; nothing of what is fresh."""
    if not entry.stale_because:
        return ()
    first, *rest = entry.stale_because
    return (f"stale: {first}" + (f", and {len(rest)} more" if rest else ""),)


def cut(text: str, width: int) -> str:
    """The text in at most so many characters."""
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"


def summary(page: Sequence[StatementStatus]) -> str:
    """How many statements hold and by which means, are violated, undecided, stale, prose or do not apply."""
    tally: Tally[tuple[str, str]] = Tally()  # of many, and of one
    for entry in page:
        known = entry.status
        if not known.applicable:
            tally["do not apply to their target", "does not apply to its target"] += 1
        elif entry.statement.kind == "intent":
            tally["are prose", "is prose"] += 1
        elif not known.fresh:
            tally["are stale", "is stale"] += 1
        elif known.verdict is Verdict.holds:
            tally[f"hold by {known.means.value}", f"holds by {known.means.value}"] += 1
        elif known.verdict is Verdict.violated:
            tally["are violated", "is violated"] += 1
        else:
            tally[f"are undecided ({known.means.value})", f"is undecided ({known.means.value})"] += 1
    parts = ", ".join(f"{n} {one if n == 1 else many}" for (many, one), n in tally.items())
    return f"{len(page)} statement{'s' * (len(page) != 1)}: {parts}"
