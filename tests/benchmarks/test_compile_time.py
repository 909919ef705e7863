"""The benchmark of compile times compiles every time, and counts what it compiled."""

import jax

from benchmarks.updates import settings
from benchmarks.updates.compile_time import Parameters, contestant


def test_a_second_sum_of_squares_has_kernels_of_its_own():
    params = Parameters(leaves=2, shapes=2).tree
    assert len({leaf.shape for leaf in params}) == 2
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        optax, ours = (
            contestant(name, params).step
            for name in (settings.OPTAX_CLIP, settings.CLIP)
        )
        assert 0 < optax(0) < ours(0)
        before = len(compiled)
        optax(0)
        assert len(compiled) > before, "a cache was asked"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
