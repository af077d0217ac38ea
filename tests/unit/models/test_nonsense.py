"""What stands in a model or an experiment and means nothing there: a diagnostic, and no code that breaks later."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc import driver
from spakc.diagnostics import SpakError
from tests.unit.models.compiled import adders

SEVERAL = ("(1, 2)", "{1, 2}", "1..2", "{}")
PLACES = {
    "where(again, first, @)": ("where(again, first, 0)", (*SEVERAL, '"a"', "gelu", "sums", "5 KiB", "1 / 0")),
    "where(@, first, 0)": ("where(again, first, 0)", (*SEVERAL, "inf", '"a"', "1.5")),
    "where(@, 0.6, 0.3)": ('where(after("="), 0.6, 0.3)', (*SEVERAL, "inf", '"a"', "gelu")),
    "hidden = 5 KiB, activation": ("hidden = 2 * wide, activation", ("",)),
    "repeat @ {": ("repeat layers {", ("5 KiB",)),
    "number(@) == p": ("number(answer(text)) == p", SEVERAL),
    "loss < @": ("loss < 5", SEVERAL),
    "require @ ": ("require laws(data) ", SEVERAL),
    "weight_decay = @ then": ("weight_decay = 1e-4 then", ("(1, 2)",)),
    "peak = @": ("peak = 3e-3", ("(1, 2)",)),
    "show @ }": ("show decoded(batch) }", (*SEVERAL, "true", '"a"', "1 / 0", "loss", "loss / 0")),
    "peak = @, w": ("peak = 3e-3, w", ("1e300",)),
    "weight_decay = 1e-4 then @ from": ("weight_decay = 1e-4 then 1e-1 from", ("1e39",)),
    "seeds = @": ("seeds = {0, 1}", ("5 KiB", "{5 KiB}")),
}


@pytest.mark.parametrize(
    ("place", "text"), [(place, text) for place, (_, texts) in PLACES.items() for text in texts]
)
def test_it_is_refused(tmp_path: Path, place: str, text: str) -> None:
    sound = adders()
    assert PLACES[place][0] in sound
    path = tmp_path / "adders.spak"
    path.write_text(sound.replace(PLACES[place][0], place.replace("@", text), 1))
    with pytest.raises(SpakError) as error:
        driver.check_file(path)
    assert len({d.labels[0].span for d in error.value.diagnostics}) == len(error.value.diagnostics)


@pytest.mark.parametrize("text", ["0", "1.5", "inf", "wide", "first * 2", "where(again, u, 1)"])
def test_what_a_model_computes_with(tmp_path: Path, text: str) -> None:
    path = tmp_path / "adders.spak"
    path.write_text(adders().replace("where(again, first, 0)", f"where(again, {text}, 0)"))
    driver.check_file(path)
