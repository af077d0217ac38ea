"""The stages in order. The only place that reads `.spak` files and writes artifacts.

Every function raises `SpakError` for a user's mistake and leaves nothing half-written.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import posixpath
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spakc import kept
from spakc.diagnostics import Sink
from spakc.lower.program import Program
from spakc.record import record
from spakc.resources import exchange, resource
from spakc.source import SourceFile, Span, is_relative
from spakc.syntax import nodes
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import MAX_BYTES, parse

if TYPE_CHECKING:
    from spakc.check.checked import CheckedModule, HandWritten
    from spakc.emit.artifact import Templates
    from spakc.ir.module import Implementation, Kernel, Module
    from spakc.plan.plan import Plan
    from spakc.plan.select import Measurement

RECURSION = 20_000
"""Frames of Python that passes may stand in: some per operator of an expression, of which syntax/limits.py bounds how
many lie above one another."""

sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION))

MAX_FILES = 256
"""A project of more files than this is a mistake or an attack."""


ARTIFACT_ENTRIES = frozenset(("manifest.json", "kernels", "include", "models", "cubin"))
"""What stands in an artifact. A folder with anything more has something that is not ours to delete."""


@record
class Checked:
    """A checked file and what was said about it (warnings; errors were raised). What an editor holds changes with every
    key: nothing that is derived from it is for keeping (`keep`)."""

    path: Path
    program: Program
    module: CheckedModule
    sink: Sink
    keep: bool = True


Overlay = Mapping[Path, str]
"""Texts that stand for those of files: what an editor holds and has not saved, what is only proposed. Keys are
`absolute`."""


Established = Callable[["Module"], Collection[str]]
"""The kernels of a module that need not be checked again."""


def absolute(path: Path) -> Path:
    """The path from the root of the file system, without `..`; links stay."""
    return Path(os.path.normpath(Path.cwd() / path))


def read_source(
    path: Path, name: str, sink: Sink, span: Span | None = None, overlay: Overlay | None = None
) -> SourceFile | None:
    """The text of a file, or None after a diagnostic at `span` (the `use` that asked for it)."""
    shown = _shown(path)
    if overlay and (text := overlay.get(absolute(path))) is not None:
        return SourceFile(name, text, shown)
    try:
        if not path.exists():
            hint = _similar_files(path)
            sink.report("SPAK001", f"there is no file `{shown}`", span, help=hint)
            return None
        if not path.is_file():
            sink.report("SPAK002", f"`{shown}` is not a file", span)
            return None
        if path.stat().st_size > MAX_BYTES:
            sink.report("SPAK003", f"`{shown}` has more than {MAX_BYTES} bytes", span)
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sink.report("SPAK002", f"`{shown}` is not UTF-8 (byte {error.start})", span)
        return None
    except OSError as error:
        sink.report("SPAK002", f"`{shorten(shown)}` cannot be read: {error.strerror}", span)
        return None
    return SourceFile(name, text, shown)


def load(path: Path, sink: Sink, overlay: Overlay | None = None, but: Collection[str] = ()) -> Program:
    """Reads and parses a root file and everything it uses. Raises SpakError if any of them has a mistake of a code
    that is not in `but`."""
    files: dict[str, nodes.File] = {}
    uses: dict[str, tuple[tuple[nodes.Use, str], ...]] = {}
    paths: dict[str, Path] = {}
    folder = path.parent

    def visit(file: Path, name: str, chain: tuple[str, ...], span: Span | None) -> None:
        if name in chain:
            cycle = " → ".join((*chain[chain.index(name) :], name))
            sink.report("SPAK004", f"these files use each other: {cycle}", span)
            return
        if name in files:
            return
        if len(files) >= MAX_FILES:
            sink.report("SPAK003", f"more than {MAX_FILES} files are used", span)
            return
        source = read_source(file, name, sink, span, overlay)
        ast = _tree(source, sink, keep=not overlay) if source is not None else None
        if ast is None:
            return
        files[name] = ast
        paths[name] = file
        found = []
        for use in ast.uses:
            target = _resolve_use(use, file, folder, sink)
            if target is not None:
                used_path, used_name = target
                found.append((use, used_name))
                visit(used_path, used_name, (*chain, name), use.span)
        uses[name] = tuple(found)

    visit(path, path.name, (), None)
    sink.stop_if_errors(but)
    return Program(path.name, files, uses)


def _tree(source: SourceFile, sink: Sink, keep: bool) -> nodes.File | None:
    """The tree of a file, which may be one that was kept; None after a diagnostic."""
    decides = ("tree", source.name, source.shown_as, source.text)
    if isinstance(known := kept.find(*decides), nodes.File):
        return known
    said = len(sink.diagnostics)
    tree = parse(source, sink)
    if tree is None:
        return None
    ast = build_ast(tree, source, sink)
    if keep and len(sink.diagnostics) == said:
        kept.keep(ast, *decides)
    return ast


def _resolve_use(use: nodes.Use, user: Path, folder: Path, sink: Sink) -> tuple[Path, str] | None:
    """The file that a `use` means and its name relative to the root file's folder."""
    if use.path is not None:
        if not use.path.startswith("std."):
            sink.report(
                "SPAK005",
                f"there is no module `{use.path}`",
                use.span,
                help=('modules begin with `std.`; a file is used by its path: `use "kernels/mine.spak"`',),
            )
            return None
        relative = posixpath.join(*use.path.split(".")) + ".spak"
        file = resource("examples") / relative
        if not file.exists():
            known = sorted(f"std.{p.stem}" for p in (resource("examples") / "std").glob("*.spak"))
            near = difflib.get_close_matches(use.path, known, 1)
            advice = [f"did you mean `use {near[0]}`?"] if near else []
            listed = f"the modules are {', '.join(f'`{k}`' for k in known)}"
            sink.report("SPAK005", f"there is no module `{use.path}`", use.span, help=(*advice, listed))
            return None
        return file, f"<{use.path}>"
    assert use.file is not None
    if not is_relative(use.file) or not use.file.endswith(".spak"):
        sink.report(
            "SPAK006",
            f'"{use.file}" is not a relative path of a `.spak` file',
            use.span,
            help=("write the path from this file to the other, with `/` between folders",),
        )
        return None
    file = Path(os.path.normpath(user.parent / use.file))
    return file, Path(os.path.relpath(file, folder)).as_posix()


