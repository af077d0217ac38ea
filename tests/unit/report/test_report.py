"""The report: what is on the page, what is said to be missing, and that a browser shows it without a complaint."""

from __future__ import annotations

import math
import random
import re
import shutil
import statistics
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from spak_runtime.nvrtc import BASE_OPTIONS
from spak_runtime.training.figures import sealed
from spakc import driver
from spakc.bench.measure import Answer, Timed
from spakc.bench.questions import Question, questions
from spakc.commands import bench
from spakc.commands.report_page import write_page
from spakc.diagnostics import Sink
from spakc.evidence import Row, Subject, append_evidence, evidence_path
from spakc.figures import key_of
from spakc.report.html import Run, _accuracy, _loops, by_digits
from spakc.report.svg import WIDTH, Axis, Series, bars, chart, number_text
from spakc.report.table import Entry
from spakc.report.times import Roof, roof_of, timings
from spakc.resources import resource
from spakc.statistics import Counts
from spakc.status import status
from spakc.subjects import subject_now
from tests.unit.cli.invoke import invoke
from tests.unit.cli.test_run import write

FILE = """spak 1
use std.devices
targets h100
kernel mix: product {
  dim P, Q, R
  input  left: bf16 [P, R]
  input  right: bf16 [R, Q]
  output both: bf16 | f32 [P, Q]
  math { both[p, q] = sum[r](left[p, r] * right[r, q]) }
  schedule naive { knob block in {8} }
}
claim level on h100: geomean(speed(mix) / speed(torch.matmul)) >= 1 for every (P, Q, R) in {(64, 32, 16), (8, 8, 512)}
"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '<script>alert("&")</script>'


@pytest.fixture
def checked(tmp_path: Path) -> driver.Checked:
    path = tmp_path / "mix.spak"
    path.write_text(FILE)
    return driver.check_file(path)


def measured(checked: driver.Checked) -> Row:
    """A row as `spakc bench` writes it, with rates of the test's own: the library's are twice ours."""
    asked = [each for each in questions(checked.module.module) if isinstance(each, Question)]
    quantities = [
        {
            "query": key_of(query),
            "at": dict(question.point),
            "samples": [rate, 1.1 * rate, 0.9 * rate],
            "rounds": "a",
        }
        for question in asked
        for (query, _, _), rate in zip(question.subjects, (1e12, 2e12), strict=True)
    ]
    said = asked[0].statement
    figures = {"quantities": quantities}
    return Row(
        said.id, "time", said.meaning, Subject(), figures, target="h100", device="a card", date="2026-01-02"
    )


def figures(name: str, **changes: Any) -> dict[str, Any]:
    rows = [
        {"split": "near", "readout": "last", "n": 40, "correct": 30, "interval": [0.6, 0.86],
         "by_digits": {"1": [20, 20], "2": [10, 20]}},
        {"split": "near", "readout": "exit", "n": 40, "correct": 1, "interval": [0, 0.1], "by_digits": {"1": [1, 40]}},
        {"split": "far", "readout": "last", "n": 10, "correct": 0, "interval": [0, 0.3],
         "by_digits": {"12": [0, 10]}},
    ]  # fmt: skip
    return {
        "schema": "spak-figures/1", "experiment": name, "point": "", "profile": None, "seed": 0, "meaning": "",
        "parameters": 1234, "steps": 30, "seconds": 1.5, "loss": 0.5, "device": HOSTILE, "rows": rows,
        "gates": [{"name": "sane", "holds": True}], "hidden": {"secret": "a gate failed"}, **changes,
    }  # fmt: skip


def page_of(checked: driver.Checked, out: Path, rows: list[Row]) -> str:
    decided = driver.plan_file(checked)
    page = status(checked.module, rows, Subject(), Sink())
    path = out / "page.html"
    write_page(path, out, checked.module.module, decided, driver.emit_files(decided), page, rows)
    return path.read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]


def test_what_is_not_measured_is_said(checked: driver.Checked, tmp_path: Path) -> None:
    """In one place: what a file has no figures of has no section."""
    page = page_of(checked, tmp_path, [])
    missing = ("Runs", "Loss", "Accuracy by digits, loss of text", "Loops", "Ladder", "Roofline")
    for title in missing:
        assert f"<li>{title}: " in section(page, "Not measured") and not section(page, title)
    assert "<svg" not in page and "undecided" in section(page, "Claims")
    timed = page_of(checked, tmp_path, [measured(checked)])
    assert "Ladder: " not in section(timed, "Not measured") and "<svg" in section(timed, "Ladder")


def test_rates_come_from_the_evidence(checked: driver.Checked, tmp_path: Path) -> None:
    row = measured(checked)
    page = page_of(checked, tmp_path, [row])
    assert "mix(P = 64, Q = 32, R = 16)" in section(page, "Ladder") and "torch.matmul" in section(
        page, "Ladder"
    )
    assert "a card, 2026-01-02" in section(page, "Roofline")
    module = checked.module.module
    problems = {"mix": driver.plan_file(checked).kernels["mix"].problem}
    found = list(timings(module, problems, [row]))
    assert [(t.rate, t.library) for t in found] == [(1e12, ""), (2e12, "torch.matmul")] * 2
    assert found[0].intensity == 2 * 64 * 32 * 16 / (2 * (64 * 16 + 16 * 32 + 64 * 32))
    assert list(timings(module, problems, [replace(row, meaning="another")])) == []


def test_a_roof() -> None:
    roof = Roof("d", 100.0, 10.0)
    assert [roof.at(x) for x in (1.0, roof.ridge, 20.0)] == [10.0, 100.0, 100.0]


def test_a_roof_is_that_of_the_device(checked: driver.Checked) -> None:
    roof = roof_of(checked.module.module, "h100")
    assert roof is not None and roof.bandwidth == 3350e9
    assert roof_of(checked.module.module, "nothing") is None


def test_digits_are_those_of_the_plain_readout() -> None:
    assert by_digits(figures("e")) == {1: (20, 20), 2: (10, 20), 12: (0, 10)}


def test_loops_are_shown_by_split_and_by_token() -> None:
    rows = [
        {
            "split": "s",
            "readout": "last",
            "correct": 9,
            "n": 10,
            "loops": None,
            "by_loops": {"n": 10, "correct": [0, 5, 9, 9]},
        },
        {"split": "s", "readout": "exit", "correct": 8, "n": 10, "loops": 2.5, "halting": {"4": [2.0, 3.0]}},
    ]
    figures = {"experiment": "e", "point": "", "profile": None, "seed": 0, "rows": rows}
    other = {
        **figures,
        "seed": 1,
        "rows": [
            {**rows[0], "by_loops": {"n": 10, "correct": [0, 1, 9, 9]}},
            {**rows[1], "halting": {"4": [2.0]}},
        ],
    }
    page = _loops([Run(figures, []), Run(other, [])])
    assert page.count("<svg") == 2 and "2.50 loops a token, 80.00%" in page
    assert "4 digits, 1: 2<" in page and "4 digits, 2: 3<" in page, (
        "a mean over the seeds that have the token"
    )
    assert _loops([Run({**figures, "rows": []}, [])]) == ""


def test_where_all_halt_at_once_it_is_said_in_words() -> None:
    def halting(means: list[float]) -> str:
        rows = [{"split": "s", "readout": "exit", "halting": {"1": means}}]
        return _loops([Run({"experiment": "e", "point": "", "profile": None, "seed": 0, "rows": rows}, [])])

    assert "Every token halts at loop 2.00." in halting([2.0, 2.0]) and "1 digit<" in halting([2.0])
    assert "light 2.00, dark 3.50" in halting([2.0, 3.5])


def test_a_run_on_text_shows_its_losses() -> None:
    """Where others show answers: each part of the text beside its loss."""
    rows = [
        {"split": name, "readout": "last", "loss": loss}
        for name, loss in (("train", 1.25), ("validation", 2.5))
    ]
    shown = _accuracy([Run(figures("text", rows=rows), [])])
    assert "<rect" in shown and "1.25 nats" in shown and "2.5 nats" in shown and "validation" in shown
    assert "nats" not in _accuracy([Run(figures("sums"), [])])
    assert _accuracy([Run(figures("nothing", rows=[]), [])]) == ""


def test_a_ladder_is_read(checked: driver.Checked, tmp_path: Path) -> None:
    call = {"call": "mix(P = 1)", "bars": [{"by": "naive.8", "rates": [1e12, 3e12, 2e12]}]}
    ladder = {"schema": "spak-ladder/1", "device": "a card", "date": "2026-01-02", "calls": [call]}
    (tmp_path / "ladder.json").write_text(sealed(ladder))
    shown = section(page_of(checked, tmp_path, []), "Ladder")
    assert "naive.8" in shown and "2 TFLOP/s" in shown and "each schedule; a card, 2026-01-02" in shown
    (tmp_path / "ladder.json").write_text(sealed(ladder).replace('"calls"', '"called"'))
    assert "naive.8" not in page_of(checked, tmp_path, []), "what was changed is not shown"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run, with a second run by another state of the file beside it."""
    folder = tmp_path_factory.mktemp("report")
    file = write(folder)
    assert invoke("run", file, "-o", folder / "out", "--profile", "quick").exit_code == 0
    strange = folder / "out" / "runs" / "old"
    strange.mkdir()
    (strange / "figures.json").write_text(sealed(figures("e")))
    assert invoke("status", file, "-o", folder / "out", "--html", folder / "page.html").exit_code == 0
    return folder


