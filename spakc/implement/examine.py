"""A hand-written kernel examined: compiled, held to the laws of its kernel, compared with the mathematics. An edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spak_runtime.cache import KernelCache
from spak_runtime.errors import BuildError
from spak_runtime.manifest import Manifest
from spakc.check.checked import CheckedModule
from spakc.check.statements import Held
from spakc.emit.artifact import Templates
from spakc.emit.torch_math import math_source
from spakc.figures import key_of
from spakc.implement.candidates import Candidate
from spakc.implement.judge import compiled_laws
from spakc.implement.parent import CHILD, InChild
from spakc.ir.module import Law
from spakc.machine_code import MachineCode, compile_one
from spakc.verify.campaign import VariantOutcome, verify_variant
from spakc.verify.failure import Failure
from spakc.verify.laws import at, instructions_of, merged, queries_of
from spakc.verify.specialisations import Specialisation, pool

SPECIALISATIONS = 4
"""As many are compiled for each architecture."""


@dataclass(frozen=True)
class Examined:
    """What was seen of one candidate. `why_not` says why no case ran; `laws` are figures of `judge.laws_of`."""

    candidate: Candidate
    outcome: VariantOutcome
    laws: tuple[dict[str, Any], ...] = ()

    @property
    def figures(self) -> dict[str, Any]:
        """Without the tripwires, which are those of its kernel."""
        failed = int(self.outcome.failure is not None)
        return {"cases": max(self.outcome.cases, failed), "failures": failed}


def files_of(candidate: Candidate, checked: CheckedModule, templates: Templates) -> dict[str, str]:
    """An artifact with this kernel and nothing else."""
    kernel, spec = candidate.kernel, candidate.tested.spec
    files = {f"include/{name}": text for name, text in templates.headers.items()}
    facts = {
        device.arch: dict(device.facts)
        for device in checked.module.devices.values()
        if device.arch in candidate.variant.archs
    }
    manifest = Manifest(checked.module.root, candidate.variant.archs, {kernel.name: spec}, facts)
    files |= candidate.sources
    return files | {spec.math: math_source(kernel), "manifest.json": manifest.to_json()}


def examine_candidate(
    candidate: Candidate,
    held: Held,
    files: Mapping[str, str],
    on: str,
    count: int,
    seed: int,
    command: tuple[str, ...] = CHILD,
) -> Examined:
    """Compiles it for every architecture that it is for, then tries `count` cases, each on inputs of its own and once
    more on others of the same sizes. Raises ToolError."""
    tested = candidate.tested
    laws, refused = _compiled(candidate, held, files)
    if refused is not None:
        return Examined(candidate, VariantOutcome(tested, failure=refused))
    if on == "emulator" and not candidate.written.on_primitives:
        why = "plain CUDA: only a device can run it (`spakc verify --on gpu`)"
        return Examined(candidate, VariantOutcome(tested, why_not=why), laws)
    with InChild(candidate, files, on, command=command) as run:
        outcome = verify_variant(tested, run, count, seed, fresh=True)
    return Examined(candidate, outcome, laws)


def _compiled(
    candidate: Candidate, held: Held, files: Mapping[str, str]
) -> tuple[tuple[dict[str, Any], ...], Failure | None]:
    """What the device compiler made of it, as the laws ask; or what it refuses."""
    asked = compiled_laws(held)
    cache = KernelCache()
    members = [m for m in pool(candidate.tested) if m.contract] or list(pool(candidate.tested))
    members = members[:: max(1, len(members) // SPECIALISATIONS)][:SPECIALISATIONS]
    found = []
    for device in held.devices:
        if device.arch not in candidate.variant.archs:
            continue
        made: list[tuple[Specialisation, MachineCode]] = []
        for chosen in members:
            try:
                counts = instructions_of(asked)
                made.append(
                    (chosen, compile_one(candidate.tested, chosen, files, device.arch, counts, cache))
                )
            except BuildError as error:
                return (), Failure("SPAK752", candidate.tested.name, (f"{device.arch}: {error}",))
            if made[-1][1].broken:
                rules = tuple(f"{device.arch}, {chosen}: {rule}" for rule in made[-1][1].broken)
                return (), Failure("SPAK705", candidate.tested.name, rules)
        for law in asked:
            seen = [_seen(law, candidate, chosen, code) for chosen, code in made]
            found.append({"law": law.qualified, "target": device.name, "observations": merged(seen)})
    return tuple(found), None


def _seen(law: Law, candidate: Candidate, chosen: Specialisation, code: MachineCode) -> dict[str, Any]:
    words = {name: dtype.value for name, dtype in chosen.dtypes.items()}
    place = at(law, candidate.variant, words, chosen.options, chosen.dims)
    return {"at": place, "queries": dict(_answers(law, code))}


def _answers(law: Law, code: MachineCode) -> Iterator[tuple[str, Any]]:
    known: dict[str, Any] = {
        "cubin.registers": code.registers,
        "cubin.spill_bytes": code.spill_bytes,
        "launch.shared_bytes": code.shared_bytes,
        "launch.threads": code.threads,
    }
    for query in queries_of(law):
        if query.name == "cubin.count":
            yield key_of(query), code.instructions[str(getattr(query.args[0], "value", ""))]
        elif known.get(query.name) is not None:
            yield key_of(query), known[query.name]
