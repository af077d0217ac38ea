"""Tokens: a case as one word, whoever wrote it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, replace

import pytest

from spakc.verify.case import BadToken, Case, case_of

CASE = Case(
    "k",
    "naive.8",
    {"M": 3},
    {"A": "bf16"},
    {"A": "column"},
    {"alpha": 0.1, "causal": True, "mode": "word", "window": 7},
    ("bias",),
    {"A": 2},
    {"A": 5},
    "normal",
    17,
    23,
    "random",
    False,
    True,
)


def token_of(data: object) -> str:
    return "v1." + base64.urlsafe_b64encode(zlib.compress(json.dumps(data).encode())).decode().rstrip("=")


def test_a_token_is_the_case() -> None:
    assert case_of(CASE.token) == CASE
    assert type(case_of(CASE.token).options["causal"]) is bool
    assert len(CASE.token) < 400 and CASE.token.split() == [CASE.token]


def test_a_token_without_a_device_means_the_usual_one() -> None:
    before = {name: value for name, value in asdict(CASE).items() if name != "sms"}
    assert case_of(token_of(before)) == CASE


@pytest.mark.parametrize("token", ["", "v1.", "v1.abc", "v2." + CASE.token[3:], CASE.token[:-9], "v1.é"])
def test_damage_is_told(token: str) -> None:
    with pytest.raises(BadToken):
        case_of(token)


@pytest.mark.parametrize(
    "change",
    [
        {"dims": {"M": -1}},
        {"dims": {"M": "3"}},
        {"dims": {"M": 1 << 30}},
        {"mode": "never"},
        {"values": "nan"},
        {"seed": -1},
        {"seed": True},
        {"sms": 0},
        {"sms": 2.0},
        {"absent": [3]},
        {"options": {"alpha": [1]}},
        {"more": 1},
    ],
)
def test_fields_of_no_case_are_told(change: dict[str, object]) -> None:
    with pytest.raises(BadToken):
        case_of(token_of({**asdict(CASE), **change}))


def test_a_token_that_unpacks_to_a_flood_is_refused() -> None:
    flood = zlib.compress(b" " * (1 << 24), 9)
    with pytest.raises(BadToken):
        case_of("v1." + base64.urlsafe_b64encode(flood).decode())


def test_words_say_what_is_unusual() -> None:
    text = str(CASE)
    for part in ("M = 3", "A: bf16", "A column", "without bias", "A + 2 between rows", "not fused"):
        assert part in text
    assert "between rows" not in str(replace(CASE, pads={}))
