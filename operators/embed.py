"""Embed: every crop through the frozen image tower, at one padded batch shape."""

import time

import numpy as np
import pyarrow as pa

from operators.backbone import backbone_info, load_backbone
from operators.core.crops import flatten_crops
from operators.core.operator import Ports, extend, fold
from schemas.config import Embed as EmbedConfig
from schemas.flow import embeddings
from schemas.tables import COSTS

_COST = COSTS[2]


class Embed:
    """Turns the crops of a batch of segments into embeddings; the batch is filled across them."""

    @staticmethod
    def ports(cfg: EmbedConfig, device: str) -> Ports:
        dim = backbone_info(cfg.backbone).embedding_dim
        return Ports(("crops",), pa.schema([embeddings(dim), _COST]))

    def __init__(self, cfg: EmbedConfig, device: str) -> None:
        from operators.core.tower import ImageTower  # loads torch: not where steps are only named

        self._ports = self.ports(cfg, device)
        self._tower = ImageTower(load_backbone(cfg.backbone), device, cfg.batch_crops)

    def __call__(self, batch: pa.Table) -> pa.Table:
        begin = time.perf_counter()
        offsets, crops = flatten_crops(batch["crops"])
        vectors = self._tower(crops).astype(np.float16)
        type = self._ports.writes.field("embeddings").type
        flat = pa.array(vectors.reshape(-1), pa.float16())
        values = pa.FixedSizeListArray.from_arrays(flat, type=type.value_type)
        counts = np.diff(offsets.to_numpy())
        share = counts / max(1, counts.sum()) * (time.perf_counter() - begin)
        return extend(
            batch,
            self._ports,
            {"embeddings": fold(offsets, values, type), _COST.name: share.astype(np.float32)},
        )
