"""The published results that can be made again, by name."""

from optax_ltd.experiments.studies.cliff import CliffStudy
from optax_ltd.experiments.studies.clip_variants import CLIP_VARIANTS
from optax_ltd.experiments.studies.figure7 import FIGURE7
from optax_ltd.experiments.studies.generalisation import GENERALISATION
from optax_ltd.experiments.studies.language import LANGUAGE
from optax_ltd.experiments.studies.pathological import PATHOLOGICAL
from optax_ltd.experiments.studies.recipe import RECIPE
from optax_ltd.experiments.studies.result import Result
from optax_ltd.experiments.studies.study import Study

STUDIES: dict[str, Study] = {
    "figure7": FIGURE7,
    "pathological": PATHOLOGICAL,
    "generalisation": GENERALISATION,
    "language": LANGUAGE,
    "clip-variants": CLIP_VARIANTS,
    "recipe": RECIPE,
}
RESULTS: dict[str, Result] = {"cliff": CliffStudy(), **STUDIES}
