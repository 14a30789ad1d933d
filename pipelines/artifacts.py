"""Open the artifact that a name stands for: a folder, or a model in MLflow's registry."""

import os

from infra.errors import ConfigurationError
from operators.methods.artifact import Artifact
from schemas.config import Config

REGISTRY = ("models:/", "runs:/")


def open_artifact(reference: str, cfg: Config) -> Artifact:
    """Load `reference`: a path, `models:/name@alias` or `models:/name/version`.

    Raises:
        ConfigurationError: there is none, it is broken, or MLflow does not know it.
        operators.methods.artifact.ArtifactError: the folder is no artifact.
    """
    if not reference.startswith(REGISTRY):
        return Artifact.load(os.path.expanduser(reference))
    from infra.experiments import fetch_model

    with fetch_model(reference, cfg.tracking) as folder:
        return Artifact.load(folder)


def artifact_method(artifact: Artifact) -> str:
    """The method that made an artifact."""
    name = artifact.card.get("method")
    if not isinstance(name, str):
        raise ConfigurationError("the artifact's card names no method")
    return name
