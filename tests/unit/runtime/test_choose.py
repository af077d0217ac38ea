from dataclasses import replace

import pytest

from spak_runtime import errors
from spak_runtime.choose import Chooser, LaunchShape, Target
from spak_runtime.device import arch_names
from spak_runtime.expressions import Environment, TensorFacts
from spak_runtime.manifest import Guard, KernelSpec, Launch, Variant

H100 = Target("NVIDIA H100", ("sm_90a", "sm_90"), {"smem_per_block": 232448, "sms": 132})
A100 = Target("NVIDIA A100", ("sm_80",), {"smem_per_block": 166912})
GRID = (["ceil_div", ["dim", "M"], ["knob", "tile"]], 1, 1)
ALIGNED = Guard("aligned", ["eq", ["mod", ["stride", "x", 0], 8], 0], "copies of 16 bytes")
LARGE = Guard("large", ["ge", ["dim", "M"], ["fact", "sms"]], "every SM has work")


def variant(
    name,
    archs=("sm_80", "sm_90a"),
    guards=(),
    tile=64,
    shared=1024,
    grid=GRID,
    threads=128,
    cluster=(1, 1, 1),
):
    launch = Launch("k.cu", "k", (), grid, threads, shared, cluster)
    return Variant(name, name, {"tile": tile}, archs, {}, (), tuple(guards), (launch,))


def estimated(name, seconds, schedule=None, prefers=(), **how):
    plain = variant(name, **how)
    return replace(plain, schedule=schedule or name, estimates={"sm_90a": seconds}, prefers=tuple(prefers))


def choose(target, *variants, M=1000, stride=64, facts=None):
    kernel = KernelSpec("kernel", "rows", {"M": None}, (), (), variants, "math.py")
    environment = Environment(dims={"M": M}, tensors={"x": TensorFacts("bf16", 2, (stride, 1))})
    return Chooser(kernel, facts).choose(target, environment)


def test_the_first_variant_whose_guards_hold():
    fast, slow = variant("fast", guards=[ALIGNED]), variant("slow")
    assert choose(A100, fast, slow).variant is fast
    choice = choose(A100, fast, slow, stride=63)
    assert choice.variant is slow
    assert [str(why) for why in choice.rejected] == [
        "fast: aligned: stride(x, 0) % 8 == 0 is false (copies of 16 bytes)"
    ]


def test_only_variants_for_the_architecture():
    newest, older = variant("wgmma", archs=("sm_90a",)), variant("mma", archs=("sm_80", "sm_90"))
    assert choose(H100, newest, older).variant is newest
    assert choose(A100, newest, older).variant is older
    assert choose(H100, older).arch == "sm_90"
    assert choose(A100, newest, older).rejected[0].law == "arch"


def test_launches_are_evaluated_with_the_config_of_the_variant():
    assert choose(A100, variant("a", tile=64)).shapes == (LaunchShape((16, 1, 1), 128, 1024),)
    assert choose(A100, variant("a", tile=128)).shapes == (LaunchShape((8, 1, 1), 128, 1024),)
    assert choose(A100, variant("a"), M=0).shapes[0].is_empty


def test_measured_facts_win_over_those_of_the_file():
    fast, slow = variant("fast", guards=[LARGE]), variant("slow")
    facts = {"sm_90a": {"sms": 10_000}, "sm_80": {"sms": 108}}
    assert choose(H100, fast, slow, facts=facts).variant is fast  # 1000 rows on 132 measured SMs
    assert choose(A100, fast, slow, facts=facts, M=100).variant is slow  # the file says 108


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (variant("big", shared=200_000), "200000 bytes of shared memory of k are beyond 166912"),
        (variant("wide", grid=(1, ["mul", ["dim", "M"], 100], 1)), "grid.y = 100000 of k is beyond 65535"),
        (
            variant("odd", grid=(["dim", "M"], 1, 1), cluster=(3, 1, 1)),
            "grid.x = 1000 of k is no multiple of .* 3",
        ),
        (variant("many", threads=2048), "2048 threads of k are beyond 1024"),
        (variant("none", threads=0), "0 threads"),
        (variant("negative", grid=(["sub", ["dim", "M"], 2000], 1, 1)), "grid.x = -1000"),
    ],
)
def test_what_the_device_cannot_launch_is_no_variant(broken, says):
    plain = variant("plain")
    assert choose(A100, broken, plain).variant is plain
    with pytest.raises(errors.NoVariantError, match=f"{broken.id}: launch limits: {says}"):
        choose(A100, broken)


