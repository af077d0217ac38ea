"""Every SPAK5xx: its wrong text earns it and nothing else, its right text earns nothing."""

import pytest

from spakc.diagnostics.codes.models import TABLE
from tests.unit.models.compiled import diagnostics

CODES = [code for code in TABLE if code.wrong.startswith("spak ")]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.id)
def test_wrong_earns_the_code_and_right_earns_none(code):
    assert {found for found, _ in diagnostics(code.wrong)} == {code.id}
    assert diagnostics(code.right) == []
