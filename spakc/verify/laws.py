"""Laws over compiled kernels, traffic, conflicts and values: what was looked at, as figures of evidence.

The figures say what was seen, at which knobs, sizes, options and dtypes; `spakc/verdicts.py` makes the
verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spak_runtime.manifest import Variant
from spakc.figures import key_of
from spakc.ir.constraint import implication, mentions
from spakc.ir.module import Equation, Kernel, Law
from spakc.ir.ops import Const, Expr, Load, Query, Ref, RefKind
from spakc.ir.visit import walk
from spakc.verify.case import Case, Value
from spakc.verify.examine import Counters
from spakc.verify.oracle import OracleError, evaluate
from spakc.verify.tripwires import Prepared

MOST_OBSERVATIONS = 400
"""Observations of one law that are kept; cases beyond them are counted as not kept."""

Observation = dict[str, Any]


def queries_of(law: Law) -> tuple[Query, ...]:
    """What a law asks, each question once."""
    asked = [e for e in mentions(law.proposition, law.when) if isinstance(e, Query)]
    return tuple(sorted(asked, key=key_of))


def at(
    law: Law,
    variant: Variant,
    dtypes: Mapping[str, str],
    options: Mapping[str, Value],
    dims: Mapping[str, int],
) -> dict[str, Value]:
    """Where something was seen: the knobs, and of the rest what the law speaks of."""
    names = {(e.kind, e.name) for e in mentions(law.proposition, law.when) if isinstance(e, Ref)}
    sized = {q.args[0].name for q in queries_of(law) if q.name == "sizeof" and isinstance(q.args[0], Ref)}
    found: dict[str, Value] = {f"knob {name}": value for name, value in variant.config.items()}
    found |= {f"dtype {name}": word for name, word in dtypes.items() if name in sized}
    found |= {f"option {n}": value for n, value in options.items() if (RefKind.option, n) in names}
    return found | {f"dim {name}": size for name, size in dims.items() if (RefKind.dim, name) in names}


def counted(law: Law, kernel: Kernel, counters: Counters) -> dict[str, Value]:
    """The answers that the counters of one run give to a law's questions."""
    answers: dict[str, Value] = {}
    for query in queries_of(law):
        subject = query.args[0].name if query.args and isinstance(query.args[0], Ref) else ""
        if query.name == "bytes" and subject in counters.bytes:
            answers[key_of(query)] = counters.bytes[subject]
        elif query.name == "bank_conflicts":
            tensor = kernel.tensors.get(subject.partition(".")[0])
            role = "output" if tensor is not None and tensor.role == "output" else "input"
            if counters.requests.get(role):
                answers[key_of(query)] = counters.conflicts[role]
        elif query.name.startswith("launch."):
            answers[key_of(query)] = {
                "launch.blocks": counters.blocks,
                "launch.threads": counters.threads,
                "launch.shared_bytes": counters.shared_bytes,
            }[query.name]
    return answers


def instructions_of(laws: Iterable[Law]) -> tuple[str, ...]:
    """The instructions that any of the laws counts."""
    asked = [query for law in laws for query in queries_of(law) if query.name == "cubin.count"]
    return tuple(sorted({str(q.args[0].value) for q in asked if q.args and isinstance(q.args[0], Const)}))


def merged(observations: Sequence[Observation]) -> list[Observation]:
    """Equal observations as one, with how often it was made."""
    found: dict[str, Observation] = {}
    for each in observations:
        key = repr(sorted((k, repr(v)) for k, v in each.items()))
        if key in found:
            found[key]["count"] += 1
        elif len(found) < MOST_OBSERVATIONS:
            found[key] = {**each, "count": 1}
    return list(found.values())


# ---- laws over values ---------------------------------------------------------------------------------


def about_values(law: Law) -> bool:
    """Whether elements of tensors decide a law."""
    return any(isinstance(node, Load) for node in walk(law.proposition))


def tested_on(law: Law, kernel: Kernel, prepared: Sequence[Prepared]) -> dict[str, Any]:
    """In how many cases a law over values was true, of those that the math admits, and the first that broke
    it."""
    cases = failures = 0
    first = ""
    for each in prepared:
        truth = _holds(law, kernel, each)
        if truth is None:
            continue
        cases += 1
        if not truth:
            failures += 1
            first = first or f"false for {each.case}"
    return {"cases": cases, "failures": failures} | ({"first": first} if failures else {})


def _holds(law: Law, kernel: Kernel, each: Prepared) -> bool | None:
    """The truth of a law on the tensors of one case, results among them; None where it has none."""
    name = "law of the case"
    tensors = {n: replace(t, role="input") for n, t in kernel.tensors.items()}
    whole: Expr = implication(law.proposition, law.when)
    asked = replace(kernel, tensors=tensors, math=(Equation(name, (), whole, span=law.span),))
    values = {n: array for n, array in each.ref.given.items() if array is not None}
    values |= {n: array for n, array in each.ref.right.items() if n not in values}
    try:
        with np.errstate(all="ignore"):
            found = evaluate(asked, values, each.case.options, each.case.dims, intermediates=True)
    except OracleError:
        return None
    return bool(found[name])


def cases_of(
    law: Law, variant: Variant, kernel: Kernel, seen: Iterable[tuple[Case, Counters]]
) -> list[Observation]:
    """The observations that the cases of one variant make about a law."""
    found = []
    for case, counters in seen:
        answers = counted(law, kernel, counters)
        if answers:
            place = at(law, variant, case.dtypes, case.options, case.dims)
            found.append({"at": place, "queries": answers})
    return found
