"""Verdicts recomputed from figures: laws over compiled kernels, checks with tripwires, claims."""

from __future__ import annotations

from typing import Any

import pytest

from spakc.check.verdict import Verdict
from spakc.figures import Malformed, key_of
from spakc.ir.constraint import Env
from spakc.ir.experiment import Claim
from spakc.ir.ops import Const, Expr, Members, Query, Ref, RefKind, Tuple
from spakc.verdicts import figure_text, judge_checks, judge_claim, judge_law
from tests.unit.laws.build import at, dim, domain, fact, knob, law, op, sizeof, word

HOLDS, VIOLATED, UNDECIDED = Verdict.holds, Verdict.violated, Verdict.undecided


def entity(name: str) -> Ref:
    return Ref(name, RefKind.entity)


def observed(queries: dict[str, Any], at_: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"queries": queries, "at": at_ or {}, **more}


def rows(*observations: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"observations": list(observations)}]


# ---- laws ---------------------------------------------------------------------------------------------

SPILLS = law("no_spills", op("eq", Query("cubin.spill_bytes"), 0))
COUNT = law("mma", op("gt", Query("cubin.count", (Const("HMMA"),)), 0), op("ge", knob("tile_m"), 64))
SAID = law(
    "said",
    op("eq", Query("launch.shared_bytes"), op("mul", op("mul", knob("tile_m"), sizeof("A")), dim("K"))),
)


FORMATS = tuple(Query("format", (entity(name),)) for name in ("train", "eval"))
PARITY = law("format_parity", op("eq", *FORMATS))


@pytest.mark.parametrize(
    ("train", "eval_", "verdict"),
    [
        ("~+~=~<end>", "~+~=~<end>", HOLDS),
        ("~+~=~<end>", "~+~=?<end> | ~+~=~<end>", HOLDS),  # sums of nines read alike from both ends
        ("?=?", "#=? | ?=~", HOLDS),
        ("~+~=~<end>", "~+~=#<end>", VIOLATED),
        ("?=#<end>", "?=#", VIOLATED),
    ],
)
def test_a_format_that_shows_no_order_agrees_with_either(train: str, eval_: str, verdict: Verdict) -> None:
    seen = dict(zip(map(key_of, FORMATS), (train, eval_), strict=True))
    assert judge_law(PARITY, rows(observed(seen)), Env()).verdict is verdict


def test_a_law_over_compiled_kernels_needs_a_kernel() -> None:
    assert judge_law(SPILLS, [], Env()).verdict is UNDECIDED
    assert judge_law(SPILLS, rows(observed({"cubin.registers": 9})), Env()).verdict is UNDECIDED
    good = judge_law(
        SPILLS, rows(observed({"cubin.spill_bytes": 0}, count=3), observed({"cubin.spill_bytes": 0})), Env()
    )
    assert (good.verdict, good.witnesses) == (HOLDS, 4)


def test_one_kernel_that_breaks_it_violates_it_one_that_was_dropped_is_counted() -> None:
    bad = observed({"cubin.spill_bytes": 64}, {"knob tile_m": 128})
    judged = judge_law(SPILLS, rows(observed({"cubin.spill_bytes": 0}), bad), Env())
    assert judged.verdict is VIOLATED and judged.note == "64 == 0 is false at tile_m = 128"
    dropped = judge_law(SPILLS, rows(observed({"cubin.spill_bytes": 0}), {**bad, "selected": False}), Env())
    assert (dropped.verdict, dropped.witnesses, dropped.note) == (HOLDS, 1, "1 dropped for breaking a law")


def test_an_observation_that_the_condition_excludes_is_no_witness() -> None:
    small = observed({'cubin.count("HMMA")': 0}, {"knob tile_m": 32})
    assert judge_law(COUNT, rows(small), Env()).verdict is UNDECIDED
    large = observed({'cubin.count("HMMA")': 8}, {"knob tile_m": 64})
    assert judge_law(COUNT, rows(small, large), Env()) == judge_law(COUNT, rows(large), Env())


