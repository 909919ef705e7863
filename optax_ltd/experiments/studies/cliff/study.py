"""The cliff: figure 10.17 of Goodfellow et al., computed and not drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from optax_ltd import plots
from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.studies import markdown
from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.studies.cliff.descents import UPDATES, Cliff, cliff
from optax_ltd.experiments.training.json_files import read_json, write_json
from optax_ltd.experiments.training.observer import Watch

_DRAWN = ("SGD", "SGD + clip")
_RECORD = "cliff.json"


class CliffStudy:
    """The loss of one recurrent unit, and descents on it: a result without runs."""

    title = "The cliff: figure 10.17 of Goodfellow, Bengio and Courville (2016)"
    alt = (
        "The loss over weight and bias of one unit, as a landscape and from above: "
        "plain descent is thrown far out at the cliff, clipped descent follows it to a "
        "solution."
    )

    def budget(self, text: str | None) -> Budget:
        """The updates of a descent, which are part of the result.

        Args:
          text: a budget that the user asked for.

        Raises:
          InputError: if the user asked for any.
        """
        if text:
            raise refusal("budget", "left out, as cliff has no runs", repr(text))
        return Budget(UPDATES)

    def outlook(self, budget: Budget) -> str:
        """It takes seconds.

        Args:
          budget: the only one there is.
        """
        return f"Descents of {budget.updates:,} updates; no networks are trained."

    def make(self, folder: Path, budget: Budget, watch: Watch) -> Figure:
        """Computes surface and descents, writes their record and draws them.

        Args:
          folder: where to.
          budget: the only one there is.
          watch: of the work.
        """
        del budget
        with watch.work("computing the surface and the descents"):
            found = cliff()
        write_json(folder / _RECORD, found.record())
        return figure(found)

    def progress(self, folder: Path) -> tuple[int, int]:
        """It has no runs.

        Args:
          folder: that `make` wrote to.
        """
        del folder
        return 0, 0

    def page(self, folder: Path) -> str:
        """Title and table, in Markdown.

        Args:
          folder: that `make` wrote to.
        """
        return f"## {self.title}\n\n{table(read_json(folder / _RECORD))}\n"


def figure(found: Cliff) -> Figure:
    """Draws the surface, and the descents with and without a clip.

    Args:
      found: the surface and the descents.
    """
    paths = {
        name: (found.descents[name].points, found.descents[name].losses)
        for name in _DRAWN
    }
    return plots.loss_surface(found.w, found.b, found.losses, paths)


def table(record: Mapping[str, Any]) -> str:
    """What came out, as a table in Markdown under a line that tells of what.

    Args:
      record: what `Cliff.record` returned, also as read from JSON.
    """
    told = (
        f"From {_point(record['start'])}, {record['updates']:,} updates with learning "
        f"rate {record['learning_rate']:g}; threshold {record['max_norm']:g}. All "
        "starts are spread evenly over the picture; solved is a final loss below "
        f"{record['solved_below']:g}. Start, rate and threshold of the published "
        "pictures are not known. This start is one from which plain descent is thrown "
        "out; rate and threshold were chosen so that clipped descents arrive. All of "
        "it is in float32, on which norms at the edge of the cliff depend."
    )
    heads = (
        "descent",
        "largest gradient norm",
        "leaves the picture at update",
        "farthest point",
        "final loss",
        "of all starts, left the picture",
        "of all starts, solved",
    )
    rows = [
        (
            name,
            f"{values['largest_norm']:,.0f}",
            "–" if values["left_at"] is None else f"{values['left_at']:,}",
            _point(values["farthest"]),
            f"{values['final_loss']:.2g}",
            f"{values['left']} of {values['starts']}",
            f"{values['solved']} of {values['starts']}",
        )
        for name, values in record["outcomes"].items()
    ]
    return f"{told}\n\n{markdown.table(heads, rows)}"


def _point(values: Sequence[float]) -> str:
    w, b = values
    return f"w = {w:.4g}, b = {b:.4g}".replace("-", "−")
