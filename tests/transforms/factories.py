"""The table of transformations that the contract suite runs over."""

import collections
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.slow import slow_but


def loose(tx: optax.GradientTransformation) -> Any:
    """A transformation without its types, in whose state and updates tests look.

    Optax types both as nested arrays, of which a checker knows neither the fields
    nor the keys.
    """
    return tx


def of_two(tx: Any) -> Any:
    """A transformation of examples' gradients, given the same gradient twice."""

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        # A method, as NumPy's float0 has no other way.
        twice = jax.tree.map(lambda leaf: leaf[None].repeat(2, 0), updates)
        return tx.update(twice, state, params, **extra_args)

    return loose(optax.GradientTransformationExtraArgs(tx.init, update))


class Variant(NamedTuple):
    """One way of calling one factory, with a threshold and a step size of 1.

    `above` and `nonfinite` say what becomes of a gradient above the threshold and
    of one that is not finite: it passes ("same"), or is brought to norm 1
    ("norm") or to one that depends on the gradients before ("adaptive"), clipped by
    entries ("value") or each leaf by its own history ("leaves"), or replaced
    ("random", "zero", "shrink"). With "skip" the whole step is zero, that of integers
    too. One that takes the gradients of `examples` is given each gradient twice.
    """

    factory: Callable[..., optax.GradientTransformationExtraArgs]
    arguments: dict[str, Any]
    above: str
    nonfinite: str
    examples: bool = False

    def make(self) -> Any:
        return self._of_one_gradient(self.factory(**self.arguments))

    def injected(self) -> Any:
        """The same under `optax.inject_hyperparams`, sizes of arrays static."""
        sizes = {"warmup_steps", "window_size", "window", "warmup"}
        sizes &= {*inspect.signature(self.factory).parameters}
        injected = optax.inject_hyperparams(self.factory, sizes)
        return self._of_one_gradient(injected(**self.arguments))

    def _of_one_gradient(self, tx: optax.GradientTransformation) -> Any:
        return of_two(tx) if self.examples else loose(tx)


_RANDOM = {"key": 7}
VARIANTS = {
    "clip_by_value": Variant(ltd.clip_by_value, {"max_delta": 1.0}, "value", "same"),
    "clip_by_global_norm": Variant(
        ltd.clip_by_global_norm, {"max_norm": 1.0}, "norm", "same"
    ),
    "clip_by_global_norm-random_step": Variant(
        ltd.clip_by_global_norm,
        {"max_norm": 1.0, "above": "random_step", **_RANDOM},
        "random",
        "same",
    ),
    "clip_by_global_norm-random_step-sphere": Variant(
        ltd.clip_by_global_norm,
        {"max_norm": 1.0, "above": "random_step", "direction": "sphere", **_RANDOM},
        "random",
        "same",
    ),
    "clip_by_average_norm": Variant(
        ltd.clip_by_average_norm,
        {"multiple": 1.0, "warmup_steps": 1},
        "adaptive",
        "same",
    ),
    "clip_by_leaf_average_norm": Variant(
        ltd.clip_by_leaf_average_norm,
        {"max_norm": 1.0, "warmup_steps": 1},
        "leaves",
        "same",
    ),
    "clip_by_norm_percentile": Variant(
        ltd.clip_by_norm_percentile,
        {"percentile": 90.0, "window_size": 8},
        "adaptive",
        "same",
    ),
    "clip_by_norm_zscore": Variant(
        ltd.clip_by_norm_zscore, {"max_norm": 1.0, "warmup_steps": 1}, "norm", "same"
    ),
    "clip_per_example": Variant(
        ltd.clip_per_example, {"max_norm": 1.0}, "norm", "same", examples=True
    ),
    "nonfinite_random_step": Variant(
        ltd.nonfinite_random_step, {"step_size": 1.0, **_RANDOM}, "same", "random"
    ),
    "nonfinite_random_step-sphere": Variant(
        ltd.nonfinite_random_step,
        {"step_size": 1.0, "direction": "sphere", **_RANDOM},
        "same",
        "random",
    ),
    "nonfinite_random_step-zero": Variant(
        ltd.nonfinite_random_step,
        {"fallback": "zero"},
        "same",
        "zero",
    ),
    "nonfinite_random_step-shrink": Variant(
        ltd.nonfinite_random_step,
        {"fallback": "shrink"},
        "same",
        "shrink",
    ),
    "clip_or_random_step": Variant(
        ltd.clip_or_random_step, {"max_norm": 1.0, **_RANDOM}, "norm", "random"
    ),
    "clip_or_random_step-sphere": Variant(
        ltd.clip_or_random_step,
        {"max_norm": 1.0, "direction": "sphere", **_RANDOM},
        "norm",
        "random",
    ),
    "skip_steps": Variant(
        ltd.skip_steps, {"inner": optax.identity(), "max_norm": 1.0}, "skip", "skip"
    ),
    "skip_steps-zscore": Variant(
        ltd.skip_steps,
        {
            "inner": optax.identity(),
            "max_norm": 1.0,
            "zscore": 6.0,
            "window": 4,
            "warmup": 2,
        },
        "skip",
        "skip",
    ),
}
RANDOM = [
    name
    for name, variant in VARIANTS.items()
    if "random" in (variant.above, variant.nonfinite)
]
# One of each kind, where each needs a program of its own. The others are made of
# the same parts.
KINDS = (
    "clip_by_value",
    "clip_by_global_norm",
    "clip_by_average_norm",
    "clip_by_leaf_average_norm",
    "clip_by_norm_percentile",
    "clip_per_example",
    "nonfinite_random_step-shrink",
    "clip_or_random_step",
    "skip_steps",
)


