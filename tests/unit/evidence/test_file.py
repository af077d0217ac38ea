"""The evidence file: what is written comes back, what is damaged is told and ignored, writers do not mix."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from spakc.diagnostics import Sink
from spakc.evidence import Part, Row, Subject, append_evidence, evidence_path, parse_row, read_evidence
from tests.unit.evidence.fixtures import EVIDENCE


def a_row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "statement": "law matmul.no_spills",
        "kind": "compiled",
        "meaning": "m1",
        "subject": Subject.of(
            [Part("source", "matmul", "tiled.cu", "s1"), Part("flags", "matmul", "sm_90a", "f1")]
        ),
        "figures": {
            "observations": [{"queries": {"cubin.spill_bytes": 0}, "count": 3}],
            "share": 0.1,
            "words": "é",
        },
        "target": "h100",
        "device": "NVIDIA H100 80GB HBM3",
        "toolchain": "NVRTC 13.0",
        "baselines": {"torch": "2.13.0"},
        "date": "2026-11-22T12:00:00Z",
        "seed": 7,
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def read(path: Path) -> tuple[list[Row], list[str]]:
    sink = Sink()
    rows = read_evidence(path, sink)
    assert not sink.has_errors
    return rows, [d.code for d in sink.diagnostics]


def test_rows_come_back(tmp_path: Path) -> None:
    path = evidence_path(tmp_path / "matmul.spak")
    assert path.name == "matmul.evidence.jsonl" and read(path) == ([], [])
    rows = [
        a_row(),
        a_row(statement="claim fast", kind="time", seed=None, target="", date="2026-11-23T12:00:00Z"),
    ]
    append_evidence(path, rows[:1])
    append_evidence(path, rows[1:])
    append_evidence(path, [])
    assert read(path) == (rows, [])


def test_the_order_of_lines_says_nothing(tmp_path: Path) -> None:
    """Rows come in the order of their dates, whatever the zone that they are written in."""
    path = tmp_path / "x.evidence.jsonl"
    dates = ["", "2026-11-22T12:00:00Z", "2026-11-22T15:00:00+02:00", "2026-11-22T13:30:00+00:00"]
    rows = [a_row(date=date, seed=i) for i, date in enumerate(dates)] + [a_row(date=dates[-1], seed=9)]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        path.write_text("".join(f"{row.to_json()}\n" for row in order))
        assert read(path) == (rows, [])


@pytest.mark.parametrize(
    "date", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "zzzz", "9", "2026-13-01"]
)
def test_no_row_is_of_tomorrow(date: str, tmp_path: Path) -> None:
    """Else none that is written later could ever count again."""
    path = tmp_path / "x.evidence.jsonl"
    append_evidence(path, [a_row(), a_row(date=date)])
    assert read(path) == ([a_row()], ["SPAK901"])


def test_no_verdict_is_ever_written() -> None:
    assert not {"verdict", "holds", "status"} & json.loads(a_row().to_json()).keys()


def test_a_cut_off_last_line_is_told_and_the_next_row_survives(tmp_path: Path) -> None:
    path = tmp_path / "x.evidence.jsonl"
    append_evidence(path, [a_row(), a_row(seed=8)])
    path.write_bytes(path.read_bytes()[:-20])
    assert read(path) == ([a_row()], ["SPAK902"])
    append_evidence(path, [a_row(seed=9)])
    assert read(path) == ([a_row(), a_row(seed=9)], ["SPAK901"])


LINE = a_row().to_json()


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace('"cubin.spill_bytes":0', '"cubin.spill_bytes":1'),
        LINE.replace('"seed":7', '"seed":8'),
        LINE.replace('"s1"', '"s2"'),
        LINE.replace("spak-evidence/1", "spak-evidence/2"),
        LINE[:-1] + ',"verdict":"holds"}',
        LINE[: len(LINE) // 2],
        LINE.replace("0.1", "NaN"),
        "[" * 100_000,
        "[]",
        "null",
        "\x00",
        '{"schema":"spak-evidence/1"}',
        "9" * 5000,
    ],
)
def test_what_is_damaged_or_edited_establishes_nothing(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.evidence.jsonl"
    path.write_bytes(f"{LINE}\n{line}\n{LINE}\n".encode())
    assert read(path) == ([a_row(), a_row()], ["SPAK901"])


def test_every_flipped_byte_is_noticed() -> None:
    raw = bytearray(LINE.encode())
    for i in range(0, len(raw), 7):
        raw[i] ^= 1
        with pytest.raises(ValueError):
            parse_row(raw.decode(errors="strict"))
        raw[i] ^= 1


def test_not_utf8_and_not_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.evidence.jsonl"
    path.write_bytes(b"\xff\xfe\n" + LINE.encode() + b"\n")
    assert read(path) == ([a_row()], ["SPAK901"])
    folder = tmp_path / "y.evidence.jsonl"
    folder.mkdir()
    assert read(folder) == ([], ["SPAK903"])


def _write(path: Path, writer: int) -> None:
    for i in range(50):
        append_evidence(
            path, [a_row(seed=writer * 1000 + i, device="x" * 3000), a_row(seed=writer * 1000 + 500 + i)]
        )


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.evidence.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, n)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows, codes = read(path)
    assert not codes and len({r.seed for r in rows}) == len(rows) == 200
    seeds = [parse_row(line).seed or 0 for line in path.read_text().splitlines()]
    assert all(b == a + 500 for a, b in zip(seeds[::2], seeds[1::2], strict=True))  # an append is never torn


@pytest.mark.parametrize("code", EVIDENCE)
def test_the_codes_of_evidence_are_earned(code: str, tmp_path: Path) -> None:
    assert EVIDENCE[code](tmp_path) == [code]
