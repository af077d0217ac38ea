"""The command line: thin commands over the driver. Data on stdout, diagnostics on stderr."""

from __future__ import annotations

import errno
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from spakc import __version__
from spakc.diagnostics import Diagnostic, SpakError

F = TypeVar("F", bound=Callable[..., Any])

OK, DIAGNOSTICS, USAGE, VERIFY_FAILED, CLAIM_REFUTED, INCONCLUSIVE, INTERNAL = 0, 1, 2, 3, 4, 5, 70

EXIT_CODES = {
    OK: "all that was asked holds",
    DIAGNOSTICS: "diagnostics: the file, the command's subject or the machine has a mistake; nothing was written",
    USAGE: "usage: an unknown command, option or code",
    VERIFY_FAILED: "verification failed: a kernel does not compute its mathematics, or breaks a law",
    CLAIM_REFUTED: "a claim is refuted",
    INCONCLUSIVE: "inconclusive or unmeasured: a claim stays open, a gate failed, or `not run: no device`",
    INTERNAL: "an internal error of the compiler; a bundle to report was saved",
    130: "interrupted",
}
"""What each exit code means, in the words of docs/diagnostics.md."""


def show(diagnostics: list[Diagnostic] | tuple[Diagnostic, ...], as_json: bool) -> None:
    """Diagnostics to stderr, as text or as one JSON object a line."""
    if not diagnostics:
        return
    from spakc.diagnostics.render import render_json, render_text

    if as_json:
        for diagnostic in diagnostics:
            click.echo(render_json(diagnostic), err=True)
    else:
        click.echo(render_text(diagnostics, color=sys.stderr.isatty()), err=True)


def guarded(command: F) -> F:
    """A user's mistake is exit 1 with its diagnostics; anything unforeseen is exit 70 with a bundle."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        as_json = kwargs.get("format") == "json"
        try:
            code = command(*args, **kwargs)
        except SpakError as error:
            show(error.diagnostics, as_json)
            sys.exit(DIAGNOSTICS)
        except (KeyboardInterrupt, BrokenPipeError):
            sys.exit(130)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            from spak_runtime.errors import SpakRuntimeError

            if isinstance(error, SpakRuntimeError):
                first, *more = error.message.splitlines()
                show([Diagnostic(error.code, first, (), tuple(more))], as_json)
                sys.exit(DIAGNOSTICS)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                click.echo(f"error: what is printed cannot be written: {error.strerror}", err=True)
                sys.exit(DIAGNOSTICS)
            from spakc.bundle import save_bundle

            where = save_bundle(error, sys.argv[1:])
            click.echo(
                f"internal error: {type(error).__name__}: {error}\n"
                f"  This is a mistake in spakc, not in your file. A bundle to report is in {where}",
                err=True,
            )
            sys.exit(INTERNAL)
        sys.exit(code or OK)

    return wrapper  # type: ignore[return-value]


def numpy_without_threads() -> None:
    """Loads numpy for a command that multiplies no matrices here: its library for that would start a thread for every
    processor, and these spin. Torch and child processes keep theirs."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        import numpy  # noqa: F401

        del os.environ["OPENBLAS_NUM_THREADS"]


