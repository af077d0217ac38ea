"""What exists now: every part that evidence may rest on, hashed. The edge between stages and the evidence file."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from spak_runtime.nvrtc import BASE_OPTIONS
from spak_runtime.specialise import reachable
from spakc.check.checked import CheckedModule
from spakc.check.statements import kernel_core
from spakc.evidence import MAIN, Part, Subject, hash_source, hash_text
from spakc.ir.canonical import meaning
from spakc.plan.plan import Plan

_ORACLE = ("oracle.py", "arrays.py", "tolerance.py")
"""The files of spakc/verify that say what is right; its other files say which cases are tried."""


def subject_now(checked: CheckedModule, decided: Plan, files: Mapping[str, str]) -> Subject:
    """Every part of a compiled file: `files` are those of its artifact."""
    parts = [*_tool_parts(), *_kernel_parts(decided, files), *_experiment_parts(checked, files)]
    module = checked.module
    parts += [Part("math", k.name, "", meaning(kernel_core(k))) for k in module.kernels.values()]
    parts += [
        Part("data", d.name, "", meaning(replace(d, laws=(), lets=()))) for d in module.datasets.values()
    ]
    return Subject.of(parts)


def _kernel_parts(decided: Plan, files: Mapping[str, str]) -> Iterator[Part]:
    headers = {n.removeprefix("include/"): text for n, text in files.items() if n.startswith("include/")}
    flags = hash_text(" ".join(BASE_OPTIONS))
    for name, kernel in decided.kernels.items():
        for variant in kernel.variants:
            constants = json.dumps([variant.defines, variant.axes], sort_keys=True)
            reached: dict[str, str] = {}
            for arch in variant.archs:
                for launch in variant.launches:
                    source = files[launch.source]
                    reached |= reachable(source, headers)
                    key = hash_text(hash_source(source) + constants)
                    yield Part("source", name, f"{variant.id}:{launch.source}", key, variant.schedule, arch)
                for header, text in reached.items():
                    yield Part("header", name, header, hash_source(text), variant.schedule, arch)
                yield Part("flags", name, "nvrtc", flags, variant.schedule, arch)


def _experiment_parts(checked: CheckedModule, files: Mapping[str, str]) -> Iterator[Part]:
    for name in checked.experiments:
        folder = f"models/{name}"
        described = json.loads(files[f"{folder}/experiment.json"])
        model = hash_source(files[f"{folder}/model.py"])
        gates = [{key: value for key, value in gate.items() if key != "show"} for gate in described["gates"]]
        for profile, points in described["settings"].items():
            settings = json.dumps([points, gates, described["readouts"]], sort_keys=True)
            variant = MAIN if profile == "default" else profile
            yield Part("settings", name, "", hash_text(settings), variant)
            yield Part("model", name, "model.py", model, variant)


@cache
def _tool_parts() -> tuple[Part, ...]:
    """The oracle, how cases are drawn, the emulator and the training runtime: the text of their own files."""
    verify = _package("spakc.verify")
    emulator = _package("spak_runtime.emulator")
    training = _package("spak_runtime.training")
    sources = [p for p in emulator.rglob("*") if p.suffix in (".py", ".cpp", ".h", ".cuh", ".S")]
    return (
        Part("oracle", "", "oracle", _hash_files(verify / name for name in _ORACLE)),
        Part("cases", "", "cases", _hash_files(p for p in verify.glob("*.py") if p.name not in _ORACLE)),
        Part("emulator", "", "emulator", _hash_files(sources)),
        Part("runtime", "", "training", _hash_files(training.glob("*.py"))),
    )


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    return Path(spec.origin).parent


def _hash_files(paths: Iterable[Path]) -> str:
    return hash_text("\0".join(f"{p.name}\0{p.read_text('utf-8')}" for p in sorted(paths)))
