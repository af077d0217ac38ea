"""Protocols: what a gate may say, and what it asks of the experiments that follow it."""

from __future__ import annotations

from spakc.check.check_divisors import check_divisors
from spakc.check.check_settings import GATE_KEYS, WORDS
from spakc.check.count import MOST_LOOPS
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, evaluate
from spakc.ir.experiment import Dataset, Experiment, Protocol
from spakc.ir.model import Loop, Model
from spakc.ir.ops import Apply, Expr, Query, Ref, RefKind
from spakc.ir.visit import walk, with_unit
from spakc.lower.resolve import nearest
from spakc.source import Span

GATE_OPERATIONS = frozenset(
    ("add", "sub", "mul", "div", "neg", "not", "and", "or", "eq", "ne", "lt", "le", "gt", "ge")
)
"""What a gate may compute: what the runtime's gates.py does."""

_KINDS = {
    RefKind.fact: "a fact of a device",
    RefKind.dim: "a size of a kernel's calls",
    RefKind.option: "an option of a kernel's calls",
}

GATE_QUERIES = frozenset(("loss", "accuracy", "laws", "format", "decoded"))


def check_protocol(protocol: Protocol, sink: Sink) -> None:
    """What a gate may say whatever experiment runs it."""
    trained = False
    for gate in protocol.gates:
        for key, value in (gate.train or {}).items():
            if key not in GATE_KEYS:
                close = nearest(key, GATE_KEYS, sink)
                hint = f"did you mean `{close}`?" if close else f"it takes {', '.join(GATE_KEYS)}"
                sink.report(
                    "SPAK543", f"`train` of a gate has no `{key}`", value.span, "set here", help=[hint]
                )
            elif key != "keep":
                count = evaluate(value, Env())
                if (
                    isinstance(count, bool)
                    or not isinstance(count, int)
                    or count < 1
                    or with_unit(value) is not None
                ):
                    sink.report("SPAK548", f"`{key}` is a positive whole number", value.span, "this is none")
            elif not (isinstance(value, Ref) and value.name in WORDS[key]):
                sink.report(
                    "SPAK548", "`keep` cannot be this", value.span, f"it is {' or '.join(WORDS[key])}"
                )
        if gate.train is not None and "batches" in gate.train and "steps" not in gate.train:
            where = gate.train["batches"].span
            sink.report("SPAK547", "training on fixed batches needs `steps`", where, "in this gate")
        trained = trained or gate.train is not None
        for asked in (*(requirement.proposition for requirement in gate.require), *gate.show):
            for node in walk(asked):
                if isinstance(node, Query) and node.name in ("loss", "accuracy") and not trained:
                    message = f"gate `{gate.name}` asks for {node.name}, but nothing is trained before it"
                    sink.report("SPAK551", message, node.span, "nothing to measure yet")
                unknown = _unknown(node)
                if unknown:
                    message = f"{unknown} has no meaning in a gate"
                    sink.report("SPAK130", message, node.span, "not known when a gate is judged")
        for shown in gate.show:
            if not any(isinstance(node, Query) for node in walk(shown)):
                message = f"gate `{gate.name}` shows something of the run"
                sink.report(
                    "SPAK551", message, shown.span, "this asks for nothing", help=["`decoded(batch)`"]
                )
            check_divisors(shown, sink)


def _unknown(node: Expr) -> str:
    """What a gate cannot ask for, in words; empty for everything else."""
    if isinstance(node, Apply) and node.op not in GATE_OPERATIONS:
        return f"`{'in' if node.op == 'member' else node.op.removeprefix('cast_')}`"
    if isinstance(node, Query) and node.name not in GATE_QUERIES:
        return f"`{node.name}`"
    return _KINDS.get(node.kind, "") if isinstance(node, Ref) else ""


def follows(experiment: Experiment, protocol: Protocol, model: Model, dataset: Dataset, sink: Sink) -> None:
    """What a protocol asks of an experiment that follows it: splits that there are, readouts that its model has."""

    def no_split(name: str, span: Span | None) -> None:
        close = nearest(name, splits, sink)
        if sink.has("SPAK550", span):
            return
        sink.report(
            "SPAK550",
            f"the data of `{experiment.name}` has no split `{name}`",
            span,
            f"asked for by protocol `{protocol.name}`",
            also=[(experiment.span, "this experiment follows it")],
            help=[f"did you mean `{close}`?" if close else f"it has {', '.join(splits)}"],
        )

    splits = tuple(dataset.splits)
    for gate in protocol.gates:
        for requirement in gate.require:
            for name in requirement.hide:
                if name not in splits:
                    no_split(name, requirement.span)
            for node in walk(requirement.proposition):
                if isinstance(node, Query) and node.name == "accuracy":
                    split = node.args[1]
                    if isinstance(split, Ref) and split.name.rpartition(".")[2] not in splits:
                        no_split(split.name, split.span)
                    check_readout(node, model, sink)


def check_readout(query: Query, model: Model, sink: Sink) -> bool:
    """Whether the model can be read out as `accuracy(…, readout = …, loops = …)` says; reports SPAK129 if not."""
    named = dict(query.named)
    wrong: tuple[Expr, str, str] | None = None
    if (asked := named.get("loops")) is not None:
        count = evaluate(asked, Env())
        whole = isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MOST_LOOPS
        if not whole or with_unit(asked) is not None:
            wrong = asked, f"`loops` is a whole number from 1 to {MOST_LOOPS:,}", "this is none"
        elif not any(isinstance(step, Loop) for step in model.forward.body):
            wrong = asked, f"model `{model.name}` has no loop in forward", "nothing to count"
    readout = named.get("readout")
    if isinstance(readout, Ref) and readout.name != "last" and model.halting is None:
        wrong = (
            readout,
            f"model `{model.name}` has no halting rule",
            f"nothing to read out by `{readout.name}`",
        )
    if wrong is None:
        return True
    where, message, label = wrong
    if not sink.has("SPAK129", where.span):
        sink.report(
            "SPAK129",
            message,
            where.span,
            label,
            help=["say `halting { … }` in the model"] if where is readout else (),
        )
    return False
