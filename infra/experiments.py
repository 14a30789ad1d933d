"""MLflow for fits and evaluations: one run each, written at its end, and the model registry.

What is logged lies in the output folder too, so a server out of reach costs a warning.
"""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import ConfigurationError
from infra.offline import disable_telemetry
from infra.tracking import IMPATIENT, flat, without_password
from schemas.config import Tracking

#: The alias that the newest registered version of a method gets.
ALIAS = "newest"
_MODEL_CODE = Path(__file__).parents[1] / "pipelines" / "mlflow_model.py"
_MOST_CHARACTERS = 500
_QUIET = {"MLFLOW_LOGGING_LEVEL": "ERROR", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


@dataclass(frozen=True)
class Model:
    """A fitted artifact's folder, and what its method takes and gives."""

    folder: Path
    registered_name: str
    input_type: str
    input_shape: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Trial:
    """What one fit or evaluation was asked, and what came of it."""

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    files: Sequence[Path] = ()
    model: Model | None = None


def tracking_uri(cfg: Tracking) -> str:
    """`tracking.uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the current folder."""
    return cfg.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def log_trial(cfg: Tracking, trial: Trial) -> str | None:
    """Write one run, and register its model. Returns a warning when MLflow is out of reach."""
    if not cfg.enabled:
        return None
    uri = tracking_uri(cfg)
    try:
        mlflow = _mlflow(uri)
        mlflow.set_experiment(cfg.experiment)
        with warnings.catch_warnings(), mlflow.start_run(run_name=trial.name):
            warnings.simplefilter("ignore")  # advice on input examples
            _log(mlflow, trial)
    except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the work is done
        return (
            f"MLflow at {without_password(uri)} is out of reach or refused "
            f"({type(error).__name__}): this run is not in it, or not whole; its files are in the "
            "output folder"
        )
    return None


@contextlib.contextmanager
def fetch_model(reference: str, cfg: Tracking) -> Iterator[Path]:
    """The artifact's folder inside a model of the registry, for the length of the block.

    Raises:
        ConfigurationError: MLflow has no such model, or cannot be reached.
    """
    uri = tracking_uri(cfg)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = _mlflow(uri).artifacts.download_artifacts(reference, dst_path=folder)
        except Exception as error:  # noqa: BLE001 - a plain line instead of MLflow's many kinds
            raise ConfigurationError(
                f"{reference}: MLflow at {without_password(uri)} gives no such model "
                f"({type(error).__name__})"
            ) from None
        found = sorted(Path(path).glob("artifacts/*/card.json"))
        if not found:
            raise ConfigurationError(f"{reference}: is no model that `mien fit` registered")
        yield found[0].parent


def _mlflow(uri: str) -> Any:
    disable_telemetry()
    for name, value in {**IMPATIENT, **_QUIET}.items():
        os.environ.setdefault(name, value)
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow


def _log(mlflow: Any, trial: Trial) -> None:
    mlflow.log_params({name: text[:_MOST_CHARACTERS] for name, text in flat(trial.params)})
    mlflow.log_metrics(dict(trial.metrics))
    for name, values in trial.curves.items():
        for step, value in enumerate(values, start=1):
            mlflow.log_metric(name, value, step=step)
    for path in trial.files:
        mlflow.log_artifact(str(path))
    if trial.model is not None:
        _register(mlflow, trial.model)


def _register(mlflow: Any, model: Model) -> None:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(model.input_type), (-1, *model.input_shape))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, model.outputs))]),
    )
    # a model from code: nothing is pickled, and loading it runs this package
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(_MODEL_CODE),
        artifacts={"artifact": str(model.folder)},
        signature=signature,
        registered_model_name=model.registered_name,
        pip_requirements=["mien"],
    )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(
        model.registered_name, ALIAS, str(info.registered_model_version)
    )
