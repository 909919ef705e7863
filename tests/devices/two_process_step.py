"""One training step of the demo's model, by one of several processes.

python -m tests.devices.two_process_step PORT NUM_PROCESSES PROCESS_ID FILE
"""

import sys

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_ltd as ltd
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup


def step(port: str, num_processes: str, process_id: str, file: str) -> None:
    """Divides a batch over all processes, takes a step and saves what came of it."""
    if int(num_processes) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"localhost:{port}", int(num_processes), int(process_id)
        )
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    setup = make_setup(Config(length=20, hidden_size=10))
    task, model = setup.task, setup.new_network(rngs=nnx.Rngs(0))
    tx = optax.chain(ltd.clip_or_random_step(0.01, key=0), optax.sgd(0.1))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    batch = jax.device_get(task.sample(jax.random.key(1), 8))
    layout = NamedSharding(mesh, P("data"))
    spread = jax.tree.map(
        lambda part: jax.make_array_from_callback(
            part.shape, layout, lambda i: part[i]
        ),
        batch,
    )

    @nnx.jit
    def train_step(model, optimizer, batch):
        loss, grads = nnx.value_and_grad(lambda m: task.loss(m(batch), batch))(model)
        optimizer.update(model, grads)
        return loss, ltd.metrics(optimizer.opt_state)["clip_or_random_step/norm"]

    loss, norm = train_step(model, optimizer, spread)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((loss, norm, params))]
    np.savez(file, *leaves, processes=jax.process_count())
    if int(num_processes) > 1:
        jax.distributed.shutdown()


if __name__ == "__main__":
    step(*sys.argv[1:])
