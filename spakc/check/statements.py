"""Every statement of a file, one by one: what it is, what its meaning depends on, by which means it is known.

Status, evidence, diff and contract all go by this list; a statement that is missing here could look checked
without being it. `id` is stable under reordering and formatting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import Any

from spakc.check.check_space import targets_of
from spakc.check.verdict import means_of, means_of_law
from spakc.ir.canonical import meaning
from spakc.ir.constraint import Env, evaluate, mentions, names_of
from spakc.ir.experiment import Claim, Experiment, Gate, Protocol
from spakc.ir.model import Model
from spakc.ir.module import Device, Implementation, Kernel, Law, Module, Schedule
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.visit import walk
from spakc.record import record
from spakc.source import Span

FACT_OF = {
    "accuracy": "values",
    "speed": "time",
    "time": "time",
    "memory": "memory",
}
"""What kind of fact each measured query is (see `spakc/evidence.py`). A claim over several takes the last of
values, memory, time: the one that outlives least."""

LATER = {
    "prefer": "ranks only",
}
"""Facts and kinds of statement that nothing establishes so far: `undecided (none)`, with the reason."""

_FRAGILE = ("values", "memory", "time")


@record
class Statement:
    """`kind` is the word it begins with in the file. `fact` is the kind of evidence that can establish
    it, empty for a proof, a guard or prose. `target` is a device where the verdict may differ by device,
    else empty. `kernels`, `experiments` and `datasets` are what it is about; `schedule` narrows that to
    one schedule and `arch` to one architecture. `body` is the declaration."""

    id: str
    kind: str
    means: Means
    text: str
    body: Any
    depends: tuple[Any, ...]
    span: Span | None = field(default=None, compare=False)
    fact: str = ""
    target: str = ""
    kernels: frozenset[str] = frozenset()
    experiments: frozenset[str] = frozenset()
    datasets: frozenset[str] = frozenset()
    schedule: str = ""
    arch: str = ""

    @property
    def meaning(self) -> str:
        """The hash of everything that decides what the statement says."""
        return meaning(self.id, self.target, self.depends)


def statements(module: Module) -> Iterator[Statement]:
    """All statements of the root file and of what it uses: laws (once a target where they can differ),
    kernels' verification and gradients, preferences, implementations, gates (once an experiment), claims,
    prose."""
    for law in module.laws:
        named = sorted(_entities(law.proposition) & module.experiments.keys())
        counted = tuple(experiment_core(module, module.experiments[name]) for name in named)
        yield from _law(module, law, counted, None, None)
    for kernel in module.kernels.values():
        yield from _of_kernel(module, kernel)
    for model in module.models.values():
        for law in model.laws:
            yield from _law(module, law, (model_core(model),), None, None)
        yield from _prose(f"model {model.name}", model)
    for dataset in module.datasets.values():
        for law in dataset.laws:
            for each in _law(module, law, (replace(dataset, laws=()),), None, None):
                yield replace(each, datasets=frozenset((dataset.name,)))
    for experiment in module.experiments.values():
        for law in experiment.laws:
            for each in _law(module, law, (experiment_core(module, experiment),), None, None):
                yield replace(each, experiments=frozenset((experiment.name,)))
    for protocol in module.protocols.values():
        yield from _of_protocol(module, protocol)
    for claim in module.claims.values():
        yield from _claim(module, claim)
    for i, text in enumerate(module.intents):
        yield Statement(f"intent {i + 1}", "intent", Means.none, text, text, (text,))


# ---- what meanings depend on --------------------------------------------------------------------------


def kernel_core(kernel: Kernel) -> Kernel:
    """The mathematics of a kernel: what it computes, not how, nor what else is said of it."""
    return replace(kernel, schedules={}, laws=(), lets=(), gradients=(), verification=None, intent=None)


def model_core(model: Model) -> Model:
    """What a model computes."""
    return replace(model, laws=(), lets=())


def experiment_core(module: Module, experiment: Experiment) -> tuple[Any, ...]:
    """What decides the values of a run: model, kernels' mathematics, data, training. Not its profiles: a
    profile is another experiment. Of the protocol, what it trains and requires, not what it shows."""
    model = module.models.get(experiment.model)
    protocol = module.protocols.get(experiment.protocol or "")
    kernels = sorted(set(model.uses.values())) if model is not None else []
    return (
        replace(experiment, name="", like=None, laws=(), lets=(), profiles={}),
        model_core(model) if model is not None else None,
        tuple(kernel_core(module.kernels[k]) for k in kernels if k in module.kernels),
        tuple(replace(module.datasets[d], laws=(), lets=()) for d in experiment.data if d in module.datasets),
        tuple(replace(gate, show=()) for gate in protocol.gates) if protocol is not None else (),
    )


def gradient_of(kernel: str) -> str:
    """How the kernel that computes a kernel's gradients is named among what statements are about."""
    return f"gradient {kernel}"


