"""The task of predicting text."""

import jax
import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import one_hot, sample

LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture
def page(tmp_path):
    """A hundred pieces of two characters each, twenty kinds in turn."""
    path = tmp_path / "page.txt"
    path.write_text("".join(2 * LETTERS[i % 20] for i in range(100)))
    return path


def _characters(array) -> set[str]:
    return {chr(32 + code) for code in np.unique(array)}


def test_windows_are_of_the_text_and_targets_one_character_on(page):
    batch = sample(tasks.text(page, length=3), 200)
    codes = batch.inputs.argmax(-1)
    np.testing.assert_array_equal(batch.inputs.sum(-1), 1)
    np.testing.assert_array_equal(codes[:, 1:], batch.targets[:, :-1])
    kept = page.read_text().replace("jj", "").replace("tt", "")
    windows = [
        "".join(chr(32 + c) for c in [*row, end[-1]])
        for row, end in zip(codes, batch.targets, strict=True)
    ]
    assert all(window in kept for window in windows)
    assert len(set(windows)) > 30


def test_the_first_and_the_last_window_are_drawn(tmp_path):
    path = tmp_path / "page.txt"
    path.write_text("a" + "b" * 9998 + "c")  # "c" is in a piece that is held out
    task = tasks.text(path, length=970, split="test")
    targets = sample(task, 500).targets
    # Of 1,000 characters there are 30 windows; the last one alone ends with "c".
    assert _characters(targets) == {"b", "c"}
    assert 0 < np.mean(targets[:, -1] == ord("c") - 32) < 0.1


def test_every_tenth_piece_is_held_out(page):
    train, test = (
        sample(tasks.text(page, length=1, split=split), 2000)
        for split in ("train", "test")
    )
    assert _characters(test.inputs.argmax(-1)) == {"j", "t"}
    assert _characters(train.inputs.argmax(-1)) == set(LETTERS) - {"j", "t"}


def test_what_is_not_printable_is_one_class(tmp_path):
    path = tmp_path / "page.txt"
    path.write_bytes(b"\n\t\xc3\xa9" * 200)
    batch = sample(tasks.text(path, length=10), 50)
    assert set(np.unique(batch.inputs.argmax(-1))) == {95, 96}


def test_the_verdict_is_on_what_follows_the_last_character(page):
    task = tasks.text(page, length=3)
    batch = sample(task, 4)
    is_wrong = jax.jit(task.is_wrong)
    for step, wrong in ((0, False), (2, True)):
        outputs = one_hot(batch.targets, task.output_size)
        outputs[:, step] *= -1
        assert set(np.asarray(is_wrong(outputs, batch))) == {wrong}


def test_the_library_is_there_and_chance_is_that_of_its_commonest_character():
    train, test = tasks.text(), tasks.text(split="test")
    assert 0.5 < train.chance_error < 0.9  # a quarter of Python is blanks
    assert abs(train.chance_error - test.chance_error) < 0.05
    assert train.solved_below == 0


def test_what_cannot_be_is_named(page):
    with pytest.raises(ValueError, match=r"^`split` must be .*; got 'valid'"):
        tasks.text(page, split="valid")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="more than 500 characters"):
        tasks.text(page, length=500)
    with pytest.raises(FileNotFoundError):
        tasks.text(page.parent / "nowhere")
