"""Cells, initial weights and readouts."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from optax_ltd import tasks
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import flow_options
from optax_ltd.experiments.parts.network import CELLS, INITS, Network, make_network

UNITS = 64
GATES = {"tanh": 1, "sigmoid": 1, "relu": 1, "lstm": 4, "gru": 3}


def new_network(task: tasks.Task | None = None, **fields) -> Network:
    config = Config.from_dict({"length": 10, "hidden_size": UNITS, **fields})
    task = tasks.temporal_order(10) if task is None else task
    return make_network(config, task, rngs=nnx.Rngs(0), flow=flow_options(config))


def cell_of(network: Network) -> Any:
    return network.rnn.cell


def recurrent_of(network: Network) -> np.ndarray:
    """The recurrent weights of each gate [gates, units, units]."""
    kernel = np.asarray(cell_of(network).dense_h.kernel)
    return np.stack(np.split(kernel, kernel.shape[1] // UNITS, axis=1))


def test_every_cell_is_known():
    assert set(CELLS) == set(GATES)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_recurrent_weights_are_drawn_gate_by_gate(cell: str, init: str):
    gates = recurrent_of(new_network(cell=cell, init=init))
    assert gates.shape == (GATES[cell], UNITS, UNITS)
    for gate in gates:
        check_recurrent(init, gate)
    if init not in ("identity", "latching"):
        for one, other in itertools.pairwise(gates):
            assert (one != other).any()


def check_recurrent(init: str, gate: np.ndarray) -> None:
    deviation = {"sigmoid": 0.01, "basic_tanh": 0.1}.get(init)
    radius = {"smart_tanh": 0.95, "sparse": 1.1}.get(init)
    if deviation:
        # Of 4096 numbers, known to 1.1 % (one standard error): four of these.
        np.testing.assert_allclose(gate.std(), deviation, rtol=0.045)
        assert abs(gate.mean()) < 4 * deviation / UNITS
    elif radius:
        # What each unit sends, or what it receives.
        axis = 1 if init == "smart_tanh" else 0
        np.testing.assert_array_equal((gate != 0).sum(axis), 15)
        np.testing.assert_allclose(
            np.abs(np.linalg.eigvals(gate)).max(), radius, rtol=1e-3
        )
    elif init in ("identity", "latching"):
        scale = {"identity": 1.0, "latching": 1.5}[init]
        np.testing.assert_array_equal(gate, scale * np.eye(UNITS))
    else:
        assert init == "orthogonal"
        np.testing.assert_allclose(gate @ gate.T, np.eye(UNITS), atol=1e-5)


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("sigmoid", 0.01),
        ("basic_tanh", 0.1),
        ("smart_tanh", 0.01),
        ("orthogonal", 0.1),
        ("identity", 0.001),
        ("latching", 0.5),
        ("sparse", 0.1),
    ],
)
def test_other_weights_are_normal_and_biases_zero(init: str, deviation: float):
    network = new_network(init=init)
    cell = cell_of(network)
    for kernel in (cell.dense_i.kernel, network.head.kernel):
        # Of 256 numbers at least, known to 4.4 %: four of these.
        np.testing.assert_allclose(np.std(np.asarray(kernel)), deviation, rtol=0.18)
    for bias in (cell.dense_i.bias, network.head.bias):
        np.testing.assert_array_equal(bias, 0)


def test_the_scale_from_the_input_may_be_another():
    """The recipe of Sutskever et al. for numbers: .001 in, 1.1 around, .1 out."""
    network = new_network(init="sparse", input_scale=0.001)
    deviation = np.std(np.asarray(cell_of(network).dense_i.kernel))
    np.testing.assert_allclose(deviation, 0.001, rtol=0.18)
    np.testing.assert_allclose(np.std(np.asarray(network.head.kernel)), 0.1, rtol=0.18)
    check_recurrent("sparse", recurrent_of(network)[0])


ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


@pytest.mark.parametrize("cell", ACTIVATIONS)
def test_the_cell_is_that_of_its_name(cell: str):
    network = new_network(cell=cell)
    inputs = np.random.default_rng(1).normal(size=(3, 12, 6)).astype(np.float32)
    lengths = np.array([10, 12, 11], np.int32)
    arrays = inputs, np.zeros(3), lengths, np.ones((3, 12))
    batch = tasks.Batch(*jax.device_put(arrays))
    layers = cell_of(network).dense_i, cell_of(network).dense_h, network.head
    from_input, recurrent, readout = (np.asarray(layer.kernel) for layer in layers)
    hidden = np.zeros((3, UNITS))
    states = []
    for step in inputs.swapaxes(0, 1):
        hidden = ACTIVATIONS[cell](step @ from_input + hidden @ recurrent)
        states.append(hidden)
    ends = np.stack([states[n - 1][i] for i, n in enumerate(lengths)])
    outputs = nnx.jit(lambda network, batch: network(batch))(network, batch)
    np.testing.assert_allclose(outputs, ends @ readout, rtol=1e-4, atol=1e-5)


def outputs_of(task: tasks.Task) -> jax.Array:
    """The shape of what a network puts out for two sequences."""
    key = jax.random.key(0)
    return nnx.eval_shape(lambda: new_network(task)(task.sample(key, 2)))


def test_the_task_says_when_to_read():
    every = tasks.copying(4)
    assert every.readout == "every"
    outputs = outputs_of(every)
    assert outputs.shape == (2, every.time, every.output_size)
    once = tasks.temporal_order(10)
    assert outputs_of(once).shape == (2, once.output_size)


def test_forget_gates_may_begin_open():
    biases = cell_of(new_network(cell="lstm", forget_bias=3.0)).dense_h.bias
    gates = np.asarray(biases).reshape(4, UNITS)  # input, forget, cell, output
    np.testing.assert_array_equal(gates, [[0], [3], [0], [0]] * np.ones(UNITS))
