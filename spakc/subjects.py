"""Everything that evidence can be about, as it is now: the emitted files part by part, and the tool's own
sources.

An edge: it reads the sources of the verifier, the emulator and the training runtime to name their versions.
It imports none of them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from spak_runtime.manifest import Manifest, Variant
from spakc.check.checked import CheckedModule
from spakc.check.statements import (
    by_hand_of,
    experiment_core,
    gradient_of,
    implementation_of,
    kernel_core,
)
from spakc.evidence import MAIN, Part, Subject, hash_source, hash_text
from spakc.implement.candidates import candidates
from spakc.ir.canonical import meaning

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]', re.MULTILINE)

HOST = "host"
"""The architecture of a device without kernels, where mathematics runs as torch operations."""


def subject_now(checked: CheckedModule, files: Mapping[str, str], flags: Iterable[str]) -> Subject:
    """All parts of a checked file and its artifact. `files` are the emitted texts by path, the manifest among
    them; `flags` what the device compiler is given beside the constants of a config."""
    manifest = Manifest.from_json(files["manifest.json"])
    given = tuple(flags)
    parts = [
        *_of_kernels(checked, manifest, files, given),
        *_of_experiments(checked, files),
        *_of_candidates(checked, files, given),
        *tool_parts(),
    ]
    return Subject.of(parts)


def _of_kernels(
    checked: CheckedModule, manifest: Manifest, files: Mapping[str, str], flags: tuple[str, ...]
) -> Iterator[Part]:
    hashes = {name: hash_source(text) for name, text in files.items() if name.endswith((".cu", ".cuh"))}
    owners = {name: name for name in checked.module.kernels}
    for name, spec in manifest.kernels.items():
        owners |= {gradient.kernel: gradient_of(name) for gradient in spec.gradients}
    for name, kernel in checked.module.kernels.items():
        yield Part("math", name, "", meaning(kernel_core(kernel)))
    for name, spec in manifest.kernels.items():
        owner = owners.get(name, name)
        yield Part("source", owner, "torch operations", hash_source(files[spec.math], python=True), "", HOST)
        for variant in spec.variants:
            for arch in variant.archs:
                made_for = by_hand_of(owner) if variant.by_hand else owner
                yield from _of_variant(made_for, variant, arch, files, hashes, flags)


def _of_candidates(
    checked: CheckedModule, files: Mapping[str, str], flags: tuple[str, ...]
) -> Iterator[Part]:
    """Every hand-written kernel as it is, chosen or not: what its own statement is about."""
    for each in candidates(checked):
        every = {**files, **each.sources}
        hashes = {n: hash_source(text) for n, text in every.items() if n.endswith((".cu", ".cuh"))}
        hashes |= {name: hash_text(text) for name, text in each.sources.items()}  # nobody knows its comments
        owner = implementation_of(each.kernel.name, each.name)
        for arch in each.variant.archs:
            yield from _of_variant(owner, each.variant, arch, every, hashes, flags)


def _of_variant(
    owner: str,
    variant: Variant,
    arch: str,
    files: Mapping[str, str],
    hashes: Mapping[str, str],
    flags: tuple[str, ...],
) -> Iterator[Part]:
    """Its sources with the constants, guards and launches of its config; the headers they reach; the
    flags."""
    sources = sorted({launch.source for launch in variant.launches})
    decided = plain(replace(variant, reason="", archs=(), guards=()))
    decided["guards"] = [guard.condition for guard in variant.guards]
    text = json.dumps([decided, [hashes[source] for source in sources]], sort_keys=True)
    yield Part("source", owner, variant.id, hash_text(text), variant.schedule, arch)
    for name, digest in _grouped(headers_of(sources, files), hashes).items():
        yield Part("header", owner, name, digest, variant.schedule, arch)
    yield Part("flags", owner, "device compiler", hash_text(" ".join(flags)), variant.schedule, arch)


def plain(variant: Variant) -> dict[str, Any]:
    """A variant as data, without the fields that only hand-written or unordered ones have, or those with derived
    macros: what was generated has the hash that it had before there were any."""
    data = dataclasses.asdict(variant)
    for launch in data["launches"]:
        if not launch["unordered"]:
            del launch["unordered"]
    if not data["derived"]:
        del data["derived"]
    if not data["by_hand"]:
        del data["by_hand"]
        for launch in data["launches"]:
            del launch["one_by_one"]
    return data


def _grouped(headers: Iterable[str], hashes: Mapping[str, str]) -> dict[str, str]:
    """One entry a header at the top, one for all that a kernel reaches in a folder below it."""
    groups: dict[str, list[str]] = {}
    for header in sorted(headers):
        below = header.removeprefix("include/spak/")
        groups.setdefault(below.split("/", 1)[0], []).append(f"{header} {hashes[header]}")
    return {name: hash_text("\n".join(entries)) for name, entries in groups.items()}


def headers_of(sources: Iterable[str], files: Mapping[str, str]) -> set[str]:
    """The emitted headers that sources include, directly or not."""
    found: set[str] = set()
    waiting = list(sources)
    while waiting:
        file = waiting.pop()
        for name in _INCLUDE.findall(files[file]):
            for base in ("include", posixpath.dirname(file)):
                path = posixpath.normpath(posixpath.join(base, name))
                if path in files and path not in found:
                    found.add(path)
                    waiting.append(path)
    return found


def _of_experiments(checked: CheckedModule, files: Mapping[str, str]) -> Iterator[Part]:
    module = checked.module
    for name, experiment in module.experiments.items():
        model = files.get(f"models/{name}/model.py")
        for profile in (MAIN, *experiment.profiles):
            settings = meaning(experiment_core(module, experiment)[0], experiment.profiles.get(profile, {}))
            yield Part("settings", name, "", settings, profile)
            if model is not None:
                yield Part("model", name, "model.py", hash_source(model, python=True), profile)
    for name, dataset in module.datasets.items():
        yield Part("data", name, "", meaning(replace(dataset, laws=(), lets=())))


# ---- the tool itself ----------------------------------------------------------------------------------

_ORACLE = ("oracle.py", "arrays.py", "functions.py", "tolerance.py")
"""The files of the verifier that evaluate the reference; the others draw cases and judge them."""


@cache
def tool_parts() -> tuple[Part, ...]:
    """The versions, by content, of what establishes facts: the oracle, how cases are drawn, the emulator, the
    training runtime."""
    verify = _package("spakc") / "verify"
    runtime = _package("spak_runtime")
    oracle = [verify / name for name in _ORACLE]
    return (
        _of_files("oracle", oracle),
        _of_files("cases", [path for path in verify.glob("*.py") if path not in oracle]),
        _of_files("emulator", (runtime / "emulator").rglob("*")),
        _of_files("runtime", (runtime / "training").rglob("*.py")),
    )


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations, f"{name} is installed with this package"
    return Path(next(iter(spec.submodule_search_locations)))


def _of_files(kind: str, paths: Iterable[Path]) -> Part:
    """One part for all of them: their names and texts."""
    texts = [
        f"{path.name}\n{path.read_text(encoding='utf-8')}"
        for path in sorted(paths)
        if path.is_file() and path.suffix != ".pyc"
    ]
    return Part(kind, "", "", hash_text("\n".join(texts)))
