"""What check says of laws and spaces: verdicts, counterexamples, messages."""

from __future__ import annotations

from typing import Any

import pytest

from spakc.check.check_laws import check_laws, prove
from spakc.check.check_space import check_space
from spakc.check.findings import Findings
from spakc.check.verdict import LawStatus, Verdict, means_of_law
from spakc.diagnostics import Diagnostic, Sink
from spakc.ir.constraint import Env
from spakc.ir.module import Device, Kernel, Module, Option, Prefer
from spakc.ir.ops import Const, Expr, Load, Query, Reduce, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.types import DType
from tests.unit.laws import build as b
from tests.unit.laws.build import (
    a_knob,
    config,
    device,
    dim,
    domain,
    fact,
    kernel,
    knob,
    law,
    op,
    schedule,
    sizeof,
    span_of,
    word,
)

H100 = device("h100", smem_per_block=232448, wgmma=True)
A100 = device("a100", smem_per_block=166912, wgmma=False)
CPU = Device("cpu", {"arch": "host", "kind": "emulator"}, span=b.at())
A = b.tensor("A", DType.bf16, DType.f16)


def bytes_of_stages() -> Expr:
    tiles = op("add", knob("tile_m"), knob("tile_n"))
    return op("add", op("mul", op("mul", knob("stages"), tiles), op("mul", 64, sizeof("A"))), 1024)


FITS = law("fits_in_smem", op("le", bytes_of_stages(), fact("smem_per_block")))
NAIVE = schedule("naive", a_knob("block", domain(8, 16, 32)))


def big(*laws: Any, **more: Any) -> Kernel:
    tiles = schedule(
        "s",
        a_knob("tile_m", domain(64, 128, 256)),
        a_knob("tile_n", span_of(64, 256, 8)),
        a_knob("stages", span_of(2, 8)),
        laws=laws,
        **more,
    )
    return kernel(NAIVE, tiles, tensors=(A,), dims={"M": None, "D": domain(64, 128)})


def run(module: Module) -> tuple[list[LawStatus], list[Diagnostic]]:
    sink = Sink()
    spaces = check_space(module, sink)
    return list(check_laws(module, spaces, sink)), sink.diagnostics


def codes(module: Module) -> list[str]:
    return [d.code for d in run(module)[1]]


def test_config_that_breaks_a_law() -> None:
    k = big(FITS, configs=(config("big", tile_m=128, tile_n=256, stages=8),))
    _, (found,) = run(b.module(k, devices=(H100,)))
    assert found.code == "SPAK201" and found.message == "law `fits_in_smem` does not hold on h100"
    assert [label.text for label in found.labels] == [
        "the largest lawful value here is 4",
        "394240 <= 232448 is false",
    ]
    space = check_space(b.module(k, devices=(H100,)), Sink())["k", "s", "h100"]
    assert found.notes == (
        f"of 525 points, {space.cuts[0].alone} break this law alone and 0 break it among others",
    )
    assert found.help == ("write `stages <= 4`, or lower `tile_n` to 96",)


def test_one_mistake_on_two_targets_is_one_diagnostic() -> None:
    k = big(
        law("square", op("eq", knob("tile_m"), knob("tile_n"))),
        configs=(config("c", tile_m=64, tile_n=72, stages=2),),
    )
    _, (found,) = run(b.module(k, devices=(H100, A100)))
    assert found.message == "law `square` does not hold on h100, a100"


def test_config_lawful_for_one_dtype_is_lawful() -> None:
    wide = law("fits", op("le", op("mul", knob("n"), sizeof("C")), 8))
    s = schedule("s", a_knob("n", domain(2, 4)), laws=(wide,), configs=(config("c", n=4),))
    k = kernel(NAIVE, s, tensors=(A, b.tensor("C", DType.f32, same_as="A", role="output")))
    assert codes(b.module(k, devices=(H100,))) == []


