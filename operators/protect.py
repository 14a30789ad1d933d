"""Protect: what may stay of a face's embedding, once its expression is read."""

import numpy as np
import pyarrow as pa

from operators.backbone import load_backbone
from operators.core.operator import Ports, extend, flatten, fold
from operators.methods.artifact import Artifact
from operators.methods.projections import project, projection_of
from schemas.config import Embed as EmbedConfig
from schemas.flow import STAGED

_KEPT = STAGED.field("kept_embeddings")


class Protect:
    """Writes `kept_embeddings`, one a face: nothing, projected, or raw, by `embed.protection`."""

    @staticmethod
    def ports(cfg: EmbedConfig, projection: Artifact | None, embed_hash: str) -> Ports:
        return Ports(("embeddings",), pa.schema([_KEPT]))

    def __init__(self, cfg: EmbedConfig, projection: Artifact | None, embed_hash: str) -> None:
        self._ports = self.ports(cfg, projection, embed_hash)
        self._how, self._hash = cfg.protection, embed_hash
        if projection is not None:
            self._projection = projection_of(projection, load_backbone(cfg.backbone))

    def __call__(self, batch: pa.Table) -> pa.Table:
        if self._how == "drop":
            return extend(batch, self._ports, {_KEPT.name: [[]] * len(batch)})
        offsets, vectors = flatten(batch["embeddings"])
        width = vectors.type.list_size
        kept = vectors.flatten().to_numpy().astype(np.float32).reshape(len(vectors), width)
        if self._how == "projected":
            # as exact as what comes from Embed, in half the bytes on disk
            kept = project(kept, self._projection).astype(np.float16).astype(np.float32)
        ends = pa.array(np.arange(len(kept) + 1) * kept.shape[1], pa.int32())
        same = [pa.array([text] * len(kept), pa.string()) for text in (self._how, self._hash)]
        lists = pa.ListArray.from_arrays(ends, pa.array(kept.ravel()))
        type = _KEPT.type.value_type
        columns = [
            array.cast(field.type) for array, field in zip((*same, lists), type, strict=True)
        ]
        structs = pa.StructArray.from_arrays(columns, fields=list(type))
        return extend(batch, self._ports, {_KEPT.name: fold(offsets, structs, _KEPT.type)})