file_argument = click.argument("file", type=click.Path(path_type=Path))
format_option = click.option(
    "--format", type=click.Choice(["text", "json"]), default="text", help="How to print the answer."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spakc")
def cli() -> None:
    """Compile, check, run and judge `.spak` files."""


@cli.command()
@file_argument
@format_option
@guarded
def check(file: Path, format: str) -> int:
    """Read FILE and prove what can be proved without compiling anything."""
    from spakc.commands.check import run

    return run(file, format)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--check", is_flag=True, help="Write nothing; a file that is not formatted is exit 1.")
@click.option(
    "--diff", is_flag=True, help="Write nothing; print what would change, exit 1 if anything would."
)
@format_option
@guarded
def fmt(files: tuple[Path, ...], check: bool, diff: bool, format: str) -> int:
    """Write FILES in the one shape (`-`: standard input to standard output). Comments and meaning stay."""
    from spakc.commands.fmt import run

    return run(files, check, diff, format)


@cli.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--role", help="Who made the change: what this role of OLD does not own is an error.")
@format_option
@guarded
def diff(old: Path, new: Path, role: str | None, format: str) -> int:
    """What changed from OLD to NEW, by meaning: added, removed, weakened, strengthened, moved."""
    from spakc.commands.diff import run

    return run(old, new, role, format)


@cli.command()
@file_argument
@click.option(
    "--role", type=click.Choice(["implementer", "architect"]), required=True, help="Whose contract."
)
@click.option("--format", type=click.Choice(["md", "json"]), default="md", help="How to print it.")
@guarded
def contract(file: Path, role: str, format: str) -> int:
    """What a role has to know of FILE: what is demanded and known, what is its to change, what the laws do."""
    from spakc.commands.contract import run

    return run(file, role, format)


@cli.command()
@file_argument
@click.option("--role", help="Whose agent is served: it may write what this role of FILE owns, else nothing.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder that no path may leave (default: that of FILE).",
)
@guarded
def mcp(file: Path, role: str | None, root: Path | None) -> int:
    """Serve the project of FILE to an agent: the Model Context Protocol on standard input and output."""
    from spakc.commands.mcp import run

    gc.enable()
    return run(file, root, role)


@cli.command()
@guarded
def lsp() -> int:
    """Serve an editor: the Language Server Protocol on standard input and output."""
    from spakc.commands.lsp import run

    gc.enable()
    return run()


backend_option = click.option(
    "--backend",
    type=click.Choice(["cuda", "cutile"]),
    default="cuda",
    show_default=True,
    help="What kernels are written in. cuTile has products and attention.",
)


@cli.command("compile")
@file_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the artifact (default: out/<name>)."
)
@click.option(
    "--arch", default="", help="Build cubins for these, comma-separated: sm_80,sm_89,sm_90a,sm_100a,sm_120a."
)
@click.option(
    "--emit", type=click.Choice(["ast", "ir", "plan", "cuda"]), help="Print a stage and write nothing."
)
@backend_option
@format_option
@guarded
def compile_command(
    file: Path, output: Path | None, arch: str, emit: str | None, backend: str, format: str
) -> int:
    """Compile FILE to an artifact: CUDA, PyTorch and a manifest; with --arch also cubins."""
    numpy_without_threads()
    from spakc.commands.compile import run

    return run(file, output, tuple(a for a in arch.split(",") if a), emit, backend, format)


@cli.command()
@file_argument
@click.argument("experiments", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for everything written (default: out/<name>).",
)
@click.option("--profile", help="Profile of the file to use (default: `cpu` where there is no GPU).")
@click.option(
    "--strict",
    is_flag=True,
    help="An operation without a kernel is an error; on a GPU, so is any kernel that is not the artifact's nor listed.",
)
@click.option("--fresh", is_flag=True, help="Start over instead of resuming.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Runs (seeds, points, experiments) side by side on the device.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="GPUs that share out the batches of each run; another number of them is another run.",
)
@format_option
@guarded
def run(
    file: Path,
    experiments: tuple[str, ...],
    output: Path | None,
    profile: str | None,
    strict: bool,
    fresh: bool,
    jobs: int,
    gpus: int,
    format: str,
) -> int:
    """Check, compile and run FILE's EXPERIMENTS (default: all but sweeps), then judge its claims."""
    from spakc.commands.run import run as run_file

    gc.enable()
    return run_file(file, experiments, output, profile, strict, fresh, jobs, gpus, format)