def test_what_runs_show_needs_several_witnesses_at_each_config() -> None:
    """One config with many does not speak for another with few; what is false once is violated all the same."""
    many = observed({"cubin.spill_bytes": 0}, {"knob tile_m": 32}, count=40)
    few = observed({"cubin.spill_bytes": 0}, {"knob tile_m": 64, "dim M": 3}, count=2)
    more = observed({"cubin.spill_bytes": 0}, {"knob tile_m": 64, "dim M": 4}, count=3)
    bad = observed({"cubin.spill_bytes": 8}, {"knob tile_m": 64})
    assert judge_law(SPILLS, rows(many), Env(), 5).verdict is HOLDS
    judged = judge_law(SPILLS, rows(many, few), Env(), 5)
    assert (judged.verdict, judged.witnesses) == (UNDECIDED, 42)
    assert judged.note == "2 of 5 witnesses at tile_m = 64"
    assert judge_law(SPILLS, rows(many, few, more), Env(), 5).verdict is HOLDS
    assert judge_law(SPILLS, rows(bad), Env(), 5).verdict is VIOLATED
    tested = {"tested": {"cases": 4, "failures": 0}}
    assert judge_law(SPILLS, [tested], Env(), 5).note == "4 of 5 witnesses"


def test_bindings_and_dtypes_of_an_observation_are_used() -> None:
    where = {"knob tile_m": 64, "dim K": 16, "dtype A": "bf16"}
    assert judge_law(SAID, rows(observed({"launch.shared_bytes": 2048}, where)), Env()).verdict is HOLDS
    judged = judge_law(SAID, rows(observed({"launch.shared_bytes": 2049}, where)), Env())
    assert judged.verdict is VIOLATED and judged.note.startswith("2049 == 2048 is false")


def test_facts_of_the_device_are_those_of_now() -> None:
    most = law("most", op("le", Query("cubin.registers"), fact("limit")))
    figures = rows(observed({"cubin.registers": 200}))
    assert judge_law(most, figures, Env().facts({"limit": 255})).verdict is HOLDS
    assert judge_law(most, figures, Env().facts({"limit": 128})).verdict is VIOLATED


@pytest.mark.parametrize(
    "figures",
    [
        {"observations": 3},
        {"observations": [3]},
        {"observations": [{"queries": []}]},
        {"observations": [{"queries": {"cubin.spill_bytes": [0]}}]},
        {"observations": [{"queries": {"cubin.spill_bytes": 0}, "count": -1}]},
        {"observations": [{"queries": {"cubin.spill_bytes": 0}, "count": 1.5}]},
    ],
)
def test_figures_that_make_no_sense_are_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        judge_law(SPILLS, [figures], Env())


# ---- checks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ({"cases": 200, "failures": 0, "tripwires": {"zeros": True}}, HOLDS),
        ({"cases": 199, "failures": 0, "tripwires": {"zeros": True}}, UNDECIDED),
        ({"cases": 200, "failures": 0, "tripwires": {}}, UNDECIDED),
        ({"cases": 200, "failures": 0, "tripwires": {"zeros": False}}, UNDECIDED),
        ({"cases": 200, "failures": 1, "tripwires": {"zeros": True}}, VIOLATED),
        ({"cases": 10, "failures": 10, "tripwires": {}}, VIOLATED),
    ],
)
def test_checks_against_the_oracle(checks: dict[str, Any], verdict: Verdict) -> None:
    assert judge_checks(200, [{"checks": checks}]).verdict is verdict


def test_cases_of_several_runs_add_up_and_none_is_none() -> None:
    run = {"checks": {"cases": 100, "failures": 0, "tripwires": {"zeros": True}}}
    assert judge_checks(200, [run, run]).verdict is HOLDS
    assert judge_checks(0, []).verdict is UNDECIDED
    with pytest.raises(Malformed):
        judge_checks(0, [{"checks": {"cases": 1, "failures": 2}}])


# ---- claims -------------------------------------------------------------------------------------------


def claim(proposition: Expr, confidence: float | None = 0.95, *quantifier: Any) -> Claim:
    return Claim("c", (), proposition, confidence, quantifier, None, span=at())


def accuracy(name: str, **named: str) -> Query:
    return Query("accuracy", (entity(name), entity("far")), tuple((k, word(v)) for k, v in named.items()))


def figures(*quantities: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"quantities": list(quantities)}]


