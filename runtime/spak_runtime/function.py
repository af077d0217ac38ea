"""A kernel as the user calls it: `m.product(a, b, gate=gate, mode="fast")`.

Where the tensors are decides who computes: on CUDA a generated kernel, always; on a CPU the same
mathematics in torch operations, and `explain` says so. While torch traces (torch.compile, fake tensors),
the call becomes an operator.
"""

from __future__ import annotations

import collections
import functools
import operator
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.compiler import is_compiling

from spak_runtime import ops
from spak_runtime.args import Arguments, Resolved, Signature
from spak_runtime.autograd import (
    PREFIX,
    Derivative,
    PlacedRule,
    Rule,
    Taker,
    check_differentiable,
    gradients,
    make_function,
    make_rule,
)
from spak_runtime.choose import NONE_REFUSED, Choice, Chooser
from spak_runtime.device import target_of
from spak_runtime.errors import GradientError, MachineCodeError, MachineCodeWarning
from spak_runtime.kernel import Loader
from spak_runtime.known import MISSED, KnownCall, call_key, tensor_key
from spak_runtime.manifest import KernelSpec
from spak_runtime.maths import Mathematics
from spak_runtime.plan import CudaPlan, Sources

REMEMBERED = 4096
"""Shapes of call that a kernel keeps a plan for; the oldest goes first."""
RECENT = 8
"""Calls that are asked one after the other, before the table is."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who computes a call. `variant` is None where torch does; `rejected` says why earlier variants do
    not."""

    kernel: str
    device: str
    variant: str | None
    reason: str
    rejected: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.kernel} on {self.device}: "
        head += f"computed by torch: {self.reason}" if self.variant is None else f"variant {self.variant}"
        if self.variant is not None and self.reason:
            head += f": {self.reason}"
        return "\n".join([head, *(f"  not {why}" for why in self.rejected)])


@dataclass(frozen=True, slots=True)
class Shared:
    """What the kernels of one artifact share. `namespace` is unique to the artifact's content."""

    root: Path
    namespace: str
    facts: Mapping[str, Mapping[str, Any]]
    sources: Sources
    loader: Loader
    kernel: Callable[[str], KernelFunction]


