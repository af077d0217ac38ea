"""Programs for cuTile become cubins without a GPU: they take the arguments that a launch hands over."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from spak_runtime import cutile
from spak_runtime.cutile import compile_tiles
from spak_runtime.disassemble import disassemble
from spak_runtime.errors import BuildError, ToolError
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.params import layout_of_params
from spak_runtime.prebuilt import Prebuilt
from spak_runtime.specialise import bindings, build_request
from spakc import driver
from spakc.commands.verify import variants_of
from tests.unit.cli.invoke import EXAMPLES, invoke
from tests.unit.cutile.test_tiles import BATCHED, planned

PARAMETERS, IN_BYTES = {0x17: 18, 0x45: 0}, 4
"""Of an attribute of a kernel: that it is about a parameter, with the first bit of its size in the last word; that so
many bytes follow."""


def taken(cubin: bytes, entry: str) -> list[tuple[int, int]]:
    """Offset and size of each parameter of a kernel, as its cubin tells the driver."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, of_names = struct.unpack_from("<3H", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
    wanted = f".nv.info.{entry}\0".encode()
    found: dict[int, tuple[int, int]] = {}
    for name, _, _, _, place, length in sections:
        if not cubin.startswith(wanted, sections[of_names][4] + name):
            continue
        end = place + length
        while place < end:
            kind, attribute, held = struct.unpack_from("<BBH", cubin, place)
            if kind == IN_BYTES and attribute in PARAMETERS:
                _, number, offset, word = struct.unpack_from("<IHHI", cubin, place + 4)
                found[number] = (offset, word >> PARAMETERS[attribute] & 0x3FFF)
            place += 4 + (held if kind == IN_BYTES else 0)
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_120a"])
@pytest.mark.parametrize("name", ["matmul", "fmha"])
def test_a_program_becomes_a_cubin(name: str, arch: str) -> None:
    files, variants = planned(EXAMPLES / "kernels" / f"{name}.spak")
    smallest = variants[-2]
    (launch,) = smallest.variant.launches
    binding = next(bindings(smallest.spec, smallest.variant))
    request = build_request(files, {}, smallest.variant, launch, binding, arch)
    cubin = compile_tiles(request).cubin
    layout = layout_of_params(launch.params)
    sizes = [4 if param.type in ("i32", "f32") else 8 for param in launch.params]
    assert taken(cubin, launch.entry) == list(zip(layout.offsets, sizes, strict=True))
    code = disassemble(cubin)
    assert code.count("HGMMA" if arch == "sm_90a" else "HMMA") > 0


def test_an_artifact_needs_no_compiler_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.spak").write_text(BATCHED)
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path / "cache"))
    out = tmp_path / "out"
    said = invoke("compile", tmp_path / "m.spak", "-o", out, "--arch", "sm_80", "--backend", "cutile")
    assert said.exit_code == 0, said.output
    index = json.loads((out / "cubin" / "index.json").read_text())
    assert "cuda-tile" in index["compiler"] and index["cubins"]
    decided = driver.plan_file(driver.check_file(tmp_path / "m.spak"), ("sm_80",), backend="cutile")
    variants = variants_of(decided, driver.emit_files(decided))
    monkeypatch.setattr(cutile, "version", lambda: pytest.fail("nobody is asked"))
    prebuilt, found = Prebuilt.read(out), 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["kernels"]["mixer"]["gradients"] == []
    sources = {"kernels/mixer/cutile.py": (out / "kernels" / "mixer" / "cutile.py").read_text()}
    for tested in variants:
        binding = next(bindings(tested.spec, tested.variant))
        request = build_request(sources, {}, tested.variant, tested.variant.launches[0], binding, "sm_80")
        found += prebuilt.find(request) is not None
    assert found == len(index["cubins"]) >= 1


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import cuda.tile as ct\n\n\n@ct.kernel\ndef f():\n    ct.store(1, 2)\n\n\nPARAMETERS = ()\n"
    with pytest.raises(BuildError, match=r"f\.py"):
        compile_tiles(BuildRequest("f.py", text, {}, (), "sm_80"))

    def missing(name: str) -> str:
        raise cutile.importlib.metadata.PackageNotFoundError(name)

    cutile.version.cache_clear()
    monkeypatch.setattr(cutile.importlib.metadata, "version", missing)
    try:
        with pytest.raises(ToolError, match=r"spakc\[cutile\]"):
            compile_tiles(BuildRequest("f.py", text, {}, (), "sm_80"))
    finally:
        cutile.version.cache_clear()
