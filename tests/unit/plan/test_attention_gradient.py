"""Which gradients of attention keep scores out of memory, and what their launches are."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import Sink
from spakc.ir.inline import index_name
from spakc.plan.plan import Plan, plan
from spakc.plan.problem import (
    AttentionGradientProblem,
    ElementwiseProblem,
    RowsProblem,
    WholeGradientProblem,
)
from tests.unit.emit.planned import checked

ATTENTION = """spak 1
use std.devices
targets a100
kernel f: attention {{
  dim B, H, G, S, T, D in {{64, 128}}
  law groups: H % G == 0
  input  Q: bf16 [B, H, S, D]
  input  K, V: bf16 [B, G, T, D]
{inputs}  output O: bf16 [B, H, S, D]
{outputs}  math {{
    X[b, h, q, k] = {score}
{more}    O[b, h, q, d] = {value}
  }}
  gradient O wrt {wanted}
}}
"""
SCORE = "sum[d](Q[b, h, q, d] * K[b, h // (H // G), k, d])"
VALUE = "sum[k](softmax[k](X[b, h, q, k]) * V[b, h // (H // G), k, d])"


def planned(
    folder: Path,
    score: str = SCORE,
    value: str = VALUE,
    inputs: str = "",
    outputs: str = "  output L: f32 [B, H, S]\n",
    more: str = "    L[b, h, q] = logsumexp[k](X[b, h, q, k])\n",
    wanted: str = "Q, K, V",
    archs: tuple[str, ...] = (),
    text: str = ATTENTION,
) -> Plan:
    path = folder / "file.spak"
    path.write_text(
        text.format(score=score, value=value, inputs=inputs, outputs=outputs, more=more, wanted=wanted)
    )
    return plan(checked(path), archs, Sink())


def schedules(found: Plan) -> list[str]:
    return [variant.schedule for variant in found.kernels["f_gradient"].variants]


def test_three_launches_and_the_output_is_read_back(tmp_path: Path) -> None:
    found = planned(tmp_path)
    first = found.kernels["f_gradient"].variants[0]
    problems = [launch.problem for launch in first.launches]
    assert first.schedule == "fused_gradient_tiles"
    assert isinstance(problems[0], RowsProblem)
    assert [p.by_keys for p in problems if isinstance(p, AttentionGradientProblem)] == [True, False]
    assert [tensor.name for tensor in first.workspace] == ["delta"]
    assert found.kernels["f"].gradients[0].saves == ("O", "L")
    assert [guard.law for guard in found.kernels["f_gradient"].variants[-1].guards] == ["f.groups"]


def test_blocks_of_keys_add_to_the_gradient_of_queries_where_there_is_wgmma(tmp_path: Path) -> None:
    found = planned(tmp_path, archs=("sm_80", "sm_90a")).kernels["f_gradient"]
    joined = [variant for variant in found.variants if variant.schedule == "joined_gradient_tma"]
    assert joined and all(variant.archs == ("sm_90a",) for variant in joined)
    zeroed, added, rounded = (launch.problem for launch in joined[0].launches)
    assert isinstance(added, AttentionGradientProblem) and added.added is not None
    assert isinstance(zeroed, RowsProblem) and isinstance(rounded, RowsProblem)
    assert zeroed.element_outputs[0].tensor == added.added.tensor
    assert [launch.unordered for launch in joined[0].launches] == [False, True, False]
    assert [tensor.name for tensor in joined[0].workspace] == ["delta", added.added.tensor]


def test_values_of_another_width_are_zeroed_apart(tmp_path: Path) -> None:
    wide = ATTENTION.replace("D in {{64, 128}}", "D in {{64, 128}}, E in {{64}}")
    wide = wide.replace(
        "input  K, V: bf16 [B, G, T, D]", "input  K: bf16 [B, G, T, D]\n  input V: bf16 [B, G, T, E]"
    )
    wide = wide.replace("output O: bf16 [B, H, S, D]", "output O: bf16 [B, H, S, E]")
    wide = wide.replace("O[b, h, q, d] = ", "O[b, h, q, e] = ")
    value = VALUE.replace("V[b, h // (H // G), k, d]", "V[b, h // (H // G), k, e]")
    found = planned(tmp_path, value=value, archs=("sm_90a",), text=wide).kernels["f_gradient"].variants[0]
    kinds = [type(launch.problem) for launch in found.launches]
    assert found.schedule == "joined_gradient_tma"
    assert kinds == [RowsProblem, ElementwiseProblem, AttentionGradientProblem, RowsProblem]


def test_heads_of_a_group_are_summed_inside_of_a_block(tmp_path: Path) -> None:
    launches = planned(tmp_path).kernels["f_gradient"].variants[0].launches
    by_keys = launches[1].problem
    assert isinstance(by_keys, AttentionGradientProblem)
    assert [index.name for index in by_keys.passing] == ["h"] and len(by_keys.conditions) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": "", "more": ""},
        {"value": f"2 * {VALUE}"},
        {"score": SCORE.replace("K[", "V["), "value": VALUE},
    ],
    ids=["no logsumexp is kept", "the output is more than the weighted sum", "one tensor twice"],
)
def test_other_mathematics_goes_through_memory(tmp_path: Path, change: dict[str, str]) -> None:
    change = dict(change)
    found = planned(tmp_path, **change)
    if "f_gradient" in found.kernels:
        assert all(name.startswith("unfused_") for name in schedules(found))
    else:
        assert "V[" in change["score"]


def test_short_problems_are_one_launch(tmp_path: Path) -> None:
    """Without heads that share keys, no head passes: the others' guard says so. There, 64 keys find no room."""
    variants = planned(tmp_path).kernels["f_gradient"].variants
    packed = [variant for variant in variants if variant.schedule.endswith("gradient_packed")]
    assert [variant.config["length"] for variant in packed] == [16, 32, 64, 16, 32]
    for variant in packed:
        (launch,) = variant.launches
        assert isinstance(launch.problem, WholeGradientProblem) and not variant.workspace
        own = variant.schedule.startswith("fused_ungrouped_")
        assert bool(launch.problem.by_keys.passing) != own
        guards = [guard.condition for guard in variant.guards]
        assert (["eq", ["dim", "H"], ["dim", "G"]] in guards) == own
        assert ["le", ["dim", "T"], variant.config["length"]] in guards


