"""The runs that are made of the README's example."""

from collections.abc import Mapping

WITH_FLOW, WITHOUT_FLOW = "as it stands", "without Ω"
# What is put in the place of what, once each.
CHANGES: Mapping[str, Mapping[str, str]] = {
    WITH_FLOW: {},
    WITHOUT_FLOW: {
        "flow_weight=2.0": "flow_weight=0.0",
        "UPDATES = 3_000": "UPDATES = 8_000",
    },
}
