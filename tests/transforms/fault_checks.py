"""What must hold of an update, and of the record beside it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import same
from tests.transforms.fault_oracles import (
    Measured,
    Verdict,
    loss,
    measure,
    moduli,
    rounding,
    shrunk,
    wide,
)
from tests.transforms.faults import Structure

Leaves = list[Any]


def check_output(
    kind: str,
    verdict: Verdict,
    seen: Measured,
    leaves: Leaves,
    out: Leaves,
    params: Leaves,
) -> None:
    """Requires that a gradient has become what it should.

    Args:
      kind: what became of it, as in `Variant`.
      verdict: the norm that it is brought to, if it is.
      seen: the gradient, measured.
      leaves: the gradient.
      out: the update.
      params: the parameters.
    """
    for old, new in zip(leaves, out, strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    if kind == "same":
        assert same(out, leaves)
    elif kind == "mean":
        _check_mean(seen, leaves, out)
    elif kind == "norm":
        _check_rescaled(verdict, seen, leaves, out)
    elif kind == "value":
        for old, new in zip(leaves, out, strict=True):
            _check_bounded(verdict.threshold, seen, old, new)
    elif kind == "random":
        _check_random(verdict.threshold, seen, out)
    elif kind in ("zero", "skip"):
        assert same(out, [np.zeros_like(leaf) for leaf in leaves])
    else:
        for param, new in zip(params, out, strict=True):
            eps = float(jnp.finfo(new.dtype).eps)
            np.testing.assert_allclose(wide(new), shrunk(param), rtol=2 * eps)


def _check_rescaled(
    verdict: Verdict, seen: Measured, leaves: Leaves, out: Leaves
) -> None:
    """One factor for all entries, which no sign survives turned."""
    factor = verdict.threshold / max(seen.norm, np.finfo(np.longdouble).tiny)
    worst = 0.0
    for old, new in zip(leaves, out, strict=True):
        share = rounding(old, seen) + verdict.slack + seen.unseen
        worst = max(worst, share)
        exact, least = wide(old) * factor, loss(jnp.finfo(old.dtype))
        # Below the smallest normal number squared, two factors do not reach.
        tiny = np.longdouble(jnp.finfo(old.dtype).tiny)
        least = max(least, abs(wide(old)).max(initial=0) * tiny**2)
        # An entry so much smaller than the norm may vanish on the way.
        least += float(1e-27 * min(verdict.threshold, seen.norm))
        assert (wide(old) * wide(new) >= 0).all()
        np.testing.assert_array_less(
            abs(wide(new) - exact), share * abs(exact) + 1.01 * least
        )
    after = measure(out)
    assert not after.bad
    assert after.norm <= verdict.threshold * (1 + worst) + seen.faint


def _check_mean(seen: Measured, leaves: Leaves, out: Leaves) -> None:
    """A sum has been formed, but of one gradient only; what is bad stays bad."""
    if seen.bad:
        bad = [~np.isfinite(wide(leaf)) for leaf in leaves]
        assert all(~np.isfinite(wide(out[i])[bad[i]]).all() for i in seen.bad)
    else:
        _check_rescaled(Verdict(("mean",), seen.norm), seen, leaves, out)


def _check_bounded(threshold: Any, seen: Measured, old: Any, new: Any) -> None:
    """Entries above the threshold are brought to it, with their sign or phase."""
    size, parts = moduli(old), 2 if np.iscomplexobj(old) else 1
    above = np.repeat((size > threshold) & np.isfinite(size), parts)
    share, least = rounding(old, seen), loss(jnp.finfo(old.dtype))
    with np.errstate(divide="ignore", invalid="ignore"):
        near = abs(size - threshold) <= 4 * seen.eps * threshold + least
        exact = wide(old) * np.repeat(threshold / size, parts)
    near = np.repeat(near & (size != threshold), parts)
    kept = ~above | (near & (wide(new) == wide(old)))
    np.testing.assert_array_equal(_bits(new)[kept], _bits(old)[kept])
    least *= 1.01 * max(1, threshold)  # Parts of an entry are formed of size 1.
    error = abs(wide(new) - exact)[~kept]
    np.testing.assert_array_less(error, (share * abs(exact) + least)[~kept])


def _bits(leaf: Any) -> np.ndarray:
    """Every real entry as the bytes that it is."""
    size = jnp.finfo(leaf.dtype).bits // 8
    return np.frombuffer(leaf.tobytes(), f"V{size}")


def _check_random(length: Any, seen: Measured, out: Leaves) -> None:
    """A norm of the size asked for, unless a leaf's dtype ends before."""
    after = measure(out)
    assert not after.bad
    worst = max(rounding(leaf, seen) for leaf in out)
    ends = [float(jnp.finfo(leaf.dtype).max) for leaf in out if leaf.size]
    faint = max(loss(jnp.finfo(leaf.dtype)) for leaf in out) * np.sqrt(seen.size)
    assert after.norm <= length * (1 + worst) + faint
    if not ends or length <= min(ends):
        assert after.norm >= length * (1 - worst) - faint


