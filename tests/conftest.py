"""What some folders of tests share."""

from collections.abc import Iterator

import jax
import pytest

_QUICK = {"cli", "experiments"}  # their programs run once or twice


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles with few optimisations, in half the time."""
    quick = request.path.parent.name in _QUICK
    jax.config.update("jax_disable_most_optimizations", quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
