"""Laws of a dataset: what its supports prove, and what waits for documents."""

from __future__ import annotations

from spakc.check.data_facts import DatasetFacts, Report, apart, tiny
from spakc.check.verdict import LawStatus, Status, Verdict, means_of_law
from spakc.ir.constraint import Env, evaluate, implication
from spakc.ir.module import Law
from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.types import NUMBER
from spakc.ir.visit import walk

LAW_OPERATIONS = frozenset(
    ("add", "sub", "mul", "div", "floordiv", "ceil_div", "mod", "neg", "abs", "min", "max", "floor", "ceil")
) | frozenset(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "member", "where"))
"""What a law of data may compute: `OPERATORS` of the runtime's sanity.py, and what it decides by cases."""

LAW_QUERIES = frozenset(("text", "answer", "number", "digit_sum", "complement", "disjoint", "max_length"))
"""What a law of data may ask for: what `_truth` of the runtime's sanity.py reads off a document, and what is proved."""

_READS = {"number": "answer", "answer": "text"}
"""What stands in the brackets of each: `number(answer(text))`."""


def law_status(check: Report, law: Law, facts: DatasetFacts) -> LawStatus:
    node = law.proposition
    if isinstance(node, Query) and node.name == "disjoint" and law.when is None:
        return _disjoint(check, law, node, facts)
    parts = [part for whole in (node, law.when) if whole is not None for part in walk(whole)]
    for part in parts:
        if isinstance(part, Query) and part.name == "disjoint":
            check.error("SPAK541", "`disjoint` is a law by itself", part, "a part of one", "write two laws")
        if isinstance(part, Apply) and part.op not in LAW_OPERATIONS:
            message = f"`{part.op.removeprefix('cast_')}` has no meaning in a law of data"
            check.error("SPAK130", message, part, "not here", "laws of data are exact arithmetic")
        _foreign(check, part)
    queries = [e for e in parts if isinstance(e, Query) and e.name == "max_length"]
    known = {q: facts.max_digits(_split(q.args[0])) for q in queries if _split(q.args[0]) in facts.digits}
    env = Env(queries=known)
    if law.when is not None and evaluate(law.when, env) is False:
        note = "its condition is false"
        return LawStatus(law, Status(Verdict.undecided, Means.proof, note=note, applicable=False))
    value = evaluate(implication(node, law.when), env)
    if isinstance(value, bool):
        if not value:
            check.error("SPAK203", f"law `{law.name}` does not hold", node, "false")
        return LawStatus(law, Status(Verdict.holds if value else Verdict.violated, Means.proof, witnesses=1))
    means = max(means_of_law(law), Means.cases, key=list(Means).index)
    return LawStatus(law, Status(Verdict.undecided, means))


def _foreign(check: Report, part: Expr) -> None:
    """What is not known when a document is read: only its samples are, its text, and what the file says of splits."""
    if isinstance(part, Query) and part.name not in LAW_QUERIES:
        message = f"`{part.name}` has no meaning in a law of data"
        check.error("SPAK130", message, part, "not known of a document")
    read = _READS.get(part.name) if isinstance(part, Query) else None
    if isinstance(part, Query) and read is not None:
        inner = part.args[0]
        told = check.sink.has("SPAK317", inner.span)
        if not told and not (isinstance(inner, Query) and inner.name == read):
            label = "write `number(answer(text))`" if read == "answer" else "write `answer(text)`"
            what = "an answer" if read == "answer" else "the text"
            check.error("SPAK128", f"`{part.name}` reads {what}", inner, label)
    if isinstance(part, Ref) and part.kind is RefKind.fact:
        check.error("SPAK130", "a law of data knows no device", part, "a fact of a device")
    if isinstance(part, Ref) and part.kind in (RefKind.dim, RefKind.option):
        check.error("SPAK130", "a law of data knows no kernel", part, "of the calls of a kernel")
    if isinstance(part, Const) and part.unit != NUMBER:
        check.error("SPAK319", "a law of data has no units", part, "this number has one")


def _disjoint(check: Report, law: Law, node: Query, facts: DatasetFacts) -> LawStatus:
    """Proved where the digit counts of some sample differ; else training leaves out what evaluation
    holds, and it is tested. Two evaluation splits over the same support can only be tested."""
    names = [_split(argument) for argument in node.args]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for a, b in pairs:
        if a == b or (facts.choices[a] == facts.choices[b] and tiny(facts, a)):
            check.error("SPAK541", f"`{a}` and `{b}` share their samples", node, "these are not disjoint")
            return LawStatus(law, Status(Verdict.violated, Means.proof))
    if all(apart(facts, a, b) for a, b in pairs):
        note = "some number has other digit counts in each split"
        return LawStatus(law, Status(Verdict.holds, Means.proof, witnesses=len(pairs), note=note))
    return LawStatus(
        law, Status(Verdict.undecided, Means.cases, note="training leaves out what is evaluated")
    )


def _split(node: Expr) -> str:
    return node.name.rpartition(".")[2] if isinstance(node, Ref) else ""
