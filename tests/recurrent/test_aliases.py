"""Values that have several names in a traced program, and values that only look so."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from optax_ltd._recurrent.cell.aliases import index_of, returned

X, Y = jnp.ones(3), jnp.zeros(3)


@jax.custom_jvp
def slope_doubled(x: jax.Array) -> jax.Array:
    return x


@slope_doubled.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return primals[0], 2 * tangents[0]


@jax.custom_vjp
def gradient_doubled(x: jax.Array) -> jax.Array:
    return x


gradient_doubled.defvjp(lambda x: (x, None), lambda _, g: (2 * g,))


def by_branch(*branches: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: jax.lax.switch(jnp.int32(x[0]), branches, x, y)


def twice(x: jax.Array, y: jax.Array) -> Any:
    z = x * y
    return z, z


def within(x: jax.Array, y: jax.Array) -> Any:
    z, same = jax.checkpoint(twice)(x, y)
    return z + 1, z, jax.jit(lambda z, y: (y, z))(same, y)


def handed_on(x: jax.Array, y: jax.Array) -> Any:
    return jax.checkpoint(lambda x, y: (x * y, y))(x, y)


def pair(x: jax.Array, y: jax.Array) -> Any:
    return x + y, x - y


# The outputs of a function of (x, y) with a call around it, each by where its value is
# first met among x, y and the outputs: 0, 1, 2, 3, ...
CASES = {
    "nothing": (pair, [2, 3]),
    "twice": (twice, [2, 2]),
    "passed through": (lambda x, y: (y, x + y, x, y), [1, 3, 0, 1]),
    "the same operation": (lambda x, y: (x + y, x + y), [2, 3]),
    "literals": (lambda x, y: (1.0, 1.0, x), [2, 3, 0]),
    "calls within": (within, [2, 3, 1, 3]),
    "branches that agree": (by_branch(twice, twice), [2, 2]),
    "branches that differ": (by_branch(twice, pair), [2, 3]),
    "a branch that hands on": (by_branch(lambda x, y: x, lambda x, y: x + 1), [2]),
    "branches that hand on": (
        by_branch(lambda x, y: (y, x), lambda x, y: (y, y)),
        [1, 3],
    ),
    "calls within branches": (by_branch(handed_on, handed_on), [2, 1]),
    "crossed over in a loop": (
        lambda x, y: jax.lax.fori_loop(0, 3, lambda _, xy: (xy[1], xy[0] + 1), (x, y)),
        [2, 3],
    ),
}
CALLS = {"plain": lambda f: f, "jit": jax.jit, "checkpoint": jax.checkpoint}


def met(function: Callable[..., Any], **options: bool) -> list[int | None]:
    jaxpr = jax.make_jaxpr(function)(X, Y).jaxpr
    found = [*jaxpr.invars, *returned(jaxpr, **options)]
    return [index_of(atom, found) for atom in found[2:]]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", CASES)
def test_a_value_has_one_name(name: str, call: str):
    function, expected = CASES[name]
    assert met(CALLS[call](function)) == expected
    assert met(CALLS[call](function), values_only=True) == expected


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("custom", [slope_doubled, gradient_doubled])
def test_a_derivative_of_its_own_parts_equal_values(custom: Any, call: str):
    function = CALLS[call](lambda x, y: (custom(x), x))
    assert met(function) == [2, 0]
    assert met(function, values_only=True) == [0, 0]


def test_index_is_by_identity():
    one, other = [1.0], [1.0]
    assert index_of(other, [one, other, other]) == 1
    assert index_of([1.0], [one, other]) is None