class TestRuns:
    def test_curves_and_answers(self, written: Path) -> None:
        page = (written / "page.html").read_text()
        assert "<svg" in section(page, "Loss") and "e (quick), seed 0" in section(page, "Loss")
        assert "<circle" in section(page, "Accuracy by digits, loss of text")
        assert "Without 1 run of an earlier state" in section(page, "Runs") and "alert" not in page
        first = (written / "out" / "report.html").read_text()
        assert section(first, "Loss") == section(page, "Loss"), "`run` and `status --html` write the same"

    def test_nothing_is_fetched_and_nothing_runs(self, written: Path) -> None:
        found: list[tuple[str, str]] = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                found.extend((name, value or "") for name, value in [("tag", tag), *attrs])

        page = (written / "page.html").read_text()
        Reader().feed(page)
        assert not {"script", "img", "iframe", "object"} & {v for n, v in found if n == "tag"}
        assert [value for name, value in found if name in ("src", "href", "xlink:href")] == ["data:,"]
        assert not re.search(r"url\(|@import", page.partition("<style>")[2].partition("</style>")[0])
        for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            ElementTree.fromstring(picture)

    @pytest.mark.skipif(CHROMIUM is None, reason="not run: no Chromium is installed")
    def test_a_browser_shows_it(self, written: Path) -> None:
        dom, complaints = browse(written / "page.html", written)
        assert complaints == [] and "e (quick), seed 0" in dom
        wrong = written / "wrong.html"
        wrong.write_text(
            '<!DOCTYPE html><script>console.error("on purpose")</script><script>nothing()</script>'
        )
        assert len(browse(wrong, written)[1]) == 2, "a complaint would be seen"

    @pytest.mark.skipif(CHROMIUM is None, reason="not run: no Chromium is installed")
    def test_a_narrow_page_is_as_wide_as_its_window(self, written: Path) -> None:
        """What is wider moves beneath an edge of its own, not the page as a whole."""
        page = (written / "page.html").read_text()
        asked = "const d = document.querySelector('iframe').contentDocument.documentElement"
        narrow = written / "narrow.html"
        narrow.write_text(
            f'<!DOCTYPE html><iframe width="400" height="800" srcdoc="{escape(page)}"></iframe><script>'
            f"onload = () => {{ {asked}; document.title = `${{d.scrollWidth}} in ${{d.clientWidth}}` }}</script>"
        )
        dom, complaints = browse(narrow, written)
        found = re.search(r"<title>(\d+) in (\d+)</title>", dom.replace(page, ""))
        assert complaints == [] and found is not None
        assert found[1] == found[2] and 300 < int(found[1]) <= 400


