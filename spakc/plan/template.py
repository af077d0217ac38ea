"""What a template publishes: its knobs, what it can compute, what it asks of a call, and how it is
launched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spak_runtime.manifest import Expression, Param
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, params_of
from spakc.plan.resources import Resources
from spakc.record import record

KnobValue = bool | int | float | str


@record
class TemplateKnob:
    """`domain` says in words what `lawful` decides; `unit` is what one of it is. `suggested` are the
    values to choose from where the file has no schedule. A knob `at_launch` is an argument of the kernel, not
    a macro."""

    name: str
    unit: str
    domain: str
    lawful: Callable[[KnobValue], bool]
    default: KnobValue
    meaning: str
    several: tuple[KnobValue, ...] = ()
    at_launch: bool = False

    def takes(self, value: object) -> bool:
        """Whether a kernel can be built with this value: a whole number, a word or a truth, as the default is."""
        return type(value) is type(self.default) and self.lawful(value)

    @property
    def suggested(self) -> tuple[KnobValue, ...]:
        return self.several or (self.default,)


@record
class LaunchShape:
    """Manifest expressions over dims, dtypes and the config's numbers."""

    grid: tuple[Expression, Expression, Expression]
    threads: int
    shared_bytes: Expression
    cluster: tuple[int, int, int] = (1, 1, 1)


@record
class Template:
    """One way to compute the problems of a family; `tensor_cores` if its products run on them.

    `needs` are device facts that must be true. `cannot` says why a problem is not one of its own, or None.
    `requirements` are what a call must satisfy beyond what the file promises; a template with none of them is
    an answer for every legal call. `resources` are estimates of what one block takes, before anything is
    compiled. `portfolio` is how many configs of one schedule are built at most on one architecture, beside those
    that the file names. One that is `unordered` adds up in memory in whatever order blocks come. One `in_parts`
    computes parts of a product's sums, which another launch adds. `refuses` says why a config whose knobs are lawful
    one by one cannot be built, `params` are the fields of the parameter struct. `ladder` are configs that are built,
    in this order, where no cost model ranks them, instead of the defaults. `derived` are macros that the template reads
    beside its knobs: what the plan works out from these and from compiled dims. `backend` is what the source is written
    for, cuda or cutile; one for cuda waits by itself for the launch before it. All functions are pure.
    """

    family: str
    name: str
    path: str
    summary: str
    knobs: tuple[TemplateKnob, ...]
    needs: tuple[str, ...]
    cannot: Callable[[StepProblem, Signature], str | None]
    requirements: Callable[[StepProblem, Signature, Config], Requirements]
    shape: Callable[[StepProblem, Signature, Config], LaunchShape]
    resources: Callable[[StepProblem, Signature, Config], Resources]
    tensor_cores: bool = False
    portfolio: int = 2
    unordered: bool = False
    in_parts: bool = False
    refuses: Callable[[StepProblem, Signature, Config], str | None] = lambda _problem, _signature, _config: (
        None
    )
    ladder: Callable[[StepProblem, Signature], tuple[Config, ...]] = lambda _problem, _signature: ()
    backend: str = "cuda"
    params: Callable[[StepProblem, Signature, Config], tuple[Param, ...]] = lambda problem, signature, _: (
        params_of(problem, signature)
    )
    derived: Callable[[StepProblem, Signature, Config], Mapping[str, Expression]] = (
        lambda _problem, _signature, _config: {}
    )

    @property
    def defaults(self) -> dict[str, KnobValue]:
        return {knob.name: knob.default for knob in self.knobs}

    def knob(self, name: str) -> TemplateKnob | None:
        return next((knob for knob in self.knobs if knob.name == name), None)


def one_of(*values: int) -> Callable[[KnobValue], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value in values


def multiple_of(step: int, first: int, last: int) -> Callable[[KnobValue], bool]:
    return lambda value: (
        isinstance(value, int)
        and not isinstance(value, bool)
        and first <= value <= last
        and value % step == 0
    )