def each_variant(fast: Collection[str] = tuple(VARIANTS)) -> Any:
    """Runs a test for every variant; slow are those that `fast` does not name."""
    return pytest.mark.parametrize("name", slow_but(fast, VARIANTS))


# Gradients that every test may use: few shapes, so that little is compiled.
PARAMS = {"a": jnp.array([0.5, -2.0]), "b": jnp.array([[1.0], [4.0]])}


def gradient(*entries: float) -> dict[str, jax.Array]:
    """A gradient for PARAMS from its four entries."""
    values = np.array(entries, np.float32)
    return {"a": jnp.asarray(values[:2]), "b": jnp.asarray(values[2:].reshape(2, 1))}


NAN, INF = float("nan"), float("inf")
FINITE = {
    "small": gradient(0.1, -0.2, 0.3, 0.0),
    "zero": gradient(0, 0, 0, 0),
    "tiny": gradient(1e-30, -2e-30, 3e-30, 0),
    "faint": gradient(1e-20, -2e-20, 3e-20, 0),
    "large": gradient(3, -4, 12, 0),
    "huge": gradient(3e20, -4e20, 12e20, 0),
    "beyond": gradient(3e38, -3e38, 3e38, 3e38),
}
NONFINITE = {
    "one inf": gradient(0.1, -INF, 0.2, 0.3),
    "one nan": gradient(0.1, 0.2, NAN, 3.0),
    "both": gradient(INF, 0.2, NAN, 3.0),
    "all nan": gradient(NAN, NAN, NAN, NAN),
    "inf and huge": gradient(3e20, INF, 3e38, 0),
}
GRADIENTS = FINITE | NONFINITE


TRACES: collections.Counter[str] = collections.Counter()


@functools.cache
def jitted_update(name: str) -> Callable[..., Any]:
    """The variant's update under `jit`, compiled once for the whole session."""
    tx = VARIANTS[name].make()

    @jax.jit
    def update(updates: Any, state: Any, params: Any) -> Any:
        TRACES[name] += 1
        return tx.update(updates, state, params)

    return update


def warmed_state(name: str) -> Any:
    """A state that has seen a clipped, a bad and an ordinary gradient."""
    state = VARIANTS[name].make().init(PARAMS)
    for kind in ("large", "one nan", "small"):
        _, state = jitted_update(name)(GRADIENTS[kind], state, PARAMS)
    return state


def same(left: Any, right: Any) -> bool:
    """Whether two trees are equal bit for bit, NaN and the sign of 0 included."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return jax.tree.structure(left) == jax.tree.structure(right) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


def flat(tree: Any) -> np.ndarray:
    """All real numbers of a tree as one float64 vector."""
    leaves = [np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)]
    parts = [
        leaf.view(np.finfo(leaf.dtype).dtype) if np.iscomplexobj(leaf) else leaf
        for leaf in leaves
    ]
    return np.concatenate([np.zeros(0), *(part.astype(np.float64) for part in parts)])


def signature(tree: Any) -> Any:
    """Structure, shapes, dtypes and weak types."""
    return jax.tree.structure(tree), [
        (jnp.shape(x), x.dtype, x.weak_type) for x in jax.tree.leaves(tree)
    ]
