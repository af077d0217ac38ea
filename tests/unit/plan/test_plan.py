"""Which variants a file gets, in which order, and what is said of the schedules that get none."""

from __future__ import annotations

from pathlib import Path

import pytest

from spak_runtime.expressions import Environment, evaluate
from spakc.diagnostics import Sink
from spakc.diagnostics.codes import CODES
from spakc.plan.cost_model import product_time
from spakc.plan.plan import Plan, plan
from spakc.plan.problem import RowsProblem
from spakc.plan.select import REFERENCE_SHAPES, Measurement, all_references
from spakc.plan.template import Resources, Template
from spakc.plan.templates import ANNOUNCED
from spakc.plan.templates_product import PIPELINED as PIPELINED_TEMPLATE
from spakc.plan.templates_warp_specialized import WARP_SPECIALIZED
from spakc.plan.variants import NEAR, ahead_of_time
from spakc.target import TARGETS
from tests.unit.emit.planned import ARCHS, ROOT, checked
from tests.unit.emit.points import batched

PRODUCT = """spak 1
use std.devices
targets {targets}
kernel f: product {{
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
{more}  math {{ C[m, n] = sum[k](A[m, k] * B[k, n]) }}
{schedules}}}
"""
NAIVE = "  schedule naive { knob block in {8, 16, 32} }\n"
PIPELINED = """  schedule pipelined needs device.cp_async {{
    knob tile_m in {{32, 64, 128}}  knob tile_n in {{64, 128}}  knob tile_k in {{32}}  knob stages in 2..4
    {more}
  }}
"""


class Planner:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = Sink()

    def __call__(
        self,
        schedules: str,
        *,
        more: str = "",
        targets: str = "a100",
        archs: tuple[str, ...] = (),
        measurements: tuple[Measurement, ...] = (),
    ) -> Plan:
        path = self.folder / "file.spak"
        path.write_text(PRODUCT.format(schedules=schedules, more=more, targets=targets))
        return plan(checked(path), archs, self.sink, measurements)

    @property
    def codes(self) -> list[str]:
        return [diagnostic.code for diagnostic in self.sink.diagnostics]


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    return Planner(tmp_path)


def test_the_last_variant_answers_every_call(planner: Planner) -> None:
    kernel = planner(PIPELINED.format(more="") + NAIVE).kernels["f"]
    assert kernel.variants[-1].schedule == "naive" and not kernel.variants[-1].guards
    guarded = [bool(variant.guards) for variant in kernel.variants]
    assert any(guarded) and guarded == sorted(guarded, reverse=True)


def test_a_portfolio_serves_small_and_large_calls(planner: Planner) -> None:
    """Each of its configs is the fastest of all at some reference shape, by the model that a call asks too."""
    found = [
        v
        for v in planner(PIPELINED.format(more="") + NAIVE).kernels["f"].variants
        if v.schedule == "pipelined"
    ]
    assert len(found) >= 2
    times = [variant.at_reference["sm_80"] for variant in found]
    fastest = {min(range(len(found)), key=lambda i: times[i][s]) for s in range(len(REFERENCE_SHAPES))}
    assert fastest == set(range(len(found)))
    for variant in found:
        for shape, seconds in zip(REFERENCE_SHAPES, variant.at_reference["sm_80"], strict=True):
            dims = {"M": shape.rows, "N": shape.columns, "K": shape.depth}
            at_a_call = Environment(dims=dims, facts={"sms": TARGETS["sm_80"].sms})
            assert evaluate(variant.estimates["sm_80"], at_a_call) == pytest.approx(seconds, rel=5e-3)


@pytest.mark.parametrize("batch", [1, 64, 2048])
@pytest.mark.parametrize("length", [8, 16, 24, 64])
def test_short_sequences_are_packed_however_few(attention: Plan, batch: int, length: int) -> None:
    """Rows one after the other take 27 us where packed ones take 5 (64 sequences of 16, H100)."""
    dims = {"B": batch, "H": 1, "G": 1, "Sq": length, "Sk": length, "D": 64}
    call = Environment(dims=dims, facts={"sms": TARGETS["sm_90a"].sms})
    times = {
        v.schedule: evaluate(v.estimates["sm_90a"], call) for v in attention.kernels["fmha_biased"].variants
    }
    assert times["v1_naive"] > 2 * times["packed"] > 0


@pytest.fixture(scope="module")
def attention() -> Plan:
    return plan(checked(ROOT / "examples/kernels/fmha.spak"), ("sm_90a",), Sink())


