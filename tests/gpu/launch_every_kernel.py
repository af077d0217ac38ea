"""Launches every variant of the example kernels that is for this device, with a few small ragged cases each: what
compute-sanitizer looks at, and results are compared as well.

    compute-sanitizer --tool memcheck python -m tests.gpu.launch_every_kernel [--cases N] [FILE…]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from spakc import driver
from spakc.commands.verify import variants_of
from spakc.device_runner import OnDevice, device_archs
from spakc.verify.campaign import left_out
from spakc.verify.examine import examine
from spakc.verify.search import NoCase, some
from spakc.verify.specialisations import pool
from spakc.verify.strategies import Shapes, cases

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "kernels"
WORK = 150_000
"""Of a case: a sanitizer makes a kernel a hundred times as slow."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    launched = wrong = 0
    for file in asked.files or sorted(EXAMPLES.glob("*.spak")):
        decided = driver.plan_file(driver.check_file(file))
        files = driver.emit_files(decided)
        with tempfile.TemporaryDirectory(prefix="spak-launch-") as folder:
            run = OnDevice(files, Path(folder))
            for tested in variants_of(decided, files):
                members = pool(tested)[:2]
                if left_out(tested, device_archs()) or not members:
                    continue
                try:
                    drawn = some(cases(tested, members, Shapes(tested, WORK)), asked.cases, 1)
                except NoCase:
                    continue
                for case in drawn:
                    failure = examine(tested, case, run)
                    launched += 1
                    if failure is not None:
                        wrong += 1
                        print(f"{tested.name}: {failure.code}: {failure.messages[0]}: {case}", flush=True)
    print(f"{launched} cases launched, {wrong} wrong", flush=True)
    return 1 if wrong or not launched else 0


if __name__ == "__main__":
    sys.exit(main())
