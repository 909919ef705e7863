"""Text, character by character: what comes next?"""

import sysconfig
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd._numerics.checks import check_choice, check_count
from optax_ltd.tasks._scores import cross_entropy, not_likeliest
from optax_ltd.tasks._task import Batch, Task, last

Split: TypeAlias = Literal["train", "test"]

# Printable ASCII, the end of a line, and one class for everything else.
_CHARACTERS = bytes([*range(32, 127), 10])
_NUM_CLASSES = len(_CHARACTERS) + 1
_PIECES = 100
_HELD_OUT = 10  # every tenth piece


def text(
    path: str | Path | None = None,
    *,
    length: int = 100,
    split: Split = "train",
) -> Task:
    """Returns the task of predicting the next character of a text.

    The text is that of a file, or else the sources of Python's own standard library,
    which are on every machine and redundant as language is; they differ a little from
    one version of Python to the next. It is cut into 100 pieces, of which every tenth
    is held out for tests; those of a split are joined, so that few windows hold a
    seam. A sequence is a window of ``length`` characters at a random place.

    Characters are one-hot among 97: printable ASCII, the end of a line, and one class
    for everything else. The model's outputs are logits float ``[batch, length, 97]``
    at every step; targets are int32 ``[batch, length]``. The loss divided by ``log(2)``
    is the number of bits per character. A sequence counts as wrong if what follows its
    last character was not the likeliest answer.

    Args:
      path: A text file; by default the standard library.
      length: Characters in a sequence, 1 or more.
      split: Which pieces to draw from, ``"train"`` or ``"test"``.

    Returns:
      The task, with inputs float32 ``[batch, length, 97]``. It never counts as solved.

    Raises:
      OSError: If the file cannot be read.
      ValueError: If ``length`` is no int of at least 1, if ``split`` is unknown, if
        the text is too short for it, or, when sampling, if ``batch_size`` is no int of
        at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.text(length=20)
      >>> batch = task.sample(jax.random.key(0), 4)
      >>> bool((batch.inputs[:, 1:].argmax(-1) == batch.targets[:, :-1]).all())
      True
    """
    length = check_count("length", length, at_least=1)
    check_choice("split", split, get_args(Split))
    corpus = _split(_classes(_read(path)), split)
    if len(corpus) <= length:
        raise ValueError(
            f"`path` must hold a text whose {split} pieces have more than {length} "
            f"characters (`length`); got {len(corpus)}."
        )
    frequencies = np.bincount(corpus, minlength=_NUM_CLASSES) / len(corpus)
    characters = jnp.asarray(corpus)

    def sample(key: jax.Array, batch_size: int) -> Batch:
        batch_size = check_count("batch_size", batch_size, at_least=1)
        shape, stop = (batch_size, 1), len(corpus) - length
        start = jax.random.randint(key, shape, 0, stop, jnp.int32)
        windows = characters[start + jnp.arange(length + 1)].astype(jnp.int32)
        inputs = jax.nn.one_hot(windows[:, :-1], _NUM_CLASSES, dtype=jnp.float32)
        lengths = jnp.full((batch_size,), length, jnp.int32)
        mask = jnp.ones((batch_size, length), bool)
        return Batch(inputs, windows[:, 1:], lengths, mask)

    return Task(
        name="text",
        length=length,
        time=length,
        input_size=_NUM_CLASSES,
        output_size=_NUM_CLASSES,
        readout="every",
        sample=sample,
        loss=cross_entropy,
        is_wrong=_last_is_wrong,
        chance_error=1 - float(frequencies.max()),
        solved_below=0.0,
    )


def _last_is_wrong(logits: jax.Array, batch: Batch) -> jax.Array:
    return not_likeliest(last(logits, batch), last(batch.targets, batch))


def _read(path: str | Path | None) -> bytes:
    if path is not None:
        return Path(path).read_bytes()
    modules = Path(sysconfig.get_path("stdlib")).glob("*.py")
    return b"".join(module.read_bytes() for module in sorted(modules))


def _classes(contents: bytes) -> np.ndarray:
    """The class of each character, uint8."""
    table = np.full(256, len(_CHARACTERS), np.uint8)
    table[np.frombuffer(_CHARACTERS, np.uint8)] = np.arange(len(_CHARACTERS))
    return table[np.frombuffer(contents, np.uint8)]


def _split(corpus: np.ndarray, split: str) -> np.ndarray:
    pieces = np.array_split(corpus, _PIECES)
    held_out = pieces[_HELD_OUT - 1 :: _HELD_OUT]
    kept = [pieces[i] for i in range(_PIECES) if (i + 1) % _HELD_OUT]
    return np.concatenate(held_out if split == "test" else kept)
