"""One interface, two implementations: both headers declare the same calls, and both compile each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spak_runtime.emulator import build
from spak_runtime.errors import ToolError
from spak_runtime.nvrtc import BuildRequest, compile_cubin
from tests.unit.emulator.emulator_cases import INCLUDE, KERNELS, ROOT

DEVICE = INCLUDE[0] / "spak"
HOST = ROOT / "runtime" / "spak_runtime" / "emulator" / "include" / "spak"
# Helpers of one implementation; a kernel that calls one of these would not compile for the other.
DEVICE_ONLY = {"issue", "load_global_if", "name"}
HOST_ONLY = {
    "element_letter",
    "flush_subnormal",
    "global_atomic",
    "scalar_letter",
    "shared_atomic",
    "shuffle_bits",
    "tma_load",
    "tma_out",
}


def declared(folder: object) -> set[str]:
    """Names of the functions that the primitive headers of a folder define, macro-made ones included."""
    found: set[str] = set()
    for path in sorted((folder / "primitives").glob("*.cuh")):  # type: ignore[operator]
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for suffix in ("", "_trans") if "##suffix" in text else ("",):
            expanded = text.replace("##suffix", suffix)
            expanded = re.sub(r"name##(_\dd)", r"tma_store\1", expanded) + re.sub(
                r"name##(_\dd)", r"tma_reduce_add\1", expanded
            )
            found |= set(
                re.findall(
                    r"(?:SPAK_DEVICE|SPAK_INLINE|inline)(?:\s+constexpr)?\s+[\w<>:, ]+?[&*]?\s+(\w+)\s*\(",
                    expanded,
                )
            )
    return {name for name in found if not name.startswith("operator")}


def test_both_headers_declare_the_same_calls() -> None:
    device, host = declared(DEVICE) - DEVICE_ONLY, declared(HOST) - HOST_ONLY
    shared_types = set(
        re.findall(r"SPAK_DEVICE[\w <>]*\s(\w+)\(", (DEVICE / "primitives/types.cuh").read_text())
    )
    assert device - host - shared_types == set()
    assert host - device == set()
    assert len(device) > 130


def test_every_call_has_a_use_in_the_compiled_kernels() -> None:
    uses = "".join(path.read_text() for path in KERNELS.glob("every_*.cu"))
    missing = {name for name in declared(DEVICE) - DEVICE_ONLY if not re.search(rf"\b{name}\b", uses)}
    assert missing == set()


@pytest.mark.parametrize(
    ("kernel", "arch", "options"),
    [
        ("every_sm80.cu", "sm_80", ()),
        ("every_sm80.cu", "sm_90a", ()),
        ("every_sm90.cu", "sm_90a", ("-DWGMMA",)),
        ("every_sm90.cu", "sm_120a", ()),
        ("gemm_mma.cu", "sm_80", ()),
        ("gemm_wgmma.cu", "sm_90a", ("-DCLUSTER=2",)),
    ],
)
def test_device_compiles_every_call(kernel: str, arch: str, options: tuple[str, ...]) -> None:
    headers = {str(p.relative_to(INCLUDE[0])): p.read_text() for p in INCLUDE[0].rglob("*.cuh")}
    request = BuildRequest(kernel, (KERNELS / kernel).read_text(), headers, options, arch)
    try:
        compiled = compile_cubin(request)
    except ToolError as error:
        pytest.skip(str(error))
    assert compiled.cubin


def test_host_compiles_every_call() -> None:
    build(KERNELS / "every_sm80.cu", INCLUDE)
    build(KERNELS / "every_sm90.cu", INCLUDE, {"WGMMA": 1})


def test_every_call_is_held_against_a_device() -> None:
    """Each has a conformance kernel, which runs on the emulator and, with `-m gpu`, on a device. Widths, counts
    and ranks may be parameters there: `_x{count}`, `_{rank}d`, `_{bits}`."""
    here = Path(__file__).parent
    names = (*sorted(here.glob("test_conformance_*.py")), here / "primitive_kernels.py")
    uses = "".join(path.read_text() for path in names)
    uses += "".join((KERNELS / name).read_text() for name in ("gemm_mma.cu", "gemm_wgmma.cu"))

    def is_used(name: str) -> bool:
        stem = re.sub(r"(_(16|32|64|128)|_x\d.*|_\dd.*)$", "", name)
        return re.search(rf'\b({name}\b|{stem}(_x|_)?(\{{|[A-Z]{{4}})|{stem}")', uses) is not None

    assert {name for name in declared(DEVICE) - DEVICE_ONLY if not is_used(name)} == set()


def test_every_call_of_a_template_is_a_primitive_or_a_shared_function() -> None:
    """No template and no shared header spells PTX or calls CUDA on its own: what it runs, the emulator runs."""
    folder = INCLUDE[0].parent
    texts = [p for p in folder.rglob("*") if p.suffix in (".j2", ".cuh") and "primitives" not in p.parts]
    assert len(texts) > 30
    for path in texts:
        text = re.sub(r"//[^\n]*", "", path.read_text())
        assert not re.search(r"\basm\b|__\w+\(|threadIdx|blockIdx|cooperative_groups", text), path
