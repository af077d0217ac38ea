"""When `make sanitize` takes findings of racecheck for its errors. The texts are as compute-sanitizer writes them."""

from __future__ import annotations

import pytest

from tests.gpu.sanitize import Found, Rings, ring_row, row


def race(kernel: str) -> str:
    return (
        f"========= Error: Race reported between Write access at {kernel}+0x14650\n"
        f"=========     and Read access at {kernel}+0xd1e0 [28 hazards]\n"
        f"=========     and Read access at {kernel}+0xd220 [32 hazards]\n"
        "========= \n"
    )


def found(*kernels: str, tool: str = "racecheck", wrong: str = "0") -> Found:
    ended = f'{{"launched": {{"rows/warp.cu.j2": 8}}, "wrong": {wrong}}}\n'
    summary = (
        f"========= RACECHECK SUMMARY: {len(kernels)} hazards displayed ({len(kernels)} errors, 0 warnings)\n"
    )
    said = "".join(map(race, kernels)) + ended + summary
    return Found(tool, "generated kernels", len(kernels), 9 if kernels else 0, 1.0, said)


def alone(*kernels: str) -> Rings:
    return Rings(found(*kernels, wrong="[]"))


BLIND = alone("rows_unwaited", "rows_by_one_lane", "rows_by_one_lane")
GRADIENT = "spak_fmha_gradient_joined_2_gradient_tma"


def test_a_finding_counts_by_the_kernel_it_names() -> None:
    assert found(GRADIENT, GRADIENT, "other").races == {GRADIENT: 2, "other": 1}
    assert "other 1" in row(found("other"), BLIND) and "rows_by_one_lane 2" in ring_row(BLIND)


def test_what_a_right_ring_alone_is_accused_of_is_in_error() -> None:
    assert BLIND.misjudged and BLIND.excuses(found(GRADIENT, GRADIENT))
    assert "in error" in row(found(GRADIENT), BLIND) and "in error" in ring_row(BLIND)


@pytest.mark.parametrize(
    "rings",
    [
        alone("rows_unwaited"),  # the ring is seen to be right, so a finding means something
        alone("rows_by_one_lane"),  # it does not see the wrong one
        alone("rows_unwaited", "rows_by_one_lane", "rows_by_every_lane"),  # it finds fault with everything
        alone(),
        Rings(found("rows_unwaited", "rows_by_one_lane", wrong="")),  # the program did not end
    ],
)
def test_findings_stay_findings_without_the_proof(rings: Rings) -> None:
    assert not rings.excuses(found(GRADIENT))
    assert "NOT CLEAN" in row(found(GRADIENT), rings)


def test_findings_of_other_kernels_stay_findings() -> None:
    assert not BLIND.excuses(found("spak_fmha_v4_tma"))
    assert not BLIND.excuses(found(GRADIENT, "spak_fmha_v4_tma"))
    assert not BLIND.excuses(found(GRADIENT, tool="memcheck"))
    assert not BLIND.excuses(found(GRADIENT, wrong="1"))
    more = found(GRADIENT)
    assert not BLIND.excuses(Found(more.tool, more.what, 2, more.exit_code, more.seconds, more.said))


def test_rings_must_be_told_apart() -> None:
    assert BLIND.clean and alone("rows_unwaited").clean
    assert not alone("rows_by_one_lane").clean and not alone("rows_unwaited", "rows_by_every_lane").clean
    assert "NOT CLEAN" in ring_row(alone())
