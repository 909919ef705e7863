"""The table of transformations that take functions, and one problem for all of them."""

import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_ltd as ltd
from tests.transforms.factories import PARAMS, loose


class Variant(NamedTuple):
    """One way of calling one factory."""

    factory: Callable[..., optax.GradientTransformationExtraArgs]
    arguments: dict[str, Any]

    def make(self) -> Any:
        return loose(self.factory(**self.arguments))

    @property
    def returns_hidden(self) -> bool:
        return "structural_damping" in self.arguments


VARIANTS = {
    "hessian_free": Variant(ltd.hessian_free, {}),
    "hessian_free-structural": Variant(
        ltd.hessian_free, {"structural_damping": 0.1, "max_cg_iterations": 20}
    ),
    "hessian_free-cross_entropy": Variant(
        ltd.hessian_free,
        {
            "structural_damping": 0.1,
            "hidden_distance": "cross_entropy",
            "preconditioner_exponent": 0,
        },
    ),
}

# A model of logistic units that are read out as they are, a loss for each of five
# examples, and a target that is not to be met.
_INPUTS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
_TARGETS = np.array([0.1, 0.9, 0.2, 0.8, 1.5], np.float32)


def outputs(params: Any) -> jax.Array:
    """Of the parameters that all tests of transformations share."""
    entries = [leaf.reshape(-1) for leaf in jax.tree.leaves(params)]
    return jax.nn.sigmoid(_INPUTS @ jnp.concatenate(entries))


def loss(outputs: jax.Array) -> jax.Array:
    return jnp.mean((outputs - _TARGETS) ** 2) / 2


def functions(name: str) -> dict[str, Any]:
    """What an update of a variant is handed beside gradient, state and parameters."""
    pair = lambda params: (outputs(params), outputs(params)[:, None])
    predict = pair if VARIANTS[name].returns_hidden else outputs
    return {"predict": predict, "loss": loss}


def gradient_of_loss(params: Any = PARAMS) -> Any:
    return jax.grad(lambda params: loss(outputs(params)))(params)


TRACES: collections.Counter[str] = collections.Counter()


@functools.cache
def jitted_update(name: str) -> Callable[..., Any]:
    """The variant's update under `jit`, compiled once for the whole session."""
    tx, given = VARIANTS[name].make(), functions(name)

    @jax.jit
    def update(updates: Any, state: Any, params: Any) -> Any:
        TRACES[name] += 1
        return tx.update(updates, state, params, **given)

    return update


FRESH_STATE = VARIANTS["hessian_free"].make().init(PARAMS)


def hessian_free_update(
    updates: Any, state: Any = FRESH_STATE, params: Any = PARAMS
) -> Any:
    """An update of `ltd.hessian_free()`."""
    return jitted_update("hessian_free")(updates, state, params)


def warmed_state(name: str) -> Any:
    """A state that has seen a step, a bad gradient and one that points uphill."""
    state = VARIANTS[name].make().init(PARAMS)
    gradient = gradient_of_loss()
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, gradient)
    uphill = jax.tree.map(jnp.negative, gradient)
    for updates in (gradient, bad, uphill):
        _, state = jitted_update(name)(updates, state, PARAMS)
    return state


def descend(
    tx: Any,
    predict: Callable[..., Any],
    loss: Any,
    start: jax.Array,
    *,
    updates: int,
    state: Any = None,
) -> Any:
    """Parameters and state after some updates, and the loss before each, [updates]."""
    tx = loose(tx)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(lambda p: loss(predict(p)))(params)
        update, state = tx.update(gradient, state, params, predict=predict, loss=loss)
        return (params + update, state), value

    @jax.jit
    def run(params: jax.Array) -> Any:
        first = tx.init(params) if state is None else state
        return jax.lax.scan(step, (params, first), None, updates)

    return run(start)
