"""What claims ask to be timed, how much arithmetic that is, and that a baseline computes the same."""

import itertools
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from spak_runtime import bench
from spakc import driver, load
from spakc.bench import baselines
from spakc.bench.baselines import NoBaseline, baseline, rivals
from spakc.bench.measure import answer
from spakc.bench.questions import Question, Unclear, questions
from spakc.bench.work import operations
from spakc.cli import cli
from spakc.ir.constraint import Env

FILE = """spak 1
use std.devices
targets h100
kernel mix: product {
  dim P, Q, R
  input  left: bf16 | f16 [P, R]  layout row | column
  input  right: same(left) [R, Q] layout row | column
  output both: same(left) | f32 [P, Q]
  math { both[p, q] = sum[r](left[p, r] * right[r, q]) }
  schedule naive { knob block in {8} }
}
kernel look: attention {
  dim B, H, S, T, W in {64}
  input  x: bf16 [B, H, S, W]
  input  y, z: same(x) [B, H, T, W]
  output o: same(x) [B, H, S, W]
  option ahead: bool = false
  option near: int = 0
  math {
    s[b, h, i, j] = rsqrt(W) * sum[d](x[b, h, i, d] * y[b, h, j, d])
    m[b, h, i, j] = where((ahead or j <= i + T - S) and (near == 0 or i + T - S - j < near), s[b, h, i, j], -inf)
    p[b, h, i, j] = softmax[j](m[b, h, i, j])
    o[b, h, i, d] = sum[j](p[b, h, i, j] * z[b, h, j, d])
  }
}
"""
RATIO = "geomean(speed(mix, R = 64, dtype = f16) / speed(torch.matmul)) >= 1 with confidence 95%"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("bench") / "file.spak"
    path.write_text(FILE)
    return driver.plan_file(driver.check_file(path))


def asked(tmp_path: Path, claim: str) -> list[Question | Unclear]:
    path = tmp_path / "file.spak"
    path.write_text(FILE + claim)
    return list(questions(driver.check_file(path).module.module))


def test_every_point_is_a_call(tmp_path: Path) -> None:
    text = f"claim c on h100: {RATIO} for every (P, Q) in {{(8, 16), (24, 32)}}, left in {{row, column}}\n"
    found = asked(tmp_path, text)
    calls = [each.subjects[0][1] for each in found if isinstance(each, Question)]
    sizes = [(c.dims["P"], c.dims["Q"], c.dims["R"], c.layouts["left"]) for c in calls]
    assert sizes == [(*size, 64, word) for size in ((8, 16), (24, 32)) for word in ("row", "column")]
    for each in found:
        assert isinstance(each, Question)
        (_, ours, nobody), (_, theirs, library) = each.subjects
        assert ours is theirs and nobody is None and library == "torch.matmul" and ours.dtype == "f16"


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("speed(mix, P = 8) >= 1 TFLOP/s", "it does not say Q, R of mix"),
        (f"{RATIO} for every (P, Q, a) in {{(8, 8, 1)}}", "`a` of its quantifier"),
        ("speed(mix, P = 8, Q = 8, R = 8) >= speed(torch.cudnn_attention)", "does not compute what mix does"),
    ],
)
def test_a_claim_that_describes_no_call_says_why(tmp_path: Path, claim: str, why: str) -> None:
    (found,) = asked(tmp_path, f"claim c on h100: {claim}\n")
    assert isinstance(found, Unclear) and why in found.why


def test_operations_are_those_that_count(planned) -> None:
    mix, look = planned.kernels["mix"].problem, planned.kernels["look"].problem
    assert operations(mix, {"P": 3, "Q": 5, "R": 7}, {}) == 2 * 3 * 5 * 7
    for s, t, ahead, near in itertools.product((5, 12), (12, 20), (False, True), (0, 4)):
        live = sum(
            (ahead or j <= i + t - s) and (near == 0 or i + t - s - j < near)
            for i in range(s)
            for j in range(t)
        )
        sizes = {"B": 2, "H": 3, "S": s, "T": t, "W": 64}
        assert operations(look, sizes, {"ahead": ahead, "near": near}) == pytest.approx(2 * 6 * live * 128)
    long = {"B": 1, "H": 1, "S": 4096, "T": 4096, "W": 64}
    exact = 2 * 128 * 4096 * 4097 / 2
    assert operations(look, long, {"ahead": False, "near": 0}) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("layouts", list(itertools.product(("row", "column"), repeat=2)))
def test_the_baseline_of_a_product_is_the_product(planned, layouts, tmp_path: Path) -> None:
    path = tmp_path / "file.spak"
    path.write_text(FILE)
    kernel = load(path).mix
    sizes = {"P": 5, "Q": 6, "R": 7}
    lying = dict(zip(("left", "right"), layouts, strict=True))
    tensors = bench.operands(kernel.spec, sizes, "f16", lying, 0, torch.device("cpu"))
    assert [t.stride(-1) == 1 for t in tensors.values()] == [word == "row" for word in layouts]
    theirs = baseline("torch.matmul", planned.kernels["mix"].problem, sizes, {})(tensors)
    assert torch.allclose(kernel(**tensors).float(), theirs.float(), atol=1e-2)