def implementation_of(kernel: str, name: str) -> str:
    """How a hand-written kernel is named among what statements are about, chosen or not."""
    return f"{name} for {kernel}"


def by_hand_of(kernel: str) -> str:
    """How the hand-written kernels that are chosen for a kernel are named: what is measured depends on them, and
    statements about generated code do not."""
    return f"by hand {kernel}"


@record
class Held:
    """What an `implement` says, the kernel that it is held to with its laws, and the targets that it is for."""

    implementation: Implementation
    kernel: Kernel
    devices: tuple[Device, ...]


def held(module: Module, implementation: Implementation) -> Held:
    """An implementation with what it is held to."""
    devices = tuple(
        device
        for device in targets_of(module)
        if (not implementation.on or device.name in implementation.on)
        and all(evaluate(need, Env().facts(device.facts)) is not False for need in implementation.needs)
    )
    return Held(implementation, module.kernels[implementation.kernel], devices)


def kernels_of(module: Module, experiment: Experiment) -> frozenset[str]:
    """The kernels that an experiment's model uses, and their gradients."""
    model = module.models.get(experiment.model)
    used = {k for k in model.uses.values() if k in module.kernels} if model is not None else set()
    return frozenset(used | {gradient_of(k) for k in used})


# ---- laws and kernels ---------------------------------------------------------------------------------


def _law(
    module: Module, law: Law, context: tuple[Any, ...], kernel: Kernel | None, schedule: Schedule | None
) -> Iterator[Statement]:
    means = means_of_law(law, kernel)
    fact = {Means.compiled: "compiled", Means.cases: _cases(law)}.get(means, "")
    facts = names_of(mentions(law.proposition, law.when), RefKind.fact)
    per_target = bool(facts) or means is Means.compiled or schedule is not None
    for device in targets_of(module) if per_target else (None,):
        stated = (
            {name: device.facts[name] for name in sorted(facts) if name in device.facts} if device else {}
        )
        yield Statement(
            f"law {law.qualified}",
            "law",
            means,
            _text(law.proposition) + (f" when {_text(law.when)}" if law.when is not None else ""),
            law,
            (law.proposition, law.when, stated, context),
            law.span,
            fact,
            device.name if device is not None else "",
            _bound(kernel, schedule),
            schedule=schedule.name if schedule is not None else "",
            arch=_arch(device) if device is not None and device.facts.get("kind") != "emulator" else "",
        )


def _bound(kernel: Kernel | None, schedule: Schedule | None) -> frozenset[str]:
    """A law of a kernel binds what computes its gradients as well; a law of a schedule that schedule only."""
    if kernel is None:
        return frozenset()
    return frozenset((kernel.name,) if schedule is not None else (kernel.name, gradient_of(kernel.name)))


def _cases(law: Law) -> str:
    """Traffic and conflicts are counted without an oracle."""
    waits = [e for e in mentions(law.proposition, law.when) if means_of(e) is Means.cases]
    counted = all(isinstance(e, Query) and e.name in ("bytes", "sectors", "bank_conflicts") for e in waits)
    return "counters" if counted else "cases"


def _arch(device: Device | None) -> str:
    return str(device.facts.get("arch", "")) if device is not None else ""


def _of_kernel(module: Module, kernel: Kernel) -> Iterator[Statement]:
    core = kernel_core(kernel)
    for law in kernel.laws:
        context = (core,) if means_of_law(law, kernel) is Means.cases else ()
        yield from _law(module, law, context, kernel, None)
    yield from _of_values(kernel, core)
    for schedule in kernel.schedules.values():
        yield from _of_schedule(module, kernel, schedule)
    for implementation in module.implementations:
        if implementation.kernel == kernel.name:
            yield Statement(
                f"implement {kernel.name} as {implementation.name}",
                "implement",
                Means.cases,
                "a hand-written kernel computes the same",
                held(module, implementation),
                (core, implementation, kernel.verification),
                implementation.span,
                "cases",
                kernels=frozenset((kernel.name, implementation_of(kernel.name, implementation.name))),
                schedule=implementation.name,
            )
    yield from _prose(f"kernel {kernel.name}", kernel)


