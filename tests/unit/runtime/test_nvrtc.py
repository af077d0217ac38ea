import re

import pytest

from spak_runtime import nvrtc
from spak_runtime.disassemble import disassemble, parse_listing
from spak_runtime.errors import ArchError, BuildError, ToolError
from spak_runtime.nvrtc import BuildRequest, compile_cubin, parse_messages, parse_resources

SOURCE = """#line 12 "model.spak"
#include "shapes/twice.cuh"
extern "C" __global__ void __launch_bounds__(128) scale(float* x) {
  __shared__ float tile[128];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = twice(tile[127 - threadIdx.x]) * FACTOR;
}
"""
HEADERS = {"shapes/twice.cuh": "__device__ float twice(float x) { int unused; return x + x; }\n"}


def request(arch="sm_80", source=SOURCE, headers=HEADERS, options=("-DFACTOR=3.0f",)):
    return BuildRequest("scale.cu", source, headers, options, arch)


@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a"])
def test_a_cubin_for_every_architecture_without_a_gpu(arch):
    compiled = compile_cubin(request(arch))
    assert compiled.cubin.startswith(b"\x7fELF")
    resources = compiled.entries["scale"]
    assert 0 < resources.registers <= 64
    assert resources.spill_bytes == 0
    assert resources.barriers == 1
    assert str(compiled.messages[0]).startswith("shapes/twice.cuh:1: warning: ")


def test_static_shared_memory_is_read_from_the_log():
    log = compile_cubin(request()).log
    assert parse_resources(log)["scale"].shared_bytes == 512


def test_the_cache_of_the_driver_is_not_asked():
    """It gives a cubin without a log, so that spills and advisories would go unseen."""
    log = compile_cubin(request(options=("-DFACTOR=3.0f", "--enable-cache-trace"))).log
    assert "Used" in log and "nvrtc cache" not in log


@pytest.mark.parametrize("lost", [".*", r".*Used \d+ registers.*"])
def test_code_of_which_nothing_is_said_is_refused(monkeypatch, lost):
    read = nvrtc._text
    monkeypatch.setattr(nvrtc, "_text", lambda raw: re.sub(lost, "", read(raw)))
    with pytest.raises(ToolError, match=r"scale.* for sm_80 and does not say how many registers"):
        compile_cubin(request())


def test_an_error_is_told_at_the_place_the_line_directive_names():
    with pytest.raises(BuildError) as caught:
        compile_cubin(request(options=()))
    (error,) = caught.value.diagnostics
    assert (error.file, error.line, error.severity) == ("model.spak", 17, "error")
    assert "FACTOR" in error.text
    assert "model.spak:17: error: " in caught.value.message
    assert caught.value.log


def test_a_missing_header_is_an_error_at_its_include():
    with pytest.raises(BuildError, match=r"model\.spak:12: error: .*twice"):
        compile_cubin(request(headers={}))


@pytest.mark.parametrize("arch", ["compute_80", "sm_7", "sm_12", "90a", "sm_80 -ptx"])
def test_an_architecture_that_gives_no_cubin_is_refused(arch):
    with pytest.raises(ArchError):
        compile_cubin(request(arch))


def test_spills_are_counted():
    body = "".join(f"float v{i} = x[{i} * 7 + threadIdx.x];" for i in range(64))
    total = " + ".join(f"sinf(v{i}) * v{63 - i}" for i in range(64))
    bounds = "__launch_bounds__(128, 16)"
    source = f'extern "C" __global__ void {bounds} k(float* x) {{ {body} __syncthreads(); x[0] = {total}; }}'
    options = ("--maxrregcount=24",)
    entry = compile_cubin(request(source=source, options=options)).entries["k"]
    assert entry.spill_store_bytes > 0
    assert entry.spill_load_bytes > 0


def test_messages_of_front_end_and_ptxas():
    log = "\n".join(
        [
            'a.spak(3): error: identifier "x" is undefined',
            "include/h.cuh(9): warning #177-D: variable was declared but never referenced",
            "ptxas warning : (C7508) Potential Performance Loss: setmaxnreg ignored",
            "ptxas /tmp/x.ptx, line 33; error   : Feature 'wgmma' not supported",
            "ptxas info    : Compiling entry function 'k' for 'sm_90a'",
            "a.spak(4): catastrophic error: cannot open source file",
        ]
    )
    found = [(m.file, m.line, m.severity) for m in parse_messages(log)]
    assert found == [
        ("a.spak", 3, "error"),
        ("include/h.cuh", 9, "warning"),
        ("", 0, "warning"),
        ("", 0, "error"),
        ("a.spak", 4, "error"),
    ]
    assert nvrtc.parse_advisories(log) == ("C7508",)


def test_instructions_are_counted_by_whole_words():
    sass = disassemble(compile_cubin(request()).cubin)
    assert sass.count("LDG") == 1
    assert sass.count("STG") == 1
    assert sass.count("BAR.SYNC") == 1
    assert sass.count("LD") == 0
    assert sass.count("HMMA") == 0
    assert sass.histogram()["STS"] == 1


def test_predicates_are_no_mnemonics():
    listing = """
        /*0000*/               @!P0 BRA `(.L_x_1) ;
        /*0010*/              @!UP1 UIADD3 UR4, UR4, 0x1, URZ ;
        /*0020*/                    HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0030*/                    MEMBAR.ALL.GPU ;
        /* no instruction */
    """
    found = parse_listing(listing)
    assert found.instructions == ("BRA", "UIADD3", "HMMA.16816.F32.BF16", "MEMBAR.ALL.GPU")
    assert found.operands[-1] == "" and len(found.operands) == 4


def test_a_file_that_is_no_cubin_is_refused():
    with pytest.raises(ToolError, match="nvdisasm"):
        disassemble(b"no cubin")
