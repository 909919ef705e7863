"""Pictures of learning over long spans. They need matplotlib."""

from optax_ltd.plots.error_curves import error_curves
from optax_ltd.plots.error_panels import error_panels
from optax_ltd.plots.gradient_flow import gradient_flow
from optax_ltd.plots.gradient_heatmap import gradient_heatmap
from optax_ltd.plots.loss_curves import loss_curves
from optax_ltd.plots.loss_surface import loss_surface
from optax_ltd.plots.success_rates import Rate, success_rates
from optax_ltd.plots.updates_to_solve import updates_to_solve

__all__ = [
    "Rate",
    "error_curves",
    "error_panels",
    "gradient_flow",
    "gradient_heatmap",
    "loss_curves",
    "loss_surface",
    "success_rates",
    "updates_to_solve",
]
