"""`spakc tune`: the funnel, the order of timings, rows that last, a child that is watched. The device is a pretended
one, whose times are a formula of the config; everything else is what runs beside a real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from spakc import driver
from spakc.commands import tune
from spakc.diagnostics import Sink
from spakc.evidence import evidence_path, read_evidence
from spakc.plan.launch import Config
from spakc.tune.fresh import fresh
from spakc.tune.funnel import Funnel, Modelled, key_of
from spakc.tune.preferences import Weighed, sides
from spakc.tune.rows import Where
from spakc.tune.search import correlation, next_batch
from spakc.tune.timer import ChildTimer, Time

TEXT = """spak 1
use std.devices
targets h100
kernel mm: product {
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) }
  schedule plain like base { knob block in {16} }
  schedule warp_specialized needs device.tma, device.wgmma {
    knob tile_m    in {128}
    knob tile_n    in {64, 128, 256}
    knob stages    in 3..4
    knob consumers in {2}
    knob cluster   in {1, 2}
    knob raster    in {4, 8} at launch
    law  fits: stages * (tile_m + tile_n) * 128 + 33 KiB <= device.smem_per_block
    prefer cluster == 1 when K <= 4096
    prefer tile_n == 64 because "a belief"
    EXTRA
  }
}
""".replace(
    "  schedule plain like base { knob block in {16} }\n", "  schedule naive { knob block in {16} }\n"
)


@dataclass
class Pretended:
    """Stands for the child and the device: what a config takes, or why it fails."""

    seconds: Callable[[dict[str, Any]], float]
    asked: list[str] = field(default_factory=list)

    def __call__(self, opening: dict[str, Any]) -> Pretended:
        manifest = json.loads((Path(opening["artifact"]) / "manifest.json").read_text())
        self.configs = {v["id"]: v["config"] for v in manifest["kernels"]["mm"]["variants"]}
        assert opening["reference"] not in opening["variants"]
        return self

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def time(self, variant: str) -> Time:
        self.asked.append(variant)
        found = self.seconds(self.configs[variant])
        return Time((found,) * 3) if found > 0 else Time(failed="no answer in 20 s")


def takes(config: Config) -> float:
    return 1e-4 * (2 - int(config["tile_n"]) / 256) * (1.1 if config["cluster"] == 2 else 1.0)


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def where(module: Any, _name: str | None) -> Any:
        return module.devices["h100"], Where("sm_90a", "pretended", "h100")

    monkeypatch.setattr(tune, "device_name", lambda: "pretended")
    monkeypatch.setattr(tune, "place_of", where)


def written(folder: Path, extra: str = "") -> Path:
    path = folder / "mm.spak"
    path.write_text(TEXT.replace("EXTRA", extra))
    return path


def request(path: Path, **how: Any) -> tune.Request:
    given = {"kernel": "", "schedule": "warp_specialized", "at": ("M=4096,N=4096,K=4096",)}
    return tune.Request(path, **{**given, "budget": 60.0, "most": 40, "as_json": True, **how})


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_without_a_device_the_model_ranks_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.run(request(written(tmp_path))) == 5
    captured = capsys.readouterr()
    assert "not run: no device; ranked by the cost model alone" in captured.err
    found = json.loads(captured.out)
    assert (found["points"], found["timed"], found["fastest"]) == (12, 0, [])
    assert found["lawful"] == 12 - sum(int(w.rsplit(" ", 1)[1]) for w in found["fell"] if "fits" in w)
    seconds = [each["seconds"] for each in found["model"]]
    assert seconds == sorted(seconds) and len(seconds) > 3
    assert not evidence_path(tmp_path / "mm.spak").exists()


def test_a_second_run_times_nothing_and_one_more_config_one_more(
    tmp_path: Path, on_a_device: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    first = Pretended(takes)
    assert tune.run(request(path), first) == 0
    before = told(capsys)
    assert before["timed_now"] == len(first.asked) == before["timed"] > 5
    assert (
        before["fastest"][0]["config"].endswith("tile_n=256")
        and "cluster=1" in before["fastest"][0]["config"]
    )
    rows = read_evidence(evidence_path(path), Sink())
    assert len(rows) == len({key_of(row.figures["config"]) for row in rows}) == before["timed"]

    again = Pretended(takes)
    assert tune.run(request(path), again) == 0
    assert (again.asked, told(capsys)["timed"]) == ([], before["timed"])

    written(
        tmp_path,
        "config mine { tile_m = 128  tile_n = 64  stages = 4  consumers = 2  cluster = 2  raster = 4 }",
    )
    more = Pretended(takes)
    assert tune.run(request(path), more) == 0
    known = {key_of(row.figures["config"]) for row in rows}
    new = {key_of(more.configs[v]) for v in more.asked}
    assert len(new) <= 1 and not new & known


def test_a_search_that_was_broken_off_goes_on(
    tmp_path: Path, on_a_device: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    few = Pretended(takes)

    class Interrupted(Exception):
        pass

    def until_three(config: dict[str, Any]) -> float:
        if len(few.asked) == 4:
            raise Interrupted
        return takes(config)

    few.seconds = until_three
    with pytest.raises(Interrupted):
        tune.run(request(path), few)
    assert len(read_evidence(evidence_path(path), Sink())) == 3
    rest = Pretended(takes)
    assert tune.run(request(path), rest) == 0
    assert len(set(few.asked[:3]) & set(rest.asked)) == 0
    assert told(capsys)["timed"] == 3 + len(rest.asked)


def test_a_config_that_fails_is_recorded_and_never_best(
    tmp_path: Path, on_a_device: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    clock = Pretended(lambda config: -1.0 if config["tile_n"] == 256 else takes(config))
    assert tune.run(request(path), clock) == 0
    found = told(capsys)
    assert found["failed"] and all("tile_n=256" in key for key in found["failed"])
    assert all("tile_n=256" not in each["config"] for each in found["fastest"])
    rows = read_evidence(evidence_path(path), Sink())
    assert {row.figures["failed"] for row in rows if "failed" in row.figures} == {"no answer in 20 s"}


def test_what_a_schedule_prefers_is_supported_or_contradicted(
    tmp_path: Path, on_a_device: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.run(request(written(tmp_path)), Pretended(takes)) == 0
    verdicts = {each["prefer"]: each["verdict"] for each in told(capsys)["prefer"]}
    assert verdicts == {"cluster == 1": "supported", "tile_n == 64": "contradicted"}
    assert tune.run(request(tmp_path / "mm.spak", at=("M=512,N=512,K=8192",)), Pretended(takes)) == 0
    assert [each["prefer"] for each in told(capsys)["prefer"]] == ["tile_n == 64"]  # the other is for small K


def test_figures_of_a_changed_kernel_say_nothing(tmp_path: Path, on_a_device: None) -> None:
    path = written(tmp_path)
    tune.run(request(path), Pretended(takes))
    rows = read_evidence(evidence_path(path), Sink())
    assert len(fresh(driver.check_file(path), rows, driver.emit_files)) == len(rows)
    path.write_text(path.read_text().replace("sum[k](A[m, k] * B[k, n])", "2 * sum[k](A[m, k] * B[k, n])"))
    assert fresh(driver.check_file(path), rows, driver.emit_files) == []


def test_fresh_times_outrank_the_cost_model(tmp_path: Path, on_a_device: None) -> None:
    """At 4096³, one of the shapes that a portfolio is chosen for, the clock says otherwise than the model."""

    def reasons(config: Config) -> list[str]:
        variants = driver.plan_file(driver.check_file(path)).kernels["mm"].variants
        return [v.reason for v in variants if v.config.items() >= config.items()]

    path, disliked = written(tmp_path), {"tile_n": 64, "cluster": 2, "stages": 4}
    assert reasons(disliked) == []
    clock = Pretended(lambda config: 1e-5 if config.items() >= disliked.items() else takes(config))
    assert tune.run(request(path), clock) == 0
    (reason,) = reasons(disliked)
    assert reason.startswith("measured fastest of 12 lawful configs at 4096 x 4096 x 4096 on sm_90a: 10.0 us")
    path.write_text(path.read_text().replace("sum[k](A[m, k] * B[k, n])", "2 * sum[k](A[m, k] * B[k, n])"))
    assert reasons(disliked) == []  # what was timed is another kernel


def test_the_budget_ends_the_search(tmp_path: Path, on_a_device: None) -> None:
    clock = Pretended(takes)
    tune.run(request(written(tmp_path), budget=1e-6), clock)
    assert clock.asked == []


# ---- the child ------------------------------------------------------------------------------------------

OBEDIENT = """
import json, sys, time
sys.stdin.readline()
print(json.dumps({"opened": 3}), flush=True)
for line in sys.stdin:
    wanted = json.loads(line)["time"]
    if wanted == "hangs":
        time.sleep(60)
    if wanted == "crashes":
        sys.exit(9)
    if wanted == "wrong":
        print(json.dumps({"failed": "ValueError: its result is wrong by 3"}), flush=True)
        sys.exit(0)
    print(json.dumps({"seconds": [1e-3, 2e-3]}), flush=True)
