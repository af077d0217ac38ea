"""The contract of a file as plain data, `spak-contract/1` (docs/schemas/)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from spakc.check.checked import CheckedModule
from spakc.contract.lets import devices_of, lets_of
from spakc.contract.spaces import conflicts, cuts, lawful_values, unreachable
from spakc.diff.difference import said as text
from spakc.diff.entries import Entry, entries
from spakc.diff.ownership import owner
from spakc.ir.module import Kernel, Schedule, Verification
from spakc.ir.ops import Expr
from spakc.lower.program import Program
from spakc.record import record
from spakc.status import StatementStatus
from spakc.tune.preferences import Side, Weighed, verdict_of

SCHEMA = "spak-contract/1"
IMPLEMENTER, ARCHITECT = "implementer", "architect"


@record
class Known:
    """A checked file with its page: what is known of every statement. `preferences`: what fresh times say of each
    `prefer`, by statement."""

    program: Program
    checked: CheckedModule
    page: tuple[StatementStatus, ...]
    preferences: Mapping[str, Sequence[Weighed]] = field(default_factory=dict)


def contract(known: Known, role: str) -> dict[str, Any]:
    """Everything that `role` has to know. The keys are those of the schema; lists keep the order of the file."""
    module = known.checked.module
    written = entries(known.program, known.checked)
    common = {
        "schema": SCHEMA,
        "role": role,
        "file": known.program.root,
        "targets": list(module.targets),
        "roles": {name: list(each.owns) for name, each in module.roles.items()},
        "devices": devices_of(module),
        "lets": lets_of(module.lets, {}),
        "levers": [_lever(e) for e in written.values() if owner(e, module.roles) == role],
        "kernels": [_kernel(known, kernel) for kernel in module.kernels.values()],
        "claims": [_claim(entry) for entry in known.page if entry.statement.kind == "claim"],
        "statements": [entry.to_json() for entry in known.page],
    }
    return common | (_findings(known, written) if role == ARCHITECT else {})


def _lever(entry: Entry) -> dict[str, Any]:
    span = entry.span
    first = span.text.partition("{")[0] if entry.kind in ("schedule", "kernel", "model") else span.text
    return {
        "statement": entry.id,
        "kind": entry.kind,
        "file": span.source.name,
        "line": span.line,
        "text": " ".join(first.split()),
    }


# ---- kernels ------------------------------------------------------------------------------------------


def _kernel(known: Known, kernel: Kernel) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "family": kernel.family,
        "intent": kernel.intent,
        "signature": [*_signature(kernel)],
        "math": [" ".join(e.span.text.split()) for e in kernel.math],
        "accumulate": kernel.accumulate.value,
        "gradients": [f"{', '.join(g.outputs)} wrt {', '.join(g.inputs)}" for g in kernel.gradients],
        "lets": lets_of(kernel.lets, {}),
        "laws": [law.qualified for law in kernel.laws],
        "verification": _verification(kernel.verification),
        "schedules": [_schedule(known, kernel, each) for each in kernel.schedules.values()],
    }


def _signature(kernel: Kernel) -> Iterator[str]:
    for dim in kernel.dims.values():
        yield f"dim {dim.name}" + (f" in {text(dim.domain)}" if dim.domain is not None else "")
    for tensor in kernel.tensors.values():
        types = [dtype.value for dtype in tensor.dtypes]
        types += [f"same({tensor.same_as})"] if tensor.same_as else []
        shape = ", ".join(text(size) for size in tensor.shape)
        layouts = f" layout {' | '.join(tensor.layouts)}" if tensor.layouts else ""
        optional = f" optional = {text(tensor.default)}" if tensor.default is not None else ""
        yield f"{tensor.role} {tensor.name}: {' | '.join(types)} [{shape}]{layouts}{optional}"
    for option in kernel.options.values():
        kind = " | ".join(option.choices) or (option.dtype.value if option.dtype is not None else "")
        yield f"option {option.name}: {kind} = {text(option.default)}"


def _verification(checks: Verification | None) -> dict[str, Any] | None:
    if checks is None:
        return None
    return {
        "tolerance": text(checks.tolerance) if checks.tolerance is not None else None,
        "values": list(checks.values),
        "shapes": [f"{', '.join(names)} in {text(domain)}" for names, domain in checks.shapes],
        "cases": checks.cases,
    }


def _schedule(known: Known, kernel: Kernel, schedule: Schedule) -> dict[str, Any]:
    spaces = {key[2]: s for key, s in known.checked.spaces.items() if key[:2] == (kernel.name, schedule.name)}
    return {
        "name": schedule.name,
        "like": schedule.like,
        "needs": [text(need) for need in schedule.needs],
        "knobs": [
            {"name": k.name, "domain": text(k.domain), "at_launch": k.at_launch}
            for k in schedule.knobs.values()
        ],
        "configs": [{"name": c.name, "on": list(c.on), "values": dict(c.values)} for c in schedule.configs],
        "prefers": [_prefer(p.proposition, p.when) for p in schedule.prefers],
        "lets": lets_of(schedule.lets, spaces),
        "laws": [law.qualified for law in schedule.laws],
        "spaces": [
            {
                "target": target,
                "points": space.points,
                "lawful": space.lawful_points,
                "values": lawful_values(space),
            }
            for target, space in spaces.items()
        ],
    }


def _prefer(proposition: Expr, when: Expr | None) -> str:
    return text(proposition) + (f" when {text(when)}" if when is not None else "")


def _claim(entry: StatementStatus) -> dict[str, Any]:
    claim = entry.statement.body
    return {
        "statement": entry.statement.id,
        "target": entry.statement.target,
        "demands": entry.statement.text,
        "confidence": claim.confidence,
        "for_every": [f"{', '.join(names)} in {text(domain)}" for names, domain in claim.quantifier],
        "because": claim.because,
        "verdict": entry.status.verdict.value,
        "means": entry.status.means.value,
        "fresh": entry.status.fresh,
        "note": entry.status.note,
    }


# ---- what an architect wants to know ------------------------------------------------------------------


def _findings(known: Known, written: Mapping[str, Entry]) -> dict[str, Any]:
    spaces = known.checked.spaces
    shown = [entry for entry in known.page if entry.status.applicable]
    return {
        "cuts": [row for key, space in spaces.items() for row in [_cuts(key, space)]],
        "idle": idle(known.checked),
        "conflicts": [row for key, space in spaces.items() for row in conflicts(key, space)],
        "unreachable": [row for key, space in spaces.items() for row in unreachable(key, space)],
        "violated": [_short(e) for e in shown if e.status.verdict.value == "violated" and e.status.fresh],
        "stale": [_short(e) | {"because": list(e.stale_because)} for e in shown if not e.status.fresh],
        "undecided": [_short(e) for e in shown if _is_open(e)],
        "prose": prose(shown, written.values()),
        "prefers": [
            _preference(e, known.preferences.get(e.statement.id, ()))
            for e in shown
            if e.statement.kind == "prefer"
        ],
    }


def _preference(entry: StatementStatus, measured: Sequence[Weighed]) -> dict[str, Any]:
    """A `prefer` with what times say of it, call by call."""
    calls = [
        {
            "call": {name: each.call[name] for name in ("dims", "options", "dtype", "layouts")},
            "device": each.device,
            "verdict": each.verdict,
            "with": _side(each.having),
            "without": _side(each.lacking),
        }
        for each in measured
    ]
    return _short(entry) | {"verdict": verdict_of(measured), "measured": calls}


def _side(side: Side | None) -> dict[str, Any] | None:
    return {"config": dict(side.config), "seconds": side.seconds} if side is not None else None


def _cuts(key: tuple[str, str, str], space: Any) -> dict[str, Any]:
    kernel, schedule, target = key
    return {
        "schedule": f"{kernel}.{schedule}",
        "target": target,
        "points": space.points,
        "lawful": space.lawful_points,
        "laws": cuts(space),
    }


def idle(checked: CheckedModule) -> list[str]:
    """Laws of schedules that cut no point on any target: they are implied by the domains or by other laws."""
    does: dict[str, bool] = {}
    for space in checked.spaces.values():
        for cut in space.cuts:
            name = cut.law.qualified
            does[name] = does.get(name, False) or cut.alone + cut.among > 0
    return [name for name, cuts_something in does.items() if not cuts_something]


def prose(page: Iterable[StatementStatus], written: Iterable[Entry]) -> list[dict[str, str]]:
    """What is said and never counted as established: intents, and the reasons given for laws and claims."""
    found = [
        {"statement": e.statement.id, "text": e.statement.text} for e in page if e.statement.kind == "intent"
    ]
    found += [{"statement": e.id, "text": e.prose} for e in written if e.prose.strip() and e.kind != "intent"]
    return found


def _is_open(entry: StatementStatus) -> bool:
    return (
        entry.status.verdict.value == "undecided"
        and entry.status.fresh
        and entry.statement.kind not in ("intent", "prefer")
    )


def _short(entry: StatementStatus) -> dict[str, Any]:
    known = entry.status
    return {
        "statement": entry.statement.id,
        "target": entry.statement.target,
        "text": entry.statement.text,
        "means": known.means.value,
        "note": known.note,
    }
