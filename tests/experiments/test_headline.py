import re

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.terminal.headline import headline


def words(config: Config) -> str:
    return re.sub(r"\[/?\w*\]", "", headline(make_setup(config)))


def test_it_tells_lengths_seeds_and_chance():
    told = words(Config(length=(10, 100), test_length=80, test_size=300))
    assert told.splitlines() == [
        "temporal order, 10 to 100 steps, tested at 80; 50 tanh units, seeds 0 to 2 "
        "together, at most 10,000 updates.",
        "Solved: fewer than 1 % of 300 fresh sequences wrong; by chance 75% of answers "
        "are wrong.",
    ]
    told = words(Config(length=20, seeds=1, first_seed=7, cell="gru"))
    assert "20 steps; 50 gru units, seed 7, at most" in told
    told = words(Config(length=(10, 100), test_length=80, grow_from=30))
    assert "10 to 100 steps growing from 30, tested at 80;" in told
    told = words(Config(length=20, test_length=(50, 1000)))
    assert "20 steps, tested at 50 to 1000;" in told
    assert "fewer than 0.01 % of" in words(Config(solved_below=1e-4))


def test_text_is_never_solved():
    assert "Nothing counts as solved; by chance" in words(Config(task="text"))