def _of_values(kernel: Kernel, core: Kernel) -> Iterator[Statement]:
    """That a kernel and its gradients compute their mathematics."""
    own = frozenset((kernel.name,))
    checks = kernel.verification
    if checks is not None:
        yield Statement(
            f"verify {kernel.name}",
            "verify",
            Means.cases,
            f"{checks.cases or 0} cases against the mathematics",
            checks,
            (core, checks),
            checks.span,
            "cases",
            kernels=own,
        )
    for gradient in kernel.gradients:
        name = f"{', '.join(gradient.outputs)} wrt {', '.join(gradient.inputs)}"
        yield Statement(
            f"gradient {kernel.name}: {name}",
            "gradient",
            Means.cases,
            name,
            kernel,
            (core, gradient, checks),
            gradient.span,
            "cases",
            kernels=own | {gradient_of(kernel.name)},
        )


def _of_schedule(module: Module, kernel: Kernel, schedule: Schedule) -> Iterator[Statement]:
    for law in schedule.laws:
        yield from _law(module, law, (), kernel, schedule)
    for prefer in schedule.prefers:
        depends = (prefer.proposition, prefer.when)
        when = f" when {_text(prefer.when)}" if prefer.when is not None else ""
        yield Statement(
            f"prefer {kernel.name}.{schedule.name} {meaning(depends)[:8]}",
            "prefer",
            Means.measurement,
            _text(prefer.proposition) + when,
            prefer,
            depends,
            prefer.span,
            "time",
            kernels=frozenset((kernel.name,)),
            schedule=schedule.name,
        )


def _prose(owner: str, declared: Any) -> Iterator[Statement]:
    intent = getattr(declared, "intent", None)
    if intent:
        yield Statement(f"intent {owner}", "intent", Means.none, intent, intent, (intent,), declared.span)


def _text(expr: Expr) -> str:
    return " ".join(expr.span.text.split()) if expr.span is not None else ""


# ---- experiments and claims ---------------------------------------------------------------------------


def _of_protocol(module: Module, protocol: Protocol) -> Iterator[Statement]:
    for experiment in module.experiments.values():
        if experiment.protocol != protocol.name:
            continue
        for gate in protocol.gates:
            yield _gate(module, protocol, gate, experiment)
    yield from _prose(f"protocol {protocol.name}", protocol)


def _gate(module: Module, protocol: Protocol, gate: Gate, experiment: Experiment) -> Statement:
    required = [r.proposition for r in gate.require]
    means = means_of(*required) if required else Means.none
    return Statement(
        f"gate {protocol.name}.{gate.name} of {experiment.name}",
        "gate",
        means if means is not Means.proof else Means.cases,
        " and ".join(_text(r) for r in required),
        gate,
        (replace(gate, show=()), experiment_core(module, experiment)),
        gate.span,
        "values",
        kernels=kernels_of(module, experiment),
        experiments=frozenset((experiment.name,)),
        datasets=frozenset(experiment.data),
    )


def _claim(module: Module, claim: Claim) -> Iterator[Statement]:
    named = _entities(claim.proposition)
    experiments = [module.experiments[n] for n in sorted(named) if n in module.experiments]
    kernels = [module.kernels[n] for n in sorted(named) if n in module.kernels]
    queries = {e.name for e in walk(claim.proposition) if isinstance(e, Query)}
    facts = [FACT_OF[q] for q in queries if q in FACT_OF]
    fact = max(facts, key=_FRAGILE.index) if facts else ""
    depends = (
        claim.proposition,
        claim.confidence,
        tuple((tuple(names), domain) for names, domain in claim.quantifier),
        tuple(experiment_core(module, e) for e in experiments),
        tuple(kernel_core(k) for k in kernels),
    )
    about = frozenset(k.name for k in kernels).union(*(kernels_of(module, e) for e in experiments))
    for name in claim.on or ("",):
        yield Statement(
            f"claim {claim.name}",
            "claim",
            means_of(claim.proposition) if queries else Means.proof,
            _text(claim.proposition),
            claim,
            depends,
            claim.span,
            fact,
            name,
            about,
            frozenset(e.name for e in experiments),
            frozenset(d for e in experiments for d in e.data),
            arch=_arch(module.devices.get(name)),
        )


def _entities(expr: Expr) -> frozenset[str]:
    """Names of declared things in a proposition; a split `e.s` or a kernel among them."""
    return frozenset(e.name for e in walk(expr) if isinstance(e, Ref) and e.kind is RefKind.entity)
