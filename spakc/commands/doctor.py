"""`spakc doctor`: what this machine has and what that allows. Reports facts; never guesses a GPU fact."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from spakc import __version__
from spakc.record import record


@record
class Finding:
    """state: ok | missing | broken. `allows` is what it is needed for."""

    subject: str
    state: str
    detail: str
    allows: str


def run(format: str) -> int:
    """Prints every finding. Exit 1 if something that every command needs is missing or broken."""
    findings = [
        _guard(probe) for probe in (_python, _torch, _nvrtc, _nvdisasm, _host_compiler, _calls, _gpu, _cache)
    ]
    if format == "json":
        for finding in findings:
            click.echo(json.dumps({"schema": "spak-doctor/1"} | asdict(finding)))
    else:
        width = max(len(f.subject) for f in findings)
        for f in findings:
            click.echo(f"{f.state:8} {f.subject:{width}}  {f.detail}")
            if f.state != "ok":
                click.echo(f"{'':8} {'':{width}}  needed for: {f.allows}")
    essential = {"python", "torch", "nvrtc"}
    return 1 if any(f.state != "ok" and f.subject in essential for f in findings) else 0


def _guard(probe: Callable[[], Finding]) -> Finding:
    try:
        return probe()
    except Exception as error:  # a broken installation raises anything; saying so is this command's job
        return Finding(
            probe.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}", "see the detail"
        )


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.machine()} {platform.system()}, spakc {__version__}"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "broken", detail, "everything")


def _torch() -> Finding:
    allows = "run, and calling kernels on tensors"
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Finding("torch", "missing", "not installed", allows)
    major, minor = (int(part) for part in version.split("+")[0].split(".")[:2])
    known = (major, minor) >= (2, 11)
    return Finding(
        "torch", "ok" if known else "broken", version + ("" if known else " (2.11 or later)"), allows
    )


def _nvrtc() -> Finding:
    from spak_runtime.nvrtc import version

    number = ".".join(map(str, version()))
    return Finding("nvrtc", "ok", f"NVRTC {number}", "compiling kernels to cubins (needs no GPU)")


def _nvdisasm() -> Finding:
    from spak_runtime.disassemble import disassemble
    from spak_runtime.nvrtc import BuildRequest, compile_cubin

    trial = compile_cubin(BuildRequest("trial.cu", 'extern "C" __global__ void trial() {}', {}, (), "sm_80"))
    count = disassemble(trial.cubin).count("EXIT")
    allows = "laws over the compiled kernel (`cubin.count(…)`)"
    return Finding("nvdisasm", "ok" if count else "broken", "disassembles a trial kernel", allows)


def _host_compiler() -> Finding:
    path = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    detail = Path(path).name if path else "no c++, g++ or clang++ on the PATH"
    return Finding(
        "host compiler", "ok" if path else "missing", detail, "running kernels on the CPU emulator"
    )


def _calls() -> Finding:
    from spak_runtime.quick import maker

    built = maker() is not None
    detail = "by C" if built else "by Python: no C compiler that builds extensions of this Python"
    return Finding("calls", "ok" if built else "missing", detail, "the least host time of a call, in C")


def _gpu() -> Finding:
    import torch

    allows = "running kernels and claims about time"
    if not torch.cuda.is_available():
        return Finding("gpu", "missing", "no device; GPU facts are reported as `not run: no device`", allows)
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Finding(
        "gpu",
        "ok",
        f"{names}; torch built for {torch.version.cuda}",
        allows,
    )


def _cache() -> Finding:
    from spak_runtime.cache import default_root

    root = default_root()
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) if root.exists() else 0
    return Finding("cache", "ok", f"{size / 2**20:.1f} MiB in {root}", "compiling each kernel once")