def _shown(path: Path) -> str:
    """As a user would type it: relative when that is shorter and stays near."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("../../..") else str(path)


def shorten(name: str) -> str:
    """A name that a message can hold."""
    return name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"


def _similar_files(path: Path) -> tuple[str, ...]:
    import difflib

    if not path.parent.is_dir():
        return ()
    names = [p.name for p in path.parent.glob("*.spak") if p.name != path.name]  # a link may lead nowhere
    near = difflib.get_close_matches(path.name, names, 1)
    return (f"did you mean `{_shown(path.parent / near[0])}`?",) if near else ()


def check_file(path: Path, overlay: Overlay | None = None, but: Collection[str] = ()) -> Checked:
    """Parses, lowers and checks, families and gradients included. Raises SpakError with all it found if any of it is
    an error, but for codes in `but`."""
    sink = Sink()
    return check_loaded(path, load(path, sink, overlay), sink, keep=not overlay, overlay=overlay, but=but)


def check_loaded(
    path: Path,
    program: Program,
    sink: Sink,
    keep: bool = True,
    established: Established | None = None,
    overlay: Overlay | None = None,
    but: Collection[str] = (),
) -> Checked:
    """The same for files that are parsed."""
    checked = check_program(program, sink, established, but)
    by_hand = read_by_hand(checked.module.implementations, path, sink, overlay, but)
    return Checked(path, program, replace(checked, hand_written=by_hand), sink, keep)


def read_by_hand(
    implementations: tuple[Implementation, ...],
    path: Path,
    sink: Sink,
    overlay: Overlay | None = None,
    but: Collection[str] = (),
) -> tuple[HandWritten, ...]:
    """Hand-written kernels with the texts of their sources. Raises SpakError for one that may not be read."""
    if not implementations:
        return ()
    from spakc.implement.source import hand_written

    found = hand_written(implementations, path, sink, overlay)
    sink.stop_if_errors(but)
    return found


def corpora(checked: Checked) -> dict[str, str]:
    """Digests of the files that datasets are read from, by dataset; empty for one that is not there or cannot be read,
    which only a run has to mind."""
    found = {}
    for name, facts in checked.module.data.items():
        if facts.source is not None and facts.source["kind"] == "file":
            found[name] = _digest(checked.path.parent / facts.source["path"])
    return found


def _digest(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # ValueError: no name that a file can have
        return ""


def check_program(
    program: Program, sink: Sink, established: Established | None = None, but: Collection[str] = ()
) -> CheckedModule:
    """Lowers and checks files that are parsed, but for kernels of which everything is known. Raises SpakError with
    every mistake found if one is of a code that is not in `but`."""
    from spakc.check.check import check
    from spakc.lower.lower import lower

    module = lower(program, sink)
    sink.stop_if_errors(but)
    known = established(module) if established is not None else ()
    checked = check(module, sink, known)
    sink.stop_if_errors(but)
    _check_families([kernel for name, kernel in module.kernels.items() if name not in known], sink)
    if module.implementations:
        from spakc.plan.implementation import check_implementation
    for implementation in module.implementations:
        check_implementation(module.kernels[implementation.kernel], implementation, sink)
    sink.stop_if_errors(but)
    return checked


def _check_families(kernels: Sequence[Kernel], sink: Sink) -> None:
    """That every kernel is one of its family, has templates for its schedules, and the gradients that it declares."""
    if not kernels:
        return
    from spakc.ir.derive import gradient_or_report
    from spakc.plan.recognise import recognise
    from spakc.plan.templates import check_templates

    for kernel in kernels:
        check_templates(kernel, sink)
        if recognise(kernel, sink) is not None:
            for wanted in kernel.gradients:
                gradient_or_report(kernel, wanted, sink)


def plan_file(
    checked: Checked, archs: Sequence[str] = (), by_hand: bool = True, backend: str = "cuda"
) -> Plan:
    """What will be generated, for these architectures or those of the file's targets. Times of configs that the
    evidence holds and that are fresh outrank the cost model; a hand-written kernel that passed answers its calls
    (without `by_hand` none does). The backend is cuda or cutile, which has no kernels by hand."""
    from spakc.evidence import evidence_path, read_evidence
    from spakc.implement.selection import with_selected
    from spakc.tune.fresh import fresh
    from spakc.tune.rows import measurements

    rows = read_evidence(evidence_path(checked.path), Sink())  # what is wrong with it is for `status` to say
    known = measurements(fresh(checked, rows, emit_files))
    decided = _decided(checked, archs, known)
    checked.sink.stop_if_errors()
    if backend == "cutile":
        from spakc.plan.cutile import for_cutile

        return for_cutile(decided)
    return with_selected(checked, decided, rows, emit_files) if by_hand else decided


def _decided(checked: Checked, archs: Sequence[str], known: Sequence[Measurement]) -> Plan:
    """The plan, of which all but the module may be one that was kept, with what was said of it."""
    from spakc.plan.plan import Plan, plan

    decides = ("plan", *texts(checked.program), repr(archs), repr(known))
    said = len(checked.sink.diagnostics)
    if isinstance(found := kept.find(*decides), tuple):
        warnings, *parts = found
        checked.sink.diagnostics += (w for w in warnings if w not in checked.sink.diagnostics)
        return Plan(checked.module, *parts)
    decided = plan(checked.module, archs, checked.sink, known)
    checked.sink.stop_if_errors()
    if checked.keep:
        warnings = checked.sink.diagnostics[said:]
        kept.keep((warnings, decided.archs, decided.kernels, decided.facts), *decides)
    return decided


def texts(program: Program) -> Iterator[str]:
    """All that decides what a program means: its files, in the order in which they are used."""
    yield program.root
    for name, file in program.files.items():
        source = file.span.source
        yield from (name, source.shown_as, source.text)


def emit_files(decided: Plan) -> dict[str, str]:
    """Every file of the artifact by its path in it, with `/` between folders."""
    from spakc.emit.artifact import emit

    return emit(decided, templates())


def templates() -> Templates:
    """The templates and headers that ship with the compiler."""
    from spakc.emit.artifact import Templates
    from spakc.template_cache import TemplateCache

    cuda = _texts("cuda", "*.j2")
    headers = {n.removeprefix("include/"): text for n, text in _texts("cuda", "*.cuh").items()}
    cutile, torch = (_texts(kind, "*.j2") for kind in ("cutile", "torch"))
    return Templates(cuda, cutile, torch, headers, TemplateCache())


def _texts(kind: str, pattern: str) -> dict[str, str]:
    """Texts below templates/<kind> by relative path."""
    root = resource("templates") / kind
    return {p.relative_to(root).as_posix(): p.read_text("utf-8") for p in sorted(root.rglob(pattern))}


def write_artifact(files: Mapping[str, str | bytes], out: Path, ours: bool = False) -> None:
    """Writes a folder whole or not at all. Replaces an artifact; SPAK007 for a folder of anything else, unless it is
    `ours`, whatever became of it."""
    sink = Sink()
    try:
        _write(files, out, sink, ours)
    except OSError as error:
        sink.report("SPAK007", f"`{shorten(_shown(out))}` cannot be written: {error.strerror}", None)
    sink.stop_if_errors()


def _write(files: Mapping[str, str | bytes], out: Path, sink: Sink, ours: bool) -> None:
    """As `write_artifact`; an OSError means that nothing was replaced."""
    import secrets
    import shutil

    out = Path(os.path.realpath(out))  # a link to a folder stays: what it points to is replaced
    if out.exists() and not ours and not _is_replaceable(out):
        sink.report(
            "SPAK007",
            f"`{_shown(out)}` is not an artifact, so it is left alone",
            None,
            help=("name an empty or a new folder with `-o`",),
        )
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        if not out.exists():
            fresh.rename(out)
        elif not exchange(fresh, out):  # else `fresh` is now what stood there, and goes
            old = fresh.with_name(fresh.name + ".old")
            out.rename(old)
            fresh.rename(out)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _is_replaceable(out: Path) -> bool:
    """An empty folder, or an artifact to which nobody added anything."""
    if not out.is_dir():
        return False
    found = {entry.name for entry in out.iterdir()}
    if not found <= ARTIFACT_ENTRIES:
        return False
    if not found:
        return True
    try:
        return str(json.loads((out / "manifest.json").read_text())["schema"]).startswith("spak-artifact/")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def compile_file(
    path: Path, out: Path, archs: Sequence[str] = (), backend: str = "cuda"
) -> tuple[Checked, Plan]:
    """Compiles to an artifact in `out`; with `archs` its default specialisations as cubins, too."""
    checked = check_file(path)
    decided = plan_file(checked, archs, backend=backend)
    emitted = emit_files(decided)
    files: dict[str, str | bytes] = dict(emitted)
    if archs:
        from spakc.cubins import build_cubins

        files |= build_cubins(decided, emitted)
    write_artifact(files, out)
    return checked, decided


__all__ = ["Checked", "check_file", "compile_file", "emit_files", "load", "plan_file", "write_artifact"]
