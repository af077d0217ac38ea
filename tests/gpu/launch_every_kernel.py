"""Launches every variant of the example kernels that is for this device, with a few small ragged cases each: what
compute-sanitizer looks at, and results are compared as well.

    python -m tests.gpu.launch_every_kernel --build
    compute-sanitizer --tool memcheck python -m tests.gpu.launch_every_kernel [--cases N] [FILE…]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from spak_runtime.cache import KernelCache
from spakc import driver
from spakc.commands.verify import variants_of
from spakc.device_runner import OnDevice, device_archs
from spakc.ir.types import DType
from spakc.machine_code import compile_one
from spakc.verify.campaign import left_out
from spakc.verify.examine import examine
from spakc.verify.search import NoCase, some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import Specialisation, pool
from spakc.verify.strategies import cases
from spakc.verify.tested import UnderTest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "kernels"
WORK = 150_000
"""Of a case: a sanitizer makes a kernel a hundred times as slow."""


Task = tuple[UnderTest, Specialisation, dict[str, str], str, tuple[str, ...]]
"""A variant, what it is built for, the emitted files, the architecture, and the templates of its launches."""

_tasks: list[Task] = []


def members_of(tested: UnderTest) -> list[Specialisation]:
    """The default specialisation and another, with outputs in float32 if there is one: there roundings show."""
    every = list(pool(tested))
    outputs = [name for name, tensor in tested.kernel.tensors.items() if tensor.role == "output"]
    wide = [m for m in every[1:] if any(m.dtypes[name] is DType.f32 for name in outputs)]
    return [*every[:1], *(wide or every[1:])[:1]]


def tasks_of(files: list[Path], archs: tuple[str, ...]) -> list[Task]:
    """Specialisations of every variant that is for the device."""
    found = []
    for file in files:
        decided = driver.plan_file(driver.check_file(file))
        emitted = driver.emit_files(decided)
        rendered = {
            launch.source: launch.template
            for kernel in decided.kernels.values()
            for variant in kernel.variants
            for launch in variant.launches
        }
        for tested in variants_of(decided, emitted):
            if left_out(tested, archs) is None:
                arch = next(arch for arch in archs if arch in tested.variant.archs)
                templates = tuple(dict.fromkeys(rendered[each.source] for each in tested.variant.launches))
                found += [(tested, member, emitted, arch, templates) for member in members_of(tested)]
    return found


def build(number: int) -> None:
    tested, member, emitted, arch, _ = _tasks[number]
    compile_one(tested, member, emitted, arch, (), KernelCache())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--build", action="store_true", help="only build the cubins, on every core")
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    _tasks.extend(tasks_of(asked.files or sorted(EXAMPLES.glob("*.spak")), device_archs()))
    if asked.build:
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as workers:
            workers.map(build, range(len(_tasks)), chunksize=1)
        print(f"{len(_tasks)} specialisations built", flush=True)
        return 0
    wrong = 0
    launched: Counter[str] = Counter()
    runs: dict[int, OnDevice] = {}
    for tested, member, emitted, _, templates in _tasks:
        if id(emitted) not in runs:
            runs[id(emitted)] = OnDevice(emitted, Path(tempfile.mkdtemp(prefix="spak-launch-")))
        try:
            drawn = some(cases(tested, [member], Shapes(tested, WORK)), asked.cases, 1)
        except NoCase:
            continue
        for case in drawn:
            failure = examine(tested, case, runs[id(emitted)])
            launched.update(templates)
            if failure is not None:
                wrong += 1
                print(f"{tested.name}: {failure.code}: {failure.messages[0]}: {case}", flush=True)
    print(json.dumps({"launched": dict(sorted(launched.items())), "wrong": wrong}), flush=True)
    return 1 if wrong or not launched else 0


if __name__ == "__main__":
    sys.exit(main())
