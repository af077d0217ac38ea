"""Hand-written kernels on a device: plain CUDA is verified there, timed beside what is generated, chosen if it wins."""

import json

import torch
from click.testing import CliRunner

import spak_runtime
from spakc.cli import cli
from tests.unit.implement.files import ON_PRIMITIVES, PLAIN, project

SLOW = PLAIN.replace(
    "if (j < N) y",
    "float kept = 0; for (int k = 0; k < 500; k++) kept += sinf(k * alpha);\n"
    "  if (kept == 1e30f) return;\n  if (j < N) y",
)


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def test_plain_cuda_is_verified_timed_and_chosen_only_if_it_wins(tmp_path):
    path = project(tmp_path, {"plain": PLAIN, "mine": ON_PRIMITIVES, "slow": SLOW})
    result = invoke("verify", path, "--on", "gpu")
    assert result.exit_code in (0, 5), result.output
    for name in ("plain", "mine", "slow"):
        assert f"implement add as {name}: holds (8 looked at)" in result.output, result.output
    raced = invoke("bench", path, "--at", "M=4096,N=4096", "--at", "M=64,N=4096", "--format", "json").stdout
    rows = [row for row in map(json.loads, raced.splitlines()) if "implement" in row]
    assert len(rows) == 6 and not any(row["missing"] for row in rows), rows
    assert all("cold" in row["l2"] and len(row["ours"]) == len(row["theirs"]) == 15 for row in rows)
    told = invoke("compile", path, "-o", tmp_path / "out").output
    assert "implement add as slow: not selected: 0." in told, told

    module = spak_runtime.load(tmp_path / "out")
    x, b = torch.randn(4096, 4096, device="cuda"), torch.randn(4096, device="cuda")
    torch.testing.assert_close(module.add(x, b, alpha=0.5), 0.5 * x + b)
    who = module.add.explain(x, b)
    if "selected: " in told.replace("not selected: ", ""):
        assert who.variant.endswith(".by_hand") and "written by hand" in who.reason, who
        assert module.add.explain(x[:, :100], b[:100]).variant != who.variant, "it takes tensors without gaps"


def test_wrong_plain_cuda_is_found_on_the_device(tmp_path):
    wrong = {
        "zeros": PLAIN.replace("= alpha *", "= 0 *").replace("+ b[j]", ""),
        "nothing": 'extern "C" __global__ void NAME(const float*, const float*, float*, float, int, int) {}\n',
        "cached": PLAIN.replace(
            "extern", "__device__ float kept[1 << 16];\n__device__ int done[1 << 16];\nextern"
        ).replace(
            "if (j < N) y[i * N + j] = alpha * x[i * N + j] + b[j];",
            "int at = i * N + j; if (j >= N) return;\n"
            "  if (!done[at]) { kept[at] = alpha * x[at] + b[j]; done[at] = 1; }\n"
            "  y[at] = kept[at];",
        ),
    }
    path = project(tmp_path, wrong)
    result = invoke("verify", path, "--on", "gpu")
    assert result.exit_code == 3, result.output
    for name in wrong:
        assert f"implement add as {name}: violated" in result.output, result.output
