"""What checking knows beyond the module itself. Frozen; plan and everything after read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from spakc.ir.extents import Extents
from spakc.ir.module import Implementation, Module
from spakc.ir.types import DType
from spakc.record import record

if TYPE_CHECKING:
    from spakc.check.check_claims import ClaimStatus
    from spakc.check.check_experiment import ExperimentFacts
    from spakc.check.check_space import SpaceKey
    from spakc.check.data_facts import DatasetFacts
    from spakc.check.model_shapes import Shapes
    from spakc.check.space import Space
    from spakc.check.verdict import LawStatus


@record
class KernelFacts:
    """Inferred of one kernel: `extents.variables[i]` the ranges of equation i's index variables,
    `extents.shapes` the shape of every tensor and intermediate, over dims; `dtypes` the dtype of every
    intermediate."""

    extents: Extents
    dtypes: Mapping[str, DType]


@record
class HandWritten:
    """An `implement` with the text of its source, in which the files of the project that it includes stand in place of
    the includes. `on_primitives`: the entry is a SPAK_KERNEL, which takes one struct and runs on the emulator; else it
    is plain CUDA, which takes its arguments one by one and needs a device. `files` are the real paths of the source and
    of what it includes from the project."""

    implementation: Implementation
    text: str
    on_primitives: bool
    files: tuple[str, ...] = field(default=(), compare=False)


@record
class CheckedModule:
    """A module without errors. `spaces` are the lawful spaces by kernel, schedule and target; `laws` the
    status of every law that no code, run or measurement is needed for, the others undecided; `claims` that of every
    claim likewise. `hand_written` are the sources of implementations, which whoever reads files adds."""

    module: Module
    kernels: Mapping[str, KernelFacts]
    spaces: Mapping[SpaceKey, Space]
    laws: tuple[LawStatus, ...]
    models: Mapping[str, Shapes] = field(default_factory=dict)
    data: Mapping[str, DatasetFacts] = field(default_factory=dict)
    experiments: Mapping[str, ExperimentFacts] = field(default_factory=dict)
    claims: tuple[ClaimStatus, ...] = ()
    hand_written: tuple[HandWritten, ...] = ()
