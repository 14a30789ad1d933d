"""A fitted method as MLflow serves it: embeddings or crops in, probabilities out.

MLflow runs this file when it loads the model; nothing is pickled.
"""

from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from operators.backbone import load_backbone
from operators.methods.artifact import Artifact
from operators.methods.registry import MethodSpec, method
from schemas.config import Score


class MienMethod(PythonModel):
    """Loads the artifact and the backbone that its card names."""

    def load_context(self, context: Any) -> None:
        artifact = Artifact.load(context.artifacts["artifact"])
        name = artifact.card["method"]
        backbone = load_backbone(artifact.card["backbone"]["name"])
        entry = method(MethodSpec(name, "artifact"))
        self._method = entry.build(Score(), backbone, artifact)

    # MLflow reads type hints its own way, so there are none
    def predict(self, context, model_input, params=None):  # pyright: ignore
        """Probabilities `(N, 7)` of embeddings `(N, D) float32` or crops, by the method."""
        return self._method.score(np.asarray(model_input))


set_model(MienMethod())
