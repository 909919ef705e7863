"""What a figure is to a notebook, and to one who lacks Matplotlib."""

import pickle
import sys
import types
from typing import Any

import pytest

from optax_ltd.plots import _style


def test_a_notebook_gets_a_png():
    figure: Any = _style.new_figure(1.0, 0.5)
    assert figure._repr_png_().startswith(b"\x89PNG\r\n")
    assert type(pickle.loads(pickle.dumps(figure))) is type(figure)


def test_a_notebook_shows_it_when_asked(monkeypatch: pytest.MonkeyPatch):
    shown: list[Any] = []
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: "a shell"
    ipython.display = types.SimpleNamespace(display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    figure = _style.new_figure(1.0, 0.5)
    figure.show()
    assert shown == [figure]


def test_there_is_no_window():
    with pytest.raises(RuntimeError, match=r"`figure\.savefig"):
        _style.new_figure(1.0, 0.5).show()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "optax_ltd.plots._picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pictures must have matplotlib, which .* pip"
    ):
        _style.new_figure(1.0, 0.5)
