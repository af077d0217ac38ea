"""The cheats on a device, those included that only a device can try."""

import json

from click.testing import CliRunner

from spakc.cli import cli


def test_every_cheat_is_caught_on_a_device():
    result = CliRunner().invoke(cli, ["selftest", "--cheats", "--on", "gpu", "--format", "json"])
    rows = {row["cheat"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 0, result.output
    assert rows["honest"]["verdict"] == rows["clock"]["verdict"] == "accepted"
    assert (
        rows["output_already_there"]["verdict"] == "caught"
        and "never seen" in rows["output_already_there"]["by"]
    )
    assert rows["emulator_only"]["verdict"] == rows["cached"]["verdict"] == "caught"
