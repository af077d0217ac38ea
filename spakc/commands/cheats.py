"""`spakc selftest --cheats`: hand-written kernels and evidence that pretend, and what refuses each of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

import click

from spak_runtime.errors import ToolError
from spakc.cli import DIAGNOSTICS, OK, VERIFY_FAILED, show
from spakc.device_runner import device_name
from spakc.diagnostics import Sink
from spakc.record import record
from spakc.selftest.cheating import Outcome, cheat
from spakc.status import cut

SCHEMA = "spak-cheats/1"


@record
class Request:
    """What the command line asks. `on` is empty for the device where there is one, else the emulator."""

    on: str
    seed: int
    as_json: bool


def run(request: Request) -> int:
    """Tries every cheat and prints what caught it. Exit 0: every one was refused and the controls were accepted; 3: one
    got through, or a control was refused; 1: diagnostics."""
    outcomes: list[Outcome] = []
    try:
        for on in [request.on] if request.on else ["emulator", *(["gpu"] if device_name() else [])]:
            for outcome in cheat(on, request.seed):
                outcomes.append(outcome)
                _tell(outcome, on, request.as_json)
    except ToolError as error:
        sink = Sink()
        sink.report("SPAK753", error.message, None)
        show(sink.diagnostics, request.as_json)
        return DIAGNOSTICS
    if not request.as_json:
        click.echo(_summary(outcomes))
    return VERIFY_FAILED if any(each.ran and not each.stopped for each in outcomes) else OK


def _tell(outcome: Outcome, on: str, as_json: bool) -> None:
    if as_json:
        told = {"cheat": outcome.name, "pretends": outcome.pretends, "verdict": outcome.verdict}
        click.echo(
            json.dumps({"schema": SCHEMA, **told, "by": outcome.by, "control": outcome.control, "on": on})
        )
        return
    click.echo(f"{outcome.name:22} {outcome.verdict:12} {cut(' '.join(outcome.by.split()), 120)}")
    click.echo(textwrap.indent(textwrap.fill(outcome.pretends, 110), "    "))


def _summary(outcomes: Sequence[Outcome]) -> str:
    cheats = [each for each in outcomes if not each.control]
    through = [each.name for each in cheats if each.ran and not each.stopped]
    refused = [each.name for each in outcomes if each.control and not each.stopped]
    skipped = [each.name for each in cheats if not each.ran]
    parts = [f"{sum(each.ran and each.stopped for each in cheats)} of {len(cheats)} cheats caught"]
    parts += [f"GOT THROUGH: {', '.join(through)}"] if through else []
    parts += [f"skipped, no device: {', '.join(skipped)}"] if skipped else []
    parts += [f"honest work was refused: {', '.join(refused)}"] if refused else ["honest work was accepted"]
    return "; ".join(parts)
