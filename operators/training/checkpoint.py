"""Where an interrupted training goes on from."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """One file with a training's state: tensors and numbers only, read back without pickle.

    Without a path nothing is kept.
    """

    path: Path | None = None

    def load(self, fingerprint: str) -> dict[str, Any] | None:
        """The state last saved; None if there is none.

        Raises:
            ValueError: the state is of other data or another recipe.
        """
        if self.path is None or not self.path.is_file():
            return None
        state = torch.load(self.path, weights_only=True)
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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.new")
        torch.save({**state, "fingerprint": fingerprint}, partial)
        partial.replace(self.path)

    def discard(self) -> None:
        """Forget the state: the training is done."""
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
