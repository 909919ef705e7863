"""What the cost of an update is measured on, and what it is to reach."""

from typing import NamedTuple

NONE = "no clip"
OPTAX_CLIP = "optax.clip_by_global_norm"
APPLY_IF_FINITE = "optax.apply_if_finite"
SKIP = "skip_steps"
CLIP = "clip_by_global_norm"
GUARD = "clip_or_random_step"
READ = "clip_or_random_step, metrics returned"
CHAINED = "nonfinite_random_step, clip_by_global_norm"
VALUE = "clip_by_value"
RANDOM = "nonfinite_random_step"
LEAVES = "clip_by_leaf_average_norm"
SPHERE = "clip_or_random_step, sphere"

MAIN = (NONE, OPTAX_CLIP, APPLY_IF_FINITE, SKIP, CLIP, GUARD, READ, CHAINED)
ALL = (*MAIN, LEAVES, VALUE, RANDOM, SPHERE)
FEW = (OPTAX_CLIP, CLIP, GUARD)
ON_NAN = (OPTAX_CLIP, APPLY_IF_FINITE, SKIP, GUARD, CHAINED, RANDOM)


class Setting(NamedTuple):
    """One kind of update.

    Attributes:
      optimizer: `"sgd"` or `"adam"`.
      gradient: `"finite"`, and above the threshold; or `"nan"`, one bad entry.
      millions: of parameters.
      leaves: how many arrays they are in, all of the same shape.
      dtype: of the parameters. Gradients are float32.
    """

    optimizer: str
    gradient: str
    millions: int
    leaves: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int]:
        """Of each leaf."""
        return 500, self.millions * 2000 // self.leaves


class Target(NamedTuple):
    """A ratio of times to reach with finite gradients.

    Attributes:
      contestant: whose time is divided.
      measure: by whose.
      sgd: the ratio to reach with sgd, or None.
      adam: the ratio to reach with adam, or None.
    """

    contestant: str
    measure: str
    sgd: float | None = None
    adam: float | None = None

    def limit_at(self, setting: Setting) -> float | None:
        """The ratio to reach in a setting, or None."""
        return self.sgd if setting.optimizer == "sgd" else self.adam


_SIZES = [
    ("finite", 20, 40, "float32"),
    ("finite", 20, 400, "float32"),
    ("finite", 100, 40, "float32"),
    ("finite", 100, 400, "float32"),
    ("finite", 20, 40, "bfloat16"),
    ("nan", 20, 40, "float32"),
]
# On an accelerator. Compiling 400 leaves takes most of the time there, and what has no
# time left is lost, so the dearest come last.
_LARGE_SIZES = [
    ("finite", 400, 40, "float32"),
    ("finite", 100, 40, "float32"),
    ("finite", 100, 400, "float32"),
    ("finite", 400, 400, "float32"),
]
CPU_SETTINGS = [Setting(name, *sizes) for name in ("sgd", "adam") for sizes in _SIZES]
ACCELERATOR_SETTINGS = [
    Setting(name, *sizes) for sizes in _LARGE_SIZES for name in ("sgd", "adam")
]
TINY = Setting("adam", "finite", 1, 4, "float32")
SETTINGS = list(dict.fromkeys([*CPU_SETTINGS, *ACCELERATOR_SETTINGS, TINY]))
TARGETS = (
    Target(GUARD, OPTAX_CLIP, sgd=1.10, adam=0.6),
    Target(GUARD, NONE, adam=1.25),
    Target(GUARD, APPLY_IF_FINITE, adam=0.45),
    Target(SKIP, NONE, adam=1.15),
    Target(CLIP, OPTAX_CLIP, sgd=1.0),
    Target(READ, GUARD, sgd=1.02, adam=1.02),
)


def contestants(setting: Setting, platform: str = "cpu") -> tuple[str, ...]:
    """Who takes part in a setting, by name: everyone in the first of its kind."""
    if setting.gradient == "nan":
        return ON_NAN
    if platform != "cpu" and setting.leaves > 40:
        return FEW
    return ALL if setting[1:] == _SIZES[0] else MAIN
