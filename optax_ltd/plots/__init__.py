"""Pictures of learning over long spans. They need matplotlib."""

from optax_ltd.plots.error_curves import error_curves
from optax_ltd.plots.gradient_flow import gradient_flow
from optax_ltd.plots.gradient_heatmap import gradient_heatmap

__all__ = ["error_curves", "gradient_flow", "gradient_heatmap"]