@pytest.mark.parametrize("template", [WARP_SPECIALIZED, PIPELINED_TEMPLATE])
def test_all_reference_shapes_at_once_take_what_each_takes(template: Template) -> None:
    """Lengths and layouts of rows included, which hundreds of configs of a portfolio are for."""
    hopper, takes = TARGETS["sm_90a"], Resources(128, 128, 48_000)
    together = product_time(template, template.defaults, takes, all_references(), hopper).seconds
    each = [product_time(template, template.defaults, takes, s, hopper).seconds for s in REFERENCE_SHAPES]
    assert list(together) == pytest.approx(each, rel=1e-12)


def test_preferences_become_conditions_of_a_call(planner: Planner) -> None:
    prefer = "prefer tile_m == 128 when M >= 1000"
    found = planner(NAIVE + PIPELINED.format(more=prefer)).kernels["f"].variants
    for variant in (v for v in found if v.schedule == "pipelined"):
        expected = [] if variant.config["tile_m"] == 128 else [["or", ["not", ["ge", ["dim", "M"], 1000]]]]
        assert [wanted[:2] for wanted in variant.prefers] == expected


def test_a_kernel_without_schedules_gets_those_of_its_family(planner: Planner) -> None:
    kernel = planner("").kernels["f"]
    assert {variant.schedule for variant in kernel.variants} == {"pipelined", "tiled"}
    assert not kernel.variants[-1].guards


def test_an_answer_is_added_where_every_schedule_has_a_guard(planner: Planner) -> None:
    law = "law whole: M % 64 == 0"
    kernel = planner(NAIVE + PIPELINED.format(more=law)).kernels["f"]
    guarded = [v for v in kernel.variants if v.schedule == "pipelined"]
    assert all("f.pipelined.whole" in {guard.law for guard in v.guards} for v in guarded)


@pytest.mark.parametrize("code", ["SPAK701", "SPAK702", "SPAK704"])
def test_codes_have_examples_that_earn_them(planner: Planner, code: str) -> None:
    for text, expected in ((CODES[code].wrong, True), (CODES[code].right, False)):
        path = planner.folder / "example.spak"
        path.write_text(text)
        sink = Sink()
        plan(checked(path), (), sink)
        assert (code in [d.code for d in sink.diagnostics]) is expected


def test_a_misspelt_knob_names_the_nearest_and_lists_all(planner: Planner) -> None:
    planner("  schedule naive { knob blocks in {8, 16} }\n")
    (found,) = planner.sink.diagnostics
    assert found.code == "SPAK702" and found.help == ("did you mean `block`?",)
    assert "8, 16 or 32" in found.notes[0]


def test_a_rung_without_a_template_is_undecided(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANNOUNCED, "product", ("from_tomorrow_on",))
    found = planner(NAIVE + "  schedule from_tomorrow_on { knob block in {16} }\n")
    assert planner.codes == []
    (undecided,) = found.undecided
    assert undecided.schedule == "from_tomorrow_on" and "yet" in undecided.reason


def test_like_gives_a_schedule_the_template_of_another(planner: Planner) -> None:
    kernel = planner(NAIVE + "  schedule coarse like naive { knob block in {32} }\n").kernels["f"]
    assert [v.config for v in kernel.variants if v.schedule == "coarse"] == [{"block": 32}]


def test_an_unknown_architecture(planner: Planner) -> None:
    planner(NAIVE, archs=("sm_91",))
    assert planner.codes == ["SPAK703"]


def test_what_does_not_fit_is_not_built(planner: Planner) -> None:
    """4 stages of 128 x 128 x 64 take 131072 bytes: an A100 has them, an RTX 4090 does not."""
    schedule = """  schedule pipelined {
    knob tile_m in {128}  knob tile_n in {128}  knob tile_k in {64}  knob stages in {4}
  }
"""
    kernel = planner(NAIVE + schedule, archs=("sm_80", "sm_89")).kernels["f"]
    (found,) = [v for v in kernel.variants if v.schedule == "pipelined"]
    assert found.archs == ("sm_80",)


def test_a_config_of_the_file_is_built(planner: Planner) -> None:
    config = "config small { tile_m = 32  tile_n = 64  tile_k = 32  stages = 2 }"
    kernel = planner(NAIVE + PIPELINED.format(more=config)).kernels["f"]
    assert "pipelined.small" in [variant.id for variant in kernel.variants]