def answers_of(module: Any, seed: int) -> list[Answer]:
    """What `spakc bench` has timed: seven rounds of every subject of every question, times of the test's own."""
    rounds, found = random.Random(seed), []
    for question in (each for each in questions(module) if isinstance(each, Question)):
        timed = []
        for query, call, library in question.subjects:
            work = 2.0 * math.prod(call.dims.values())
            middle = work / 6e14 + rounds.uniform(2e-6, 6e-6)
            seconds = tuple(middle * rounds.uniform(0.98, 1.05) for _ in range(7))
            timed.append(
                Timed(query, call.kernel, library or "warp_specialized.128x256x64x4x2", seconds, work)
            )
        found.append(Answer(question, tuple(timed), clocks="SM 1755 MHz"))
    return found


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an example that was timed: evidence and ladder by the code of `spakc bench`, but for the device."""
    folder = tmp_path_factory.mktemp("timed")
    file = folder / "matmul.spak"
    shutil.copy(resource("examples/kernels/matmul.spak"), file)
    checked = driver.check_file(file)
    module = checked.module.module
    now = subject_now(checked.module, driver.emit_files(driver.plan_file(checked)), BASE_OPTIONS)
    answers = answers_of(module, 0)
    schedules = [
        replace(each, timed=tuple(replace(each.timed[0], by=f"{name}.128x128x64x4") for name in ladder))
        for each in answers_of(module, 1)
        for ladder in (module.kernels["matmul"].schedules,)
    ]
    (folder / "out").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bench, "device_name", lambda: "NVIDIA H100 80GB HBM3")
        patched.setattr(bench, "driver_version", lambda: "580.159.04")
        patched.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
        append_evidence(evidence_path(file), bench._rows(module, answers, now))
        (folder / "out" / "ladder.json").write_text(bench._ladder(schedules))
    assert invoke("status", file, "-o", folder / "out", "--html", folder / "page.html").exit_code == 0
    return folder


class TestTimes:
    def test_every_rate_is_drawn(self, timed: Path) -> None:
        page = (timed / "page.html").read_text()
        module = driver.check_file(timed / "matmul.spak").module.module
        answers = answers_of(module, 0)
        asked = {(each.question.statement.id, str(each.question.subjects[0][1])) for each in answers}
        ladder, roofline = section(page, "Ladder"), section(page, "Roofline")
        assert len(asked) >= 9 and ladder.count("<svg") == len(answers) + len(asked)
        for name in module.kernels["matmul"].schedules:
            assert ladder.count(f">{name}.128x128x64x4<") >= len(answers), name
        assert roofline.count("<svg") == 1 and "<h3>h100</h3>" in roofline
        subjects = sum(len(each.question.subjects) for each in answers)
        assert roofline.count("<circle") == subjects > len(asked) and "torch.matmul" in roofline
        for answer in answers:
            rate = statistics.median(answer.timed[0].rates) / 1e12
            assert f"{answer.question.subjects[0][1]}: {rate:.1f} TFLOP/s" in roofline

    @pytest.mark.skipif(CHROMIUM is None, reason="not run: no Chromium is installed")
    def test_a_browser_shows_ladder_and_roofline(self, timed: Path) -> None:
        """No complaint, and each letter and mark of a picture lies within it as the browser lays it out."""
        page = (timed / "page.html").read_text()
        dom, complaints = browse(timed / "page.html", timed)
        assert complaints == []
        for title in ("Ladder", "Roofline"):
            assert section(dom, title).count("<svg") == section(page, title).count("<svg") > 0
        marks = sum(section(page, "Ladder").count(tag) for tag in ("<text", "<rect"))
        assert outside(page, timed)[0] == 0 and outside(page, timed)[1] > marks > 200
        moved = page.replace('<circle cx="', '<circle cx="9', 1)
        assert moved != page and outside(moved, timed)[0] == 1, "a mark in the wrong place would be seen"


def outside(page: str, home: Path) -> tuple[int, int]:
    """How many texts and marks of the page's pictures lie outside of their picture, and how many there are."""
    measured = home / "measured.html"
    measured.write_text(
        f'<!DOCTYPE html><iframe width="1000" height="800" srcdoc="{escape(page)}"></iframe>'
        f"<script>{_OUTSIDE}</script>"
    )
    dom, complaints = browse(measured, home)
    found = re.search(r"<title>(\d+) of (\d+) outside</title>", dom.replace(page, ""))
    assert complaints == [] and found is not None
    return int(found[1]), int(found[2])