def counts(query: Query, hits: list[int], total: int = 1000, **at_: Any) -> dict[str, Any]:
    return {"query": key_of(query), "at": at_, "hits": hits, "totals": [total] * len(hits)}


E, F = accuracy("e"), accuracy("f")


@pytest.mark.parametrize(
    ("hits", "verdict"), [([997], HOLDS), ([990], UNDECIDED), ([980], VIOLATED), ([1000] * 5, HOLDS)]
)
def test_a_proportion_against_a_number(hits: list[int], verdict: Verdict) -> None:
    """The lower bound decides: 997 of 1000 is at least 99 %, 990 of 1000 is not known to be."""
    judged = judge_claim(claim(op("ge", E, 0.99)), figures(counts(E, hits)))
    assert judged.verdict is verdict and judged.witnesses == 1000 * len(hits)


def test_the_other_directions() -> None:
    low = figures(counts(E, [500]))
    assert judge_claim(claim(op("le", E, 0.6)), low).verdict is HOLDS
    assert judge_claim(claim(op("lt", E, 0.4)), low).verdict is VIOLATED
    assert judge_claim(claim(op("not", op("ge", E, 0.6))), low).verdict is HOLDS
    assert judge_claim(claim(op("and", op("ge", E, 0.4), op("ge", E, 0.5))), low).verdict is UNDECIDED
    assert judge_claim(claim(op("or", op("ge", E, 0.4), op("ge", E, 0.5))), low).verdict is HOLDS


def test_the_seeds_of_a_comparison() -> None:
    clear = figures(counts(E, [952, 948, 955]), counts(F, [610, 640, 600]))
    judged = judge_claim(claim(op("gt", E, F)), clear)
    assert judged.verdict is HOLDS and "the difference 0.335 in [" in judged.note
    assert judge_claim(claim(op("gt", F, E)), clear).verdict is VIOLATED
    tiny = figures(counts(E, [3], 116), counts(F, [0], 116))
    assert judge_claim(claim(op("gt", E, F)), tiny).verdict is UNDECIDED
    close = op("ge", E, op("sub", F, 0.005))
    assert (
        judge_claim(claim(close), figures(counts(E, [9990], 10000), counts(F, [9992], 10000))).verdict
        is HOLDS
    )


def test_one_lucky_seed_does_not_make_a_claim() -> None:
    judged = judge_claim(claim(op("ge", E, 0.6)), figures(counts(E, [1000, 485, 1000, 500])))
    assert judged.verdict is UNDECIDED


def test_every_seed_means_each_of_them() -> None:
    each = accuracy("e", over="every_seed")
    assert judge_claim(claim(op("ge", each, 0.99)), figures(counts(each, [997, 998, 1000]))).verdict is HOLDS
    assert (
        judge_claim(claim(op("ge", each, 0.99)), figures(counts(each, [997, 998, 900]))).verdict is VIOLATED
    )
    pooled = figures(counts(each, [1000] * 4 + [985], 1000))
    assert judge_claim(claim(op("ge", each, 0.99)), pooled).verdict is UNDECIDED


def test_without_a_confidence_the_figures_are_compared() -> None:
    assert judge_claim(claim(op("ge", E, 0.99), None), figures(counts(E, [990]))).verdict is HOLDS


def test_what_is_counted_at_compile_time_needs_no_evidence() -> None:
    def parameters(name: str) -> Query:
        return Query("parameters", (entity(name),))

    known = {parameters("gpt"): 84_964_608, parameters("loop"): 7_100_160}
    ratio = op("div", parameters("gpt"), parameters("loop"))
    judged = judge_claim(claim(op("ge", ratio, 12), None), [], known.get)
    assert judged.verdict is VIOLATED and judged.note == "11.9666 >= 12"
    assert judge_claim(claim(op("ge", ratio, 11.9), None), [], known.get).verdict is HOLDS
    assert judge_claim(claim(op("ge", ratio, 12)), []).note == "no figure for parameters(gpt)"