def test_a_schedule_whose_need_fails_is_absent_and_no_mistake() -> None:
    k = big(FITS, needs=(fact("wgmma"),))
    statuses, found = run(b.module(k, devices=(H100, A100, CPU)))
    assert not found
    by_target = {s.status.target: s.status for s in statuses}
    assert by_target["h100"].verdict is Verdict.holds and by_target["h100"].witnesses > 0
    assert not by_target["a100"].applicable and "absent" in by_target["a100"].note
    assert not by_target["cpu"].applicable
    on_a100 = big(
        FITS, needs=(fact("wgmma"),), configs=(config("c", ("a100",), tile_m=64, tile_n=64, stages=2),)
    )
    assert codes(b.module(on_a100, devices=(H100, A100))) == ["SPAK204"]


def test_a_law_over_a_fact_that_the_device_does_not_state_does_not_apply() -> None:
    statuses, found = run(b.module(big(FITS), devices=(CPU,)))
    assert not found and [s.status.applicable for s in statuses] == [False]
    assert "smem_per_block" in statuses[0].status.note


def test_empty_space_names_the_conflict() -> None:
    deep = law("deep", op("ge", knob("stages"), 8))
    wide = law("wide", op("ge", knob("tile_m"), 256))
    even = law("even", op("eq", op("mod", knob("tile_n"), 16), 0))
    _, (found,) = run(b.module(big(even, FITS, deep, wide), devices=(H100,)))
    assert found.code == "SPAK202"
    assert (
        found.message
        == "no point of schedule `s` is lawful on h100: `fits_in_smem`, `deep` and `wide` leave none"
    )
    reached = 8 * (256 + 64) * 128 + 1024
    assert [label.text for label in found.labels] == [
        "525 points, none lawful",
        f"reaches {reached} at best, and {reached} <= 232448 is false",
        "reaches 5 at best, and 5 >= 8 is false",
        "reaches 128 at best, and 128 >= 256 is false",
    ]


def test_a_space_that_is_empty_on_several_targets_is_one_mistake() -> None:
    deep = law("deep", op("ge", knob("stages"), 99))
    _, (found,) = run(b.module(big(deep), devices=(H100, A100)))
    assert found.message == "no point of schedule `s` is lawful on h100, a100: `deep` leaves none"
    assert not any("on a100" in note for note in found.notes), "nothing there is different"
    tight = law("tight", op("le", fact("smem_per_block"), knob("stages")))
    _, (found,) = run(b.module(big(tight), devices=(H100, A100)))
    (other,) = (note for note in found.notes if "on a100" in note)
    assert "on h100, a100" in found.message and found.labels[1].text.split(", and ")[1] not in other
    large = op("gt", fact("smem_per_block"), 200 * 1024)
    newer = law("newer", op("ge", knob("stages"), 999), large)
    older = law("older", op("ge", knob("tile_m"), 999), op("not", large))
    _, (found,) = run(b.module(big(newer, older), devices=(H100, A100)))
    assert "on h100: `newer`" in found.message
    assert "no point of schedule `s` is lawful on a100: `older` leaves none" in found.notes


def test_no_witness_is_an_error_unless_another_target_has_one() -> None:
    never = law("never", op("eq", knob("tile_n"), 64), op("eq", knob("tile_m"), 96))
    assert codes(b.module(big(never), devices=(H100, A100))) == ["SPAK206"]
    hopper = law("hopper", op("le", knob("stages"), 6), fact("wgmma"))
    statuses, found = run(b.module(big(hopper), devices=(H100, A100)))
    assert not found
    assert [s.status.verdict for s in statuses] == [Verdict.holds, Verdict.undecided]
    assert statuses[1].status.witnesses == 0


