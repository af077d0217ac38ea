"""Records of the compiler and the manifest behave as frozen dataclasses do."""

from dataclasses import asdict, field, replace

import pytest

from spak_runtime.record import record


@record(kw_only=True)
class Placed:
    place: int = field(default=0, compare=False, repr=False)


@record
class Pair(Placed):
    left: int
    right: tuple[int, ...] = ()
    tags: dict[str, int] = field(default_factory=dict, compare=False)


@record(eq=False)
class Alone:
    value: int


@record
class Checked:
    value: int

    def __post_init__(self) -> None:
        assert self.value > 0


@record
class Other:
    left: int


def test_fields_are_given_by_place_and_name_and_have_defaults() -> None:
    pair = Pair(1, place=3)
    assert (pair.left, pair.right, pair.tags, pair.place) == (1, (), {}, 3)
    assert pair.tags is not Pair(1).tags
    assert repr(pair) == "Pair(left=1, right=(), tags={})"
    assert asdict(replace(pair, left=2)) == {"place": 3, "left": 2, "right": (), "tags": {}}
    match pair:
        case Pair(left, right):
            assert (left, right) == (1, ())


def test_equal_where_the_fields_that_count_are() -> None:
    assert Pair(1, place=1) == Pair(1, (), {"a": 1}, place=2)
    assert hash(Pair(1, place=1)) == hash(Pair(1, place=2))
    assert Pair(1) != Pair(2) and Pair(1) != Other(1)
    assert len({Other(1), Other(1), Other(2)}) == 2
    assert Alone(1) != Alone(1)


def test_what_is_no_value_is_refused() -> None:
    for make in ("Pair()", "Pair(1, (), {}, 4)", "Pair(1, other=2)", "Other(left=1, place=2)"):
        with pytest.raises(TypeError):
            eval(make)
    Checked(1)
    with pytest.raises(AssertionError):
        Checked(0)
