"""The cheats on a device, those included that only a device can try."""

import json
import re

from click.testing import CliRunner

from spakc.cli import cli


def test_every_cheat_is_caught_on_a_device():
    result = CliRunner().invoke(cli, ["selftest", "--cheats", "--on", "gpu", "--format", "json"])
    rows = {row["cheat"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 0, result.output
    assert rows["honest"]["verdict"] == rows["clock"]["verdict"] == "accepted"
    assert rows["output_already_there"]["verdict"] == "caught"
    said = re.fullmatch(
        r"([\d.]+) times as fast replayed, ([\d.]+) on .*", rows["output_already_there"]["by"]
    )
    assert said is not None and float(said[2]) < 0.5 * float(said[1]) and float(said[1]) > 2, (
        "a cheat that would pay"
    )
    assert rows["emulator_only"]["verdict"] == rows["cached"]["verdict"] == "caught"
