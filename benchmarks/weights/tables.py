"""Tables of what weights of Ω did, for the page of benchmarks and for the guide."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.records import Entry
from benchmarks.sections import sources
from optax_ltd.experiments.studies.markdown import table

HEADS = (
    "weight",
    "r before training",
    "r after",
    "gains after",
    "lost after, steps",
    "norm",
    "clipped",
    "wrong",
)


def what_became(found: Mapping[str, Sequence[Entry]]) -> str:
    """The tables, with what they are of, and the sources.

    Args:
      found: all records, by the measurement's name.

    Returns:
      Markdown.
    """
    entries = found["flow_weight"]
    return f"{each_form(entries)}\n\n{sources(entries)}"


def each_form(entries: Sequence[Entry]) -> str:
    """What was trained, and a table a form of Ω."""
    (entry,) = entries
    parts = [_training(entry)]
    for form in entry["forms"]:
        rows = [_cells(came) for came in form["trained"]]
        parts += [_title(form), table(HEADS, rows)]
    return "\n\n".join(parts)


def _training(entry: Entry) -> str:
    c, first = entry["config"], entry["forms"][0]["trained"][0]
    return (
        f"{c['task'].capitalize()} over {c['length']} steps, {c['hidden_size']} tanh "
        f"units from {c['init']}, {c['batch_size']} sequences an update, SGD with a "
        f"learning rate of {c['learning_rate']:g} behind a clip at {c['max_norm']:g}; "
        f"after {c['updates']:,} updates, of {c['seeds']} seeds. What is told of r, "
        f"gains and lags is of {c['looked_at']} sequences. Before training "
        f"gains were {_range(first['gain_before'], _hundredths)}, and a signal was "
        f"lost after {_range(first['horizon_before'], _whole)} steps. At chance "
        f"{_percent(c['chance'])} % is wrong."
    )


def _title(form: Mapping[str, Any]) -> str:
    options = ", ".join(
        f'`{name}="{value}"`' for name, value in form["options"].items()
    )
    return f"The form of `{form['user']}`: {options}."


def _cells(came: Mapping[str, Any]) -> list[str]:
    return [
        f"{came['flow_weight']:g}",
        _range(came["ratio_before"], _two_digits),
        _range(came["ratio"], _two_digits),
        _range(came["gain"], _hundredths),
        _range(came["horizon"], _whole),
        _range(came["norm"], _two_digits),
        f"{_range(came['clipped'], _percent)} %",
        f"{_range(came['wrong'], _percent)} %",
    ]


def _range(values: Sequence[float], shown: Any) -> str:
    """The least and the most of all seeds, or one where they read the same."""
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f"{low} to {high}"


def _two_digits(value: float) -> str:
    """Two digits, or all before the point; no more than three behind it."""
    if value < 0.001:
        return "0" if value == 0 else "below 0.001"
    return f"{value:.2g}" if value < 99.5 else f"{value:,.0f}"


def _hundredths(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"