@pytest.mark.parametrize(
    ("proposition", "means"),
    [
        (op("le", knob("stages"), fact("sms")), Means.proof),
        (op("eq", op("mod", dim("D"), sizeof("A")), 0), Means.proof),
        (op("eq", op("mod", dim("M"), knob("stages")), 0), Means.guard),
        (op("eq", Query("launch.shared_bytes"), bytes_of_stages()), Means.compiled),
        (
            op("and", op("gt", Query("cubin.count", (Const("HMMA"),)), 0), op("gt", dim("M"), 0)),
            Means.compiled,
        ),
        (op("eq", Query("bank_conflicts", (Ref("A.shared", RefKind.entity),)), 0), Means.cases),
        (Reduce("every", ("r",), op("le", 0, Load("A", (Ref("r", RefKind.index),)))), Means.cases),
        (op("gt", Query("speed", (Ref("k", RefKind.entity),)), 1.0), Means.measurement),
        (op("gt", Query("geomean", (Query("speed", (Ref("k", RefKind.entity),)),)), 1.0), Means.measurement),
        (op("gt", Query("decoded"), 1.0), Means.none),
    ],
)
def test_means_follow_what_a_law_mentions(proposition: Expr, means: Means) -> None:
    assert means_of_law(law("l", proposition), big()) is means


def test_an_asserted_law_is_proved_for_every_size_or_refuted_with_one() -> None:
    whole = law("whole", op("eq", op("mod", dim("D"), 64), 0), scope=("k",))
    wide = law("wide", op("gt", dim("D"), 64), scope=("k",))
    k = kernel(NAIVE, dims={"D": domain(64, 128)}, laws=(whole, wide))
    statuses, (found,) = run(b.module(k, devices=(H100, A100)))
    assert [(s.status.verdict, s.status.witnesses) for s in statuses] == [
        (Verdict.holds, 2),
        (Verdict.violated, 1),
    ]
    assert found.code == "SPAK203" and found.message == "law `wide` is refuted for D = 64"
    assert found.labels[0].text == "64 > 64 is false"


def test_a_law_about_a_device_has_one_verdict_per_target() -> None:
    large = law("large", op("ge", fact("smem_per_block"), 200 * 1024), scope=())
    statuses, found = run(b.module(devices=(H100, A100, CPU), laws=(large,)))
    assert [(s.status.target, s.status.verdict) for s in statuses] == [
        ("h100", Verdict.holds),
        ("a100", Verdict.violated),
        ("cpu", Verdict.undecided),
    ]
    assert [d.message for d in found] == ["law `large` is refuted on a100"]


def test_a_law_without_a_truth_value() -> None:
    broken = law("broken", op("eq", op("mod", 128, 0), 0), scope=())
    assert codes(b.module(laws=(broken,))) == ["SPAK208"]
    in_schedule = law("broken", op("eq", op("floordiv", knob("stages"), 0), 0))
    assert codes(b.module(big(in_schedule), devices=(H100,))) == ["SPAK208"]


def test_guards_hold_and_every_legal_call_needs_an_answer_without_one() -> None:
    whole = law("whole", op("eq", op("mod", dim("M"), knob("stages")), 0))
    statuses, found = run(b.module(big(whole), devices=(H100,)))
    assert not found and [(s.status.verdict, s.status.means) for s in statuses] == [
        (Verdict.holds, Means.guard)
    ]

    def only(*laws: Any) -> Module:
        return b.module(
            kernel(
                schedule("s", a_knob("n", domain(1, 64)), laws=laws), dims={"M": None, "D": domain(64, 128)}
            ),
            devices=(H100,),
        )

    guard = op("eq", op("mod", dim("M"), knob("n")), 0)
    assert codes(only(law("whole", guard))) == ["SPAK207"]
    assert codes(only(law("whole", guard, op("gt", knob("n"), 1)))) == []  # n = 1 asks nothing of M
    small = law("small", op("eq", dim("D"), 64))
    _, (found_,) = run(only(small))
    assert found_.code == "SPAK207" and "for D = 128" in found_.message


def test_two_schedules_may_answer_together() -> None:
    low = schedule("low", a_knob("n", domain(1)), laws=(law("l", op("le", dim("D"), 64)),))
    high = schedule("high", a_knob("n", domain(1)), laws=(law("h", op("gt", dim("D"), 64)),))
    k = kernel(low, high, dims={"D": domain(64, 128)})
    assert codes(b.module(k, devices=(H100,))) == []


