"""Everything about one shape of call, settled once: the variant, its loaded launches, what is allocated.

A plan serves every call with the same shapes, strides, dtypes, alignments, options and device; running it
allocates outputs and workspace through torch and launches on torch's current stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from spak_runtime.args import Form, Resolved, Signature, default_value, strides_of
from spak_runtime.choose import Choice
from spak_runtime.device import may_overlap
from spak_runtime.dtypes import SIZES, TORCH, word_of
from spak_runtime.errors import CaptureError
from spak_runtime.expressions import TensorFacts, evaluate
from spak_runtime.kernel import Loader, PreparedLaunch, current_stream
from spak_runtime.specialise import Binding, build_request


@dataclass(frozen=True, slots=True)
class Sources:
    """The text of an artifact: kernel sources by path, headers by include name."""

    kernels: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Workspace:
    """Memory that a variant needs beside its tensors; `fill` is what every element starts from, None for
    anything."""

    form: Form
    fill: float | int | bool | None


class CudaPlan:
    """A call on a CUDA device. Every tensor of the signature and of the workspace has a slot: its place in a list
    of addresses."""

    def __init__(
        self, signature: Signature, resolved: Resolved, choice: Choice, sources: Sources, loader: Loader
    ) -> None:
        """Builds and loads what the variant launches.

        Raises BuildError, ToolError, DriverError, CaptureError, ExpressionError.
        """
        self.choice = choice
        self._empty = _allocator(resolved.device)
        self._index = resolved.device.index
        names = tuple(signature.specs)
        slots = {name: slot for slot, name in enumerate(names)}
        self._allocated = [(slots[f.name], f.shape, f.strides, f.dtype) for f in resolved.allocated]
        fresh = [form.name for form in resolved.allocated]
        self.provided = [(i, slots[name]) for i, name in enumerate(signature.outputs) if name not in fresh]
        written = (*signature.outputs, *signature.inouts)
        self.overwritten = [slots[name] for name in written if name not in fresh]
        filled = _filled_defaults(signature, resolved, choice)
        self._kept = tuple(filled.values())
        self._workspace = _workspace(choice)
        slots |= {space.form.name: len(names) + i for i, space in enumerate(self._workspace)}
        self.addresses = [0] * len(slots)  # of what is kept; 0 for what is not there
        for name, tensor in filled.items():
            self.addresses[slots[name]] = tensor.data_ptr()
        self._spaces = [(slots[s.form.name], s.form, s.fill) for s in self._workspace]
        for name in resolved.absent:
            if name not in filled:
                del slots[name]  # its pointer stays 0
        self._launches = self._prepare(signature, resolved, filled, sources, loader, slots)
        last = choice.variant.launches[-1].adds if len(self._launches) == len(choice.variant.launches) else {}
        forms = {space.form.name: space.form for space in self._workspace}
        self.added = {name: (slots[parts], forms[parts].shape) for name, parts in last.items()}
        """Outputs that the last launch adds up and does nothing else: where their parts are, and of what shape."""

    def _prepare(
        self,
        signature: Signature,
        resolved: Resolved,
        filled: Mapping[str, torch.Tensor],
        sources: Sources,
        loader: Loader,
        slots: Mapping[str, int],
    ) -> list[PreparedLaunch]:
        choice = self.choice
        tensors = dict(choice.environment.tensors)
        for name, tensor in filled.items():
            word = resolved.dtypes[name]
            tensors[name] = TensorFacts(word, SIZES[word], tensor.stride(), resolved.layouts[name])
        for space in self._workspace:
            word = word_of(space.form.dtype)
            tensors[space.form.name] = TensorFacts(word, SIZES[word], space.form.strides)
        environment = replace(choice.environment, tensors=tensors)
        present = {name: name not in resolved.absent for name in signature.specs}
        binding = Binding(resolved.dtypes, resolved.layouts, present, environment.options, environment.dims)
        prepared = []
        for launch, shape in zip(choice.variant.launches, choice.shapes, strict=True):
            request = build_request(
                sources.kernels, sources.headers, choice.variant, launch, binding, choice.arch
            )
            function = loader.function(request, launch.entry, self._index, shape.shared_bytes, launch.cluster)
            if not shape.is_empty:
                overlaps = launch.overlaps and may_overlap(choice.arch)
                prepared.append(
                    PreparedLaunch(function, launch, shape, environment, signature.options, slots, overlaps)
                )
        return prepared

    def run(
        self, tensors: Sequence[torch.Tensor | None], parts: Mapping[int, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """The outputs in order of declaration, from the tensors of the signature in order; None for what is
        allocated here, and for what is absent. With `parts`, memory by slot, those `added` are not computed: their
        parts lie there. Raises DriverError."""
        pointers = self.addresses.copy()
        for slot, tensor in enumerate(tensors):
            if tensor is not None:
                pointers[slot] = tensor.data_ptr()
        outputs = self.launch(pointers, parts)
        for slot in self.overwritten:
            written_in_place(tensors[slot])
        for position, slot in self.provided:
            outputs.insert(position, tensors[slot])  # type: ignore[arg-type]
        return outputs

    def launch(
        self, pointers: list[int], parts: Mapping[int, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Allocates and launches. Returns the outputs that are allocated here, in order. `pointers` is `addresses`
        with those of the tensors of this call; it is filled in and kept. `parts` as in `run`."""
        if torch._C._cuda_getDevice() != self._index:
            with torch.cuda.device(self._index):
                return self.launch(pointers, parts)
        fresh = []
        for slot, shape, strides, dtype in self._allocated:
            tensor = self._empty(shape, strides, dtype)
            pointers[slot] = tensor.data_ptr()
            fresh.append(tensor)
        held = []  # the workspace, until all is launched
        for slot, form, fill in self._spaces:
            given = None if parts is None else parts.get(slot)
            tensor = self._empty(form.shape, form.strides, form.dtype) if given is None else given
            pointers[slot] = tensor.data_ptr()
            held.append(tensor if fill is None else tensor.fill_(fill))
        stream = current_stream(self._index)
        for launch in self._launches if parts is None else self._launches[:-1]:
            launch.run(pointers, stream, self._index)
        return fresh

    @property
    def settled(self) -> tuple[Any, ...] | None:
        """What `launch` does, as `quick.c` takes it; None where it fills memory, which that does not."""
        if any(fill is not None for _, _, fill in self._spaces):
            return None
        spaces = [(slot, form.shape, form.strides, form.dtype) for slot, form, _ in self._spaces]
        launches = [launch.settled for launch in self._launches]
        of_device = (self._empty, torch._C._cuda_getDevice, current_stream, self._index)
        outputs = len(self._allocated)
        return *of_device, self.addresses, [*self._allocated, *spaces], outputs, launches, self._launches


