"""What the device compiler's report may not say of a kernel that anyone calls: spills, and code that waits for itself.
Needs no GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spak_runtime.errors import MachineCodeError
from spak_runtime.nvrtc import BuildRequest, Compiled

ADVISORIES = {
    "C7508": "setmaxnreg is ignored, so register budgets do not hold",
    "C7510": "wgmma is serialised: its registers cross a function call or an unknown place",
    "C7511": "wgmma is serialised: its registers are needed for something else while it runs",
    "C7512": "wgmma is serialised: there are too few registers",
    "C7513": "wgmma is serialised: registers that it reads are written before the wait",
    "C7514": "wgmma is serialised: its accumulators are used before the wait",
    "C7517": "a wait for wgmma was added where accumulators are used before the kernel waits",
    "C7519": "a fence of wgmma was added where registers are used without one",
    "C7602": "one wgmma needs more registers than a thread has at entry",
}
"""Messages of ptxas about code that is right but slow, or does without what the schedule relies on."""

_LOSS = re.compile(r"\((C7\d{3})\) Potential Performance Loss: (.*?)(?: in the function .*)?$", re.MULTILINE)
"""Whatever else it says of this kind: there are reasons for which wgmma is serialised that nobody has listed."""


def broken_rules(compiled: Compiled) -> Iterator[str]:
    """Each rule that a compilation breaks, in words: spills of an entry, messages of `ADVISORIES`, and others in which
    ptxas itself speaks of a loss."""
    for entry, resources in sorted(compiled.entries.items()):
        if resources.spill_bytes:
            yield (
                f"{entry} spills {resources.spill_store_bytes} bytes and reads {resources.spill_load_bytes} "
                f"back, with {resources.registers} registers a thread"
            )
    for code in compiled.advisories:
        if code in ADVISORIES:
            yield f"{code}: {ADVISORIES[code]}"
    for code, said in dict(_LOSS.findall(compiled.log)).items():
        if code not in ADVISORIES:
            yield f"{code}: {said}"


def judged(request: BuildRequest, compiled: Compiled) -> Compiled:
    """What was compiled, where it breaks no rule. Raises MachineCodeError."""
    broken = list(broken_rules(compiled))
    if broken:
        raise MachineCodeError(f"{request.name} for {request.arch}: {'; '.join(broken)}", log=compiled.log)
    return compiled