@dataclasses.dataclass
class Ledger:
    """The record in plain Python, kept from the first gradient on."""

    structure: Structure
    by_entry: bool  # whether the largest entry counts as the norm
    total: int = 0
    clipped: int = 0
    nonfinite: int = 0
    run: int = 0
    longest: int = 0
    first_bad: int = -1
    norm: Any = None
    scale: Any = None
    norms: list[Any] = dataclasses.field(default_factory=list)
    clips: list[float] = dataclasses.field(default_factory=list)
    last: Measured | None = None
    path: str = ""

    def copy(self) -> "Ledger":
        """A record of the same, to be kept on its own."""
        return dataclasses.replace(self, norms=[*self.norms], clips=[*self.clips])

    def add(
        self, leaves: Leaves, kind: str, threshold: Any, factors: Any = None
    ) -> None:
        """Puts down a gradient and what became of it, with one factor a leaf if so."""
        seen = self.last = measure(leaves)
        self.total += 1
        self.scale = 1.0 if kind in ("same", "mean", "value") else 0.0
        if seen.bad:
            self.nonfinite += 1
            self.run += 1
            self.longest = max(self.longest, self.run)
            paths = self.structure.paths()
            self.first_bad, self.path = min(paths[i] for i in seen.bad)
            return
        self.run = 0
        self.norm = seen.largest if self.by_entry else seen.norm
        self.norms.append(min(self.norm, float(seen.info.max)))
        self.clips.append(float(kind not in ("same", "mean")))
        if factors is not None:
            self.clips[-1] = sum(f < 1 for f in factors) / max(len(factors), 1)
            self.scale = min([1.0, *factors])
        self.clipped += bool(self.clips[-1] > 0)
        if kind in ("norm", "value"):
            self.scale = threshold / self.norm

    def check(self, record: Any) -> None:
        """Requires the record of the library to say the same."""
        seen = self.last
        assert seen is not None
        assert record.total_count == self.total
        assert record.clipped_count == self.clipped
        assert record.nonfinite_count == self.nonfinite
        assert record.nonfinite_run == self.run
        assert record.longest_nonfinite_run == self.longest
        assert record.first_bad_leaf == self.first_bad
        share = 1e-5 + seen.unseen if self.scale else 0
        tolerance: Any = {"rtol": share, "atol": 1e-37}
        np.testing.assert_allclose(record.scale, self.scale, **tolerance)
        if seen.bad:
            assert not np.isfinite(record.norm)
        elif abs(self.norm / float(seen.info.max) - 1) > 1e-5:
            fits = self.norm < float(seen.info.max)
            expected = self.norm if fits else np.inf
            tolerance = {"rtol": 4 * seen.eps, "atol": seen.faint}
            np.testing.assert_allclose(record.norm, expected, **tolerance)

    def check_metrics(self, label: str, metrics: dict[str, Any]) -> None:
        """Requires the same of what `metrics` sums up of the last 64 gradients."""
        clips, norms = self.clips[-64:], sorted(self.norms[-64:])
        share = metrics[f"{label}/clipped_share"]
        np.testing.assert_allclose(share, np.mean(clips or [0]), rtol=1e-6)
        for percent in (50, 90, 99):
            rank = percent * (len(norms) - 1) // 100
            expected = norms[rank] if norms else 0
            got = metrics[f"{label}/norm_p{percent}"]
            np.testing.assert_allclose(
                float(got), float(expected), rtol=1e-6, atol=1e-37
            )

    def check_message(self, state: Any, params: Any) -> None:
        """Requires `raise_if_diverged` to name the leaf if the last one was bad."""
        if self.run:
            with pytest.raises(FloatingPointError) as caught:
                ltd.raise_if_diverged(state, params)
            wanted = f"in {self.path} ({self.nonfinite} of {self.total} "
            assert wanted in str(caught.value)
        else:
            ltd.raise_if_diverged(state, params)