def test_a_refusal_lists_every_variant_with_its_guard():
    with pytest.raises(errors.NoVariantError) as caught:
        choose(A100, variant("newest", archs=("sm_90a",)), variant("fast", guards=[ALIGNED]), stride=3)
    assert caught.value.message.splitlines() == [
        "kernel: no variant is lawful for this call on NVIDIA A100:",
        "  newest: arch: lawful on sm_90a; the device is sm_80",
        "  fast: aligned: stride(x, 0) % 8 == 0 is false (copies of 16 bytes)",
    ]


def test_a_device_without_any_code_is_told_what_there_is():
    with pytest.raises(
        errors.ArchError, match=r"for NVIDIA A100 \(sm_80\); .* variants for sm_90a.*--arch sm_80"
    ):
        choose(A100, variant("newest", archs=("sm_90a",)))


def test_a_malformed_guard_is_found_when_the_artifact_is_loaded():
    broken = variant("broken", guards=[Guard("odd", ["odd", ["dim", "M"]], "")])
    with pytest.raises(
        errors.ExpressionError, match="kernel, variant broken, guard `odd`: unknown operation 'odd'"
    ):
        choose(A100, broken)


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ((8, 0), ("sm_80",)),
        ((8, 9), ("sm_89",)),
        ((9, 0), ("sm_90a", "sm_90")),
        ((10, 0), ("sm_100a", "sm_100f", "sm_100")),
        ((12, 0), ("sm_120a", "sm_120f", "sm_120")),
    ],
)
def test_architectures_of_a_device(capability, names):
    assert arch_names(*capability) == names


SLOW_START = ["add", 1e-5, ["mul", ["dim", "M"], 1e-9]]
STEEP = ["div", ["mul", ["dim", "M"], 1e-6], ["fact", "sms"]]


def test_the_least_estimate_at_the_sizes_of_the_call():
    large, small = estimated("large", SLOW_START), estimated("small", STEEP)
    assert choose(H100, large, small, M=10).variant is small
    choice = choose(H100, large, small, M=100_000)
    assert choice.variant is large and choice.seconds == pytest.approx(1.1e-4)
    assert [str(why) for why in choice.rejected] == [
        "small: cost model: estimated at 757.6 us, large at 110.0 us"
    ]


def test_an_estimate_counts_only_where_the_guards_hold():
    fast, slow = estimated("fast", 1e-6, guards=[ALIGNED]), estimated("slow", 1e-5)
    assert choose(H100, slow, fast).variant is fast
    assert choose(H100, slow, fast, stride=63).variant is slow


def test_preferences_rank_within_a_schedule_and_not_between_schedules():
    short = ["gt", ["dim", "M"], 1536]
    plain = estimated("plain", 1e-5, "s", prefers=[short])
    turns = estimated("turns", 2e-5, "s")
    other = estimated("other", 1.5e-5)
    assert choose(H100, plain, turns, M=5000).variant is plain
    assert choose(H100, plain, turns, M=1000).variant is turns
    assert choose(H100, plain, turns, other, M=1000).variant is other


def test_a_variant_without_an_estimate_answers_what_no_other_does():
    rest, fast = variant("rest"), estimated("fast", 1e-6, guards=[ALIGNED])
    assert choose(H100, fast, rest).variant is fast
    assert choose(H100, fast, rest, stride=63).variant is rest
    assert choose(H100, rest, fast).variant is rest
    assert choose(A100, fast, rest).variant is fast, "estimates are for one architecture"
