"""Where an interrupted training goes on from."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Checkpoint:
    """One file with a training's state, tensors and numbers only, and arrays made on the way.

    Without a path nothing is kept. torch reads the state with `weights_only`: no code can run.
    """

    path: Path | None = None

    def load(self, fingerprint: str) -> dict[str, Any] | None:
        """The state last saved; None if there is none.

        Raises:
            ValueError: the state is of other data or another recipe.
        """
        if self.path is None or not self.path.is_file():
            return None
        import torch  # here: whoever registers a method must not have to load it

        try:
            state = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"the checkpoint {self.path} is damaged: remove it") from error
        if state["fingerprint"] != fingerprint:
            raise ValueError(
                f"the checkpoint {self.path} is of other data or another recipe: remove it, or "
                "write to another place"
            )
        return state

    def save(self, state: Mapping[str, Any], fingerprint: str) -> None:
        """Replace the state, whole or not at all."""
        if self.path is None:
            return
        import torch

        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.new")
        torch.save({**state, "fingerprint": fingerprint}, partial)
        partial.replace(self.path)

    def array(self, name: str, fingerprint: str, make: Callable[[], NDArray]) -> NDArray[Any]:
        """What `make` gives, or gave before the training was interrupted."""
        if self.path is None:
            return make()
        digest = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        kept = self.path.with_name(f"{self.path.stem}-{name}-{digest}.npy")
        if kept.is_file():
            return np.load(kept, allow_pickle=False)
        made = make()
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f".{kept.name}")
        with partial.open("wb") as stream:
            np.save(stream, made, allow_pickle=False)
        partial.replace(kept)
        return made

    def discard(self) -> None:
        """Forget all that was kept: the training is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            for kept in self.path.parent.glob(f"{self.path.stem}-*.npy"):
                kept.unlink()
