"""What the checks of arguments let through, and what they say of the rest."""

import re

import numpy as np
import pytest

from optax_ltd._numerics.checks import check_bool, check_count, check_number


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        ({}, [-2.5, 0, 3], [np.inf, -np.inf, np.nan], "a finite number"),
        ({"above": 0}, [1e-9, 2], [0, -1, np.inf, np.nan], "a finite number > 0"),
        ({"above": 0, "at_most": 1}, [0.1, 1], [0, 1.1], "a number > 0 and <= 1"),
        ({"above": 0, "below": 1}, [0.1, 0.9], [0, 1], "a number > 0 and < 1"),
        ({"at_least": 0, "at_most": 9}, [0, 9], [-1, 9.5], "a number from 0 to 9"),
        ({"at_least": 0, "finite": False}, [0, np.inf], [-1, np.nan], "a number >= 0"),
    ],
)
def test_a_number_lies_in_its_interval(interval, inside, outside, words):
    for number in inside:
        assert check_number("x", number, **interval) == number
    for number in outside:
        with pytest.raises(ValueError, match=f"^`x` must be {words}; got {number} "):
            check_number("x", number, **interval)


def test_a_number_beyond_all_floats_is_refused():
    with pytest.raises(ValueError, match=r"^`x` must be a number >= 0; got 1000"):
        check_number("x", 10**400, at_least=0, finite=False)


def test_a_count_lies_in_its_range():
    assert [check_count("n", n, at_least=1, at_most=3) for n in (1, 3)] == [1, 3]
    assert type(check_count("n", np.int64(2), at_least=1, at_most=3)) is int
    for n in (0, 4, 2.0, True, "2"):
        message = f"`n` must be an int from 1 to 3; got {n!r} ({type(n).__name__})."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_count("n", n, at_least=1, at_most=3)


def test_a_boolean_is_no_number():
    assert check_bool("flag", np.True_) is True
    for value in (0, 1, None, "yes"):
        with pytest.raises(ValueError, match=r"^`flag` must be True or False; got "):
            check_bool("flag", value)
