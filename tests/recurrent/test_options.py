"""One carrier: each door has every option, with its default and its documentation."""

import dataclasses
import inspect
from typing import Any, get_type_hints

import jax.numpy as jnp
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd._recurrent.options import BESIDE_FLOW, OptionKeywords, Options

FIELDS = {field.name: field for field in dataclasses.fields(Options)}
SIGNATURES: dict[str, Any] = {
    "unroll": ltd.unroll,
    "nnx": ltd.FlowRNN.__init__,
    "linen": ltd.linen.FlowRNN,
    "scan": ltd.linen.scan,
}
DOCSTRINGS: dict[str, Any] = SIGNATURES | {"nnx": ltd.FlowRNN}


@pytest.mark.parametrize("door", SIGNATURES)
def test_a_door_takes_every_option(door: str):
    parameters = inspect.signature(SIGNATURES[door]).parameters
    defaults = {name: parameters[name].default for name in FIELDS}
    assert defaults == {name: field.default for name, field in FIELDS.items()}
    kinds = {p.kind for p in parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("door", DOCSTRINGS)
def test_a_door_documents_every_option_once(door: str):
    text = inspect.getdoc(DOCSTRINGS[door]) or ""
    assert "**options" not in text
    for name, field in FIELDS.items():
        assert text.count(f"\n  {name}: ") == 1
        first = " ".join(field.metadata["documentation"].split()[:3])
        assert f"\n  {name}: {first}" in text
    assert max(map(len, text.splitlines())) <= 88


def test_what_type_checkers_see():
    assert get_type_hints(OptionKeywords) == get_type_hints(Options)


def test_a_layer_holds_its_options_as_attributes():
    cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
    layer: Any = ltd.FlowRNN(cell, truncate=4, remat=True)
    assert Options.of(layer) == Options(truncate=4, remat=True)
    layer.truncate = 0
    with pytest.raises(ValueError, match="`truncate` must be None or an int >= 1"):
        Options.of(layer)


def test_an_unknown_option_is_refused():
    cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
    unknown: Any = {"flow_wieght": 1.0}
    with pytest.raises(TypeError, match="flow_wieght"):
        ltd.FlowRNN(cell, **unknown)


@pytest.mark.parametrize("name", BESIDE_FLOW)
def test_what_acts_with_the_penalty_off_is_no_scan_of_flax(name: str):
    """Else it would be left out without a word where Flax's own scan runs."""
    given: dict[str, Any] = {
        "carry_clip": ltd.clip_carry_gradient(1.0),
        "truncate": 2,
        "remat": True,
    }
    assert Options().changes_nothing
    assert not Options(**{name: given[name]}).changes_nothing
    axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})
    cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
    options: Any = {name: given[name]}
    layer = ltd.FlowRNN(cell, state_axes=axes, **options)
    with pytest.raises(ValueError, match=f"`state_axes` must be .*{name}.*; got "):
        layer(jnp.ones((1, 4, 2)))