@cli.command()
@file_argument
@click.argument("experiment", required=False)
@click.option(
    "--prompt", "prompts", multiple=True, required=True, help="Text to go on from; may be repeated."
)
@click.option("--tokens", type=click.IntRange(1), default=200, show_default=True, help="Most tokens written.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.8,
    show_default=True,
    help="0 takes the likeliest token, 1 draws as the model says.",
)
@click.option("--top-k", type=click.IntRange(1), help="Draw from the k likeliest tokens (default: all).")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="The same seed writes the same text."
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Weights (default: those of the run in OUTPUT)."
)
@click.option("--profile", help="Profile it was trained under (default: `cpu` where there is no GPU).")
@click.option("--point", default="", help="Point of a sweep, as its folder is named.")
@click.option("--trained", type=int, help="Seed it was trained with (default: the first of the file).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the run (default: out/<name>)."
)
@format_option
@guarded
def sample(file: Path, format: str, **options: Any) -> int:
    """Write text with the model of FILE's EXPERIMENT (default: the first) that `spakc run` has trained."""
    from spakc.commands.sample import Request, run

    gc.enable()
    return run(Request(file, as_json=format == "json", **options))


def _one_thread_for_products() -> None:
    """Products of a case are small: other threads of numpy's library would wait for them longer than they compute.
    Only before numpy is there."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@cli.command()
@file_argument
@click.option("--on", type=click.Choice(["emulator", "gpu"]), default="emulator", help="Where cases run.")
@click.option("--cases", type=click.IntRange(1), help="Cases of each variant (default: the file's, else 50).")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="The same seed draws the same cases."
)
@click.option("--kernel", "kernels", multiple=True, help="Only this kernel; may be repeated.")
@click.option("--replay", help="Run one case again: the word that a failure printed.")
@backend_option
@format_option
@guarded
def verify(
    file: Path,
    on: str,
    cases: int | None,
    seed: int,
    kernels: tuple[str, ...],
    replay: str | None,
    backend: str,
    format: str,
) -> int:
    """Hold FILE's kernels to their mathematics, and establish the laws that need code or cases."""
    _one_thread_for_products()
    from spakc.commands.verify import Request, run

    gc.enable()
    return run(Request(file, on, cases, seed, kernels, replay, format == "json", backend))


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--template", "templates", multiple=True, help="Only this template; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), help="Processes (default: one a processor).")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["sync", "wrapped", "literal", "index", "swizzle", "mask"]),
    help="Only mutants of this kind; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), help="Judge this many mutants, drawn at random.")
@click.option("--minutes", type=click.FloatRange(0), help="Stop after as long; started again, it goes on.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="The same seed draws the same mutants."
)
@click.option(
    "--cases", type=click.IntRange(1), default=10, show_default=True, help="Cases of each judging variant."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/selftest.json"),
    show_default=True,
    help="Where the score is kept.",
)
@click.option("--cheats", is_flag=True, help="Try hand-written kernels and evidence that pretend, instead.")
@click.option(
    "--on",
    type=click.Choice(["emulator", "gpu"]),
    help="Where cheats are tried (default: on the emulator, and on a device where there is one).",
)
@format_option
@guarded
def selftest(format: str, jobs: int | None, cheats: bool, on: str | None, **options: Any) -> int:
    """Verify the verifier: damage the kernels of FILES (default: the examples) in one place at a time and see
    that `verify` finds it. With --cheats: see that what pretends is refused, and by what."""
    _one_thread_for_products()
    gc.enable()
    if cheats:
        from spakc.commands.cheats import Request as OfCheats
        from spakc.commands.cheats import run as run_cheats

        return run_cheats(OfCheats(on or "", options["seed"], format == "json"))
    from spakc.commands.selftest import Request, run

    return run(Request(**options, jobs=jobs or os.cpu_count() or 1, as_json=format == "json"))


