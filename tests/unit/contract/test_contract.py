"""The contract of a role: the data, its published schema, the page."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from spakc.cli import cli
from spakc.commands import tune
from spakc.resources import resource
from tests.unit.cli.invoke import TWICE
from tests.unit.tune.test_tune import Pretended, on_a_device, request, takes, written  # noqa: F401 (a fixture)

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
FILES = [*sorted(resource("examples").rglob("*.spak")), resource("templates") / "project" / "project.spak"]
TWO = """spak 1
use std.devices
targets h100, a100
intent "Fast enough."
kernel mm: product {
  intent "A product."
  dim M, N, K
  input  A: bf16 | f32 [M, K]
  input  B: same(A) [K, N]
  output C: same(A) [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) }
  schedule naive { knob block in {8, 16} }
  schedule tiled {
    knob tile_m in {32, 64, 128}  knob tile_n in {32, 64, 128}  knob tile_k in {16, 32}
    law  fits: (tile_m + tile_n) * tile_k * sizeof(A) <= 8 KiB because "there is no more"
    law  wide: tile_m >= 64
    law  deep: tile_k * sizeof(A) <= 64 when tile_m == 64
    law  large: tile_k == 32
    law  idle: tile_n >= 32
    config plain { tile_m = 64  tile_n = 64  tile_k = 32 }
    prefer tile_n >= 64 when M >= 1024
  }
  verify { tolerance 2 * library_error + ulp(C)  values normal  shapes M in 1..64, N in 1..64, K in 1..64  cases 50 }
}
claim fast on h100: speed(mm, M = 64, N = 64, K = 64, dtype = bf16) >= 1 TFLOP/s with confidence 95%
roles {
  architect   owns kernel, law, claim
  implementer owns schedule, knob, config, prefer
}
"""


def contract(path: Path, role: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["contract", str(path), "--role", role, "--format", "json"])
    assert result.exit_code == 0, result.output
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.spak"
    path.write_text(TWO)
    return path


LETS = """spak 1
targets small, large
device small { arch = sm_80  smem_per_block = 16 KiB  smem_per_sm = 32 KiB }
device large { arch = sm_90a  smem_per_block = 64 KiB }
let half = 1 / 2
kernel twice: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
  let most = 4 KiB * 2
  schedule grid_stride {
    knob vector in {1, 2, 4}  knob threads in {128, 256}
    let area = vector * threads * sizeof(x)
    let share = device.smem_per_block * half
    law fits: area <= share and area < most / 2
  }
}
"""


def test_what_laws_are_written_in_has_its_values(tmp_path: Path) -> None:
    path = tmp_path / "lets.spak"
    path.write_text(LETS)
    for role in ("implementer", "architect"):
        data = contract(path, role)
        kernel = data["kernels"][0]
        assert [(let["name"], let["text"], let["value"]) for let in data["lets"]] == [("half", "1 / 2", 0.5)]
        assert [(let["name"], let["value"]) for let in kernel["lets"]] == [("most", 8192)]
        area, share = kernel["schedules"][0]["lets"]
        assert (area["text"], area["value"]) == ("vector * threads * sizeof(x)", None)
        assert {(each["target"], each["least"], each["most"]) for each in area["reach"]} == {
            ("small", 512, 2048), ("large", 512, 2048),
        }  # fmt: skip
        assert [(each["target"], each["most"]) for each in share["reach"]] == [
            ("small", 8192),
            ("large", 32768),
        ]
        assert data["devices"] == [
            {"device": "small", "facts": {"arch": "sm_80", "smem_per_block": 16384}},
            {"device": "large", "facts": {"arch": "sm_90a", "smem_per_block": 65536}},
        ]
        page = CliRunner().invoke(cli, ["contract", str(path), "--role", role]).stdout
        assert "* small: arch = sm_80, smem_per_block = 16384" in page
        assert "* let `half = 1 / 2` = 0.5" in page
        assert (
            "* let `area = vector * threads * sizeof(x)`: 512 to 2048 on small; 512 to 2048 on large" in page
        )


@pytest.mark.parametrize("role", ["implementer", "architect"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_data_is_what_the_schema_says(path: Path, role: str) -> None:
    validator("spak-contract-1").validate(contract(path, role))


@pytest.mark.parametrize("role", ["implementer", "architect"])
def test_the_schema_misses_nothing(role: str, two: Path) -> None:
    data, check = contract(two, role), validator("spak-contract-1")
    check.validate(data)
    for key in data:
        assert not check.is_valid({k: v for k, v in data.items() if k != key}), key
        assert not check.is_valid(data | {key: 7}), key
    other = copy.deepcopy(data)
    other["statements"][0]["more"] = 1
    assert not check.is_valid(other)
    assert not check.is_valid(data | {"role": "architect" if role == "implementer" else "implementer"})


def test_the_implementer_is_told_what_is_demanded_and_what_is_hers(two: Path) -> None:
    data = contract(two, "implementer")
    levers = [lever["statement"] for lever in data["levers"]]
    assert levers[:2] == ["schedule mm.naive", "knob mm.naive.block"]
    assert "config mm.tiled.plain" in levers and not any("law" in lever for lever in levers)
    (kernel,) = data["kernels"]
    assert kernel["math"] == ["C[m, n] = sum[k](A[m, k] * B[k, n])"]
    assert kernel["verification"]["tolerance"] == "2 * library_error + ulp(C)"
    tiled = kernel["schedules"][1]
    space = tiled["spaces"][0]
    # deep leaves tile_m = 64 to bf16; large leaves tile_k = 32; then fits leaves bf16 tile_m + tile_n <= 128
    assert (space["target"], space["points"], space["lawful"]) == ("h100", 36, 2)
    assert space["values"] == {"tile_m": [64], "tile_n": [32, 64], "tile_k": [32]}
    (claim,) = data["claims"]
    assert (claim["verdict"], claim["means"], claim["confidence"]) == ("undecided", "measurement", 0.95)


def test_the_architect_is_told_what_the_laws_do(two: Path) -> None:
    data = contract(two, "architect")
    cuts = {c["law"]: c for row in data["cuts"] if row["target"] == "a100" for c in row["laws"]}
    assert cuts["mm.tiled.wide"]["alone"] + cuts["mm.tiled.wide"]["among"] == 12
    assert data["idle"] == ["mm.tiled.idle"]
    conflict = data["conflicts"][0]
    assert (conflict["schedule"], conflict["problem"]) == ("mm.tiled", "A: f32")
    assert conflict["laws"] == ["mm.tiled.fits", "mm.tiled.wide", "mm.tiled.large"]
    assert {(r["knob"], tuple(r["values"])) for r in data["unreachable"]} == {
        ("tile_m", (32, 128)), ("tile_n", (128,)), ("tile_k", (16,)),
    }  # fmt: skip
    assert {row["statement"] for row in data["prose"]} == {
        "intent 1",
        "intent kernel mm",
        "law mm.tiled.fits",
    }
    assert [row["text"] for row in data["prefers"]] == ["tile_n >= 64 when M >= 1024"]
    assert {row["statement"] for row in data["undecided"]} == {"verify mm", "claim fast"}
    assert data["violated"] == data["stale"] == []


def test_broken_laws_have_a_page(two: Path) -> None:
    text = two.read_text().replace("<= 8 KiB", "<= 2 KiB")
    two.write_text(text.replace("  schedule naive", "  law wrong: 2 > 3\n  schedule naive"))
    for role in ("implementer", "architect"):
        result = CliRunner().invoke(cli, ["contract", str(two), "--role", role, "--format", "json"])
        told = {json.loads(line)["code"] for line in result.stderr.splitlines()}
        assert (result.exit_code, told) == (1, {"SPAK202", "SPAK203"}), result.output
        data = json.loads(result.stdout)
        validator("spak-contract-1").validate(data)
    assert {row["schedule"] for row in data["conflicts"]} == {"mm.tiled"}
    assert {law for row in data["conflicts"] for law in row["laws"]} >= {"mm.tiled.fits"}
    assert any("mm.wrong" in str(row) for row in data["violated"])


def test_any_other_mistake_has_none(two: Path) -> None:
    two.write_text(two.read_text().replace("tile_k == 32", "tile_q == 32"))
    result = CliRunner().invoke(cli, ["contract", str(two), "--role", "architect"])
    assert (result.exit_code, result.stdout) == (1, "")


def test_the_architect_is_told_what_is_stale_and_violated(tmp_path: Path) -> None:
    path = tmp_path / "mine.spak"
    path.write_text(TWICE)
    verified = CliRunner().invoke(cli, ["verify", str(path)])
    assert verified.exit_code == 3, verified.output
    data = contract(path, "architect")
    assert [row["statement"] for row in data["violated"]] == ["law twice.generous"]
    assert not data["stale"]
    path.write_text(TWICE.replace("2 * x[i]", "3 * x[i]"))
    stale = contract(path, "architect")["stale"]
    assert "verify twice" in [row["statement"] for row in stale] and all(row["because"] for row in stale)


@pytest.mark.usefixtures("on_a_device")
def test_the_architect_is_told_which_preferences_times_contradict(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = contract(path, "architect")["prefers"]
    assert [(row["verdict"], row["measured"]) for row in before] == [("undecided", [])] * 2
    for at in ("M=4096,N=4096,K=4096", "M=512,N=512,K=8192"):
        assert tune.run(request(path, at=(at,)), Pretended(takes)) == 0
    data = contract(path, "architect")
    validator("spak-contract-1").validate(data)
    found = {row["text"]: row for row in data["prefers"]}
    small, belief = found["cluster == 1 when K <= 4096"], found["tile_n == 64"]
    assert small["verdict"] == "supported" and belief["verdict"] == "contradicted"
    assert [each["call"]["dims"]["K"] for each in small["measured"]] == [4096], (
        "the other call is not its own"
    )
    for each in belief["measured"]:
        assert each["verdict"] == "contradicted" and each["device"] == "pretended"
        assert each["with"]["config"]["tile_n"] == 64 and each["without"]["config"]["tile_n"] == 256
        assert each["with"]["seconds"] > each["without"]["seconds"]
    page = CliRunner().invoke(cli, ["contract", str(path), "--role", "architect"]).stdout
    wrong = page.split("## Preferences that times contradict")[1].split("##")[0]
    assert (
        "`tile_n == 64`; at M = 4096, N = 4096, K = 4096 on pretended 175.0 us with it, 100.0 us without ("
        in wrong
    )
    assert (
        "`cluster == 1 when K <= 4096`" in page.split("## Preferences that times support")[1].split("##")[0]
    )
    path.write_text(path.read_text().replace("sum[k](A", "2 * sum[k](A"))
    stale = contract(path, "architect")["prefers"]
    assert {row["verdict"] for row in stale} == {"undecided"}, "what was timed is another kernel"


def test_the_page_says_the_same(two: Path) -> None:
    page = CliRunner().invoke(cli, ["contract", str(two), "--role", "architect"]).stdout
    for text in (
        "* `law fits: ", "2 of 36 points are lawful on h100", "## Leave nothing together",
        "mm.tiled on h100, A: f32: mm.tiled.fits, mm.tiled.wide, mm.tiled.large", "tile_k in {16}",
        "| mm.tiled.idle | `tile_n >= 32` | h100, a100 | holds | proof |", "with confidence 95%",
    ):  # fmt: skip
        assert text in page, text
    for line in page.splitlines():
        if line.startswith("| "):
            assert line.replace("\\|", "").count("|") == 7, line


def test_the_lines_of_diff_are_what_their_schema_says(two: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.spak"
    other.write_text(TWO.replace("cases 50", "cases 5").replace("law  idle: tile_n >= 32\n", "\n"))
    for options in ((), ("--role", "architect")):
        result = CliRunner().invoke(cli, ["diff", str(two), str(other), "--format", "json", *options])
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(lines) == 2
        for line in lines:
            validator("spak-diff-1").validate(line)
