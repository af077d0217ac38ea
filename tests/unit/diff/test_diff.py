"""`spakc diff`: every change by its meaning, and who may make it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spakc.cli import cli
from spakc.resources import resource

PROJECT = """spak 1
use std.devices
targets h100, a100
let unused = 3
kernel mm: product {
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) }
  law no_spills: cubin.spill_bytes == 0 because "slow"
  schedule tiled {
    knob tile_m in {32, 64, 128}  knob tile_n in {32, 64, 128}  knob tile_k in {16, 32}
    let  smem = (tile_m + tile_n) * tile_k * sizeof(A)
    law  fits: smem <= 8 KiB
    law  shared: smem <= device.smem_per_block
  }
  schedule pipelined like tiled needs device.cp_async {
    knob stages in 2..4
    let  smem = stages * (tile_m + tile_n) * tile_k * sizeof(A)
    config wide on h100 { tile_m = 32  tile_n = 32  tile_k = 16  stages = 3 }
    prefer stages >= 3 when K >= 1024
  }
  verify { tolerance 2 * library_error + ulp(C)  values normal, integers
           shapes M in 1..64, N in 1..64, K in 1..64  cases 50 }
}
model Small {
  hyper width = 16
  law small: width <= 64
  part block(x: [B, T, width]) -> y: [B, T, width] { y = x + mlp(norm(x), hidden = 4 * width) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {
    x = block(embed(tokens, positions = learned))
    logits = unembed(norm(x), tied = true)
  }
}
dataset sums {
  sample a: digits(n)
  text reverse(a), "=", a, end
  loss after "="
  split train n in 1..3
  split far   n in {5} size 100
}
protocol careful { gate long { train(eval_every = 100)  require accuracy(self, train) >= 50% else hide far } }
experiment base {
  model Small
  data sums
  protocol careful
  train(steps = 500, batch = 64, seeds = {0, 1})
  optimizer adamw(betas = (0.9, 0.95))
  lr cosine(peak = 1e-3, warmup = 20)
}
claim learns: accuracy(base, far) >= 90% with confidence 95%
claim margin: accuracy(base, far) >= accuracy(base, train) - 1%
claim peak on h100: geomean(speed(mm, dtype = bf16)) >= 800 TFLOP/s for every (M, N, K) in {(64, 64, 64), (128, 64, 64)}
roles {
  architect   owns kernel, math, law, let, model, dataset, protocol, experiment, claim, targets, verify
  implementer owns schedule, knob, config, prefer, implement
}
"""


def diff(tmp_path: Path, old: str, new: str, *options: str) -> Result:
    for name, text in (("old", old), ("new", new)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "mine.spak").write_text(text)
    paths = [str(tmp_path / name / "mine.spak") for name in ("old", "new")]
    return CliRunner().invoke(cli, ["diff", *paths, "--format", "json", *options])


def rows(result: Result) -> dict[str, dict[str, object]]:
    return {row["statement"]: row for row in map(json.loads, result.stdout.splitlines())}


def replaced(*pairs: str) -> str:
    text = PROJECT
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


FITS, NO_SPILLS = "law mm.tiled.fits", "law mm.no_spills"
SMEM = "let  smem = (tile_m + tile_n)"
CHANGES = [
    (("smem <= 8 KiB", "smem <= 16 KiB"), {FITS: "weakened"}),
    (("smem <= 8 KiB", "smem <= 6 KiB"), {FITS: "strengthened"}),
    (("smem <= 8 KiB", "smem <= 6 KiB or tile_m == 128"), {FITS: "changed"}),
    (("smem <= 8 KiB", "smem <= 8192"), {FITS: "changed"}),  # a number is no size
    (("smem <= 8 KiB", "8 KiB >= smem"), {FITS: "reworded"}),
    (("smem <= 8 KiB", "0 >= smem - 4 * 2 KiB"), {FITS: "reworded"}),
    (("(tile_m + tile_n) * tile_k * sizeof(A)\n    law", "(tile_n * tile_k + tile_k * tile_m) * sizeof(A)\n    law"),
     {"let mm.tiled.smem": "reworded"}),
    (("A[m, k] * B[k, n]", "B[j, n] * A[m, j]", "sum[k]", "sum[j]"), {"math mm": "reworded"}),
    (("stages >= 3 when K >= 1024", "3 <= stages when 1024 <= K"), {"prefer mm.pipelined.3 <= stages": "reworded"}),
    (("(base, far) >= 90%", "(base, far) * 100 >= 90"), {"claim learns": "reworded"}),
    (("accuracy(base, far) >= accuracy(base, train) - 1%", "accuracy(base, train) - accuracy(base, far) <= 0.01"),
     {"claim margin": "reworded"}),
    (("2 * library_error + ulp(C)", "ulp(C) + library_error * 2"), {"verify mm": "reworded"}),
    (("== 0 because", "<= 16 because"), {NO_SPILLS: "weakened"}),
    (("== 0 because", "== 0 and cubin.registers <= 128 because"), {NO_SPILLS: "strengthened"}),
    (("== 0 because", "<= 16 and cubin.registers <= 128 because"), {NO_SPILLS: "changed"}),
    (('because "slow"', 'because "too slow"'), {NO_SPILLS: "reworded"}),
    (("2 * library_error", "3 * library_error"), {"verify mm": "weakened"}),
    (("2 * library_error", "1 * library_error"), {"verify mm": "strengthened"}),
    (("+ ulp(C)", ""), {"verify mm": "strengthened"}),
    (("2 * library_error + ulp(C)", "1 * library_error + 2 * ulp(C)"), {"verify mm": "changed"}),
    (("cases 50", "cases 49"), {"verify mm": "weakened"}),
    (("cases 50", ""), {"verify mm": "weakened"}),
    (("values normal, integers", "values normal"), {"verify mm": "weakened"}),
    (("shapes M in 1..64", "shapes M in 1..128"), {"verify mm": "strengthened"}),
    (("(base, far) >= 90%", "(base, far) >= 80%"), {"claim learns": "weakened"}),
    (("with confidence 95%", "with confidence 99%"), {"claim learns": "strengthened"}),
    (("with confidence 95%", ""), {"claim learns": "weakened"}),
    (("train) - 1%", "train) - 2%"), {"claim margin": "weakened"}),
    ((", (128, 64, 64)}", "}"), {"claim peak": "weakened"}),
    (("train) >= 50%", "train) >= 60%"), {"gate careful.long": "strengthened"}),
    ((" else hide far", ""), {"gate careful.long": "weakened"}),
    (("targets h100, a100", "targets h100"), {"targets": "weakened"}),
    (("knob stages in 2..4", "knob stages in 2..5"), {"knob mm.pipelined.stages": "changed"}),
    (("K >= 1024", "K >= 512"), {"prefer mm.pipelined.stages >= 3": "changed"}),
    (("stages = 3 }", "stages = 2 }"), {"config mm.pipelined.wide": "changed"}),
    (("let unused = 3", "let unused = 4"), {"let unused": "changed"}),
    (("let unused = 3", "let unused = 3  law few: unused <= 9"), {"law few": "added"}),
    (("let unused = 3", "let other = 3"), {"let other": "renamed"}),
    (("let unused = 3", ""), {"let unused": "removed"}),
    (("let unused = 3", "let unused = 3  let more = 1"), {"let more": "added"}),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "expected"), CHANGES, ids=lambda value: str(value)[:60])
def test_what_changed(edit: tuple[str, str], expected: dict[str, str], tmp_path: Path) -> None:
    result = diff(tmp_path, PROJECT, replaced(*edit))
    found = {id: str(row["change"]) for id, row in rows(result).items() if not row["altered"]}
    own = {id: kind for id, kind in found.items() if kind != "moved"}
    assert result.exit_code == 0, result.stderr
    assert expected.items() <= own.items() and len(own) == len(expected), own


WHAT = [
    (("smem <= 8 KiB", "smem <= 16 KiB"), FITS, [
        ("proposition", "smem <= 8 KiB", "smem <= 16 KiB", "same", "", ""),
        ("lawful points of `mm.tiled` on h100", "13 of 18", "18 of 18", "weaker",
         "tile_m = 32, tile_n = 128, tile_k = 32", ""),
    ]),
    (("== 0 because", "<= 16 because"), NO_SPILLS, [
        ("proposition", "cubin.spill_bytes == 0", "cubin.spill_bytes <= 16", "weaker", "`cubin.spill_bytes` = 16", ""),
    ]),
    (("== 0 because", "== 0 when M > 8 because"), NO_SPILLS, [
        ("proposition", "cubin.spill_bytes == 0", "cubin.spill_bytes == 0 when M > 8", "weaker",
         "`cubin.spill_bytes` = 1, `M` = 8", ""),
    ]),
    (("2 * library_error + ulp(C)", "3 * library_error + ulp(C)"), "verify mm", [
        ("tolerance", "2 * library_error + ulp(C)", "3 * library_error + ulp(C)", "weaker", "", ""),
    ]),
    (("cases 50", "cases 49", "values normal, integers", "values normal", "M in 1..64", "M in 1..128"), "verify mm", [
        ("cases", "50", "49", "weaker", "", ""),
        ("values", "normal, integers", "normal", "weaker", "", ""),
        ("shapes M", "1..64", "1..128", "stronger", "", ""),
    ]),
    (("(base, far) >= 90% with confidence 95%", "(base, far) >= 80% with confidence 99.5%"), "claim learns", [
        ("bound", "accuracy(base, far) >= 90%", "accuracy(base, far) >= 80%", "weaker",
         "`accuracy(base, far)` = 0.8", ""),
        ("confidence", "95%", "99.5%", "stronger", "", ""),
    ]),
    (("train) >= 50%", "train) >= 60%"), "gate careful.long", [
        ("requirement", "accuracy(self, train) >= 50%", "accuracy(self, train) >= 60%", "stronger", "",
         "`accuracy(self, train)` = 0.5"),
    ]),
    (("targets h100, a100", "targets h100"), "targets", [("for", "h100, a100", "h100", "weaker", "", "")]),
    (("knob stages in 2..4", "knob stages in 2..5"), "knob mm.pipelined.stages", [
        ("values", "2..4", "2..5", "unclear", "5", ""),
    ]),
    (("let unused = 3", "let unused = 4"), "let unused", [("value", "3", "4", "unclear", "", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "id", "expected"), WHAT, ids=lambda value: str(value)[:50])
def test_what_is_weaker(
    edit: tuple[str, ...], id: str, expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    row = rows(diff(tmp_path, PROJECT, replaced(*edit)))[id]
    found = [tuple(each.values()) for each in row["differences"]]  # type: ignore[attr-defined]
    assert found[: len(expected)] == expected
    for aspect, old, new, *_ in expected:
        assert f"{aspect}: {old}, now {new}" in str(row["detail"])


def test_another_order_of_rounding_is_charged_with_what_is_measured_by_it(tmp_path: Path) -> None:
    """The values are the same; the tolerance is what is lost on the way, so a lossy way would widen it."""
    add = "acc[m, n] = sum[k](A[m, k] * B[k, n]) C[m, n] = acc[m, n] + bias[n] + skip[n]"
    inputs = "input B: bf16 [K, N]\n  input bias: bf16 [N]\n  input skip: bf16 [N]"
    old = replaced("C[m, n] = sum[k](A[m, k] * B[k, n])", add, "input  B: bf16 [K, N]", inputs)
    same = old.replace("acc[m, n] + bias[n] + skip[n]", "skip[n] + (bias[n] + acc[m, n])")
    other = old.replace("acc[m, n] + bias[n] + skip[n]", "acc[m, n] + (bias[n] + skip[n])")
    lossy = old.replace("acc[m, n] + bias[n] + skip[n]", "acc[m, n] + 1e8 + bias[n] + skip[n] - 1e8")
    assert set(rows(diff(tmp_path, old, same, "--role", "implementer"))) == {"math mm"}
    for new in (other, lossy):
        result = diff(tmp_path, old, new, "--role", "implementer")
        found = rows(result)
        assert (found["math mm"]["change"], found["math mm"]["allowed"]) == ("reworded", True)
        charged = found["verify mm"]
        assert (charged["change"], charged["altered"], charged["causes"]) == ("changed", True, ["math mm"])
        assert "order in which" in str(charged["detail"]) and result.exit_code == 1
        fixed = [text.replace("2 * library_error + ulp(C)", "4 * ulp(C)") for text in (old, new)]
        assert diff(tmp_path, fixed[0], fixed[1], "--role", "implementer").exit_code == 0
        bare = [
            text[: text.index("  verify {")] + text[text.index("}\nmodel Small") :] for text in (old, new)
        ]
        unsaid = rows(diff(tmp_path, bare[0], bare[1], "--role", "implementer"))
        assert (unsaid["math mm"]["change"], unsaid["math mm"]["allowed"]) == ("changed", False)


def test_same_set_by_counting_is_neither_weaker_nor_stronger(tmp_path: Path) -> None:
    # between two sums of tiles: another number, the same points, in every schedule that has the law
    row = rows(diff(tmp_path, PROJECT, replaced("smem <= 8 KiB", "smem <= 8193 * 1 KiB / 1024")))[FITS]
    assert row["change"] == "changed" and "now" in str(row["detail"])


def test_a_let_under_a_law_is_charged_with_the_law(tmp_path: Path) -> None:
    new = replaced(SMEM, "let  smem = 2 * (tile_m + tile_n)")
    found = rows(diff(tmp_path, PROJECT, new))
    assert found["let mm.tiled.smem"]["altered"] is False
    law = found[FITS]
    assert (law["change"], law["altered"], law["causes"]) == ("strengthened", True, ["let mm.tiled.smem"])
    owner_of_lets = PROJECT.replace("law, let, model", "law, model").replace(
        "prefer, implement", "prefer, let, implement"
    )
    other = new.replace("law, let, model", "law, model").replace(
        "prefer, implement", "prefer, let, implement"
    )
    result = diff(tmp_path, owner_of_lets, other, "--role", "implementer")
    assert result.exit_code == 1
    assert {json.loads(line)["code"] for line in result.stderr.splitlines()} == {"SPAK603"}


def test_what_a_law_leaves_to_lets_is_its_meaning(tmp_path: Path) -> None:
    """It is true before and after: who may not loosen it now could not be held to it later."""
    old = replaced("let unused = 3", "let unused = 3  law few: unused <= 9")
    for new in (
        old.replace("<= 9", "<= 90"),
        old.replace("unused = 3", "unused = 13").replace("<= 9", "<= 19"),
    ):
        row = rows(diff(tmp_path, old, new, "--role", "implementer"))["law few"]
        assert (row["altered"], row["allowed"]) == (False, False)
    assert rows(diff(tmp_path, old, old.replace("unused = 3", "unused = 4")))["law few"]["altered"] is True


def test_a_device_fact_under_a_law_is_charged_with_the_law(tmp_path: Path) -> None:
    device = "device card { arch = sm_90a  cp_async = true  smem_per_block = 100 KiB }\n"
    roles = "prefer, implement", "prefer, implement, device"
    old = replaced(
        "targets h100, a100", "targets card", " on h100 {", " {", *roles, "claim peak on h100", "claim peak"
    )
    old = old.replace("let unused", device + "let unused")
    result = diff(tmp_path, old, old.replace("100 KiB", "200 KiB"), "--role", "implementer")
    found = rows(result)
    assert found["device card"]["allowed"] is True
    assert found["law mm.tiled.shared"]["allowed"] is False
    assert found["law mm.tiled.shared"]["causes"] == ["device card"]
    assert found["law mm.tiled.shared"]["altered"] is True
    assert FITS not in found, "a law that asks nothing of the device says what it said"


def test_an_architecture_is_charged_with_the_laws_of_machine_code(tmp_path: Path) -> None:
    device = "device card { arch = sm_80  cp_async = true  smem_per_block = 100 KiB }\n"
    roles = "prefer, implement", "prefer, implement, device"
    old = replaced(
        "targets h100, a100", "targets card", " on h100 {", " {", *roles, "claim peak on h100", "claim peak",
        "    law  fits:", "    law  few: cubin.registers <= 128\n    law  fits:",
    )  # fmt: skip
    old = old.replace("let unused", device + "let unused")
    result = diff(tmp_path, old, old.replace("sm_80", "sm_90"), "--role", "implementer")
    found = rows(result)
    assert set(found) == {"device card", NO_SPILLS, "law mm.tiled.few"} and result.exit_code == 1
    assert result.stderr.count('"SPAK603"') == 2 and found["device card"]["allowed"] is True
    law = found[NO_SPILLS]
    assert (law["change"], law["altered"], law["causes"]) == ("changed", True, ["device card"])
    assert law["detail"] == "about code for: sm_80, now sm_90"
    renamed = old.replace("device card", "device board").replace("targets card", "targets board")
    assert NO_SPILLS not in rows(diff(tmp_path, old, renamed)), (
        "the same code under another name of the device"
    )


def test_leaving_a_schedule_behind_does_not_leave_its_laws(tmp_path: Path) -> None:
    copied = replaced(
        "pipelined like tiled needs device.cp_async {",
        "pipelined needs device.cp_async {\n"
        "knob tile_m in {32, 64, 128}  knob tile_n in {32, 64, 128}  knob tile_k in {16, 32}",
    )
    result = diff(tmp_path, PROJECT, copied, "--role", "implementer")
    found = rows(result)
    assert found[FITS]["change"] == "weakened" and found[FITS]["allowed"] is False
    assert "schedules that it binds: 2, now 1" in str(found[FITS]["detail"])


def test_training_is_charged_with_the_claims_about_it(tmp_path: Path) -> None:
    found = rows(diff(tmp_path, PROJECT, replaced("steps = 500", "steps = 50")))
    assert found["train base"]["change"] == "changed"
    assert found["claim learns"]["altered"] is True and "train base" in found["claim learns"]["causes"]  # type: ignore[operator]
    assert "claim peak" not in found


def test_the_implementer_owns_his_levers(tmp_path: Path) -> None:
    new = replaced(
        "knob stages in 2..4", "knob stages in 2..6",
        "stages = 3 }", "stages = 4 }\n    config other { tile_m = 64  tile_n = 32  tile_k = 16  stages = 2 }",
        "K >= 1024", "K >= 2048",
    )  # fmt: skip
    result = diff(tmp_path, PROJECT, new, "--role", "implementer")
    assert result.exit_code == 0, result.stderr
    assert all(row["allowed"] for row in rows(result).values()) and len(rows(result)) == 4
    refused = diff(tmp_path, PROJECT, new, "--role", "architect")
    assert refused.exit_code == 1 and refused.stderr.count('"SPAK601"') == 4


def test_a_knob_of_words_is_narrowed_like_any_other(tmp_path: Path) -> None:
    """What laws say of the word that is gone stays as it was: it is odd, no mistake, and nothing is charged."""
    old = (resource("examples") / "kernels" / "matmul.spak").read_text()
    old += "roles { architect owns kernel, law, claim, verify\n implementer owns schedule, knob, config, prefer }\n"
    narrow = old.replace("in {cooperative, pingpong}", "in {pingpong}").replace(
        "tile_n = 256  tile_k = 64  stages = 4  consumers = 2  mode = cooperative",
        "tile_n = 128  tile_k = 64  stages = 4  consumers = 2  mode = pingpong",
    )
    result = diff(tmp_path, old, narrow, "--role", "implementer")
    assert result.exit_code == 0, result.stdout + result.stderr
    row = rows(result)["knob matmul.warp_specialized.mode"]
    assert row["differences"][0]["refused"] == "cooperative"  # type: ignore[index]
    assert set(rows(result)) == {row["statement"], "config matmul.warp_specialized.big"}
    checked = CliRunner().invoke(cli, ["check", str(tmp_path / "new" / "mine.spak"), "--format", "json"])
    said = [json.loads(line) for line in checked.stderr.splitlines()]
    assert {(each["code"], each["severity"]) for each in said} == {("SPAK139", "warning")}
    for wrong in ("when mode == pingpng", "when mode in {pingpng}"):
        typo = narrow.replace("when mode == pingpong", wrong, 1)
        assert '"SPAK120"' in diff(tmp_path, old, typo).stderr


def test_a_change_cannot_give_itself_the_right(tmp_path: Path) -> None:
    new = replaced(
        "smem <= 8 KiB", "smem <= 16 KiB", "prefer, implement\n", "prefer, implement, law, roles\n"
    )
    new = new.replace("math, law, let", "math, let")
    result = diff(tmp_path, PROJECT, new, "--role", "implementer")
    codes = [json.loads(line)["code"] for line in result.stderr.splitlines()]
    assert result.exit_code == 1 and sorted(codes) == ["SPAK601", "SPAK604", "SPAK604"]


def test_moving_formatting_and_other_words_need_no_right(tmp_path: Path) -> None:
    let = "    let  smem = (tile_m + tile_n) * tile_k * sizeof(A)\n"
    moved = replaced(let, "", "    law  shared:", let + "    law  shared:").replace(
        "  dim M, N, K", "  dim  M , N,K"
    )
    result = diff(tmp_path, PROJECT, moved, "--role", "implementer")
    assert result.exit_code == 0, result.stderr
    assert {row["change"] for row in rows(result).values()} == {"moved"}
    inlined = replaced("law  shared: smem <=", "law  shared: (tile_m + tile_n) * tile_k * sizeof(A) <=")
    inlined = inlined.replace("let  smem = stages * (tile_m", "let  smem = stages * (tile_m")
    found = rows(diff(tmp_path, PROJECT, inlined))
    assert found["law mm.tiled.shared"]["change"] != "reworded", "in `pipelined` the let was another one"


def test_the_order_of_targets_needs_no_right(tmp_path: Path) -> None:
    turned = replaced("targets h100, a100", "targets a100, h100")
    result = diff(tmp_path, PROJECT, turned, "--role", "implementer")
    assert result.exit_code == 0, result.stderr
    assert {name: row["change"] for name, row in rows(result).items()} == {"targets": "reworded"}


REORDERED = {
    "tensors": ("  input  A: bf16 [M, K]\n", "  input  B: bf16 [K, N]\n"),
    "options": ("  option one: bool = false\n", "  option two: bool = true\n"),
    "gates": ("  gate one { require 1 < 2 }\n", "  gate two { require 1 < 3 }\n"),
}


@pytest.mark.parametrize("what", REORDERED)
def test_an_order_that_says_something_is_no_moving(what: str, tmp_path: Path) -> None:
    """A call takes its tensors and options by their places, a protocol runs its gates in the order written: also where
    nothing that is measured stands on it."""
    old, new = ("".join(each) for each in (REORDERED[what], REORDERED[what][::-1]))
    bare = PROJECT[: PROJECT.index("  verify {")] + PROJECT[PROJECT.index("}\nmodel Small") :]
    if what == "options":
        bare = bare.replace("  law no_spills", f"{old}  law no_spills")
    if what == "gates":
        bare = bare.replace("experiment base {", f"protocol idle {{\n{old}}}\nexperiment base {{", 1)
    result = diff(tmp_path, bare, bare.replace(old, new), "--role", "implementer")
    found = [row for row in rows(result).values() if "order" in str(row["detail"])]
    assert [(row["change"], row["allowed"]) for row in found] == [("changed", False)], result.output
    assert result.exit_code == 1
    past_a_law = bare.replace('  law no_spills: cubin.spill_bytes == 0 because "slow"\n', "")
    past_a_law = past_a_law.replace(
        "  dim M, N, K\n", '  law no_spills: cubin.spill_bytes == 0 because "slow"\n  dim M, N, K\n'
    )
    assert diff(tmp_path, bare, past_a_law, "--role", "implementer").exit_code == 0


def test_a_type_that_is_that_of_another_tensor_is_charged_with_the_law(tmp_path: Path) -> None:
    old = replaced("input  B: bf16 [K, N]", "input  B: same(A) [K, N]", "output C: bf16", "output C: same(A)")
    old = old.replace("sizeof(A)", "sizeof(B)")
    found = rows(diff(tmp_path, old, old.replace("input  A: bf16", "input  A: f16"), "--role", "implementer"))
    assert found["law mm.tiled.fits"]["altered"], found


SWALLOWED = {
    "law Small.small": ("width <= 64", "width + 1e30 <= 64 + 1e30"),
    "gate careful.long": (">= 50%", ">= 50% - 1e30 + 1e30"),
    "law mm.no_spills": ("spill_bytes == 0", "spill_bytes * 1e-200 * 1e-200 == 0"),
    "math mm": ("A[m, k] * B[k, n])", "A[m, k] * B[k, n]) + 1e30 - 1e30"),
}


@pytest.mark.parametrize("id", SWALLOWED)
def test_what_floating_point_swallows_is_no_other_word_for_it(id: str, tmp_path: Path) -> None:
    """The same over the reals, and true of everything where it is computed."""
    old, new = (
        replaced("2 * library_error + ulp(C)", "4 * ulp(C)", *pair)
        for pair in ((SWALLOWED[id][0],) * 2, SWALLOWED[id])
    )
    result = diff(tmp_path, old, new, "--role", "implementer")
    assert rows(result)[id]["allowed"] is False and result.exit_code == 1, result.output


def test_prose_belongs_to_its_owner(tmp_path: Path) -> None:
    result = diff(tmp_path, PROJECT, replaced('because "slow"', 'because "fast"'), "--role", "implementer")
    assert result.exit_code == 1 and '"SPAK601"' in result.stderr


def test_no_such_role(tmp_path: Path) -> None:
    result = diff(tmp_path, PROJECT, PROJECT, "--role", "implementor")
    assert result.exit_code == 1
    (found,) = map(json.loads, result.stderr.splitlines())
    assert found["code"] == "SPAK602" and "implementer" in found["help"][0]
    bare = PROJECT[: PROJECT.index("roles {")]
    assert '"SPAK602"' in diff(tmp_path, bare, bare, "--role", "architect").stderr


def test_a_mistake_in_either_state_is_a_diagnostic(tmp_path: Path) -> None:
    for old, new in ((PROJECT, "spak 1\nkernel"), ("spak 1\nkernel", PROJECT)):
        result = diff(tmp_path, old, new)
        assert result.exit_code == 1 and not result.stdout and "SPAK1" in result.stderr


@pytest.mark.parametrize("path", sorted(resource("examples").rglob("*.spak")), ids=lambda path: path.stem)
def test_an_example_is_like_itself_however_it_is_formatted(path: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "examples"
    shutil.copytree(resource("examples"), root)
    other = root / path.relative_to(resource("examples"))
    assert CliRunner().invoke(cli, ["fmt", *map(str, root.rglob("*.spak"))]).exit_code == 0
    result = CliRunner().invoke(cli, ["diff", str(path), str(other)])
    assert (result.exit_code, result.stdout) == (0, "nothing changed\n"), result.output


BOTH = (
    PROJECT.replace("let unused = 3", "let ceiling = 8 KiB")
    .replace("smem <= device", "ceiling > 0 and smem <= device")
    .replace("  schedule tiled {", "  schedule naive { knob block in {8} }\n  schedule tiled {")
    .replace("config wide on h100 {", "config wide {")
)
"""With a schedule that is always there, and a law over a name of the file."""


def test_a_schedule_that_is_nowhere_takes_its_laws_along(tmp_path: Path) -> None:
    """A need that no target meets would be a way to be rid of a law without touching it."""
    nowhere = BOTH.replace("schedule tiled {", "schedule tiled needs device.smem_per_block >= 900 KiB {")
    result = diff(tmp_path, BOTH, nowhere, "--role", "implementer")
    assert result.exit_code == 1 and "SPAK603" in result.stderr, result.stdout + result.stderr
    fits = rows(result)["law mm.tiled.fits"]
    assert (fits["change"], fits["altered"], fits["causes"]) == ("weakened", True, ["schedule mm.tiled"])
    narrower = BOTH.replace("schedule tiled {", "schedule tiled needs device.tma {")
    fits = rows(diff(tmp_path, BOTH, narrower))["law mm.tiled.fits"]
    assert "binds `mm.tiled` on: h100 and a100, now h100" in str(fits["detail"])
    harmless = BOTH.replace("schedule tiled {", "schedule tiled needs device.cp_async {")
    assert diff(tmp_path, BOTH, harmless, "--role", "implementer").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    law  fits", "    let ceiling = 900 KiB\n    law  fits"),  # a name that the file has, too
        (
            "schedule pipelined like tiled needs device.cp_async {",
            "schedule pipelined needs device.cp_async { knob tile_m in {32} knob tile_n in {32} knob tile_k in {16}",
        ),
        ("schedule pipelined like tiled", "schedule mine like tiled { let smem = 1 KiB } schedule pipelined like mine"),
        ("    knob stages in 2..4", "    knob stages in 2..4\n    law fits: stages > 0 because \"the other is gone\""),
        ("    law  fits: smem <= 8 KiB\n", "    # law  fits: smem <= 8 KiB\n"),
        ("law  fits: smem <= 8 KiB", "law  fits: smem <= 8 KiB when tile_m == 32"),
        ("use std.devices", "use \"devices.spak\""),
        ("targets h100, a100", "targets a100"),
        ("cases 50", "cases 49"),
    ],
)  # fmt: skip
def test_no_way_around_a_law(old: str, new: str, tmp_path: Path) -> None:
    """Each leaves the text of a law alone, or hides what becomes of it."""
    assert old in BOTH
    (tmp_path / "new").mkdir(exist_ok=True)
    devices = (resource("examples") / "std" / "devices.spak").read_text()
    (tmp_path / "new" / "devices.spak").write_text(devices.replace("227 KiB", "900 KiB"))
    result = diff(tmp_path, BOTH, BOTH.replace(old, new), "--role", "implementer")
    codes = {json.loads(line)["code"] for line in result.stderr.splitlines()}
    assert result.exit_code == 1 and codes <= {"SPAK601", "SPAK603", "SPAK604"}, codes


BY_HAND = """spak 1
use std.devices
targets h100
kernel twice: elementwise {
  dim N
  input  x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
}
implement twice as mine on h100 { source = "mine.cu"  entry = "twice_by_hand"  threads = 256  grid = 1 }
dataset poem { text characters(file("poem.txt"))  split train fraction 90%  split test fraction 10% }
dataset other { text characters(corpus("this"))  split train fraction 90%  split test fraction 10% }
model Small {
  hyper width = 16
  part block(x: [B, T, width]) -> y: [B, T, width] { y = x + mlp(norm(x), hidden = 4 * width) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {
    x = block(embed(tokens, positions = learned))
    logits = unembed(norm(x), tied = true)
  }
}
experiment base {
  model Small
  data poem
  train(steps = 5, batch = 4, seeds = {0}, context = 8)
  optimizer adamw()
  lr cosine(peak = 1e-3, warmup = 2)
}
experiment beside like base { data other }
claim learns: accuracy(base, test) >= 50%
claim stands: accuracy(beside, test) >= 50%
roles {
  architect   owns kernel, model, experiment, claim, roles
  implementer owns implement
  librarian   owns dataset
}
"""
KERNEL = '#include "tail.cuh"\nSPAK_KERNEL(twice_by_hand, Twice) { tail(); }\n'


def files_diff(tmp_path: Path, changed: dict[str, str | None], role: str) -> Result:
    """The diff of a project with itself of which some files have another content (None: are not there)."""
    files = {"mine.cu": KERNEL, "tail.cuh": "void tail() {}\n", "poem.txt": "a rose is a rose\n"}
    for name, texts in (("old", files), ("new", {**files, **changed})):
        (tmp_path / name).mkdir()
        for file, text in texts.items():
            if text is not None:
                (tmp_path / name / file).write_text(text)
    return diff(tmp_path, BY_HAND, BY_HAND, "--role", role)


@pytest.mark.parametrize("file", ["mine.cu", "tail.cuh"])
def test_the_source_of_a_hand_written_kernel_belongs_to_its_implement(file: str, tmp_path: Path) -> None:
    changed: dict[str, str | None] = {
        file: "void tail() {}  // faster\n" + (KERNEL if file == "mine.cu" else "")
    }
    refused = files_diff(tmp_path, changed, "architect")
    (row,) = rows(refused).values()
    assert (row["statement"], row["change"], row["altered"]) == ("implement twice as mine", "changed", False)
    assert refused.exit_code == 1 and '"SPAK601"' in refused.stderr
    paths = [str(tmp_path / name / "mine.spak") for name in ("old", "new")]
    assert CliRunner().invoke(cli, ["diff", *paths, "--role", "implementer"]).exit_code == 0


@pytest.mark.parametrize("content", ["a rose is not a rose\n", None])
def test_a_corpus_is_charged_with_what_is_trained_on_it(content: str | None, tmp_path: Path) -> None:
    result = files_diff(tmp_path, {"poem.txt": content}, "librarian")
    found = rows(result)
    assert set(found) == {"text poem", "data of base", "claim learns"}
    assert found["text poem"]["allowed"] is True and found["text poem"]["altered"] is False
    assert found["claim learns"]["causes"] == ["text poem"] and found["claim learns"]["altered"] is True
    assert result.exit_code == 1 and result.stderr.count('"SPAK603"') == 2


def test_files_that_did_not_change_are_no_change(tmp_path: Path) -> None:
    result = files_diff(tmp_path, {}, "architect")
    assert (result.exit_code, result.stdout) == (0, ""), result.output


def test_roles_of_a_used_file_give_no_right_but_are_seen(tmp_path: Path) -> None:
    root = PROJECT.replace("use std.devices\n", 'use std.devices\nuse "lib.spak"\n').replace(
        "verify\n", "verify, roles\n"
    )
    assert root.count("lib.spak") == 1 and root.count("verify, roles") == 1
    roles = "roles { implementer owns law, let }\n"
    for name, more in (("old", ""), ("new", roles)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lib.spak").write_text(f"spak 1\nlet cap = 512\n{more}")
    result = diff(tmp_path, root, root, "--role", "implementer")
    (row,) = rows(result).values()
    assert (row["statement"], row["change"], row["allowed"]) == (
        "role implementer in lib.spak",
        "added",
        False,
    )
    assert result.exit_code == 1 and '"SPAK601"' in result.stderr
    (tmp_path / "old" / "lib.spak").write_text(f"spak 1\nlet cap = 512\n{roles}")
    (tmp_path / "new" / "lib.spak").write_text(f"spak 1\nlet cap = 513\n{roles}")
    (row,) = rows(diff(tmp_path, root, root, "--role", "implementer")).values()
    assert (row["statement"], row["owner"], row["allowed"]) == ("let cap", "architect", False)
