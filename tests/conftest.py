"""What the folders of tests share: how programs are compiled, and how exactly."""

import gc
import os
import sys
from collections.abc import Iterator

import jax
import pytest

# A GPU is to compute the same bits twice. A CPU does not read this.
_FLAGS = ["--xla_gpu_deterministic_ops=true"]
# Most of the time of this suite goes into compiling programs that run once. Here XLA
# emits all loops in the old way, in half the time, and no module in 32 parts. Newer
# versions know the new way alone.
if jax.__version_info__ < (0, 11):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    _FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
_given = os.environ.get("XLA_FLAGS", "").split()
_FLAGS = [*_given, *(flag for flag in _FLAGS if flag not in _given)]
os.environ["XLA_FLAGS"] = " ".join(_FLAGS)

# The command that the guides run is installed where this Python is.
_places = [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
os.environ["PATH"] = os.pathsep.join(_places)

# The workers share a GPU, where JAX would take most of the memory for each.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# `jax.debug.callback` needs the CPU as well, which JAX_PLATFORMS=cuda leaves out.
_platforms = os.environ.get("JAX_PLATFORMS")
if _platforms and "cpu" not in _platforms.split(","):
    os.environ["JAX_PLATFORMS"] = f"{_platforms},cpu"
    jax.config.update("jax_platforms", f"{_platforms},cpu")

# Tolerances are those of float32, products of accelerators by default are not. This
# holds in the processes that tests start as well.
ON_A_CPU = jax.default_backend() == "cpu"
if not ON_A_CPU:
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    jax.config.update("jax_default_matmul_precision", "highest")

# Tracing makes many small objects, and JAX keeps what it has traced. To look for
# garbage as often as usual takes a tenth of the time, and finds little.
gc.set_threshold(50_000, 20, 20)

# Bits are compared here, in the last with those of a process of its own.
_EXACT = {"transforms", "devices", "checkpoints", "test_kill_and_resume.py"}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles with few optimisations, on a CPU in half the time.

    Programs of tests run once or twice. XLA rewrites them all the same: what is left
    out is the optimisation of the machine code.
    """
    place = request.path.relative_to(request.config.rootpath)
    quick = ON_A_CPU and not {*place.parts} & _EXACT
    jax.config.update("jax_disable_most_optimizations", quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