def test_a_space_that_cannot_be_laid_out() -> None:
    knobs = [a_knob(f"n{i}", span_of(1, 100)) for i in range(5)]
    total: Expr = Const(0)
    for each in knobs:
        total = op("add", total, knob(each.name))
    large = schedule("s", *knobs, laws=(law("l", op("gt", total, 1)),))
    assert codes(b.module(kernel(NAIVE, large), devices=(H100,))) == ["SPAK205"]


def test_needs_and_preferences_speak_of_what_is_known_then() -> None:
    assert codes(b.module(big(needs=(op("gt", dim("M"), 1),)), devices=(H100,)))[-1] == "SPAK210"
    late = Prefer(op("lt", Query("cubin.registers"), 128), None, None, span=b.at())
    early = Prefer(op("eq", knob("stages"), 4), op("gt", dim("M"), 1024), None, span=b.at())
    assert codes(b.module(big(prefers=(late, early)), devices=(H100,))) == ["SPAK209"]


def test_laws_of_models_are_proved_per_instance() -> None:
    heads = law(
        "heads_divide",
        op("eq", op("mod", Ref("n_embd", RefKind.hyper), Ref("n_head", RefKind.hyper)), 0),
        scope=("GPT",),
    )

    def with_heads(n: int) -> tuple[Verdict, list[Diagnostic]]:
        sink, findings = Sink(), Findings()
        env = Env({(RefKind.hyper, "n_embd"): 768, (RefKind.hyper, "n_head"): n})
        verdict = prove(heads, env, findings, "gpt_12").verdict
        findings.report(sink)
        return verdict, sink.diagnostics

    assert with_heads(12) == (Verdict.holds, [])
    verdict, (found,) = with_heads(7)
    assert verdict is Verdict.violated and found.message == "law `heads_divide` is refuted for `gpt_12`"
    assert found.labels[0].text == "5 == 0 is false"
    assert with_heads(0)[1][0].code == "SPAK208"


def test_a_law_refuted_in_several_experiments_is_one_mistake_that_names_them() -> None:
    sink, findings = Sink(), Findings()
    small = law("small", op("le", Ref("n_embd", RefKind.hyper), 100), scope=("GPT",))
    for name, width in (("a", 768), ("b", 64), ("c", 768), ("d", 512)):
        prove(small, Env({(RefKind.hyper, "n_embd"): width}), findings, name)
    findings.report(sink)
    (found,) = sink.diagnostics
    assert (
        found.message == "law `small` is refuted for `a`, `c`, `d`"
        and found.labels[0].text == "768 <= 100 is false"
    )
    assert found.notes == ("for `d`: 512 <= 100 is false",)


def test_options_that_are_compiled_in_are_proved_over() -> None:
    act = Option("act", ("identity", "gelu"), None, word("identity"), span=b.at())
    count = Option("count", (), DType.int32, Const(1), span=b.at())
    k = kernel(
        NAIVE, options=(act, count), laws=(law("l", op("ne", b.option("act"), word("relu")), scope=("k",)),)
    )
    statuses, found = run(b.module(k, devices=(H100,)))
    assert not found and statuses[0].status.witnesses == 2
    assert means_of_law(law("g", op("gt", b.option("count"), 0)), k) is Means.guard


def test_a_law_of_a_model_that_waits_for_a_corpus_is_undecided_without_a_mistake() -> None:
    sink = Sink()
    waits = law("short", op("le", Query("max_length", (Ref("d.train", RefKind.entity),)), 8), scope=("GPT",))
    findings = Findings()
    status = prove(waits, Env(), findings, "gpt_12")
    findings.report(sink)
    assert (
        status.verdict is Verdict.undecided and "max_length(d.train)" in status.note and not sink.diagnostics
    )