def _backends(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    """`torch,triton`."""
    from spakc.bench.baselines import BACKENDS

    found = tuple(dict.fromkeys(filter(None, (word.strip() for word in text.split(",")))))
    for word in found:
        if word not in BACKENDS:
            raise click.BadParameter(f"`{word}` is no backend: {', '.join(BACKENDS)}")
    return found


@cli.command()
@file_argument
@click.argument("claims", nargs=-1)
@click.option("--rounds", type=click.IntRange(3, 1000), default=15, help="How often each is timed, in turns.")
@click.option(
    "--ladder", is_flag=True, help="Time each schedule of a kernel apart, and draw what it is worth."
)
@click.option(
    "--at",
    multiple=True,
    help="A call at which hand-written kernels are timed: `M=4096,N=4096`; may be repeated (default: those of claims).",
)
@click.option(
    "--against",
    default="",
    callback=_backends,
    help="Backends that are timed at the calls of claims as well: torch,triton,cutile. One that is absent is skipped.",
)
@format_option
@guarded
def bench(
    file: Path,
    claims: tuple[str, ...],
    rounds: int,
    ladder: bool,
    at: tuple[str, ...],
    against: tuple[str, ...],
    format: str,
) -> int:
    """Time what FILE's CLAIMS (default: all over times of kernels) compare, on this machine's GPU; first hand-written
    kernels beside what is generated."""
    from spakc.commands.bench import Request, run

    gc.enable()
    return run(Request(file, claims, rounds, ladder, format == "json", at, against))


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """`60s`, `60` or `2m`."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m") else (text, "s")
    try:
        found = float(number) * (60 if unit == "m" else 1)
    except ValueError:
        found = -1.0
    if not 0 < found < 1e6:
        raise click.BadParameter(f"`{text}` is no time: 60s, 2m")
    return found


@cli.command()
@file_argument
@click.option(
    "--budget", default="60s", callback=_seconds, show_default=True, help="Time for all calls together."
)
@click.option(
    "--at", multiple=True, help="A call: `M=4096,N=4096,K=4096`; may be repeated (default: those of claims)."
)
@click.option("--kernel", default="", help="Only this kernel.")
@click.option(
    "--schedule", default="", help="This schedule (default: the one that the cost model finds fastest)."
)
@click.option(
    "--most", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Timings of one call."
)
@format_option
@guarded
def tune(
    file: Path, budget: float, at: tuple[str, ...], kernel: str, schedule: str, most: int, format: str
) -> int:
    """Find the fastest config of FILE's schedules for the calls that its claims time, on this machine's GPU."""
    from spakc.commands.tune import Request, run

    gc.enable()
    return run(Request(file, kernel, schedule, at, budget, most, format == "json"))


@cli.command()
@file_argument
@format_option
@click.option(
    "--html", type=click.Path(path_type=Path), help="Also write it, with runs and plots, as this page."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the runs (default: out/<name>)."
)
@guarded
def status(file: Path, html: Path | None, output: Path | None, format: str) -> int:
    """Every statement of FILE: what is known, how, on which device, since when."""
    from spakc.commands.status import run

    return run(file, html, output, format)


@cli.command()
@file_argument
@click.option(
    "--from",
    "source",
    default="evidence",
    show_default=True,
    help="A file of recorded figures; `evidence` is the one beside FILE.",
)
@format_option
@guarded
def claims(file: Path, source: str, format: str) -> int:
    """Replay the verdict on every claim of FILE from recorded figures, without running anything."""
    from spakc.commands.claims import run

    return run(file, source, format)


@cli.command()
@click.argument("code")
@format_option
@guarded
def explain(code: str, format: str) -> int:
    """What a diagnostic CODE (such as SPAK201) means, why, and how to mend it."""
    from spakc.commands.explain import run

    return run(code, format)


@cli.command()
@format_option
@guarded
def doctor(format: str) -> int:
    """What this machine has: Python, compilers, GPU, driver, caches; and what that allows."""
    from spakc.commands.doctor import run

    return run(format)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@guarded
def new(folder: Path) -> int:
    """Make FOLDER with a small project that checks, compiles and runs."""
    from spakc.commands.new import run

    return run(folder)


def interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C is KeyboardInterrupt; a moment later where a callback of the collector runs: what that raises is lost."""
    callbacks = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    here = frame
    while here is not None:
        if here.f_code in callbacks:
            import threading

            again = threading.Timer(0.05, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        here = here.f_back
    signal.default_int_handler(number, frame)


def main() -> None:
    """Entry point of the `spakc` command.

    Short commands free everything at their end; collecting cycles before that, or then, would be a tenth of their time.
    """
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    try:
        cli()
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # interrupted once more while it ends, it says nothing either
        gc.freeze()