_OUTSIDE = """onload = () => {
  const marks = 'text, circle, rect, path, line, polyline'
  let outside = 0, every = 0
  for (const svg of document.querySelector('iframe').contentDocument.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect()
    for (const mark of svg.querySelectorAll(marks)) {
      const own = mark.getBoundingClientRect()
      every++
      outside += own.left < frame.left - 1 || own.right > frame.right + 1 ||
        own.top < frame.top - 1 || own.bottom > frame.bottom + 1 || frame.width < 100
    }
  }
  document.title = `${outside} of ${every} outside`
}"""


def browse(page: Path, home: Path) -> tuple[str, list[str]]:
    """The document as headless Chromium holds it, and the lines of its console. No host can be reached."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'browser'}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_what_a_page_shows_is_text(checked: driver.Checked, tmp_path: Path) -> None:
    from spakc.report.html import Report, render_html

    told = Entry(HOSTILE, 1, HOSTILE, True, HOSTILE, "last", Counts((1,), (2,)))
    page = render_html(
        Report(HOSTILE, [], [Run(figures("e"), [(1, 2.0), (2, 1.0)])], 0, [told], [], {}, None)
    )
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "secret is withheld: a gate failed" in page


def test_charts_of_hard_figures() -> None:
    inf, nan = float("inf"), float("nan")
    for y in ([], [1.0], [0.0, 0.0], [nan, 2.0], [inf, 1.0], [-1.0, 1e-30], [1e30, 1e-30]):
        for log in (True, False):
            picture = chart([Series("s", list(range(len(y))), y, dots=True)], Axis("x"), Axis("y", log=log))
            text = ElementTree.tostring(ElementTree.fromstring(picture), encoding="unicode")
            assert "nan" not in text and "inf" not in text


def test_numbers() -> None:
    assert [number_text(v) for v in (0, 0.5, 1234, 2e6, 1e-5)] == ["0", "0.5", "1234", "2e6", "1e-5"]


def places(picture: str) -> list[tuple[str, float, float]]:
    """The texts of a picture, and from where to where a letter of 7 makes them reach."""
    found = []
    for text in ElementTree.fromstring(picture).iter("text"):
        width, x = 7.0 * len(text.text or ""), float(text.get("x", "0"))
        start = x - width if text.get("text-anchor") == "end" else x
        found.append((text.text or "", start, start + width))
    return found


def test_no_label_of_a_bar_is_cut() -> None:
    names = ["naive.16", "warp_specialized.128x256x64x4x2xcooperative", "a" * 60 + "b" * 60]
    picture = bars([(name, 1000.0 + n, (900.0, 1100.0)) for n, name in enumerate(names)], "TFLOP/s")
    shown = places(picture)
    assert all(start >= 0 and end <= WIDTH for _, start, end in shown), shown
    assert names[1] in [text for text, _, _ in shown]
    assert any(text.startswith("aaa") and "…" in text and text.endswith("bbb") for text, _, _ in shown)
    assert f"<title>{names[2]}</title>" in picture, "the whole name is beneath a pointer"
