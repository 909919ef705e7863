"""A figure that shows itself in a notebook, though pyplot knows nothing of it."""

import io
import sys
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure without a window.

    A notebook shows it where it is the value of a cell, also without pyplot's inline
    backend.
    """

    def _repr_png_(self) -> bytes:
        """The figure as a PNG, which IPython asks a value for."""
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()

    def show(self, warn: bool = True) -> None:
        """Shows it in a notebook; there is no window elsewhere.

        Raises:
          RuntimeError: outside of IPython.
        """
        del warn
        # Whoever runs in IPython has it loaded.
        ipython: Any = sys.modules.get("IPython")
        if ipython is None or ipython.get_ipython() is None:
            raise RuntimeError(
                "a picture of `optax_ltd.plots` has no window; write it with "
                "`figure.savefig(path)`."
            )
        ipython.display.display(self)