"""


def test_a_child_that_hangs_or_crashes_costs_one_config() -> None:
    with ChildTimer({}, timeout=1.0, command=(sys.executable, "-c", OBEDIENT)) as clock:
        assert clock.time("a").seconds == (1e-3, 2e-3)
        assert clock.time("hangs") == Time(failed="no answer in 1 s")
        assert clock.time("b").seconds == (1e-3, 2e-3)
        assert clock.time("crashes").failed == "the process ended with 9"
        assert clock.time("wrong").failed == "ValueError: its result is wrong by 3"
        assert clock.time("c").seconds == (1e-3, 2e-3)


# ---- the search -----------------------------------------------------------------------------------------


def funnel_of(*seconds: float) -> Funnel:
    """Configs whose only knob is `tile_n`."""
    checked = driver.check_program  # the kernel and schedule play no part
    ranked = tuple(Modelled({"tile_n": i}, s, "") for i, s in enumerate(seconds))
    kernel: Any = checked
    return Funnel(kernel, kernel, kernel, kernel, len(ranked), len(ranked), (), ranked)


def test_rank_correlation() -> None:
    modelled = funnel_of(1.0, 2.0, 3.0, 4.0)
    keys = [key_of(each.config) for each in modelled.ranked]
    assert correlation(modelled, dict(zip(keys, (5.0, 6.0, 7.0, 8.0), strict=True))) == pytest.approx(1.0)
    assert correlation(modelled, dict(zip(keys, (8.0, 7.0, 6.0, 5.0), strict=True))) == pytest.approx(-1.0)
    assert correlation(modelled, dict(zip(keys, (6.0, 5.0, 7.0, 8.0), strict=True))) == pytest.approx(0.8)
    assert correlation(modelled, dict(zip(keys, (6.0, None, None, 8.0), strict=True))) is None


def test_both_sides_of_a_preference_are_needed_and_apart(tmp_path: Path) -> None:
    module = driver.check_file(written(tmp_path)).module.module
    prefer = module.kernels["mm"].schedules["warp_specialized"].prefers[0]

    def weigh(*timed: tuple[int, list[float]]) -> tuple[str, list[float | None]]:
        found = Weighed({}, "", *sides(prefer, [({"cluster": c}, samples) for c, samples in timed]))
        return found.verdict, [each.seconds if each else None for each in (found.having, found.lacking)]

    assert weigh((1, [3.0]), (2, [2.0]), (1, [1.0])) == ("supported", [1.0, 2.0])
    assert weigh((1, [3.0]), (2, [2.0])) == ("contradicted", [3.0, 2.0])
    assert weigh((1, [3.0]), (2, [])) == ("undecided", [3.0, None])
    near, far = [1.0, 1.1, 1.2, 1.3, 9.0], [1.2, 1.25, 1.3, 1.4, 1.5]
    assert weigh((1, near), (2, far)) == ("undecided", [1.2, 1.3]), "the middle halves overlap"
    assert weigh((1, near), (2, [s + 1 for s in far]))[0] == "supported"


@pytest.mark.parametrize(
    "damage",
    [{"config": []}, {"call": {}}, {"call": 7}, {"samples": "abc"}, {"samples": [0]}, {"samples": [1e999]},
     {"arch": None}, {"samples": ["1"]}, {"call": {"dims": {"M": -1}, "options": {}, "layouts": {}, "dtype": None}}],
)  # fmt: skip
def test_figures_that_nobody_writes_say_nothing(
    damage: dict[str, Any], tmp_path: Path, on_a_device: None
) -> None:
    path = written(tmp_path)
    assert tune.run(request(path, most=4), Pretended(takes)) == 0
    rows = read_evidence(evidence_path(path), Sink())
    odd = [replace(row, figures={**row.figures, **damage}) for row in rows]
    checked = driver.check_file(path)
    assert fresh(checked, odd, driver.emit_files) == []
    assert len(fresh(checked, [*odd, *rows], driver.emit_files)) == len(rows)


def test_no_more_than_was_allowed_is_timed(tmp_path: Path, on_a_device: None) -> None:
    clock = Pretended(takes)
    tune.run(request(written(tmp_path), most=6), clock)
    assert 4 <= len(clock.asked) <= 6 + 2 * 2 * 2  # the model's choices, and those for the preferences
    assert next_batch
