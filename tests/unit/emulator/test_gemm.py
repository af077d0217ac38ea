"""Whole kernels: right on ragged shapes in every asynchronous mode, and each planted mistake named."""

from __future__ import annotations

import pytest

from tests.unit.emulator.emulator_cases import gemm_mma, gemm_wgmma

MODES = ["late", "eager", "random"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(128, 128, 128), (200, 136, 72), (1, 8, 8), (129, 264, 40)])
def test_mma_gemm_is_right_and_clean(shape: tuple[int, int, int], mode: str) -> None:
    for seed in (0, 1):
        report, exact = gemm_mma(*shape, seed=seed, async_mode=mode)
        assert report.ok, report.errors
        assert exact


@pytest.mark.parametrize("element", ["bf16", "f16"])
@pytest.mark.parametrize("a_mn", [False, True])
@pytest.mark.parametrize("b_mn", [False, True])
def test_wgmma_gemm_in_every_layout(element: str, a_mn: bool, b_mn: bool) -> None:
    for mode in MODES:
        report, exact = gemm_wgmma(
            200, 136, 72, a_mn=a_mn, b_mn=b_mn, element=element, seed=1, async_mode=mode
        )
        assert report.ok, report.errors
        assert exact
        assert not report.bank_conflicts()


def test_f16_mma() -> None:
    report, exact = gemm_mma(136, 128, 64, element="f16")
    assert report.ok and exact


@pytest.mark.parametrize("mode", MODES)
def test_cluster_with_multicast(mode: str) -> None:
    report, exact = gemm_wgmma(256, 128, 328, cluster=2, seed=5, async_mode=mode)
    assert report.ok, report.errors
    assert exact
    assert report.bytes["b"].read == 128 * 328 * 2, "a multicast box is read once for both blocks"


def test_traffic_is_what_the_algorithm_says() -> None:
    m, n, k = 256, 256, 64
    report, _ = gemm_mma(m, n, k)
    assert report.bytes["a"].read == 2 * m * k * 2
    assert report.bytes["b"].read == 2 * k * n * 2
    assert report.bytes["c"].written == m * n * 2
    assert all(a.units == a.ideal and a.requests > 0 for a in report.conflicts)
    assert report.witnesses["mma"] == m * n * k // (16 * 8 * 16)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (1, "race-read-after-write"),  # no sync_threads
        (4, "race-write-after-read"),  # loads into a live stage
        (5, "race-read-after-write"),  # waits for one group too few
        (6, "race-read-after-write"),  # commits every other time
        (7, "global-out-of-bounds"),  # no guard on m
        (8, "misaligned-cp-async"),
        (9, "race-read-after-write"),  # one warp skips sync_threads
        (10, "double-write"),
        (11, "race-write-after-read"),  # refills the stage that is being read
    ],
)
def test_mma_mistakes_are_named(plant: int, kind: str) -> None:
    for mode in MODES:
        report, _ = gemm_mma(200, 136, 136, plant, seed=1, async_mode=mode)
        assert kind in report.kinds, report.errors
        assert any(e.place and e.place.file == "gemm_mma.cu" for e in report.errors)


def test_no_swizzle_is_a_bank_conflict_and_nothing_else() -> None:
    report, exact = gemm_mma(128, 128, 64, 3)
    assert report.ok and exact
    (line,) = [a for a in report.bank_conflicts() if a.units >= 4 * a.ideal]
    assert line.excess == line.requests


def test_forgotten_accumulators_are_nan() -> None:
    report, exact = gemm_mma(128, 128, 32, 12)
    assert report.ok and not exact


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (1, "race-read-after-write"),  # no wait for the full barrier
        (2, "race-write-after-read"),  # releases a stage that wgmma still reads
        (3, "deadlock"),  # wrong parity
        (4, "deadlock"),  # expects fewer bytes than come
        (5, "wgmma-not-swizzle-aligned"),
        (6, "missing-proxy-fence"),
        (8, "race-read-after-write"),  # another stage than the one waited for
        (9, "wgmma-without-fence"),
        (13, "exit-with-pending-store"),
        (14, "race-read-after-write"),  # no barrier before the TMA store
        (15, "race-write-after-read"),  # the empty barrier counts one arrival
        (17, "mbarrier-init-not-fenced"),
    ],
)
def test_wgmma_mistakes_are_named(plant: int, kind: str) -> None:
    for seed, mode in enumerate(MODES):
        report, _ = gemm_wgmma(128, 128, 520, plant, seed=seed, async_mode=mode)
        assert kind in report.kinds, (mode, report.errors)


def test_barrier_used_before_its_init_is_visible() -> None:
    for seed in range(3):
        report, _ = gemm_wgmma(128, 128, 128, 7, seed=seed)
        assert report.kinds & {"mbarrier-not-initialised", "mbarrier-init-not-visible"}


def test_producer_that_never_waits() -> None:
    for seed in range(4):
        report, _ = gemm_wgmma(128, 128, 520, 11, seed=seed, async_mode="random")
        assert report.kinds & {"mbarrier-over-arrival", "race-write-after-write", "race-write-after-read"}


@pytest.mark.parametrize("plant", [12, 16])
def test_wrong_addresses_are_wrong_numbers(plant: int) -> None:
    report, exact = gemm_wgmma(128, 128, 128, plant)
    assert not exact
    assert report.ok


def test_block_that_leaves_its_cluster_early() -> None:
    for seed in range(3):
        report, _ = gemm_wgmma(256, 128, 328, 18, cluster=2, seed=seed)
        assert report.kinds & {"exit-races-remote-access", "remote-access-to-exited-block"}


def test_deadlock_says_who_waits_where() -> None:
    report, _ = gemm_wgmma(128, 128, 128, 3)
    (error,) = [e for e in report.errors if e.kind == "deadlock"]
    assert (
        "mbarrier_wait(" in error.message and "gemm_wgmma.cu:" in error.message and " x 256" in error.message
    )


def test_same_seed_same_run() -> None:
    for plant in (0, 4):
        first, again = (gemm_mma(200, 136, 136, plant, seed=11, async_mode="random")[0] for _ in range(2))
        assert first == again
    other = gemm_mma(200, 136, 136, 0, seed=12, async_mode="random")[0]
    assert other.witnesses["switches"] != first.witnesses["switches"] or other.sectors == first.sectors
