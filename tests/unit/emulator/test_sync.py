"""Barriers, warp collectives, mbarriers, clusters and register budgets: right, and each misuse named."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params, from_text, run

KERNEL = """
struct P { u32* y; };
SPAK_KERNEL(kernel, P, BLOCK_ARGUMENTS) {
  const u32 base = align_up(shared_base(), 128u);
  const u32 t = thread_index(), lane = lane_index(), warp = warp_index();
BODY
}
"""


def go(body: str, arguments: str = "64", grid: tuple[int, int, int] = (1, 1, 1), **options: object) -> tuple:
    kernel = from_text(KERNEL.replace("BLOCK_ARGUMENTS", arguments).replace("BODY", body))
    block, _, *cluster = [int(x) for x in arguments.split(",")] + ([0] if "," not in arguments else [])
    y = np.zeros(1024, np.uint32)
    if cluster:
        options["cluster"] = tuple(cluster)
    report = run(kernel, Params().workspace("y", y), block=block, shared=8192, grid=grid, **options)
    return report, y


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("bad-barrier-id", "named_barrier_sync(16, 64);", "named_barrier_sync(15, 64);"),
        ("bad-barrier-id", "named_barrier_sync(0, 64);", "named_barrier_sync(1, 64);"),
        ("bad-barrier-count", "named_barrier_sync(1, 48);", "named_barrier_sync(1, 64);"),
        (
            "barrier-count-mismatch",
            "named_barrier_sync(1, warp ? 64 : 32); named_barrier_sync(1, 64);",
            "named_barrier_sync(1 + warp, 32); named_barrier_sync(3, 64);",
        ),
        (
            "barrier-partial-warp",
            "if (warp) named_barrier_sync(1, 64); else if (lane < 16) named_barrier_arrive(1, 64);\n"
            "if (!warp && lane < 16) named_barrier_arrive(1, 64);",
            "if (warp) named_barrier_arrive(1, 64); else named_barrier_sync(1, 64);",
        ),
        (
            "barrier-arrived-twice",
            "if (!warp) { named_barrier_arrive(1, 64); named_barrier_sync(1, 64); }",
            "if (warp) named_barrier_arrive(1, 64); else named_barrier_sync(1, 64);",
        ),
        (
            "barrier-left-incomplete",
            "if (warp) named_barrier_arrive(1, 64);",
            "if (warp) named_barrier_arrive(1, 64); else named_barrier_sync(1, 64);",
        ),
        ("deadlock", "if (warp) named_barrier_sync(1, 64);", "named_barrier_sync(1, 64);"),
        ("deadlock", "if (warp) sync_threads(); else named_barrier_sync(1, 64);", "sync_threads();"),
        (
            "divergent-warp-collective",
            "if (lane & 1) shuffle(t, 0);\nelse shuffle(t, 0);",
            "shuffle(t, lane & 1 ? 0 : 1);",
        ),
        (
            "divergent-warp-collective",
            "if (lane < 8) sync_warp();\nelse vote_any(true);",
            "sync_warp(); vote_any(true);",
        ),
        (
            "collective-misses-exited-thread",
            "if (lane == 3) return;\nsync_warp();",
            "if (warp) return; sync_warp();",
        ),
        ("sync-warp-without-self", "sync_warp(1);", "if (lane == 0) sync_warp(1);"),
        (
            "mbarrier-not-initialised",
            "mbarrier_arrive(base);",
            "if (t == 0) { mbarrier_init(base, 1); mbarrier_arrive(base); }",
        ),
        (
            "mbarrier-init-not-visible",
            "if (t == 0) mbarrier_init(base, 64); shuffle(t, 0); if (t == 1) mbarrier_arrive(base);",
            "if (t == 0) mbarrier_init(base, 64); sync_threads(); mbarrier_arrive(base);",
        ),
        (
            "mbarrier-over-arrival",
            "if (t == 0) { mbarrier_init(base, 2); mbarrier_expect(base, 16);"
            "mbarrier_arrive(base); mbarrier_arrive(base); mbarrier_arrive(base); }",
            "if (t == 0) { mbarrier_init(base, 2); mbarrier_arrive(base); mbarrier_arrive(base); }",
        ),
        (
            "mbarrier-arrival-ahead",  # in some order both arrivals of a thread are those of the first phase
            "if (t == 0) mbarrier_init(base, 2); sync_threads();\n"
            "if (lane == 0) { mbarrier_arrive(base); mbarrier_arrive(base); }",
            "if (t == 0) mbarrier_init(base, 2); sync_threads();\n"
            "if (lane == 0) { mbarrier_arrive(base); mbarrier_wait(base, 0); mbarrier_arrive(base); }",
        ),
        (
            "deadlock",
            "if (t == 0) mbarrier_init(base, 64); sync_threads();\n"
            "if (t) mbarrier_arrive(base); mbarrier_wait(base, 0);",
            "if (t == 0) mbarrier_init(base, 64); sync_threads();\n"
            "mbarrier_arrive(base); mbarrier_wait(base, 0);",
        ),
        ("bad-mbarrier-count", "mbarrier_init(base + t * 8, 0);", "mbarrier_init(base + t * 8, 1);"),
        ("misaligned-shared", "mbarrier_init(base + 4, 1);", "if (t == 0) mbarrier_init(base + 8, 1);"),
        (
            "race-read-after-write",  # an arrival does not cover what comes after it
            "if (warp) store_shared<u32>(base + lane * 4, 1); sync_threads();\n"
            "if (warp) { named_barrier_arrive(3, 64); store_shared<u32>(base + lane * 4, 2); }"
            "else { named_barrier_sync(3, 64); load_shared<u32>(base + lane * 4); }",
            "if (warp) { store_shared<u32>(base + lane * 4, 2); named_barrier_arrive(3, 64); }"
            "else { named_barrier_sync(3, 64); load_shared<u32>(base + lane * 4); }",
        ),
    ],
)
def test_each_misuse(kind: str, wrong: str, right: str) -> None:
    for seed in (0, 7):
        report, _ = go(wrong, seed=seed)
        if kind == "race-read-after-write":
            assert report.kinds & {kind, "race-write-after-read"}, report.errors
        else:
            assert kind in report.kinds, report.errors
        clean, _ = go(right, seed=seed)
        assert clean.ok, clean.errors


def test_whoever_has_heard_of_all_arrivals_knows_that_the_phase_is_over() -> None:
    """By another barrier than the mbarrier itself."""
    arrive = "if (lane == 0) mbarrier_arrive(base);"
    body = f"if (t == 0) mbarrier_init(base, 2); sync_threads(); {arrive} sync_threads(); {arrive}"
    for seed in range(4):
        report, _ = go(body, seed=seed)
        assert report.ok, report.errors


def test_partial_sync_warp_orders_its_lanes() -> None:
    body = (
        "if (warp) return;\nif (lane < 8) { store_shared<u32>(base + lane * 4, lane); SYNC\n"
        "store(params.y + lane, load_shared<u32>(base + (lane ^ 1) * 4)); }"
    )
    report, y = go(body.replace("SYNC", "sync_warp(255);"))
    assert report.ok, report.errors
    assert np.array_equal(y[:8], np.arange(8) ^ 1)
    assert go(body.replace("SYNC", ""))[0].kinds & {"race-read-after-write", "uninitialised-shared-read"}


def test_cp_async_reports_to_an_mbarrier() -> None:
    body = """
      if (t == 0) mbarrier_init(base, 64);
      sync_threads();
      cp_async_4(base + 128 + t * 4, params.y + t);
      cp_async_mbarrier_arrive(base);
      WAIT
      store(params.y + 512 + t, load_shared<u32>(base + 128 + (t ^ 33) * 4));
    """
    for mode in ("late", "eager", "random"):
        report, _ = go(body.replace("WAIT", "mbarrier_wait(base, 0);"), async_mode=mode, seed=2)
        assert report.ok, report.errors
        report, _ = go(body.replace("WAIT", ""), async_mode=mode, seed=2)
        assert report.kinds & {"race-read-after-write", "uninitialised-shared-read"}


CLUSTER = "64, 1, 2, 1, 1"


def test_cluster_exchange_through_shared_memory() -> None:
    body = """
      const u32 rank = cluster_rank();
      store_shared<u32>(base + t * 4, 1000 * rank + t);
      SYNC
      store(params.y + rank * 64 + t, load_shared_remote<u32>(base + t * 4, rank ^ 1));
      END
    """
    right = body.replace("SYNC", "cluster_sync();").replace("END", "cluster_sync();")
    for seed in range(4):
        report, y = go(right, CLUSTER, grid=(2, 1, 1), seed=seed)
        assert report.ok, report.errors
        assert np.array_equal(y[:128], np.concatenate([1000 + np.arange(64), np.arange(64)]))
        report, _ = go(
            body.replace("SYNC", "").replace("END", "cluster_sync();"), CLUSTER, grid=(2, 1, 1), seed=seed
        )
        assert report.kinds & {"race-read-after-write", "uninitialised-shared-read"}
        report, _ = go(
            body.replace("SYNC", "cluster_sync();").replace("END", ""), CLUSTER, grid=(2, 1, 1), seed=seed
        )
        assert report.kinds & {"exit-races-remote-access", "remote-access-to-exited-block"}


def test_remote_arrival_publishes_no_writes() -> None:
    body = """
      if (t == 0) { mbarrier_init(base, 64); mbarrier_init_fence(); }
      cluster_sync();
      WRITE
      mbarrier_arrive_remote(base, cluster_rank() ^ 1);
      mbarrier_wait(base, 0);
      cluster_sync();
    """
    read = "load_shared<u32>(base + 1024 + t * 4);"
    put = "store_shared<u32>(base + 1024 + t * 4, t);"
    for write, kinds in ((put, {"remote-arrive-after-write"}), (f"{put} sync_threads(); {read}", set())):
        assert go(body.replace("WRITE", write), CLUSTER, grid=(2, 1, 1))[0].kinds == kinds


def test_split_cluster_barrier_covers_only_what_came_before() -> None:
    body = """
      const u32 rank = cluster_rank();
      BEFORE
      cluster_arrive();
      AFTER
      cluster_wait();
      store(params.y + rank * 64 + t, load_shared_remote<u32>(base + t * 4, rank ^ 1));
      cluster_sync();
    """
    put = "store_shared<u32>(base + t * 4, t);"
    assert go(body.replace("BEFORE", put).replace("AFTER", ""), CLUSTER, grid=(2, 1, 1))[0].ok
    late = go(body.replace("BEFORE", "").replace("AFTER", put), CLUSTER, grid=(2, 1, 1))[0]
    assert "race-read-after-write" in late.kinds


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("bad-cluster-rank", "load_shared_remote<u32>(base, 2);"),
        ("cluster-wait-without-arrive", "cluster_wait();"),
        ("cluster-arrive-twice", "cluster_arrive(); cluster_arrive();"),
        (
            "deadlock",
            "if (cluster_rank() == 0) { cluster_sync(); } else { named_barrier_sync(1, 32 * (1 + warp)); }",
        ),
    ],
)
def test_cluster_misuse(kind: str, body: str) -> None:
    report, _ = go(body, CLUSTER, grid=(2, 1, 1))
    assert report.kinds & {kind, "barrier-count-mismatch"}, report.errors


def test_register_budgets() -> None:
    good = "if (warp < 4) register_decrease<40>(); else register_increase<232>();"
    assert go(good, "384, 1")[0].ok
    assert go(good, "384")[0].kinds == {"bad-register-budget"}, "no min_blocks: the device ignores setmaxnreg"
    too_many = go(good.replace("232", "240"), "384, 1")[0]
    assert too_many.kinds == {"deadlock"} and "register_increase" in too_many.errors[0].message
    assert go(good.replace("<40>", "<176>"), "384, 1")[0].kinds == {"bad-register-budget"}
    for nobody_takes in ("if (warp < 4) register_decrease<40>();", "register_decrease<40>();"):
        (error,) = go(nobody_takes, "384, 1", grid=(2, 1, 1))[0].errors
        assert error.kind == "bad-register-budget" and "no warp of the block takes any" in error.message
    assert go("if (lane) register_decrease<40>();", "384, 1")[0].kinds & {
        "deadlock",
        "collective-misses-exited-thread",
    }


def test_more_than_one_word_of_warps() -> None:
    report, y = go(
        "store(params.y + block_index_x() * 512 + t, t); cluster_sync();", "512, 1, 2, 1, 1", grid=(2, 1, 1)
    )
    assert report.ok, report.errors
    assert np.array_equal(y, np.tile(np.arange(512), 2))
    body = "if (t == 0) atomic_add(params.y, 1u); cluster_sync();"
    report, y = go(body, "1024, 1, 4, 2, 1", grid=(8, 2, 1), seed=1)
    assert report.ok and y[0] == 16, report.errors


def test_warp_index_is_called_by_all_lanes() -> None:
    """It is a shuffle: a device waits for ever where one lane alone asks."""
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      if (lane_index() == 0) store(params.y + thread_index() / 32, warp_index());
      sync_threads();
    }
    """
    report = run(from_text(source), Params().workspace("y", np.zeros(2, np.uint32)), block=64)
    assert not report.ok and report.kinds & {"deadlock", "collective-misses-exited-thread"}, report.errors


def test_a_launch_that_overlaps_waits_before_it_touches_memory() -> None:
    late = "store(params.y + t, t); grid_dependency_wait();"
    some = "if (warp == 0) grid_dependency_wait();\nsync_threads(); store(params.y + t, t);"
    good = "grid_dependency_wait(); grid_dependency_launch(); store(params.y + t, t);"
    for body in (late, some, "store(params.y + t, t);"):
        assert go(body)[0].ok
        assert go(body, overlaps=True)[0].kinds == {"touched-before-dependency"}
    report, y = go(good, overlaps=True)
    assert report.ok and np.array_equal(y[:64], np.arange(64))