def speeds(query: Query, factor: float, **at_: Any) -> dict[str, Any]:
    drift = [1 + 0.2 * ((7 * i) % 10) / 10 for i in range(30)]
    noise = [1 + 0.001 * ((i * i) % 5) for i in range(30)]
    values = [7e14 * factor * d * n for d, n in zip(drift, noise, strict=True)]
    return {"query": key_of(query), "at": at_, "samples": values, "rounds": str(sorted(at_.items()))}


OURS, THEIRS = Query("speed", (entity("k"),)), Query("speed", (entity("torch.matmul"),))
SHAPES = (("M", "N"), Members((Tuple((Const(64), Const(64))), Tuple((Const(128), Const(32))))))


def test_a_geometric_mean_takes_all_points_together() -> None:
    mean = op("ge", Query("geomean", (op("div", OURS, THEIRS),)), 1.05)
    over = claim(mean, 0.95, SHAPES, (("causal",), domain(True, False)))
    points = [{"M": m, "N": n, "causal": c} for m, n in ((64, 64), (128, 32)) for c in (True, False)]
    factors = [1.30, 1.20, 1.02, 0.98]
    found = [speeds(OURS, f, **p) for f, p in zip(factors, points, strict=True)]
    found += [speeds(THEIRS, 1.0, **p) for p in points]
    judged = judge_claim(over, figures(*found))
    assert judged.verdict is HOLDS and judged.witnesses == 240
    assert (
        judge_claim(over, figures(*found[1:])).note
        == "no figure for speed(k) at M = 64, N = 64, causal = true"
    )


def test_for_every_point_means_each_of_them() -> None:
    over = claim(op("ge", op("div", OURS, THEIRS), 0.95), 0.95, (("M",), domain(1, 2)))
    good = [
        speeds(OURS, 1.1, M=1),
        speeds(OURS, 1.0, M=2),
        speeds(THEIRS, 1.0, M=1),
        speeds(THEIRS, 1.0, M=2),
    ]
    assert judge_claim(over, figures(*good)).verdict is HOLDS
    good[1] = speeds(OURS, 0.9, M=2)
    judged = judge_claim(over, figures(*good))
    assert judged.verdict is VIOLATED and "1 of 2 points" in judged.note


def test_a_quantified_name_may_stand_in_the_proposition() -> None:
    m = Ref("M", RefKind.parameter)
    over = claim(op("ge", OURS, op("mul", m, 1e14)), None, (("M",), domain(1, 5)))
    assert judge_claim(over, figures(speeds(OURS, 1.0, M=1), speeds(OURS, 1.0, M=5))).verdict is HOLDS


def test_a_figure_without_a_finite_value_decides_nothing() -> None:
    zero = {"query": key_of(THEIRS), "at": {}, "exact": 0}
    judged = judge_claim(claim(op("ge", op("div", OURS, THEIRS), 1)), figures(speeds(OURS, 1.0), zero))
    assert judged.verdict is UNDECIDED


@pytest.mark.parametrize(
    "quantity",
    [
        {"hits": [5], "totals": [4]},
        {"hits": [5], "totals": [5, 5]},
        {"hits": [], "totals": []},
        {"hits": [True], "totals": [5]},
        {"samples": []},
        {"samples": ["fast"]},
        {"samples": [10**400]},
        {"exact": None},
        {},
    ],
)
def test_quantities_that_make_no_sense_are_refused(quantity: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        judge_claim(claim(op("ge", E, 0.5)), figures({"query": key_of(E), "at": {}, **quantity}))


def test_same_figures_same_verdict_in_any_order() -> None:
    found = [counts(E, [952, 948, 955]), counts(F, [610, 640, 600])]
    assert judge_claim(claim(op("gt", E, F)), figures(*found)) == judge_claim(
        claim(op("gt", E, F)), figures(*reversed(found))
    )


def test_large_figures_are_told_as_units_go() -> None:
    told = [
        figure_text(value)
        for value in (0.0, 1.00904, 50_408.0, 999_999.0, 528.913e12, -8e14, 1e6, 999999.9999)
    ]
    assert told == ["0", "1.00904", "50408", "999999", "528.913e12", "-800e12", "1e6", "1e6"]
    assert [figure_text(value, 4) for value in (99_999_999.0, 1e15 - 1, float("inf"))] == [
        "100e6",
        "1e15",
        "inf",
    ]