def test_measurements_come_before_preferences_and_these_before_the_model(planner: Planner) -> None:
    def chosen(more: str, *measured: Measurement) -> list[dict[str, object]]:
        found = planner(NAIVE + PIPELINED.format(more=more), measurements=measured).kernels["f"]
        return [dict(v.config) for v in found.variants if v.schedule == "pipelined"]

    by_model = chosen("")
    assert all(config["stages"] != 2 for config in by_model)
    by_preference = chosen("prefer stages == 2")
    assert all(config["stages"] == 2 for config in by_preference)
    odd = {"tile_m": 32, "tile_n": 64, "tile_k": 32, "stages": 3}
    shapes = [(4096, 4096, 4096), (8192, 8192, 8192), (16_384, 768, 3072), (1024, 1024, 1024)]
    measured = [
        Measurement("f", "pipelined", "sm_80", odd, dict(zip("MNK", shape, strict=True)), 1e-6)
        for shape in shapes
    ]
    by_evidence = planner(NAIVE + PIPELINED.format(more="prefer stages == 2"), measurements=tuple(measured))
    found = next(v for v in by_evidence.kernels["f"].variants if dict(v.config) == odd)
    assert "measured" in found.reason


def test_what_no_call_can_get_is_not_built_ahead(planner: Planner) -> None:
    tiled = "  schedule tiled { knob tile_m in {64}  knob tile_n in {64}  knob tile_k in {16} }\n"
    same = "  schedule same like tiled { knob tile_m in {64} }\n"
    variants = planner(NAIVE + tiled + same + PIPELINED.format(more="")).kernels["f"].variants
    assert {variant.schedule for variant in variants} == {"pipelined", "tiled", "same", "naive"}
    built = ahead_of_time(variants, "sm_80")
    assert {variant.schedule for variant in built} == {"pipelined", "tiled"}
    assert ahead_of_time(variants, "sm_90a") == ()
    most = [v for v in variants if v.guards]
    assert {len(v.guards) for v in most} == {len(most[0].guards)} and len(most) > 2
    for s in range(len(REFERENCE_SHAPES)):  # no call that meets all guards gets much less for it
        fastest = min(v.at_reference["sm_80"][s] for v in most)
        assert min(v.at_reference["sm_80"][s] for v in built if v.guards) <= NEAR * fastest
    assert sum(not v.guards for v in built) == 1, "and one answers the calls that do not"


def test_sums_in_parts_are_of_a_schedule_of_their_own_and_not_built_ahead() -> None:
    found = plan(checked(ROOT / "examples" / "kernels" / "matmul.spak"), ("sm_90a",), Sink())
    variants = found.kernels["matmul"].variants
    parted = [variant for variant in variants if variant.schedule == "in_parts"]
    assert 0 < len(parted) <= 6 and all(len(variant.launches) == 2 for variant in parted)
    assert all(len(variant.launches) == 1 for variant in variants if variant not in parted)
    built = ahead_of_time(variants, "sm_90a")
    assert len(built) > 4 and "in_parts" not in {variant.schedule for variant in built}


def test_what_has_no_parts_is_told(tmp_path: Path) -> None:
    """A schedule of sums in parts, where each sum has a batch: nothing is generated by it, and calls have an answer."""
    path = tmp_path / "heads.spak"
    path.write_text(batched("in_parts", "knob tile_m in {128}"))
    kernel = plan(checked(path), ("sm_90a",), Sink()).kernels["heads"]
    (undecided,) = [each for each in kernel.undecided if each.schedule == "in_parts"]
    assert "without a batch" in undecided.reason
    assert kernel.variants and not any(variant.schedule == "in_parts" for variant in kernel.variants)


def test_every_target_is_planned_alike() -> None:
    found = plan(checked(ROOT / "examples" / "kernels" / "matmul.spak"), ARCHS, Sink())
    for kernel in found.kernels.values():
        for arch in ARCHS:
            assert any(arch in variant.archs and not variant.guards for variant in kernel.variants)


def test_targets_answer_questions() -> None:
    hopper, ada = TARGETS["sm_90a"], TARGETS["sm_89"]
    assert hopper.has("wgmma") and not ada.has("tma") and hopper.capability == 90
    assert hopper.resident_blocks(128, 32, 0) == 16
    assert hopper.resident_blocks(256, 255, 0) == 1
    assert ada.resident_blocks(128, 32, 101_377) == 0
    assert ada.resident_blocks(128, 32, 50_000) == 2


def test_a_used_kernel_is_trained_through() -> None:
    found = plan(checked(ROOT / "examples" / "looplm" / "addition.spak"), ("sm_90a",), Sink())
    (gradient,) = found.kernels["matmul"].gradients
    assert set(gradient.inputs) == {"A", "B", "bias"} and gradient.outputs == ("C",)
    backward = found.kernels[gradient.kernel]
    first = backward.variants[0]
    assert first.guards[0].condition == ["eq", ["option", "activation"], "identity"]
    assert len(first.launches) < len(backward.variants[-1].launches)


