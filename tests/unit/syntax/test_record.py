"""Records behave as frozen dataclasses do."""

import pytest

from spakc.syntax.record import Record


class Placed(Record, kw_only=True):
    place: int


class Pair(Placed):
    left: str
    right: str = "r"


class Triple(Pair):
    third: tuple[int, ...] = ()


def test_fields_are_inherited_and_have_defaults() -> None:
    record = Triple("l", third=(1, 2), place=3)
    assert (record.left, record.right, record.third, record.place) == ("l", "r", (1, 2), 3)
    assert repr(record) == "Triple(left='l', right='r', third=(1, 2))"
    match record:
        case Triple(left, right):
            assert (left, right) == ("l", "r")


def test_equality_leaves_out_what_is_aside() -> None:
    assert Pair("l", place=1) == Pair("l", "r", place=2)
    assert hash(Pair("l", place=1)) == hash(Pair("l", "r", place=2))
    assert Pair("l", place=1) != Pair("m", place=1)
    assert Pair("l", place=1) != Triple("l", place=1)


@pytest.mark.parametrize(
    "make", ["Pair('l')", "Pair(place=1)", "Pair('a', 'b', 'c', place=1)", "Pair('l', q=1, place=2)"]
)
def test_wrong_fields_are_refused(make: str) -> None:
    with pytest.raises(TypeError, match="Pair takes left, right, place"):
        eval(make)


def test_a_record_does_not_change() -> None:
    record = Pair("l", place=1)
    with pytest.raises(AttributeError):
        record.left = "m"
    with pytest.raises(AttributeError):
        del record.left