class KernelFunction:
    """One kernel of an artifact; call it with tensors.

    Inputs by place in the order of declaration or by name, options by name, an absent optional tensor is
    None. `out` (a tensor, a tuple or a dict) receives outputs, `dtype` and `layout` choose theirs where the
    file allows a choice. Returns the output, or a named tuple of them, or None for a kernel that only
    writes inouts.
    """

    def __init__(self, spec: KernelSpec, shared: Shared) -> None:
        self.spec = spec
        self.signature = Signature(spec)
        self.__name__ = spec.name
        self._shared = shared
        self._chooser = Chooser(spec, shared.facts)
        self._maths = Mathematics(self.signature, shared.root / spec.math)
        self._form = ops.FlatForm(self.signature)
        self._result = _result_type(spec.name, self.signature.outputs)
        self._quickly_returned = _without_frames(self._result, len(self.signature.outputs))
        self._slots = {name: slot for slot, name in enumerate(self.signature.specs)}
        self._plans: dict[Any, CudaPlan] = {}
        self._refused: dict[Any, Mapping[str, str]] = {}  # by shape of call, variants whose code is not used
        self._said: dict[Any, bool] = {}  # calls of which it is said that torch computes them
        self._calls: dict[Any, KnownCall] = {}
        self._recent: tuple[KnownCall, ...] = ()
        self._unordered = self._chooser.unordered
        self._same_bits = False
        # All that a tracer would meet exists before it comes.
        self.operator = ops.register(shared.namespace, self.signature, self._compute_flat)
        self._derivatives = tuple(Derivative(g, shared.kernel(g.kernel)) for g in spec.gradients)
        self._differentiable: Callable[..., Any] | None = None
        self._rule: Rule | None = None
        if self._derivatives:
            rule = self._rule = make_rule(self.signature, self._derivatives)
            self._differentiable = make_function(self, rule)
            ops.differentiate(shared.namespace, self.signature, rule.setup, rule.backward)

    def only(self, *variants: str) -> KernelFunction:
        """This kernel with some of its variants and no gradient, to look at those by themselves."""
        kept = tuple(variant for variant in self.spec.variants if variant.id in variants)
        spec = replace(self.spec, variants=kept, gradients=())
        namespace = "_".join((self._shared.namespace, *(re.sub(r"\W", "_", each) for each in variants)))
        return KernelFunction(spec, replace(self._shared, namespace=namespace))

    def __deepcopy__(self, memo: dict[int, Any]) -> KernelFunction:
        return self  # a copy of a model uses the same kernels

    def __repr__(self) -> str:
        return f"<kernel {self.spec.name}: {self.spec.family}, {len(self.spec.variants)} variants>"

    # ---- calls -----------------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return self._general(self.signature.bind(args, kwargs))
        if self._unordered:
            self._follow()
        for known in self._recent:
            result = known.answer(args, kwargs)
            if result is not MISSED:
                return result
        key = call_key(args, kwargs)
        found = self._calls.get(key) or self._first(args, kwargs, key)
        if found is None:
            return self._general(self.signature.bind(args, kwargs))
        if found.is_guarded:
            self._recent = (found, *(k for k in self._recent[: RECENT - 1] if k is not found))
        return found.answer(args, kwargs, recognised=True)

    def prepare(self, /, *args: Any, **kwargs: Any) -> None:
        """Builds and loads all that the same call would need, without launching it; for CUDA graphs. Gradient
        kernels are prepared by a backward pass before the capture."""
        call = self.signature.bind(args, kwargs)
        resolved = self.signature.resolve(call)
        if resolved.device.type == "cuda":
            self._plan(call, resolved)

    def explain(self, /, *args: Any, **kwargs: Any) -> Explanation:
        """Who would compute this call, and why the variants before it do not. Launches and builds nothing.

        Raises what the call would: ArchError, NoVariantError and every error of an argument.
        """
        call = self.signature.bind(args, kwargs)
        resolved = self.signature.resolve(call)
        if resolved.device.type == "cpu":
            return self._by_torch()
        refused = self._refused.get(_argument_key(call), NONE_REFUSED)
        return self._explanation(resolved, self._choose(resolved, refused))

    def differentiate(
        self,
        values: Mapping[str, torch.Tensor],
        grads: Mapping[str, torch.Tensor],
        options: Mapping[str, Any],
        out: Mapping[str, torch.Tensor] | None = None,
        parts: Mapping[str, Taker] | None = None,
    ) -> dict[str, torch.Tensor]:
        """The gradients of this kernel by its gradient kernels, outside of automatic differentiation: by the name
        of the input, from inputs and outputs (`values`) and gradients of outputs (`grads`) by name. Gradients are
        written to the tensors of `out` where those are given. For who decides where gradients lie.

        Where a kernel would add up parts of some gradients in a launch of its own, and `parts` has memory for those of
        each, they are left there and the gradients are not among the results: who calls adds up the parts.

        Raises GradientError where no gradient is declared, and what a call of the gradient kernel would."""
        if not self._derivatives:
            raise GradientError(f"{self.spec.name} declares no gradient")
        known = {**values, **{PREFIX + name: grad for name, grad in grads.items()}}
        found: dict[str, torch.Tensor] = {}
        for derivative in self._derivatives:
            mine = {name: tensor for name, tensor in (out or {}).items() if name in derivative.spec.inputs}
            found |= gradients(derivative, known, options, mine, parts)
        return found

    @property
    def saved(self) -> tuple[str, ...]:
        """The inputs and outputs that `differentiate` reads; none where no gradient is declared."""
        return () if self._rule is None else self._rule.saved

    # ---- execution -------------------------------------------------------------------------------------

    def execute(self, call: Arguments) -> Sequence[torch.Tensor]:
        """The outputs in order, without regard to gradients: through the operator while torch traces, else
        directly."""
        if torch.compiler.is_compiling() or not _is_plain(call):
            return self._outputs_of_op(self.operator(*self._form.flatten(call)))
        return self._compute(call)

    def execute_in_parts(self, call: Arguments, parts: Mapping[str, Taker]) -> dict[str, torch.Tensor]:
        """The outputs by name; of those in `parts`, the sums of parts that lie where it says may be missing."""
        names = self.signature.outputs
        if not parts or torch.compiler.is_compiling() or not _is_plain(call) or _is_on_cpu(call):
            return dict(zip(names, self.execute(call), strict=True))
        plan = self._planned(call)
        memory = _memory_for_parts(plan, parts)
        tensors = [call.inputs.get(name, call.outputs.get(name)) for name in self._slots]
        results = zip(names, plan.run(tensors, memory), strict=True)
        return {name: result for name, result in results if memory is None or name not in plan.added}

    def execute_flat(self, flat: Sequence[Any]) -> Sequence[torch.Tensor]:
        """`execute` of the flat form that operators take."""
        return self.execute(self._form.unflatten(flat))

    def _first(self, args: Sequence[Any], kwargs: Mapping[str, Any], key: Any) -> KnownCall | None:
        """A call that is new: everything is checked, and it is known from now on. None where it cannot be."""
        if key is None:
            return None
        call = self.signature.bind(args, kwargs)
        if not _is_plain(call):
            return None
        requiring = self._requiring(call)
        resolved = self.signature.resolve(call)
        rule = None
        if requiring:
            assert self._rule is not None  # a gradient is declared
            present = {self.signature.inputs[i]: t for i, t in enumerate(args) if t is not None}
            present |= {n: t for n, t in kwargs.items() if n in self.signature.inputs and t is not None}
            rule = PlacedRule(self._rule, present, call.options)
        only = self.signature.outputs[0] if self.signature.outputs else ""
        names = [n for n, t in zip(self.signature.inputs, args, strict=False) if t is not None]
        names += [n if n in self._slots else only for n, v in kwargs.items() if isinstance(v, torch.Tensor)]
        slots = [self._slots[name] for name in names]
        known = KnownCall(self._plan(call, resolved), args, kwargs, slots, self._quickly_returned, rule)
        _remember(self._calls, key, known)
        return known

    def _requiring(self, call: Arguments) -> list[str]:
        """The inputs whose gradient is recorded. Raises GradientError where one cannot be."""
        if not torch.is_grad_enabled():
            return []
        requiring = [n for n, t in call.inputs.items() if t is not None and t.requires_grad]
        if requiring:
            check_differentiable(self.signature, self._derivatives, requiring, provided=bool(call.outputs))
        return requiring

    def _general(self, call: Arguments) -> Any:
        if not self._requiring(call):
            return self._returned(self._finished(call, self.execute(call)))
        if not torch.compiler.is_compiling() and _is_plain(call) and _is_on_cpu(call):
            return self._returned(self._compute(call))  # torch differentiates the mathematics itself
        if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:
            raise GradientError(
                f"{self.spec.name}: torch.func does not see through the gradient of a kernel; "
                "use backward() or torch.autograd.grad"
            )
        assert self._differentiable is not None  # a gradient is declared
        results = self._differentiable(*self._form.flatten(call))
        return self._returned(self._outputs_of_op(results))

    def _finished(self, call: Arguments, results: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """An operator allocates its outputs; those that the caller provided get a copy."""
        if not call.outputs:
            return results
        pairs = zip(self.signature.outputs, results, strict=True)
        given = ((call.outputs.get(name), result) for name, result in pairs)
        return [r if own is None or own is r else own.copy_(r) for own, r in given]

    def _compute(self, call: Arguments) -> list[torch.Tensor]:
        if _is_on_cpu(call):
            resolved = self.signature.resolve(call)
            if _explains() and (key := _argument_key(call)) not in self._said:
                _remember(self._said, key, True)
                print(self._by_torch(), file=sys.stderr)
            return self._maths.run(call, resolved)
        plan = self._planned(call)
        tensors = [call.inputs.get(name, call.outputs.get(name)) for name in self._slots]
        return plan.run(tensors)

    def _planned(self, call: Arguments) -> CudaPlan:
        """Of a call on a device, known or not."""
        if self._unordered:
            self._follow()
        return self._plans.get(_argument_key(call)) or self._plan(call, self.signature.resolve(call))

    def _compute_flat(self, flat: Sequence[Any]) -> list[torch.Tensor]:
        return self._compute(self._form.unflatten(flat))

    def _plan(self, call: Arguments, resolved: Resolved) -> CudaPlan:
        key = _argument_key(call)
        plan = self._plans.get(key)
        if plan is None:
            refused: dict[str, str] = {}
            while plan is None:
                choice = self._choose(resolved, refused)
                if _explains():
                    print(self._explanation(resolved, choice), file=sys.stderr)
                try:
                    plan = CudaPlan(
                        self.signature, resolved, choice, self._shared.sources, self._shared.loader
                    )
                except MachineCodeError as error:
                    refused[choice.variant.id] = error.message
                    _remember(self._refused, key, refused)
                    said = f"{self.spec.name}: variant {choice.variant.id} is not used: {error.message}"
                    warnings.warn(said, MachineCodeWarning, stacklevel=2)
            _remember(self._plans, key, plan)
        return plan

    def _choose(self, resolved: Resolved, refused: Mapping[str, str]) -> Choice:
        same_bits = self._unordered and _deterministic()
        target = target_of(resolved.device.index)
        return self._chooser.choose(target, resolved.environment, same_bits, refused)

    def _follow(self) -> None:
        """Forgets what was chosen before the caller changed their mind about deterministic algorithms."""
        if self._same_bits != _deterministic():
            self._plans, self._calls, self._recent = {}, {}, ()
            self._same_bits = not self._same_bits

    def _by_torch(self) -> Explanation:
        return Explanation(
            self.spec.name, "cpu", None, "CPU tensors, the file's mathematics in torch operations"
        )

    def _explanation(self, resolved: Resolved, choice: Choice) -> Explanation:
        where = f"{resolved.device} ({target_of(resolved.device.index).name}, {choice.arch})"
        rejected = tuple(str(rejection) for rejection in choice.rejected)
        reason = choice.variant.reason
        if choice.seconds is not None:
            reason = f"estimated at {choice.seconds * 1e6:.1f} us; {reason}"
        return Explanation(self.spec.name, where, choice.variant.id, reason, rejected)

    def _outputs_of_op(self, results: Any) -> Sequence[torch.Tensor]:
        if results is None:
            return ()
        return (results,) if isinstance(results, torch.Tensor) else tuple(results)

    def _returned(self, outputs: Sequence[torch.Tensor]) -> Any:
        if len(outputs) == 1:
            return outputs[0]
        return self._result(*outputs) if outputs else None


def _memory_for_parts(plan: CudaPlan, parts: Mapping[str, Taker]) -> dict[int, torch.Tensor] | None:
    """By slot, for each sum that a plan adds up last and that is wanted; None where it is to add them itself."""
    if not plan.added or not plan.added.keys() <= parts.keys():
        return None
    memory = {}
    for name, (slot, shape) in plan.added.items():
        taker = parts[name]
        if taker is not None:
            tensor = taker(shape)
            if tensor is None:
                return None
            memory[slot] = tensor
    return memory


_deterministic = torch.are_deterministic_algorithms_enabled


def _explains() -> bool:
    """Whether each new shape of call is to say on stderr who computes it, and why."""
    return os.environ.get("SPAK_EXPLAIN") == "1"


def _argument_key(call: Arguments) -> Any:
    return (
        tuple(None if tensor is None else tensor_key(tensor) for tensor in call.inputs.values()),
        tuple((n, type(v), v.hex() if isinstance(v, float) else v) for n, v in sorted(call.options.items())),
        tuple((name, tensor_key(tensor)) for name, tensor in sorted(call.outputs.items())),
        tuple(sorted(call.dtypes.items())),
        tuple(sorted(call.layouts.items())),
    )


def _is_plain(call: Arguments) -> bool:
    """Whether the tensors have memory of their own and no mode of torch wants to see operators."""
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    tensors = (*call.inputs.values(), *call.outputs.values())
    plain = (torch.Tensor, torch.nn.Parameter)
    return all(t is None or (type(t) in plain and t.device.type != "meta") for t in tensors)


def _is_on_cpu(call: Arguments) -> bool:
    tensors = (*call.inputs.values(), *call.outputs.values())
    return all(t is None or t.device.type == "cpu" for t in tensors)


_remembering = threading.Lock()


def _remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    with _remembering:
        if len(table) >= REMEMBERED:
            del table[next(iter(table))]
        table[key] = value


def _result_type(kernel: str, outputs: Sequence[str]) -> Callable[..., Any]:
    """The named tuple of a kernel's outputs; an output whose name Python forbids has its position for a
    name."""
    name = re.sub(r"\W", "_", kernel) + "_result"
    return collections.namedtuple(name, outputs, rename=True)


def _without_frames(result: Callable[..., Any], outputs: int) -> Callable[[Any], Any]:
    """`KernelFunction._returned` without a Python frame, which no tracer can follow."""
    if outputs == 1:
        return operator.itemgetter(0)
    return functools.partial(tuple.__new__, result) if outputs else _nothing  # type: ignore[arg-type]


def _nothing(_outputs: Any) -> None:
    return None