def test_a_sum_down_columns_is_taken_in_parts() -> None:
    found = plan(checked(ROOT / "examples" / "kernels" / "train.spak"), ("sm_80",), Sink())
    variant = found.kernels["rms_norm_gradient"].variants[-1]
    (parts,) = variant.workspace
    assert parts.shape[0] == 64 and len(variant.launches) == 3
    assert variant.launches[1].grid[0] == ["ceil_div", ["mul", ["dim", "N"], 64], 32]
    two = found.kernels["layer_norm_gradient"].variants[-1]
    assert len(two.workspace) == 2 and len(two.launches) == 3, (
        "both sums of a pass are taken in parts together"
    )


def test_a_sum_down_columns_joins_the_pass_along_the_rows() -> None:
    found = plan(checked(ROOT / "examples" / "kernels" / "train.spak"), ("sm_90a",), Sink())
    for name, sums in (("rms_norm_gradient", 1), ("layer_norm_gradient", 2)):
        first = found.kernels[name].variants[0]
        rows, added = (launch.problem for launch in first.launches)
        assert isinstance(rows, RowsProblem) and isinstance(added, RowsProblem)
        assert len(rows.column_sums) == len(first.workspace) == sums and not added.element_outputs
        assert first.launches[0].grid[0] == first.workspace[0].shape[0], (
            "each block writes one part of a column"
        )
        last = found.kernels[name].variants[-1]
        assert not any(isinstance(x.problem, RowsProblem) and x.problem.column_sums for x in last.launches)


@pytest.mark.parametrize(
    ("total", "joined"),
    [
        ("y[r, n] * y[r, n]", True),
        ("x[r, n]", True),
        ("y[r, n] * s[r]", True),
        ("s[(r + 1) % R] * x[r, n]", False),
    ],
)
def test_what_rows_write_is_summed_as_they_compute_it(total: str, joined: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.spak"
    path.write_text(
        "spak 1\nkernel f: chain {\n  dim R, N\n  input x: f32 [R, N]\n  output y: f32 [R, N]\n"
        "  output s: f32 [R]\n  output total: f32 [N]\n  math {\n    s[r] = sum[n](x[r, n])\n"
        f"    y[r, n] = x[r, n] * s[r]\n    total[n] = sum[r]({total})\n  }}\n}}\n"
    )
    first = plan(checked(path), ("sm_90a",), Sink()).kernels["f"].variants[0]
    assert len(first.launches) == (2 if joined else 3)


@pytest.mark.parametrize(
    ("value", "flat"),
    [("x[r, n] * s[]", True), ("x[r, n] + w[n]", False), ("x[r, n] * n", False), ("x[r, n] * N", True)],
)
def test_whole_tensors_in_one_piece_have_one_index(value: str, flat: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.spak"
    path.write_text(
        "spak 1\nkernel f: elementwise {\n  dim R, N\n  input x: f32 [R, N]\n  input w: f32 [N]\n"
        "  input s: f32 []\n  output y: f32 [R, N]\n"
        f"  math {{ y[r, n] = {value} + 0 * w[0] * s[] }}\n}}\n"
    )
    variants = plan(checked(path), ("sm_90a",), Sink()).kernels["f"].variants
    spaces = {len(variant.launches[0].problem.space) for variant in variants}  # type: ignore[union-attr]
    assert spaces == ({1, 2} if flat else {2})
    if flat:
        asked = [guard.condition for guard in variants[0].guards if guard.law == "flat"]
        assert ["le", ["mul", ["dim", "R"], ["dim", "N"]], 2**31 - 1] in asked
        assert ["and", ["eq", ["stride", "x", 0], ["dim", "N"]], ["eq", ["stride", "x", 1], 1]] in asked


SCALED = """spak 1
use std.devices
targets a100
kernel k: elementwise {{
  dim N
  input  x: f32 [N]
  output y: f32 [N]
  math {{ y[i] = 2 * x[i] }}
  schedule grid_stride {{
    knob threads in {{128, 256, 512}}
    knob vector  in {{{vectors}}}
    law  wide: threads * vector >= 512
  }}
}}
"""


@pytest.mark.parametrize(
    ("vectors", "answer"), [("1, 2, 4", "grid_stride.512x1"), ("2, 4", "answer_grid_stride.128x1")]
)
def test_the_last_variant_keeps_the_laws_of_its_schedule(tmp_path: Path, vectors: str, answer: str) -> None:
    """A point that check counts as cut is never built under the schedule's name."""
    path = tmp_path / "k.spak"
    path.write_text(SCALED.format(vectors=vectors))
    variants = plan(checked(path), (), Sink()).kernels["k"].variants
    of_schedule = [variant for variant in variants if variant.schedule == "grid_stride"]
    assert all(variant.config["threads"] * variant.config["vector"] >= 512 for variant in of_schedule)
    assert variants[-1].id == answer and not variants[-1].guards
