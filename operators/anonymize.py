"""Anonymize: raw crops go in, safe crops come out, and the raw column is gone."""

import time

import numpy as np
import pyarrow as pa

from operators.core.anonymizers import Anonymizer, anonymizer
from operators.core.crops import crops_to_array, flatten_crops
from operators.core.operator import Ports, extend, fold
from schemas.config import Privacy
from schemas.flow import crops
from schemas.tables import COSTS, field

_COST = COSTS[1]


def resolved(cfg: Privacy) -> tuple[Anonymizer, float]:
    """The configured anonymizer and its strength. Raises `ValueError` on an unknown name."""
    entry = anonymizer(cfg.anonymizer.name)
    return entry, cfg.anonymizer.strength or entry.default_strength


class Anonymize:
    """Applies one anonymizer to every crop, in the process that decoded it."""

    @staticmethod
    def ports(cfg: Privacy, crop_px: int) -> Ports:
        entry, strength = resolved(cfg)
        label = field("anonymizer", pa.string(), "-", "what made the crops safe")
        safe = crops("crops", entry.output_px(crop_px, strength))
        return Ports(("crops_raw",), pa.schema([safe, label, _COST]), drops=("crops_raw",))

    def __init__(self, cfg: Privacy, crop_px: int) -> None:
        self._ports = self.ports(cfg, crop_px)
        self._entry, self._strength = resolved(cfg)
        if self._entry.load:
            self._entry.load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        begin = time.perf_counter()
        offsets, raw = flatten_crops(batch["crops_raw"])
        safe = self._entry.apply(raw, self._strength)
        type = self._ports.writes.field("crops").type
        values = crops_to_array(safe, type.value_type)
        label = self._entry.name
        if self._entry.unit != "-":
            label += f"({self._strength:g} {self._entry.unit})"
        seconds = (time.perf_counter() - begin) / max(1, len(batch))
        return extend(
            batch,
            self._ports,
            {
                "crops": fold(offsets, values, type),
                "anonymizer": label,
                _COST.name: np.full(len(batch), seconds, np.float32),
            },
        )