def _allocator(device: torch.device) -> Callable[[Any, Any, torch.dtype], torch.Tensor]:
    """torch.empty_strided on a device that is the current one, without its search for arguments where torch offers
    that: what compiled code allocates by."""
    if device.type == "cuda":
        quick = getattr(torch._C._dynamo.guards, "_empty_strided_cuda", None)
        if quick is not None:
            return cast(Callable[[Any, Any, torch.dtype], torch.Tensor], quick)
    return lambda shape, strides, dtype: torch.empty_strided(shape, strides, dtype=dtype, device=device)


def written_in_place(tensor: torch.Tensor | None) -> None:
    """Tells autograd that a tensor was written, as every in-place operation of torch does."""
    if tensor is not None and not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)


def _workspace(choice: Choice) -> list[Workspace]:
    spaces = []
    for spec in choice.variant.workspace:
        where = f"workspace {spec.name} of {choice.variant.id}"
        shape = tuple(int(evaluate(size, choice.environment, where)) for size in spec.shape)
        tensors = choice.environment.tensors
        word = spec.dtypes[0] if spec.dtypes else tensors[spec.same_as or ""].dtype
        form = Form(spec.name, shape, strides_of(shape, "row"), TORCH[word])
        spaces.append(Workspace(form, spec.default))
    return spaces


def _filled_defaults(signature: Signature, resolved: Resolved, choice: Choice) -> dict[str, torch.Tensor]:
    """The absent tensors that the variant wants in full, filled once and kept with the plan."""
    wanted = [name for name in resolved.absent if f"PRESENT_{name}" not in choice.variant.axes]
    if not wanted:
        return {}
    if torch.cuda.is_current_stream_capturing():
        raise CaptureError(
            f"{signature.name}: the defaults of {', '.join(wanted)} are not in memory yet, and a CUDA graph "
            "is being captured: make the same call once before, or `prepare` it"
        )
    filled = {}
    for name in wanted:
        form = signature.form(
            name, resolved.environment.dims, TORCH[resolved.dtypes[name]], resolved.layouts[name]
        )
        memory = torch.empty_strided(form.shape, form.strides, dtype=form.dtype, device=resolved.device)
        filled[name] = memory.copy_(
            default_value(signature.specs[name], resolved.dtypes[name], resolved.device)
        )
    torch.cuda.synchronize(resolved.device)  # every stream may read them from now on
    return filled
