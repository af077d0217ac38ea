"""Programs for cuTile against the oracle: the same cases and the same comparison as for kernels in CUDA, on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from spakc import driver
from spakc.commands.verify import variants_of
from spakc.plan.plan import Plan
from spakc.tile_runner import OnTiles
from spakc.verify.campaign import verify_variant
from spakc.verify.examine import examine
from spakc.verify.failure import Failure
from spakc.verify.search import some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import cases
from spakc.verify.tested import UnderTest
from tests.unit.cli.invoke import EXAMPLES, invoke

BATCHED = """spak 1
use std.devices
targets h100
kernel mixer: product {
  dim Batch, Tall, Wide, Deep
  input  first: bf16 | f16 [Batch, Tall, Deep]
  input  second: same(first) [Batch, Wide, Deep]
  input  gate: f32 [Tall]
  input  rest: same(first) [Batch, Wide, Tall]
  output total: f32 [Batch, Wide, Tall]
  option slope: f32 = 0.5
  option sharp: bool = false
  math {
    S[z, w, t] = tanh(sum[k](first[z, t, k] * second[z, w, k])) * gate[t]
    total[z, w, t] = where(sharp and w % 3 == 1, slope, 1) * S[z, w, t] + max(rest[z, w, t], 0.25)
  }
  accumulate f32
  verify {
    tolerance 4 * library_error + ulp(total)
    shapes Batch in 1..3, Tall in 1..150, Wide in 1..150, Deep in 1..100
  }
}
"""

ODD = """spak 1
use std.devices
targets h100
kernel soft: attention {
  dim B, Sq, Sk, D in {48}
  input  query, key, value: bf16 [B, Sq, D]
  input  slope: f32 [B]
  output seen: bf16 [B, Sq, D]
  math {
    S[b, q, k] = 0.2 * sum[d](query[b, q, d] * key[b, k, d]) - slope[b] * (q - k)
    M[b, q, k] = where(k >= q - 40 and k % 5 != 2, S[b, q, k], -inf)
    P[b, q, k] = softmax[k](M[b, q, k])
    seen[b, q, d] = sum[k](P[b, q, k] * value[b, k, d])
  }
  accumulate f32
  verify { tolerance 2 * library_error + ulp(seen)  shapes B in 1..3, Sq in 1..200, Sk in 1..200 }
}
"""


@functools.cache
def planned(path: Path) -> tuple[dict[str, str], list[UnderTest]]:
    decided: Plan = driver.plan_file(driver.check_file(path), ("sm_90a",), backend="cutile")
    files = driver.emit_files(decided)
    return files, list(variants_of(decided, files))


def written(text: str, folder: Path) -> Path:
    path = folder / "own.spak"
    path.write_text(text)
    return path


def failure_of(tested: UnderTest, runner: OnTiles) -> Failure | None:
    """The first of a dozen cases, as they are drawn."""
    drawn = some(cases(tested, pool(tested), Shapes(tested)), 12, 3)
    return next((found for case in drawn if (found := examine(tested, case, runner)) is not None), None)


@pytest.mark.parametrize("name", ["matmul", "fmha"])
def test_examples_are_right(name: str) -> None:
    files, variants = planned(EXAMPLES / "kernels" / f"{name}.spak")
    assert len(variants) == 4
    for tested in variants:
        outcome = verify_variant(tested, OnTiles(files), 4, 1)
        assert outcome.holds, (tested.variant.id, outcome)


@pytest.mark.parametrize("text", [BATCHED, ODD])
def test_what_follows_from_other_mathematics(text: str, tmp_path: Path) -> None:
    """Batches, stored the other way round, conditions on indices; a depth that is no power of two."""
    files, variants = planned(written(text, tmp_path))
    assert [tested.variant.guards != () for tested in variants][-1] is False
    for tested in variants:
        outcome = verify_variant(tested, OnTiles(files), 6, 2)
        assert outcome.holds, (tested.variant.id, outcome)


Damage = Callable[[str], str]


@pytest.mark.parametrize(
    ("name", "kernel", "damage"),
    [
        ("matmul", "matmul", lambda s: s.replace("ct.cdiv(d_K, DEPTH)", "d_K // DEPTH")),
        ("matmul", "matmul", lambda s: s.replace("(accumulator +", "(")),
        ("matmul", "matmul", lambda s: s.replace("tile_n * COLUMNS", "tile_m * COLUMNS")),
        ("matmul", "matmul", lambda s: s.replace("height = min(tiles_m - first, BAND)", "height = BAND")),
        ("fmha", "fmha", lambda s: s.replace(", i_k < keys)", ", True)")),
        ("fmha", "fmha", lambda s: s.replace("ct.cdiv(end, KEYS)", "end // KEYS")),
        ("fmha", "fmha", lambda s: s.replace("total * earlier", "total")),
        ("fmha", "fmha", lambda s: s.replace("result * earlier", "result")),
        ("fmha", "fmha", lambda s: s.replace("LN_2 * (largest", "(largest")),
        ("fmha", "fmha", lambda s: s.replace("min(at_first, at_last))", "max(at_first, at_last) + KEYS)")),
        ("fmha", "fmha", lambda s: s.replace("i_h, layer = layer % d_H", "i_h, layer = layer % d_G")),
        ("fmha", "fmha_biased", lambda s: s.replace("(i_b, i_h, i_q, i_k)", "(i_b, i_h, i_q, i_q)")),
    ],
)
def test_damage_is_found(name: str, kernel: str, damage: Damage) -> None:
    files, variants = planned(EXAMPLES / "kernels" / f"{name}.spak")
    path = f"kernels/{kernel}/cutile.py"
    damaged = {**files, path: damage(files[path])}
    assert damaged[path] != files[path]
    tested = next(each for each in variants if each.spec.name == kernel)
    assert failure_of(tested, OnTiles(damaged)) is not None


def test_what_no_program_may_do_is_found() -> None:
    files, variants = planned(EXAMPLES / "kernels" / "matmul.spak")
    path, tested = "kernels/matmul/cutile.py", variants[0]
    for before, after, said in (
        ("index=(tile_m, tile_n), tile", "index=(tile_m + tiles_m, tile_n), tile", "outside"),
        ("index=(tile_m, tile_n), tile", "index=(tile_m * 0, tile_n * 0), tile", "written twice"),
        ("ct.astype(output_0, T_C)", "output_0", "is stored to C"),
        ("KNOB_tile_k\n", "KNOB_tile_k - 1\n", "powers of two"),
        ("import cuda.tile as ct", "import os\nimport cuda.tile as ct", "imports os"),
    ):
        assert before in files[path]
        damaged = OnTiles({**files, path: files[path].replace(before, after)})
        failure = failure_of(tested, damaged)
        assert failure is not None and said in str(failure), said


def test_kernels_without_a_form_are_named(tmp_path: Path) -> None:
    said = invoke("compile", EXAMPLES / "kernels" / "train.spak", "--backend", "cutile", "--emit", "plan")
    assert said.exit_code == 0, said.output
    assert (
        "for cuTile, products and attention are generated" in said.output
        and "computed by torch" in said.output
    )


def test_no_name_of_the_file_is_a_name_of_the_program(tmp_path: Path) -> None:
    """Renamed to words of Python and of the program, the kernel is right all the same."""
    text = BATCHED
    for old, new in (
        ("first", "lambda_"),
        ("gate", "left"),
        ("Tall", "rows"),
        ("slope", "accumulator"),
        ("total", "ct"),
    ):
        text = text.replace(old, new)
    files, variants = planned(written(text, tmp_path))
    assert verify_variant(variants[0], OnTiles(files), 4, 5).holds


def test_the_command(tmp_path: Path) -> None:
    path = written(BATCHED, tmp_path)
    said = invoke("verify", path, "--backend", "cutile", "--cases", "2")
    assert said.exit_code == 0 and "all right" in said.output, said.output
    assert [p.name for p in tmp_path.iterdir()] == ["own.spak"], "no row of evidence is about another backend"
