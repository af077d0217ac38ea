"""Laws over what no witness can show where they stand: registers in a model, a document in a kernel. Nothing would ever
decide them, and a statement that nothing decides may not look as if it only waited."""

from __future__ import annotations

from spakc.check.propositions import Owner, Proposition
from spakc.diagnostics import Sink
from spakc.ir.constraint import describe
from spakc.ir.experiment import Claim, Dataset
from spakc.ir.module import Kernel
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.queries import QUERIES, Means
from spakc.ir.visit import walk
from spakc.record import record

COUNTED = frozenset(("parameters", "flops", "max_length"))
"""What is counted at compile time, of an experiment or a dataset."""

_OF_TENSORS = frozenset(("sizeof", "bytes", "sectors", "bank_conflicts", "ulp"))
_OF_KERNELS = _OF_TENSORS | {"library_error"} | {n for n, q in QUERIES.items() if q.means is Means.compiled}


@record
class _Foreign:
    """What is known elsewhere: what it is, and where to say it."""

    label: str
    help: str


_COMPILED = _Foreign("known of a compiled kernel", "state it in a kernel or in a schedule")
_RUN = _Foreign("known of a kernel that runs", "state it in that kernel")
_CALL = _Foreign("known of the calls of a kernel", "state it in that kernel, by its own names")
_DOCUMENT = _Foreign("known of a document", "state it in a dataset")
_DEVICE = _Foreign("known of a device", "state it at the top of the file or in a kernel")
_FIXED = _Foreign("known of a call alone", "a measurement fixes it: `time(kernel, N = 4096)`")
_ON = _Foreign("known of a device", "name the devices: `claim name on device: …`")
_TRAINED = _Foreign("known of an experiment", "state it at the top of the file, or as a claim")


def check_witnesses(proposition: Proposition, sink: Sink) -> None:
    """Reports SPAK211 at the first thing that nothing shows where the proposition stands. Leaves alone gates
    (`check_protocol.py`), laws of data (`data_laws.py`), and of whom something is counted (`check_points.py`)."""
    if proposition.of_gate or isinstance(proposition.owner, Dataset):
        return
    for node in walk(proposition.expr):
        foreign = (
            _foreign(node, proposition.owner)
            if proposition.claim is None
            else _foreign_to_claim(node, proposition.claim)
        )
        if foreign is not None:
            message = f"{proposition.what} speaks of `{describe(node)}`, which nothing shows here"
            sink.report("SPAK211", message, node.span, foreign.label, help=[foreign.help])
            return


def _foreign_to_claim(node: Expr, claim: Claim) -> _Foreign | None:
    """Measurements fix the sizes of calls, and facts are those of the devices that the claim names."""
    if not isinstance(node, Ref):
        return None
    if node.kind in (RefKind.dim, RefKind.option):
        return _FIXED
    return _ON if node.kind is RefKind.fact and not claim.on else None


def _foreign(node: Expr, owner: Owner) -> _Foreign | None:
    if isinstance(owner, Kernel):
        return _foreign_to_kernel(node, owner)
    if isinstance(node, Ref):
        if node.kind in (RefKind.dim, RefKind.option):
            return _CALL
        return _DEVICE if node.kind is RefKind.fact and owner is not None else None
    if not isinstance(node, Query):
        return None
    if node.name in _OF_KERNELS:
        return _COMPILED if QUERIES[node.name].means is Means.compiled else _RUN
    return None if node.name in COUNTED else _DOCUMENT


def _foreign_to_kernel(node: Expr, kernel: Kernel) -> _Foreign | None:
    """A kernel's own names have no dot, but for the stages of its tensors."""
    if isinstance(node, Ref):
        return _CALL if node.kind in (RefKind.dim, RefKind.option) and "." in node.name else None
    if not isinstance(node, Query):
        return None
    if node.name in _OF_TENSORS:
        return None if all(_own(argument, kernel) for argument in node.args) else _RUN
    if node.name in _OF_KERNELS:
        return None
    return _TRAINED if node.name in COUNTED else _DOCUMENT


def _own(argument: Expr, kernel: Kernel) -> bool:
    name = argument.name if isinstance(argument, Ref) else ""
    return name in kernel.tensors or name.rpartition(".")[0] in kernel.tensors
