"""The Python interface as the README shows it, on CPU tensors."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import spak_runtime
import spakc
from spakc.diagnostics import SpakError

FILE = """spak 1
kernel linear: product {
  dim M, N, K
  input  x: bf16 | f16 [M, K]  layout row | column
  input  w: same(x)    [K, N]  layout row | column
  input  gate: same(x) [M]     optional = 1
  output y: same(x) | f32 [M, N]
  option act: identity | silu = identity
  math { y[m, n] = act(sum[k](x[m, k] * w[k, n])) * gate[m] }
  gradient y wrt x, w, gate
  schedule naive { knob block in {8} }
}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "linear.spak"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def linear(file: Path) -> Any:
    return spakc.load(file).linear


def views(rows: int, columns: int) -> dict[str, torch.Tensor]:
    """A matrix with each way to lie that has a unit stride on one axis."""
    wide, tall = torch.randn(2 * rows, columns + 3).half(), torch.randn(columns, 2 * rows).half()
    return {
        "row": torch.randn(rows, columns).half(),
        "row of a wider one": wide[:rows, :columns],
        "every other row": wide[::2, :columns],
        "the same row": wide[:1, :columns].expand(rows, columns),
        "column": tall[:, :rows].clone().t(),
        "column of a taller one": tall.t()[:rows],
    }


def test_any_row_and_column_strides(linear: Any) -> None:
    for x, w in itertools.product(views(7, 9).values(), views(9, 5).values()):
        expected = x.double() @ w.double()
        got = linear(x, w, dtype=torch.float32).double()
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_stride_on_both_axes_is_refused(linear: Any) -> None:
    with pytest.raises(spak_runtime.SpakRuntimeError, match="strides"):
        linear(torch.randn(7, 18).half()[:, ::2], torch.randn(9, 5).half())


def test_a_compiled_folder_gives_the_same(file: Path, linear: Any, tmp_path: Path) -> None:
    out = spakc.compile_file(file, tmp_path / "out")
    x, w, gate = torch.randn(7, 9).bfloat16(), torch.randn(9, 5).bfloat16(), torch.randn(7).bfloat16()
    loaded = spak_runtime.load(out).linear(x, w, gate=gate, act="silu")
    assert torch.equal(loaded, linear(x, w, gate=gate, act="silu"))


def test_gradients_of_all_inputs_also_of_the_operator(linear: Any) -> None:
    args = [torch.randn(*shape).half().requires_grad_() for shape in ((7, 9), (9, 5), (7,))]
    own = torch.autograd.grad(linear(*args).float().square().sum(), args)
    raw = torch.autograd.grad(linear.operator(*args, "identity", "").float().square().sum(), args)
    x, w, gate = (t.detach().double().requires_grad_() for t in args)
    expected = torch.autograd.grad(((x @ w) * gate[:, None]).square().sum(), (x, w, gate))
    for a, b, e in zip(own, raw, expected, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=1e-2, atol=1e-2 * float(e.abs().max()))
        torch.testing.assert_close(b.double(), e, rtol=1e-2, atol=1e-2 * float(e.abs().max()))


def test_autocast_rounds_nothing_in_the_mathematics(linear: Any) -> None:
    x, w = torch.full((1, 1), 1 + 2**-10).half(), torch.ones(1, 1).half()
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, w, dtype=torch.float32).item() == 1 + 2**-10


def test_mistakes_are_diagnostics(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SpakError, match="SPAK703"):
        spakc.compile_file(file, tmp_path / "out", arch="sm_12")
    with pytest.raises(SpakError, match="SPAK001"):
        spakc.load(tmp_path / "none.spak")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "more"])
def test_a_damaged_artifact_in_the_cache_is_made_again(
    damage: str, file: Path, linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path))
    x, w = torch.randn(7, 9).half(), torch.randn(9, 5).half()
    spakc.load(file)
    (folder,) = (tmp_path / "artifacts").iterdir()
    for path in filter(Path.is_file, folder.rglob("*")):
        text = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": text[: len(text) // 2]}.get(damage, text))
    if damage == "gone":
        (folder / "manifest.json").unlink()
    if damage == "more":
        (folder / "manifest.json").write_text("{}")
        (folder / "another").write_text("")
    assert torch.equal(spakc.load(file).linear(x, w), linear(x, w))
    assert [each.name for each in (tmp_path / "artifacts").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "name", ["name", "name_", "_dir", "__init__", "define", "default", "kernels", "int", "torch"]
)
def test_a_kernel_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Also those that torch's namespaces of operators, artifacts, C++ and Python have for themselves."""
    text = f"kernel {name}: elementwise {{ dim N  input x: f32 [N]  output y: f32 [N]  math {{ y[i] = x[i] + 1 }} }}"
    (tmp_path / "named.spak").write_text(f"spak 1\n{text}\n")
    kernels = spakc.load(tmp_path / "named.spak")
    assert kernels[name](torch.zeros(3)).tolist() == [1, 1, 1]