BIASED = {
    "score": f"{SCORE} + 3 * bias[b, h, q, k]",
    "inputs": "  input bias: f32 [B, H, S, T]\n",
    "wanted": "Q, K, V, bias",
}


def test_the_gradient_of_a_bias_is_written_by_the_one_launch(tmp_path: Path) -> None:
    variants = planned(tmp_path, **BIASED).kernels["f_gradient"].variants
    problem = variants[0].launches[0].problem
    assert isinstance(problem, WholeGradientProblem)
    (store,) = problem.score_outputs
    assert store.tensor == "grad_bias" and [str(n) for n in map(index_name, store.indices)] == [
        "b",
        "h",
        "q",
        "k",
    ]
    assert "fused_gradient_tiles" not in {variant.schedule for variant in variants}


@pytest.mark.parametrize(
    "change",
    [
        {"score": f"{SCORE} + bias[h, q, k]", "inputs": "  input bias: f32 [H, S, T]\n"},
        {"score": f"{SCORE} + bias[b, h, q, q]", "inputs": "  input bias: f32 [B, H, S, S]\n"},
    ],
    ids=["one for all samples", "the same for all keys"],
)
def test_a_bias_that_many_scores_read_is_summed_elsewhere(tmp_path: Path, change: dict[str, str]) -> None:
    found = planned(tmp_path, **{**BIASED, **change})
    if "f_gradient" in found.kernels:
        assert not any("packed" in name for name in schedules(found))


def test_what_is_added_to_scores_has_its_derivative_in_the_kernel(tmp_path: Path) -> None:
    found = planned(tmp_path, score=f"{SCORE} + 0.5 * f32(q - k)")
    assert schedules(found)[0] == "fused_gradient_tiles"
