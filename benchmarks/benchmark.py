"""What a folder of benchmarks hands to the runner and to the writer of pages."""

import dataclasses
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from benchmarks.records import Entry

# What all records say, by the measurement's name, as Markdown.
Teller = Callable[[Mapping[str, Sequence[Entry]]], str]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A program that writes records, and how these stand on the page.

    Attributes:
      program: the module that measures, run by ``python -m``; its docstring says what.
      parts: what the records say, as blocks of Markdown.
      in_order: sorts the records; they come in the order of their files' names.
    """

    program: str
    parts: Callable[[Sequence[Entry]], list[str]]
    in_order: Callable[[Sequence[Entry]], list[Entry]] = list

    @property
    def about(self) -> str:
        """What is measured, and how."""
        return inspect.getdoc(import_module(self.program)) or ""


class Speed(NamedTuple):
    """A row of the README's table of speed: one contestant beside another.

    Attributes:
      measurement: whose records have both.
      contestant: whose time is divided.
      measure: by whose.
      of: what both do, as words.
      counts: which records tell.
    """

    measurement: str
    contestant: str
    measure: str
    of: str
    counts: Callable[[Entry], bool] = lambda entry: True


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """The one object of a folder, exported as ``BENCHMARK``.

    Attributes:
      measurements: by the name that the runner and the records know them by.
      told: what the records say in a guide, by the heading of the marks that enclose
        it there.
      speed: its rows of the README's table of speed.
    """

    measurements: Mapping[str, Measurement]
    told: Mapping[str, Teller] = dataclasses.field(default_factory=dict)
    speed: Sequence[Speed] = ()


def find(package: ModuleType) -> list[Benchmark]:
    """The objects of all folders of a package that are packages themselves."""
    folders = [found for found in pkgutil.iter_modules(package.__path__) if found.ispkg]
    modules = [import_module(f"{package.__name__}.{found.name}") for found in folders]
    return [module.BENCHMARK for module in modules]


def measurements(package: ModuleType) -> dict[str, Measurement]:
    """Everything that there is to measure, in the order of the names."""
    found = [benchmark.measurements for benchmark in find(package)]
    return dict(sorted((name, it) for of_one in found for name, it in of_one.items()))
