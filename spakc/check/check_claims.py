"""Claims that need no measurement: what is counted at compile time, what the ranges of figures rule out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from spakc.check.check_experiment import Counter, compile_time_counts
from spakc.check.checked import CheckedModule
from spakc.check.verdict import Status, Verdict, means_of
from spakc.ir.constraint import Env, evaluate, show
from spakc.ir.experiment import Claim
from spakc.ir.lanes import Scalar
from spakc.ir.module import Module
from spakc.ir.ops import Expr, Query, RefKind
from spakc.ir.points import at_point, points_of
from spakc.ir.queries import Means
from spakc.ir.ranges import LARGE, truth_of
from spakc.ir.visit import walk
from spakc.record import record


@record
class ClaimStatus:
    """The status of one claim on one of the devices that it names, or on none."""

    claim: Claim
    status: Status


def check_claims(checked: CheckedModule) -> tuple[ClaimStatus, ...]:
    """Every claim of the module, in its order: proved, refuted, or undecided with the means that it waits for. A claim
    that is refuted is no mistake: it stands in the file as what turned out false."""
    counted = compile_time_counts(checked.experiments, checked.data)
    return tuple(
        ClaimStatus(claim, prove_claim(claim, target, checked.module, counted))
        for claim in checked.module.claims.values()
        for target in claim.on or ("",)
    )


def prove_claim(claim: Claim, target: str, module: Module, counted: Counter) -> Status:
    """Decides a claim at every point of its quantifier by what is known before anything runs. Undecided where a single
    point hangs on a measurement, and none is refuted."""
    device = module.devices.get(target)
    base = Env().facts(device.facts if device is not None else {})
    points = [dict(point) for point in points_of(claim)]
    envs = [_known(claim.proposition, base, point, counted) for point in points]
    if any(isinstance(node, Query) and node.name == "geomean" for node in walk(claim.proposition)):
        envs = [_with_means(claim.proposition, envs)]
    truths = [truth_of(claim.proposition, env) for env in envs]
    false = [i for i, (truth, _) in enumerate(truths) if truth is False]
    if false:
        note = truths[false[0]][1]
        if len(envs) > 1:
            at = ", ".join(f"{name} = {show(value)}" for name, value in points[false[0]].items())
            note += f" at {at} ({len(false)} of {len(envs)} points)"
        return Status(Verdict.violated, Means.proof, target, len(envs), note=note)
    unknown = [note for truth, note in truths if truth is None]
    if unknown:
        return Status(Verdict.undecided, means_of(claim.proposition), target, note=unknown[0])
    return Status(Verdict.holds, Means.proof, target, len(envs), note=truths[0][1])


def _known(expr: Expr, base: Env, point: Mapping[str, Scalar], counted: Counter) -> Env:
    """The names that the claim binds at a point, and the queries that are counted there."""
    queries: dict[Query, Scalar] = {}
    for node in walk(expr):
        if isinstance(node, Query) and (value := counted(at_point(node, point))) is not None:
            queries[node] = value
    return base.bind({(RefKind.parameter, name): value for name, value in point.items()}, queries)


def _with_means(expr: Expr, envs: list[Env]) -> Env:
    """A geometric mean takes all points together; it is known where its argument is at each of them."""
    found: dict[Query, Scalar] = {}
    for node in walk(expr):
        if isinstance(node, Query) and node.name == "geomean":
            values = [evaluate(node.args[0], env) for env in envs]
            numbers = [float(v) for v in values if isinstance(v, int | float) and 0 < v < LARGE]
            if len(numbers) == len(values):
                found[node] = math.exp(math.fsum(math.log(v) for v in numbers) / len(numbers))
    return envs[0].bind(queries=found)
