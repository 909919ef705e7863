"""What a figure shows."""

import numpy as np
from matplotlib.figure import Figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def line(axes, index: int = 0) -> np.ndarray:
    return np.asarray(axes.lines[index].get_xydata())
