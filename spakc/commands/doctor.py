"""`spakc doctor`: what this machine has and what that allows. Reports facts; never guesses a GPU fact."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
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
        _guard(probe)
        for probe in (_python, _torch, _nvrtc, _nvdisasm, _host_compiler, _calls, _gpu, _cache, _kept)
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

    return _folder("cache", default_root(), "compiling each kernel once")


def _kept() -> Finding:
    from spakc.resources import cache_folder

    return _folder("kept", cache_folder(), "reading, checking and planning each file once")


ENOUGH = 256 << 20
"""Bytes that should be free where kernels are kept: a cold compilation of every example takes less."""


def _folder(subject: str, folder: Path, allows: str) -> Finding:
    """How large a folder of the cache is, and whether it can be written, locked and has room: tried, not guessed. Only
    what the trial makes is removed again."""
    try:
        size = _size(folder)
        _try_out(folder)
        free = shutil.disk_usage(_nearest(folder)).free
    except OSError as error:
        return Finding(subject, "broken", f"{folder}: {error.strerror or error}", allows)
    detail = f"{size / 2**20:.1f} MiB in {folder}, {free / 2**30:.1f} GiB free"
    return Finding(subject, "ok" if free >= ENOUGH else "broken", detail, allows)


def _nearest(folder: Path) -> Path:
    """The folder, or what of its path is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # another process tidies up
            total += path.stat().st_size if path.is_file() else 0
    return total


def _try_out(folder: Path) -> None:
    """Writes a file into the folder, locks it and removes it. Raises OSError."""
    import fcntl
    import tempfile

    there = _nearest(folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is no folder")
    with tempfile.TemporaryFile(dir=there) as trial:
        trial.write(bytes(1 << 16))
        trial.flush()
        os.fsync(trial.fileno())
        fcntl.flock(trial, fcntl.LOCK_EX | fcntl.LOCK_NB)