def test_backends_compute_what_the_problem_says(planned, tmp_path: Path) -> None:
    mix, look = planned.kernels["mix"].problem, planned.kernels["look"].problem
    pair = {"left": torch.randn(5, 7), "right": torch.randn(7, 6)}
    (product,) = rivals("torch", mix, {"P": 5, "Q": 6, "R": 7}, {}).values()
    assert torch.allclose(product(pair), pair["left"] @ pair["right"])
    sizes = {"B": 1, "H": 2, "S": 128, "T": 128, "W": 64}
    assert set(rivals("torch", look, sizes, {"ahead": False, "near": 0})) == {
        "torch.cudnn_attention",
        "torch.flash_attention",
    }
    q, k, v = (torch.randn(1, 2, 128, 64) for _ in range(3))
    for ahead in (False, True):
        env = Env().dims(sizes).options({"ahead": ahead, "near": 0})
        theirs = baselines._flex_attention(look, env)({"x": q, "y": k, "z": v})
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=not ahead)
        assert torch.allclose(theirs, wanted, atol=1e-4)


def test_backends_that_are_not_there_say_so(planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_is_installed", lambda _module: False)
    mix = planned.kernels["mix"].problem
    with pytest.raises(NoBaseline, match="Triton is not installed"):
        rivals("triton", mix, {"P": 5, "Q": 6, "R": 7}, {})
    with pytest.raises(NoBaseline, match="no entry for this family"):
        rivals("torch", None, {}, {})
    refused = CliRunner().invoke(cli, ["bench", "file.spak", "--against", "torch,fastest"])
    assert refused.exit_code == 2 and "`fastest` is no backend: torch, triton, cutile" in refused.output


def test_the_baseline_of_attention_has_its_mask(planned, tmp_path: Path) -> None:
    path = tmp_path / "file.spak"
    path.write_text(FILE)
    kernel, problem = load(path).look, planned.kernels["look"].problem
    sizes = {"B": 2, "H": 3, "S": 20, "T": 20, "W": 64}
    tensors = bench.operands(kernel.spec, sizes, None, {}, 0, torch.device("cpu"))
    for ahead in (False, True):
        theirs = baseline("torch.sdpa", problem, sizes, {"ahead": ahead, "near": 0})(tensors)
        assert torch.allclose(kernel(**tensors, ahead=ahead).float(), theirs.float(), atol=2e-2)
    with pytest.raises(NoBaseline, match="no such mask"):
        baseline("torch.sdpa", problem, sizes, {"ahead": False, "near": 4})


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a device")
def test_without_a_device_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file.spak"
    path.write_text(FILE + "claim c on h100: speed(mix, P = 8, Q = 8, R = 8) >= 1 TFLOP/s\n")
    result = CliRunner().invoke(cli, ["bench", str(path)])
    assert result.exit_code == 5 and "not run: no device" in result.output
    assert not path.with_suffix(".evidence.jsonl").exists()


def test_a_kernel_with_some_of_its_variants_alone() -> None:
    kernel = load(Path(__file__).parents[3] / "examples" / "kernels" / "matmul.spak").matmul
    first, last = kernel.spec.variants[0], kernel.spec.variants[-1]
    alone = kernel.only(first.id)
    assert alone.spec.variants == (first,) and alone.operator is not kernel.operator
    pair = kernel.only(last.id, first.id)
    assert pair.spec.variants == (first, last), "in the order of the manifest"


def test_a_call_that_does_not_fit_the_device_says_so(
    planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory while the first buffers are made, as on a small device."""
    (question,) = asked(tmp_path, f"claim c on h100: {RATIO} for every (P, Q) in {{(8, 16)}}\n")

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(bench, "operands", full)
    found = answer(question, planned, load(tmp_path / "file.spak"), bench.Effort(1))
    assert found.timed == () and "Tried to allocate 2.00 GiB." in found.missing


def test_backends_are_timed_beside_a_claim_and_leave_its_evidence_alone(
    planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = "claim c on h100: speed(mix, R = 64, dtype = f16) >= 1 TFLOP/s for every (P, Q) in {(8, 16)}\n"
    (question,) = asked(tmp_path, claim)
    on_cpu = bench.operands

    def operands(spec, dims, dtype, layouts, seed, _device):
        return on_cpu(spec, dims, dtype, layouts, seed, torch.device("cpu"))

    def interleaved(subjects, sets, _effort):
        results = [[call(n) for n in range(sets)] for call in subjects.values()]
        assert all(torch.allclose(a.float(), b.float(), atol=0.1) for a, b in zip(*results, strict=True))
        return {name: [1e-6, 2e-6] for name in subjects}

    monkeypatch.setattr(bench, "operands", operands)
    monkeypatch.setattr(bench, "interleaved", interleaved)
    monkeypatch.setattr(baselines, "_is_installed", lambda _module: False)
    kernel = load(tmp_path / "file.spak")
    found = answer(question, planned, kernel, bench.Effort(2), against=("torch", "triton", "cutile"))
    assert found.missing == "" and [t.subject for t in found.timed] == ["mix 0", "torch.matmul"]
    assert [text.partition(":")[0] for text in found.skipped] == ["triton", "cutile"]
    assert [q["query"] for q in found.quantities] == ["speed(mix, R = 64, dtype = f16)"]


def test_a_claim_that_is_not_there_or_is_no_matter_of_time(tmp_path: Path) -> None:
    path = tmp_path / "f.spak"
    path.write_text(FILE + "claim quick on h100: speed(mix, P = 8, Q = 8, R = 8, dtype = bf16) > 1 TFLOP/s\n")
    for name, said in (("quik", "did you mean `quick`?"), ("zzz", "claims over times: ")):
        result = CliRunner().invoke(cli, ["bench", str(path), name])
        assert (
            result.exit_code == 1 and f"there is no claim `{name}`" in result.stderr and said in result.stderr
        )
    assert CliRunner().invoke(cli, ["bench", str(path), "quick"]).exit_code != 1
