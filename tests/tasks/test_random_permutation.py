"""The distribution of the random permutation task."""

import numpy as np

from tests.tasks.draws import assert_fills, assert_independent, draw


def test_the_first_symbol_is_one_of_two_and_never_comes_again():
    batch = draw("random_permutation", 10)
    symbols = batch.inputs.argmax(-1)
    np.testing.assert_array_equal(batch.inputs.sum(-1), 1)
    assert_fills(symbols[:, 0], range(2))
    assert_fills(symbols[:, 1:], range(2, 100))
    assert_independent(*symbols.T)
    np.testing.assert_array_equal(batch.targets, symbols[:, 0])
