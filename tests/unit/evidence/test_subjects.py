"""Parts of real artifacts: what formatting leaves alone, and what each kind of edit reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spakc.check.statements import statements
from spakc.diagnostics import Sink
from spakc.driver import check_file, emit_files, plan_file, templates
from spakc.emit.artifact import Templates, emit
from spakc.evidence import Subject, hash_source, row_of_run
from spakc.status import status
from spakc.subjects import subject_now, tool_parts

MATMUL = (Path(__file__).parents[3] / "examples/kernels/matmul.spak").read_text()
FLAGS = ("-std=c++17",)


class Compiled:
    def __init__(self, text: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "matmul.spak").write_text(text)
        checked = check_file(folder / "matmul.spak")
        self.module = checked.module
        self.files = emit_files(plan_file(checked))

    def now(self, flags: tuple[str, ...] = FLAGS, **files: str) -> Subject:
        return subject_now(self.module, {**self.files, **files}, flags)

    @property
    def meanings(self) -> dict[tuple[str, str], str]:
        return {(s.id, s.target): s.meaning for s in statements(self.module.module)}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(MATMUL, tmp_path_factory.mktemp("original"))


def changed(a: Subject, b: Subject) -> set[str]:
    return {key for key in a.parts.keys() | b.parts.keys() if a.parts.get(key) != b.parts.get(key)}


def test_formatting_comments_and_prose_reach_nothing(compiled: Compiled, tmp_path: Path) -> None:
    text = MATMUL.replace("kernel matmul", "# moved down\n\n\nkernel   matmul").replace(
        "acc[m, n]", "acc[ m ,n ]"
    )
    text = text.replace("every layout, fused epilogues.", "all of it.").replace(
        "what this rung is about", "why"
    )
    other = Compiled(text, tmp_path)
    assert other.files != compiled.files  # line directives and quotations moved
    assert changed(compiled.now(), other.now()) == set()
    assert {k: v for k, v in other.meanings.items() if "intent" not in k[0]} == {
        k: v for k, v in compiled.meanings.items() if "intent" not in k[0]
    }


def test_a_change_of_the_maths_reaches_sources_and_meaning(compiled: Compiled, tmp_path: Path) -> None:
    other = Compiled(MATMUL.replace("acc[m, n] + bias[n]", "acc[m, n] - bias[n]"), tmp_path)
    kinds = {key.split("|")[0] for key in changed(compiled.now(), other.now())}
    assert {"source", "math"} <= kinds <= {"source", "math", "header"}
    assert other.meanings["verify matmul", ""] != compiled.meanings["verify matmul", ""]
    assert other.meanings["law matmul.no_spills", "h100"] == compiled.meanings["law matmul.no_spills", "h100"]


def test_a_header_reaches_the_schedules_that_include_it(compiled: Compiled) -> None:
    name = next(f for f in compiled.files if f.endswith("warp_product.cuh"))
    touched = changed(compiled.now(), compiled.now(**{name: compiled.files[name] + "\nvoid more();\n"}))
    assert touched and {key.split("|")[0] for key in touched} == {"header"}
    assert all(key.endswith("warp_product.cuh") and "naive" not in key for key in touched)
    assert not changed(compiled.now(), compiled.now(**{name: "// a comment\n" + compiled.files[name]}))


def test_a_header_below_a_folder_is_found_through_others(compiled: Compiled) -> None:
    name = next(f for f in compiled.files if f.endswith("primitives/memory.cuh"))
    touched = changed(compiled.now(), compiled.now(**{name: compiled.files[name] + "\nvoid more();\n"}))
    assert {key.split("|")[4] for key in touched} == {"primitives"} and len(touched) > 2


def test_a_flag_reaches_every_kernel_and_only_its_flags(compiled: Compiled) -> None:
    touched = changed(compiled.now(), compiled.now(("-std=c++17", "-use_fast_math")))
    assert touched and {key.split("|")[0] for key in touched} == {"flags"}


SPILLS = {"cubin.spill_bytes": 0, "cubin.count(HMMA)": 8, "cubin.count(LDGSTS)": 8, "cubin.count(HGMMA)": 8}


def stale_after(edit: Callable[[Templates], Templates], folder: Path) -> set[tuple[str, str]]:
    """The statements about compiled code whose rows an edit of the shipped templates makes stale, through the
    whole compiler; every row was fresh before it."""
    (folder / "matmul.spak").write_text(MATMUL)
    checked = check_file(folder / "matmul.spak")
    plan = plan_file(checked)
    was = subject_now(checked.module, emit(plan, templates()), FLAGS)
    rows = [
        row_of_run(each, was, {"observations": [{"queries": SPILLS}]})
        for each in statements(checked.module.module)
        if each.fact == "compiled"
    ]
    assert rows

    def stale(now: Subject) -> set[tuple[str, str]]:
        page = status(checked.module, rows, now, Sink())
        return {(e.statement.id, e.statement.target) for e in page if not e.status.fresh}

    assert stale(was) == set()
    return stale(subject_now(checked.module, emit(plan, edit(templates())), FLAGS))


def test_a_comment_in_a_shipped_template_makes_nothing_stale(tmp_path: Path) -> None:
    def edit(shipped: Templates) -> Templates:
        return replace(shipped, cuda={n: t + "\n// a remark\n" for n, t in shipped.cuda.items()})

    assert stale_after(edit, tmp_path) == set()


def test_code_in_a_shipped_template_makes_the_rows_of_its_schedules_stale(tmp_path: Path) -> None:
    def edit(shipped: Templates) -> Templates:
        name = "product/pipelined.cu.j2"
        return replace(shipped, cuda={**shipped.cuda, name: shipped.cuda[name] + "\nstatic int more;\n"})

    found = stale_after(edit, tmp_path)
    assert {id for id, _ in found} == {
        "law matmul.no_spills",  # of the kernel: it binds every schedule
        "law matmul.pipelined.overlaps",
        "law matmul.pipelined.uses_tensor_core",
    }


def test_a_shipped_header_makes_the_rows_of_those_that_include_it_stale(tmp_path: Path) -> None:
    def edit(shipped: Templates) -> Templates:
        name = next(n for n in shipped.headers if n.endswith("warp_product.cuh"))
        return replace(shipped, headers={**shipped.headers, name: shipped.headers[name] + "\nvoid more();\n"})

    found = {id for id, _ in stale_after(edit, tmp_path)}
    assert "law matmul.swizzled.uses_tensor_core" in found and "law matmul.pipelined.overlaps" in found
    assert "law matmul.warp_specialized.uses_tensor_core" not in found


def test_the_same_file_has_the_same_parts(compiled: Compiled, tmp_path: Path) -> None:
    assert Compiled(MATMUL, tmp_path).now().hash == compiled.now().hash


def test_the_tool_knows_its_own_versions() -> None:
    assert {part.kind for part in tool_parts()} == {"oracle", "cases", "emulator", "runtime"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('#line 12 "a.spak"\nx = 1;\n', '#line 99 "a.spak"\nx = 1;\n'),
        ("x = 1;  // a quotation\n", "x = 1;\n"),
        ("/* many\nlines */x = 1;", "x = 1;"),
        ("\n\nx = 1;\n", "x = 1;\n"),
    ],
)
def test_hash_of_cuda_leaves_places_and_comments_out(one: str, other: str) -> None:
    assert hash_source(one) == hash_source(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('asm("add // x");', 'asm("add // y");'),
        ("x = 1;", "x = 2;"),
        ("#define A 1", "#define A 2"),
        ('f("/*"); x = 1; g("*/");', 'f("/*"); x = 2; g("*/");'),
    ],
)
def test_hash_of_cuda_keeps_what_runs(one: str, other: str) -> None:
    assert hash_source(one) != hash_source(other)


def test_hash_of_python_leaves_places_out_and_keeps_what_runs() -> None:
    def of(text: str) -> str:
        return hash_source(text, python=True)

    assert of("x = a // b  # f.spak:12\n") == of("x = a // b  # f.spak:99\n") == of("x = a // b\n")
    assert of('"""`block` of f.spak:28."""') == of('"""`block` of f.spak:29."""')
    assert of("x = a // b\n") != of("x = a // c\n")
    assert of("x = '#1'\n") != of("x = '#2'\n")
