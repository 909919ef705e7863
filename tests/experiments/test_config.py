"""What a config accepts, and that files hold it."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from optax_ltd import tasks
from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_task, make_test_task
from optax_ltd.experiments.parts.setup import make_setup

OTHER = Config(
    task="addition",
    length=(20, 30),
    test_length=40,
    criterion="absolute",
    centred=True,
    input_scale=0.001,
    method="none",
    learning_rate=0.125,
    seeds=7,
)


@pytest.mark.parametrize("config", [Config(), OTHER])
def test_a_config_survives_json(config: Config):
    text = json.dumps(config.to_dict(), allow_nan=False)
    assert Config.from_dict(json.loads(text)) == config


def test_missing_fields_have_defaults():
    assert Config.from_dict({"seeds": 5}) == Config(seeds=5)


def test_whole_numbers_may_stand_for_others():
    for field in ("learning_rate", "input_scale"):
        value = getattr(Config.from_dict({field: 1}), field)
        assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speed", 1),
        ("seeds", 2.0),
        ("seeds", True),
        ("seeds", "3"),
        ("seeds", 0),
        ("seeds", 2**30 + 1),
        ("first_seed", -1),
        ("first_seed", 2**30 + 1),
        ("updates", 2**31),
        ("hidden_size", None),
        ("length", "50"),
        ("length", 50.0),
        ("test_length", True),
        ("learning_rate", "0.1"),
        ("learning_rate", True),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("max_norm", -1.0),
        ("max_value", float("nan")),
        ("step_size", -1.0),
        ("carry_max_norm", 0.0),
        ("flow_weight", -1.0),
        ("flow_decay", -1.0),
        ("flow_fraction", 0.0),
        ("flow_fraction", 1.5),
        ("input_scale", -0.1),
        ("input_scale", True),
        ("input_scale", "0.1"),
        ("centred", 1),
        ("centred", "true"),
        ("centred", None),
        ("task", 3),
        ("text", 3),
    ],
)
def test_a_field_that_cannot_be_is_named(field: str, value: object):
    with pytest.raises(ValueError, match=f"['`]{field}['`]"):
        Config.from_dict({field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "adition"),
        ("criterion", "cubed"),
        ("text", "/no/such/file"),
        ("length", (50, 20)),
        ("length", [10, 20, 30]),
        ("length", 3),
        ("method", ""),
        ("method", "clip"),
        ("method", "none+flow"),
        ("method", "clip-norm+clip-norm"),
        ("method", "clip-norm+"),
        ("optimizer", "lion"),
        ("momentum_schedule", "fall"),
        ("cell", "mlp"),
        ("init", "zeros"),
        ("flow_form", "cube"),
        ("flow_reduction", "max"),
        ("flow_params", "none"),
    ],
)
def test_words_without_a_meaning_are_named(field: str, value: object):
    config = Config.from_dict({"length": 10, "hidden_size": 2, field: value})
    with pytest.raises(ValueError, match=rf"^`?{field}\b"):
        make_setup(config)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (Config(length=3), "length"),
        (Config(test_length=3), "test_length"),
        (Config(criterion="squared"), "criterion"),
        (Config(task="adding", criterion="cubed"), "criterion"),
        (Config(cell="mlp"), "cell"),
        (Config(task="text", centred=True), "centred"),
        (Config(task="text", solved_below=0.5), "solved_below"),
    ],
)
def test_an_error_carries_the_field(config: Config, field: str):
    with pytest.raises(InputError, match=f"^`{field}` ") as caught:
        make_setup(config)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("task", "criterion", "chance"),
    [
        ("adding", None, 0.96**2),
        ("adding", "squared", 0.8**2),
        ("addition", None, 0.6**2),
        ("addition", "absolute", 0.92**2),
    ],
)
def test_the_criterion_is_the_tasks_own_unless_given(
    task: str, criterion: str | None, chance: float
):
    made = make_task(Config(task=task, criterion=criterion))
    np.testing.assert_allclose(made.chance_error, chance)


def test_lengths_of_json_are_those_of_python():
    config = Config.from_dict({"length": [10, 20], "test_length": [15, 30]})
    assert config == Config(length=(10, 20), test_length=(15, 30))
    assert hash(config) == hash(Config(length=(10, 20), test_length=(15, 30)))
    assert (config.lengths, config.test_lengths) == ((10, 20), (15, 30))
    assert Config(length=(10, 20)).test_lengths == (10, 20)
    assert Config(length=10, test_length=5).test_lengths == (5, 5)


def test_a_task_is_tested_at_its_own_length_or_another():
    config = Config(length=(10, 20), test_size=30)
    assert make_task(config).time == make_test_task(config).time == 20
    other = Config(length=(10, 20), test_length=40, test_size=30)
    assert make_task(other).time == 20
    assert make_test_task(other).time == 40
    assert make_test_task(other, 15).time == 15
    ranged = make_test_task(dataclasses.replace(other, test_length=(12, 25)))
    assert ranged.sample(jax.random.key(0), 99).lengths.min() == 12
    assert ranged.time == 25
    assert make_test_task(other).test_size == 30


def test_a_task_may_be_solved_by_a_stricter_criterion():
    for config in (Config(length=20), Config(task="addition", length=20)):
        strict = dataclasses.replace(config, solved_below=1e-4)
        assert make_task(config).solved_below == 0.01
        assert make_task(strict).solved_below == 1e-4
        assert make_test_task(strict, 30).solved_below == 1e-4


def test_a_centred_task_is_tested_without_the_means_of_training():
    config = Config(task="memorization_5bit", length=10, test_length=20, centred=True)
    taken = tasks.memorization_5bit(10)
    for task, length in (
        (make_task(config), 10),
        (make_test_task(config), 20),
        (make_test_task(config, 30), 30),
    ):
        # What is left of the means of its own length.
        assert (
            task.means == tasks.centred(tasks.memorization_5bit(length), by=taken).means
        )
    assert make_task(config).means == (4 * (0,), 3 * (0,))


def test_text_is_tested_on_what_was_held_out(tmp_path: Path):
    path = tmp_path / "text"
    # A hundred pieces of one character, of which every tenth is held out.
    path.write_text(10 * (9 * "a" + "b"))
    config = Config(task="text", text=str(path), length=5)
    for make, character in ((make_task, "a"), (make_test_task, "b")):
        targets = make(config).sample(jax.random.key(0), 2).targets
        assert (targets == ord(character) - ord(" ")).all()
