"""Launches the rings of ring_of_rows.cu once each: what racecheck is asked about before its findings are judged.

compute-sanitizer --tool racecheck python -m tests.gpu.launch_rings
"""

from __future__ import annotations

import json
import sys

import numpy as np

from tests.unit.emulator.machines import OnDevice
from tests.unit.emulator.rings import LAUNCH, RIGHT, SOURCE, WRONG, rows_of


def main() -> int:
    machine = OnDevice()
    if not machine.has("sm_90"):
        print("not run: rings of mbarriers need sm_90")
        return 5
    wrong = []
    for entry in (*RIGHT, WRONG):
        params, y, right = rows_of(entry)
        machine.run(SOURCE, params, entry=entry, **LAUNCH)
        wrong += [entry] if not np.array_equal(y, right) else []
    print(json.dumps({"wrong": wrong}), flush=True)
    return 1 if set(wrong) - {WRONG} else 0


if __name__ == "__main__":
    sys.exit(main())
