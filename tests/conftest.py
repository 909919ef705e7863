"""What the folders of tests share: how their programs are compiled."""

import gc
import os

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
gc.set_threshold(100_000, 20, 20)


def pytest_configure(config: pytest.Config) -> None:
    """Compiles what runs once or twice with few optimisations, in half the time.

    XLA rewrites a program all the same: what is left out is the optimisation of the
    machine code, which slow tests need.
    """
    if config.option.markexpr == "not slow":
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for processes of tests
