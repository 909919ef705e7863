"""The table, and the place of the picture, of how clipping each example turns it."""

from collections.abc import Sequence

from benchmarks.markdown import number
from benchmarks.records import Entry
from optax_ltd.experiments.studies.markdown import table

_EVERY = 10  # thresholds from one row to the next
_PICTURE = (
    "![Weight of large examples, angle of the average, and a case of two targets, "
    "against the threshold](../assets/clip_per_example.png)"
)


def angles(entries: Sequence[Entry]) -> str:
    """The angle for each share of large examples, and the weight that they keep."""
    (entry,) = entries
    shares = entry["shares"]
    heads = ["threshold", *(f"angle, {seen['share']:.0%} large" for seen in shares)]
    heads += [f"weight, {seen['size']:.0f} times as large" for seen in entry["sizes"]]
    rows = []
    for i in range(0, len(entry["thresholds"]), _EVERY):
        degrees = [f"{seen['angle'][i]:.1f}°" for seen in shares]
        weights = [f"{seen['weight'][i]:.3f}" for seen in entry["sizes"]]
        rows.append([number(entry["thresholds"][i]), *degrees, *weights])
    most = max(max(seen["angle_of_clipped_average"]) for seen in shares)
    return f"{table(heads, rows)}\n\n{_told(entry, most)}\n\n{_PICTURE}"


def _told(entry: Entry, most: float) -> str:
    """What the table leaves out, in two sentences."""
    mean = entry["expected_gradient"]["average_of_clipped"]
    rest = [x for x, y in zip(entry["places"], mean, strict=True) if abs(y) < 1e-6]
    low, high = entry["targets"]
    return (
        f"The clipped average never turns by more than {most:.0e} degrees. In the "
        f"picture on the right, half of the examples draw a parameter to {low:g} and "
        f"half to {high:g}: with each clipped at 1, descent rests anywhere from "
        f"{min(rest):g} to {max(rest):g}, though the minimum is at "
        f"{(low + high) / 2:g}."
    )
