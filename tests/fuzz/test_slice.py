"""A slice of the long campaign (`make fuzz`), and the campaign itself: what is lost is found, what is done is kept."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from spakc.lsp import project
from tests.fuzz import campaign, crew, examine
from tests.fuzz.campaign import past_the_parser
from tests.fuzz.inputs import SHARES, small


def test_nothing_but_diagnostics_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    page = project._page
    monkeypatch.setattr(project, "_page", lambda checked: planned.append(checked) or page(checked))
    outcomes = Counter(examine.examine(number) for number in range(5_000, 5_700))
    assert past_the_parser(outcomes) >= campaign.PARSED
    assert {name.split()[0] for name in outcomes} == SHARES.keys()
    assert len({name.split()[1] for name in outcomes}) > 40, "the fuzzer has become tame"
    assert sum(n for name, n in outcomes.items() if name.endswith(" right")) > 50
    assert len(small()) > 250 and len(planned) > 5, "hovers ask for what is known of a statement"


def judged(monkeypatch: pytest.MonkeyPatch, bad: object, chunks: list[range]) -> dict[int, crew.Result]:
    """Chunks judged by two workers; `bad` is called with each number."""
    monkeypatch.setattr(crew, "STILL", 6.0)
    monkeypatch.setattr(crew, "LIMIT", 0.2)  # a busy machine makes seconds of it
    monkeypatch.setattr(examine, "examine", bad)
    with crew.Crew(2) as workers:
        return {result.numbers.start: result for result in workers.work(iter(chunks))}


def test_an_input_that_kills_stops_or_raises_has_failed_and_the_rest_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bad(number: int) -> str:
        if number == 3:
            os._exit(9)
        if number == 14:
            time.sleep(60)  # no processor: only the watcher sees it
        while number == 25:
            pass
        if number == 27:
            raise ValueError("no diagnostic")
        if number == 28:
            sys.exit(70)
        return "kind right"

    found = judged(monkeypatch, bad, [range(10), range(10, 20), range(20, 30), range(30, 40)])
    why = {number: text for result in found.values() for number, text in result.failed}
    assert why.keys() == {3, 14, 25, 27, 28}
    assert "ended with 9" in why[3] and "nothing for 6 s" in why[14] and "more than 0.2 s" in why[25]
    assert "no diagnostic" in why[27] and "SystemExit: 70" in why[28]
    assert {start: sum(result.outcomes.values()) for start, result in found.items()} == {
        0: 9,
        10: 9,
        20: 7,
        30: 10,
    }


def test_old_workers_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LIFE", 20)
    found = judged(
        monkeypatch, lambda number: f"{os.getpid()} right", [range(n, n + 10) for n in range(0, 100, 10)]
    )
    assert len({name for result in found.values() for name in result.outcomes}) >= 5
    assert sum(sum(result.outcomes.values()) for result in found.values()) == 100


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    monkeypatch.setattr(sys, "argv", ["campaign", "-o", str(folder), *arguments])
    code = campaign.main()
    return code, json.loads((folder / "summary.json").read_text())


def test_a_campaign_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "CHUNK", 10)
    monkeypatch.setattr(examine, "examine", lambda _: "kind right")
    code, log = run(monkeypatch, tmp_path, "--inputs", "50")
    assert code == 0 and log["inputs"] == 50 and log["done"] == [0, 10, 20, 30, 40]
    code, log = run(monkeypatch, tmp_path, "--inputs", "70")
    assert code == 0 and log["inputs"] == 70
    assert "70 inputs (20 now" in capsys.readouterr().out.splitlines()[-1]
    (tmp_path / "summary.json").write_text("damaged")
    _, log = run(monkeypatch, tmp_path, "--inputs", "20")
    assert log["inputs"] == 20
    monkeypatch.setattr(campaign, "version", lambda: "another")
    _, log = run(monkeypatch, tmp_path, "--inputs", "30")
    assert log["inputs"] == 30 and log["version"] == "another"


def test_a_failure_is_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(number: int) -> str:
        assert number != 7, "a defect"
        return "kind right"

    monkeypatch.setattr(campaign, "CHUNK", 10)
    monkeypatch.setattr(examine, "examine", bad)
    code, log = run(monkeypatch, tmp_path, "--inputs", "10")
    assert code == 1 and log["failed"] == [7]
    (text,) = tmp_path.glob("7-*.spak")
    assert "a defect" in text.with_suffix(".txt").read_text()


def test_inputs_that_do_not_parse_are_no_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "examine", lambda _: "kind SPAK100")
    assert run(monkeypatch, tmp_path, "--inputs", "10")[0] == 1
