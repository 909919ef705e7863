"""Fields of a config that not every run makes use of."""

from collections.abc import Mapping

from optax_ltd.experiments.parts.method_table import OPTIMIZERS, PARTS, Optimizer, Part
from optax_ltd.experiments.parts.network_table import CELLS, Cell


def users(field: str) -> list[str]:
    """The parts of methods, the optimisers or the cells that alone make use of a field.

    Args:
      field: of a config.

    Returns:
      Their words; none if every run makes use of it.
    """
    rows: Mapping[str, Part | Optimizer | Cell] = {**PARTS, **OPTIMIZERS, **CELLS}
    return [word for word, row in rows.items() if field in row.fields]
