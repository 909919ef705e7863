"""Bad arguments: the message names the argument, what is required and what came."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case, simple

CASE = case("simple")
NUMBER = "`flow_weight` must be a finite number >= 0"
SCALAR = "`flow_weight` must be a number or a floating scalar array"
BAD_WEIGHTS = {
    "negative": (-1.0, ValueError, NUMBER),
    "negative integer": (-2, ValueError, NUMBER),
    "nan": (float("nan"), ValueError, NUMBER),
    "inf": (float("inf"), ValueError, NUMBER),
    "boolean": (True, TypeError, SCALAR),
    "string": ("1", TypeError, SCALAR),
    "none": (None, TypeError, SCALAR),
    "vector": (np.ones(2, np.float32), TypeError, SCALAR),
    "integer array": (np.ones((), np.int32), TypeError, SCALAR),
}


def _unroll(cell: Any = simple, **options: Any) -> Any:
    return ltd.unroll(cell, CASE.params, CASE.carry, CASE.inputs, **options)


def _told(weight: Any) -> str:
    if isinstance(weight, np.ndarray):
        return f"got an array of shape {weight.shape} and dtype {weight.dtype}."
    return f"got {weight!r} ({type(weight).__name__})."


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_flow_weight(kind: str):
    weight, error, message = BAD_WEIGHTS[kind]
    with pytest.raises(error, match=message) as raised:
        _unroll(flow_weight=weight)
    assert _told(weight) in str(raised.value)


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("flow_form", "'ratio', 'squared_ratio'"),
        ("flow_reduction", "'sum', 'mean'"),
    ],
)
def test_form_and_reduction(name: str, known: str, weight: float):
    message = f"`{name}` must be one of {known}; got 'median'"
    options: Any = {name: "median", "flow_weight": weight}
    with pytest.raises(ValueError, match=re.escape(message)):
        _unroll(**options)


def test_form_and_reduction_of_flow_penalty():
    bad: Any = "median"
    with pytest.raises(ValueError, match=r"`form` must be one of .* got 'median'"):
        ltd.flow_penalty(jnp.ones((2, 2)), form=bad)
    with pytest.raises(ValueError, match=r"`reduction` must be one of .* got 'median'"):
        ltd.flow_penalty(jnp.ones((2, 2)), reduction=bad)


def test_lists_in_the_place_of_arrays():
    marked = np.arange(CASE.inputs.shape[0])[:, None] + np.zeros(3) > 2
    given: Any = {"mask": marked.tolist(), "resets": (~marked).tolist()}
    arrays: Any = {name: jnp.asarray(value) for name, value in given.items()}
    found, expected = (
        _unroll(flow_weight=1.0, reset_carry=CASE.carry, **call)[1]
        for call in (given, arrays)
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="`mask` must be an array, or nested lists"):
        _unroll(flow_weight=1.0, mask=[[True], [True, False]])


def test_a_word_for_flow_params():
    message = "`flow_params` must be one of 'all', 'recurrent'; got 'recurent'"
    with pytest.raises(ValueError, match=message):
        _unroll(flow_params="recurent")


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2"])
def test_unroll(bad: Any):
    with pytest.raises(
        ValueError, match=r"`unroll` must be None, an int >= 1, .*; got "
    ):
        _unroll(unroll=bad)


@pytest.mark.parametrize("bad", [{"W": 1, "U": True, "b": True}, 3])
def test_flow_params(bad: Any):
    message = "`flow_params` must be 'all' or 'recurrent', or a tree of .*; got "
    with pytest.raises(ValueError, match=message) as raised:
        _unroll(flow_weight=1.0, flow_params=bad)
    assert repr(bad) in str(raised.value)


@pytest.mark.parametrize("bad", [{"V": True}, [True]])
def test_flow_params_of_another_structure(bad: Any):
    message = r"`flow_params` must be a prefix of `params`, .*'W'.*; got "
    with pytest.raises(ValueError, match=message + re.escape(repr(bad))):
        _unroll(flow_weight=1.0, flow_params=bad)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_carry_clip(weight: float):
    bad: Any = 1.0
    with pytest.raises(TypeError, match=r"`carry_clip` must be None or .*; got 1\.0"):
        _unroll(flow_weight=weight, carry_clip=bad)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_cell_that_returns_no_pair(weight: float):
    message = r"the cell must return a pair \(carry, output\); got "
    with pytest.raises(ValueError, match=message):
        _unroll(lambda p, h, x: h[:2], flow_weight=weight)
    with pytest.raises(ValueError, match=message + "3 values"):
        _unroll(lambda p, h, x: (h, h, h), flow_weight=weight)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_cell_that_changes_the_carry(weight: float):
    structure = "the cell must return a carry of the structure it was given"
    with pytest.raises(ValueError, match=structure):
        _unroll(lambda p, h, x: ((h, h), h), flow_weight=weight)
    shapes = "the cell must return a carry of the shapes it was given"
    with pytest.raises(ValueError, match=shapes) as raised:
        _unroll(lambda p, h, x: (h[:, :1], h), flow_weight=weight)
    assert "(3, 4)" in str(raised.value)
    assert "(3, 1)" in str(raised.value)


def test_horizon():
    flow = ltd.LayerFlow.from_record(ltd.FlowRecord.zeros((3, 2)))
    for share in (0, 1, -0.5, 2.0):
        with pytest.raises(ValueError, match=f"`share` must be .*; got {share} "):
            flow.horizon(share)
