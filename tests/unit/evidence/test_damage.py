"""Evidence cut off, put into another order, damaged, doubled or mixed: a verdict is what it was, or undecided, never
another; and nothing is a traceback."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.diagnostics import Sink
from spakc.evidence import evidence_path, read_evidence
from spakc.status import status
from spakc.subjects import subject_now
from tests.unit.cli.invoke import TWICE, invoke

Verdicts = dict[str, str]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Callable[[bytes], Verdicts]]:
    """The evidence of a file where some statements hold and one does not, and what other bytes would say."""
    path = tmp_path_factory.mktemp("damage") / "mine.spak"
    path.write_text(TWICE)
    assert invoke("verify", path).exit_code == 3
    checked = driver.check_file(path)
    now = subject_now(checked.module, driver.emit_files(driver.plan_file(checked)), BASE_OPTIONS)

    def verdicts(data: bytes) -> Verdicts:
        evidence_path(path).write_bytes(data)
        rows = read_evidence(evidence_path(path), Sink())
        page = status(checked.module, rows, now, Sink())
        return {
            f"{e.statement.id} {e.statement.target}": e.status.verdict.value for e in page if e.status.fresh
        }

    return evidence_path(path).read_bytes(), verdicts


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def reordered(data: bytes, random: Random) -> bytes:
    found = lines(data)
    random.shuffle(found)
    return b"".join(found)


def flipped(data: bytes, random: Random) -> bytes:
    found = bytearray(data)
    for _ in range(random.choice((1, 3, 40))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def doubled(data: bytes, random: Random) -> bytes:
    return b"".join(random.choices(lines(data), k=8))


def torn(data: bytes, random: Random) -> bytes:
    """As two writers without a lock would leave it: pieces of one between pieces of the other."""
    one, two = list(data), list(data)
    found: list[int] = []
    while one or two:
        source = one if one and (not two or random.random() < 0.5) else two
        count = random.choice((1, 100, 3000))
        found += source[:count]
        del source[:count]
    return bytes(found)


def moved(data: bytes, random: Random) -> bytes:
    """A value of one line put into another."""
    found = lines(data)
    a, b = random.sample(range(len(found)), 2)
    old, new = found[a].split(b",")[random.randrange(3, 9)], found[b].split(b",")[random.randrange(3, 9)]
    found[a] = found[a].replace(old, new)
    return b"".join(found)


@pytest.mark.parametrize("damage", [cut, reordered, flipped, doubled, torn, moved])
def test_a_verdict_is_the_same_or_undecided(
    damage: Callable[[bytes, Random], bytes], known: tuple[bytes, Callable[[bytes], Verdicts]]
) -> None:
    data, verdicts = known
    right = verdicts(data)
    assert {"holds", "violated"} <= set(right.values())
    open_ = verdicts(b"")
    lost = 0
    for seed in range(60):
        found = verdicts(damage(data, Random(seed)))
        assert found.keys() == right.keys()
        for statement, verdict in found.items():
            assert verdict in (right[statement], open_[statement]), (damage.__name__, seed, statement)
        lost += found != right
    assert lost or damage in (reordered, doubled), "nothing was damaged"
    if damage is reordered:
        assert not lost
