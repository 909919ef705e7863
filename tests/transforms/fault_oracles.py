"""What must become of a gradient, in NumPy and in wider numbers than the library's.

A decision that rounding can turn is left to the library; all else follows from the
gradient, the threshold and, where that follows the training, the state before.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tests.transforms.factories import Variant, same
from tests.transforms.faults import real_parts

Number = Any  # of the widest dtype there is

_SHRINK_RATE, _PERCENT, _ZSCORE, _LEAST_BOUND = 0.02, 90, 2.5, 2.5
_MULTIPLE = 1.04
_DECAYS = {
    "ClipByAverageNormState": 0.99,
    "ClipByLeafAverageNormState": 0.99,
    "ClipByNormZscoreState": 0.97,
}


class Measured(NamedTuple):
    """What a gradient is.

    Attributes:
      norm: L2 norm; of no use if a leaf is bad.
      largest: the largest modulus of an entry, likewise.
      bad: the leaves that have an Inf or a NaN, by their numbers.
      size: real entries.
      info: of the dtype that sums are formed in.
      faint: what arithmetic that takes subnormal numbers for 0 may lose of a norm.
      unseen: what it may lose of this one, as a share of what is left.
    """

    norm: Number
    largest: Number
    bad: tuple[int, ...]
    size: int
    info: Any
    faint: float
    unseen: float = 0.0

    @property
    def eps(self) -> float:
        """The distance from 1 to the next number in that dtype."""
        return float(self.info.eps)


def wide(leaf: Any) -> np.ndarray:
    """The real numbers of a leaf in the widest dtype there is."""
    return real_parts(leaf).astype(np.float64).astype(np.longdouble)


def moduli(leaf: Any) -> np.ndarray:
    """The absolute values of the entries, likewise."""
    parts = abs(wide(leaf))
    return np.hypot(parts[::2], parts[1::2]) if np.iscomplexobj(leaf) else parts


def measure(leaves: list[Any]) -> Measured:
    """Measures a gradient of which only these leaves are drawn."""
    infos = [jnp.finfo(leaf.dtype) for leaf in leaves]
    double = any(info.dtype == np.float64 for info in infos)
    info = jnp.finfo(np.float64 if double else np.float32)
    bad = tuple(i for i, leaf in enumerate(leaves) if not np.isfinite(wide(leaf)).all())
    parts = np.concatenate([np.zeros(0, np.longdouble), *map(wide, leaves)])
    faint = max([0.0, *(loss(i) for i in infos)]) * np.sqrt(max(parts.size, 1))
    zero = np.longdouble(0)
    if bad:
        return Measured(zero, zero, bad, parts.size, info, faint)
    largest = max([zero, *(m for leaf in leaves for m in moduli(leaf))])
    unit = largest if largest > 0 else np.longdouble(1)
    norm = unit * np.sqrt(np.sum((parts / unit) ** 2))
    subnormal = [
        abs(wide(leaf)) < loss(i) for leaf, i in zip(leaves, infos, strict=True)
    ]
    ordinary = parts[~np.concatenate([np.zeros(0, bool), *subnormal])]
    left = unit * np.sqrt(np.sum((ordinary / unit) ** 2))
    unseen = float(norm / left - 1) if left > 0 else 0.0
    return Measured(norm, largest, (), parts.size, info, faint, unseen)


def loss(info: Any) -> float:
    """The largest number that rounding to a dtype may turn into 0.

    Subnormal numbers of float16 are ordinary ones of float32, in which the library
    computes; those of the other dtypes may be flushed.
    """
    return float(info.smallest_subnormal if info.dtype == np.float16 else info.tiny)


def rounding(leaf: Any, measured: Measured) -> float:
    """By how large a share of itself an entry of a leaf may be off."""
    eps = float(jnp.finfo(leaf.dtype).eps)
    return 4 * measured.eps + (eps / 2 if eps > measured.eps else 0)


class Verdict(NamedTuple):
    """What may become of a gradient.

    Attributes:
      kinds: as in `Variant`, or "mean" where a mean is formed of the gradient alone;
        two where rounding decides, the second one that counts as clipped.
      threshold: the norm that it is brought to if it is clipped.
      slack: by how large a share of itself the threshold may be off.
    """

    kinds: tuple[str, ...]
    threshold: Number
    slack: float = 0.0


def judge(variant: Variant, seen: Measured, before: Any, limit: float) -> Verdict:
    """Says what becomes of a gradient.

    Args:
      variant: the transformation.
      seen: the gradient.
      before: the state.
      limit: the threshold, where it is a fixed one.

    Returns:
      The verdict.
    """
    below = "mean" if variant.examples else "same"
    if seen.bad or variant.above == "same":
        kind = variant.nonfinite if seen.bad else "same"
        # Entry by entry, the finite ones are clipped all the same.
        kind = "value" if kind == "same" and variant.above == "value" else kind
        return Verdict((below if kind == "same" else kind,), np.longdouble(limit))
    size = seen.largest if variant.above == "value" else seen.norm
    threshold, slack = _threshold(variant, seen, before, np.longdouble(limit))
    above = variant.above.replace("adaptive", "norm").replace("leaves", "norm")
    return _compare(size, threshold, slack, seen, (below, above))


def judge_leaf(leaf: Any, average: Any, limit: float) -> tuple[Measured, Verdict]:
    """Says what becomes of one leaf that is clipped by its own history."""
    seen, slack = measure([leaf]), 0.0
    threshold = np.longdouble(limit)
    if average > 0:
        slack = 8 * seen.eps
        threshold = np.longdouble(_MULTIPLE) * _wide(average)
    return seen, _compare(seen.norm, threshold, slack, seen, ("same", "norm"))


def _compare(
    size: Number, threshold: Number, slack: float, seen: Measured, kinds: Any
) -> Verdict:
    """The kind below the threshold, the one above, or both where rounding decides."""
    below, above = kinds
    near = (slack + 4 * seen.eps) * threshold + seen.faint
    if size == threshold and not slack:
        kinds = (below,)  # Nothing is rounded where both are one number.
    elif np.isfinite(threshold) and abs(size - threshold) <= near:
        kinds = (below, above)
    else:
        kinds = (above,) if size > threshold else (below,)
    return Verdict(kinds, threshold, slack)


def _threshold(
    variant: Variant, seen: Measured, before: Any, limit: Number
) -> tuple[Number, float]:
    """The threshold, and by how large a share of itself it may be off."""
    name = type(before).__name__
    if name == "ClipByNormPercentileState":
        filled = sorted(_wide(window(before.norms, entry(seen, before.norms), seen)))
        filled = [norm for norm in filled if norm >= 0]
        rank = _PERCENT * (len(filled) - 1) // 100
        found = filled[rank] if filled else np.longdouble(np.inf)
        kept = entry(seen, before.norms)
        # Of two norms beyond the range it is not known which is larger.
        found = np.longdouble(np.inf) if kept < seen.norm and kept <= found else found
        return found, 0.0
    if name == "ClipByAverageNormState":
        warm = before.first_norms[0] >= 0
        return (_wide(before.mean) if warm else np.longdouble(np.inf)), 4 * seen.eps
    if name == "SkipStepsState" and before.accepted is not None:
        return _skip_limit(variant, before, limit)
    if name == "ClipByNormZscoreState" and before.first_norms[0] >= 0:
        return _zscore_limit(seen, before, limit)
    return limit, 0.0


def _skip_limit(variant: Variant, before: Any, limit: Number) -> tuple[Number, float]:
    values, count = before.accepted.values[0], int(before.accepted.counts[0])
    if count < variant.arguments["warmup"]:
        return limit, 0.0
    recent = _wide(values[-count:])
    spread = np.std(recent) + 1e-6 * np.mean(recent)
    above = variant.arguments["zscore"] * spread
    return min(np.mean(recent) + above, limit), 1e-5


def _zscore_limit(seen: Measured, before: Any, limit: Number) -> tuple[Number, float]:
    mean, deviation = _wide(before.mean), _wide(before.deviation)
    spread = max(deviation + 1e-6 * mean, float(jnp.finfo(before.mean.dtype).tiny))
    zscore = (entry(seen, before.mean) - mean) / spread
    doubt = 8 * seen.eps * ((seen.norm + mean) / spread + abs(zscore))
    if abs(zscore - _ZSCORE) <= doubt:  # There the formula is near the norm itself.
        return min(seen.norm, limit), 1e-5
    if zscore < _ZSCORE:
        return limit, 0.0
    return min(mean + _ZSCORE**2 * deviation / zscore, limit), 16 * seen.eps


def entry(seen: Measured, like: Any) -> Number:
    """The norm as statistics in some dtype take it, which end where either ends."""
    ends = (float(info.max) for info in (seen.info, jnp.finfo(like.dtype)))
    return min(seen.norm, np.longdouble(min(ends)))


def window(old: np.ndarray, newest: Number, seen: Measured) -> np.ndarray:
    """A window after a gradient: only one finite and not 0 enters."""
    counts = not seen.bad and seen.norm > seen.faint
    return np.append(old[1:].astype(np.longdouble), newest) if counts else old


def check_statistics(seen: Measured, before: Any, after: Any) -> None:
    """Requires of a running threshold what its formula says, given the state before."""
    name = type(before).__name__
    near_end = abs(seen.norm / float(seen.info.max) - 1) < 1e-5
    if near_end or 0 < seen.norm <= 4 * seen.faint:
        return  # Whether such a norm counts, or as how much, rounding decides.
    tolerance: Any = {"rtol": 16 * seen.eps, "atol": seen.faint}
    if name == "ClipByNormPercentileState":
        expected = window(before.norms, entry(seen, before.norms), seen)
        np.testing.assert_allclose(after.norms, expected, **tolerance)
    elif name in ("ClipByAverageNormState", "ClipByNormZscoreState"):
        warm = before.first_norms[0] >= 0
        newest = entry(seen, before.mean)
        first = before.first_norms if warm else window(before.first_norms, newest, seen)
        np.testing.assert_allclose(after.first_norms, first, **tolerance)
        mean, deviation = _moments(name, seen, before, float(first[0]))
        np.testing.assert_allclose(after.mean, mean, **tolerance)
        if name == "ClipByNormZscoreState":
            tolerance["atol"] += float(16 * seen.eps * mean)
            np.testing.assert_allclose(after.deviation, deviation, **tolerance)


def _moments(name: str, seen: Measured, before: Any, first: float) -> Any:
    """Mean and deviation after a gradient, for a warm-up of one step."""
    if before.first_norms[0] < 0:
        return max(first, 0), 0
    mean, deviation = _wide(before.mean), _wide(getattr(before, "deviation", 0))
    if seen.bad or seen.norm <= seen.faint:
        return mean, deviation
    tiny = float(jnp.finfo(before.mean.dtype).tiny)
    spread = max(deviation + 1e-6 * mean, tiny)
    bound = mean + _LEAST_BOUND * spread
    bound = 10 * mean if name == "ClipByAverageNormState" else bound
    norm = min(entry(seen, before.mean), bound)
    decay = _wide(before.mean.dtype.type(_DECAYS[name]))
    new = decay * mean + (1 - decay) * norm
    square = decay * deviation**2 + (1 - decay) * (norm - new) ** 2
    return max(new, tiny), np.sqrt(square)


def check_averages(seen: Measured, before: Any, after: Any, leaves: Any, limit: float):
    """Requires of each leaf's average what the formula says, given the state before."""
    if seen.bad or seen.norm <= 4 * seen.faint:
        kept = same(before.averages, after.averages)
        assert kept or not (seen.bad or seen.norm == 0)
        return
    end, tiny = (float(getattr(seen.info, x)) for x in ("max", "tiny"))
    for leaf, old, new in zip(leaves, before.averages, after.averages, strict=True):
        alone, verdict = judge_leaf(leaf, old, limit)
        norm = min(alone.norm, verdict.threshold, end)
        if not before.counted:
            norm = min(alone.norm * min(1, limit / seen.norm), end)
        if abs(alone.norm / end - 1) < 1e-5 or norm <= 8 * seen.faint + 2 * tiny:
            continue  # Whether such a norm counts, or as how much, rounding decides.
        if not before.counted and alone.norm <= 2 * tiny * seen.norm:
            continue  # Nor can such a share of the whole be told from none.
        old, decay = _wide(old), _wide(old.dtype.type(_DECAYS[type(before).__name__]))
        expected = decay * old + (1 - decay) * norm if old > 0 else norm
        np.testing.assert_allclose(new, expected, rtol=32 * seen.eps, atol=seen.faint)


def shrunk(param: Any) -> np.ndarray:
    """What takes the place of a leaf that shrinks."""
    return wide(param) * _SHRINK_RATE


def _wide(value: Any) -> Any:
    return np.asarray(value).astype(np.longdouble)[()]
