"""Where sources of hand-written kernels may lie, and what is said of those that lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import SpakError
from spakc.driver import absolute, check_file
from spakc.implement import source
from tests.unit.implement.files import IMPLEMENT, ON_PRIMITIVES, PLAIN, SPAK, project


def codes(path: Path) -> list[str]:
    try:
        check_file(path)
    except SpakError as error:
        return [diagnostic.code for diagnostic in error.diagnostics]
    return []


def test_includes_of_the_project_stand_in_the_text_once(tmp_path: Path) -> None:
    twice = ON_PRIMITIVES.replace(
        '#include "lib/scaled.cuh"', '#include "lib/scaled.cuh"\n#include "lib/scaled.cuh"'
    )
    (mine, plain) = check_file(project(tmp_path, {"mine": twice, "plain": PLAIN})).module.hand_written
    assert mine.on_primitives and not plain.on_primitives
    assert mine.text.count("f32 scaled(") == 1 and '#line 1 "lib/scaled.cuh"' in mine.text
    assert '#include "spak/primitives.cuh"' in mine.text and "pragma once" not in mine.text


@pytest.mark.parametrize(
    "name",
    ["../outside/mine.cu", "/etc/passwd", "/tmp/mine.cu", "https://host/mine.cu", "..\\\\outside\\\\mine.cu",
     "mine.txt", "lib/../../outside/mine.cu", "linked/mine.cu"],
)  # fmt: skip
def test_a_source_lies_beside_the_file_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.cu").write_text(PLAIN.replace("NAME", "mine"))
    path = project(tmp_path / "inside", {"mine": PLAIN})
    (tmp_path / "inside" / "linked").symlink_to(tmp_path / "outside")
    assert codes(path) == []
    path.write_text(path.read_text().replace('source = "mine.cu"', f'source = "{name}"'))
    assert codes(path) == ["SPAK006"]


OUTSIDE = r"""
#include "../secret.cuh"                    | #include </etc/passwd>          | #include <../../secret.cuh>
  #  include "/etc/passwd"                  | %:include "../secret.cuh"       | #define WHERE <x>\n#include WHERE
#include /**/ "../secret.cuh"               | #/**/include "/etc/hostname"    | /**/#include "/etc/hostname"
#inc\\nlude "/etc/hostname"                 | # \\n include "/etc/hostname"   | #??/\ninclude "/etc/hostname"
/*\n*/ #include "/etc/hostname"             | #/*\n*/include </etc/hostname>  | #include_next "mine.cu"
#import "/etc/hostname"                     | #embed "/etc/hostname"          | asm(".incbin \"/etc/hostname\"");
#if __has_include("/etc/hostname")\n#endif  | /*\n// */ #include "/etc/hostname"
char s[] = R"(/*)";\n /**/ #include "/etc/hostname"\n// */
"""


@pytest.mark.parametrize(
    "line", [each.strip() for each in OUTSIDE.replace("\n", "|").split("|") if each.strip()]
)
def test_an_include_lies_there_too(tmp_path: Path, line: str) -> None:
    (tmp_path / "secret.cuh").write_text("int secret;")
    line = line.replace("\\n", "\n")
    assert codes(project(tmp_path / "inside", {"mine": f"{line}\n{PLAIN}"})) == ["SPAK006"]


def test_what_is_a_comment_may_name_an_include(tmp_path: Path) -> None:
    assert codes(project(tmp_path / "inside", {"mine": f'// #include "gone.cuh"\n{PLAIN}'})) == []


def test_each_other_mistake_is_one_diagnostic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path, {"mine": PLAIN})
    (tmp_path / "mine.cu").write_bytes(b"\xff\xfe\xff")
    assert codes(path) == ["SPAK002"]
    (tmp_path / "mine.cu").write_text(PLAIN.replace("NAME", "other"))
    assert codes(path) == ["SPAK324"], "no such entry"
    (tmp_path / "mine.cu").write_text('#include "mine.cu"\n' + PLAIN.replace("NAME", "mine"))
    assert codes(path) == [], "a file that includes itself is there once"
    (tmp_path / "mine.cu").write_text('#include "gone.cuh"\n' + PLAIN)
    assert codes(path) == ["SPAK001"]
    (tmp_path / "mine.cu").unlink()
    assert codes(path) == ["SPAK001"]
    (tmp_path / "mine.cu").mkdir()
    assert codes(path) == ["SPAK002"]
    (tmp_path / "mine.cu").rmdir()
    (tmp_path / "mine.cu").write_text(PLAIN.replace("NAME", "mine"))
    monkeypatch.setattr(source, "MOST_BYTES", 50)
    assert codes(path) == ["SPAK003"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("threads = 64", "threads = 2000"), ("threads = 64", "threads = 1.5"), ("threads = 64", 'threads = "64"'),
     ("grid = (ceil_div(N, 64), M)", "grid = (1, 2, 3, 4)"), ("grid = (ceil_div(N, 64), M)", "grid = 0"),
     ("threads = 64", "threads = 64  cluster = 99"), ("threads = 64", "threads = 64  shared = -1"),
     ('entry = "mine"', 'entry = "mine; rm"'), ("(x, b, y, alpha, M, N)", "(x, b, alpha, M, N)"),
     ("(x, b, y, alpha, M, N)", '(x, b, y, "text")'), ("  grid = (ceil_div(N, 64), M)", "")],
)  # fmt: skip
def test_settings_that_no_launch_can_have(tmp_path: Path, old: str, new: str) -> None:
    path = project(tmp_path, {"mine": PLAIN})
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert set(codes(path)) == {"SPAK324"}


def test_an_implementation_has_a_name_of_its_own(tmp_path: Path) -> None:
    spak = SPAK.replace(
        "  law few", "  schedule grid_stride { knob threads in {128}  knob vector in {1} }\n  law few"
    )
    path = project(tmp_path, {}, spak=spak + IMPLEMENT.format(name="grid_stride", more=""))
    (tmp_path / "grid_stride.cu").write_text(PLAIN.replace("NAME", "grid_stride"))
    assert codes(path) == ["SPAK324"]


def test_a_text_of_an_editor_that_no_file_can_hold_is_a_mistake(tmp_path: Path) -> None:
    """JSON can name half of a pair of UTF-16, and some clients send it."""
    path = project(tmp_path, {"mine": ON_PRIMITIVES})
    with pytest.raises(SpakError) as caught:
        check_file(path, {absolute(tmp_path / "mine.cu"): f"// \ud800\n{ON_PRIMITIVES}"})
    assert [each.code for each in caught.value.diagnostics] == ["SPAK002"]
