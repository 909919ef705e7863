"""What the folders of tests share: how their programs are compiled."""

import gc
import os
from collections.abc import Iterator

import jax
import pytest

# Most of the time of this suite goes into compiling programs that run once. Here XLA
# emits all loops in the old way, in half the time, and no module in 32 parts. Newer
# versions know the new way alone.
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11) and _FLAGS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"

# Tracing makes many small objects, and JAX keeps what it has traced. To look for
# garbage as often as usual takes a tenth of the time, and finds little.
gc.set_threshold(50_000, 20, 20)

# What a transformation makes of a gradient is compared bit for bit.
_EXACT = {"transforms", "devices", "checkpoints"}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles with few optimisations, in half the time.

    Programs of tests run once or twice. XLA rewrites them all the same: what is left
    out is the optimisation of the machine code.
    """
    place = request.path.relative_to(request.config.rootpath)
    quick = not {*place.parts} & _EXACT
    jax.config.update("jax_disable_most_optimizations", quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
