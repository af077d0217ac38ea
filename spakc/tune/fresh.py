"""Which timings of configs still hold: those whose config is made today of what it was made of then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from spak_runtime.manifest import Manifest, Variant
from spak_runtime.nvrtc import BASE_OPTIONS
from spakc.check.statements import kernel_core
from spakc.diagnostics import Sink
from spakc.driver import Checked
from spakc.evidence import Row, Subject
from spakc.ir.canonical import meaning
from spakc.plan.launch import Config
from spakc.plan.plan import Plan, plan
from spakc.plan.variants import Asked
from spakc.tune.funnel import key_of
from spakc.tune.rows import STATEMENT, configs_in, is_sound, made_of


def planned(
    checked: Checked, asked: Asked, emit: Callable[[Plan], dict[str, str]]
) -> tuple[Plan, dict[str, str]]:
    """The plan in which these configs are built, and its files. What it finds wrong was said by the plan proper."""
    decided = plan(checked.module, (), Sink(), asked=asked)
    return decided, emit(decided)


def variants_in(files: Mapping[str, str], kernel: str, schedule: str) -> dict[str, Variant]:
    """The variants of one schedule by their configs."""
    spec = Manifest.from_json(files["manifest.json"]).kernels[kernel]
    return {key_of(v.config): v for v in spec.variants if v.schedule == schedule}


def fresh(checked: Checked, rows: Sequence[Row], emit: Callable[[Plan], dict[str, str]]) -> list[Row]:
    """The rows about configs that hold today."""
    kernels = checked.module.module.kernels
    rows = [row for row in rows if is_sound(row)]
    asked = {
        (kernel, schedule): configs
        for (kernel, schedule), configs in configs_in(rows).items()
        if kernel in kernels and schedule in kernels[kernel].schedules
    }
    if not asked:
        return []
    _, files = planned(checked, asked, emit)
    known = {name: variants_in(files, *name) for name in asked}
    made: dict[tuple[str, str, str], Subject | None] = {}

    def made_today(name: tuple[str, str], config: Config, arch: str) -> Subject | None:
        key = (*name, f"{arch} {key_of(config)}")
        if key not in made:
            variant = known[name].get(key_of(config))
            made[key] = made_of(name[0], variant, arch, files, BASE_OPTIONS) if variant is not None else None
        return made[key]

    found = []
    for row in rows:
        kernel, _, schedule = row.statement.removeprefix(STATEMENT).partition(".")
        if (kernel, schedule) not in asked:
            continue
        today = made_today((kernel, schedule), row.figures["config"], row.figures["arch"])
        if (
            today is not None
            and today.parts == row.subject.parts
            and row.meaning == meaning(kernel_core(kernels[kernel]))
        ):
            found.append(row)
    return found
