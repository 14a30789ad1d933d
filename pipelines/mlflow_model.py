"""What `mien fit` fitted, as MLflow serves it: embeddings or crops in, probabilities out.

An identity projection gives projected embeddings.

MLflow runs this file when it loads the model; nothing is pickled.
"""

from functools import partial
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from operators.backbone import load_backbone
from operators.methods.artifact import Artifact
from operators.methods.identity_projection import IDENTITY_PROJECTION
from operators.methods.projections import project, projection_of
from operators.methods.registry import MethodSpec, method
from schemas.config import Score


class MienMethod(PythonModel):
    """Loads the artifact and the backbone that its card names."""

    def load_context(self, context: Any) -> None:
        artifact = Artifact.load(context.artifacts["artifact"])
        name = artifact.card["method"]
        backbone = load_backbone(artifact.card["backbone"]["name"])
        if name == IDENTITY_PROJECTION.name:
            self._apply = partial(project, projection=projection_of(artifact, backbone))
        else:
            entry = method(MethodSpec(name, "artifact"))
            self._apply = entry.build(Score(), backbone, artifact).score

    # MLflow reads type hints its own way, so there are none
    def predict(self, context, model_input, params=None):  # pyright: ignore
        """Probabilities `(N, 7)` of embeddings `(N, D) float32` or crops, by the method."""
        return self._apply(np.asarray(model_input)).astype(np.float32)


set_model(MienMethod())
