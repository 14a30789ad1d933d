"""Score: every chosen method that reads single faces, and the last to see a crop."""

import itertools
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from operators.backbone import load_backbone
from operators.core.crops import flatten_crops
from operators.core.operator import Ports, extend, flatten, fold, typed
from operators.core.verdict import verdict_columns
from operators.methods.artifact import Artifact
from operators.methods.registry import MethodSpec, Reads, method
from schemas.config import Score as ScoreConfig
from schemas.flow import SCORE, STAGED
from schemas.tables import COSTS

_COST = COSTS[3]


@dataclass(frozen=True)
class Chosen:
    """A method of this run, the hash that its rows carry, and its artifact, by value."""

    spec: MethodSpec
    score_hash: str
    artifact: Artifact | None = field(default=None, compare=False, repr=False)


class Score:
    """Writes `scores`, one struct a face and method; drops the crops and the embeddings."""

    @staticmethod
    def ports(cfg: ScoreConfig, backbone: str, chosen: tuple[Chosen, ...]) -> Ports:
        writes = pa.schema([STAGED.field("scores"), _COST])
        return Ports(("crops", "embeddings"), writes, drops=("crops", "embeddings"))

    def __init__(self, cfg: ScoreConfig, backbone: str, chosen: tuple[Chosen, ...]) -> None:
        self._ports = self.ports(cfg, backbone, chosen)
        self._abstain_below = cfg.abstain_below
        loaded = load_backbone(backbone)
        self._methods = [
            (item, method(item.spec), method(item.spec).build(cfg, loaded, item.artifact))
            for item in chosen
        ]

    def __call__(self, batch: pa.Table) -> pa.Table:
        begin = time.perf_counter()
        offsets, vectors = flatten(batch["embeddings"])
        embeddings = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
        embeddings = embeddings.astype(np.float32)
        _, crops = flatten_crops(batch["crops"])
        counts = np.diff(offsets.to_numpy())
        face_index = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0)])
        blocks: list[pa.Array] = []
        for item, entry, scorer in self._methods:
            faces = embeddings if entry.reads is Reads.EMBEDDINGS else crops
            columns = {
                "face_index": face_index.astype(np.int32),
                "method": [item.spec.name] * len(faces),
                "score_hash": [item.score_hash] * len(faces),
                **verdict_columns(scorer.score(faces), self._abstain_below),
            }
            arrays = [typed(columns[child.name], child.type) for child in SCORE.fields]
            blocks.append(pa.StructArray.from_arrays(arrays, fields=SCORE.fields))
        share = counts / max(1, counts.sum()) * (time.perf_counter() - begin)
        return extend(
            batch,
            self._ports,
            {"scores": _interleave(offsets, blocks), _COST.name: share.astype(np.float32)},
        )


def _interleave(offsets: pa.Array, blocks: list[pa.Array]) -> pa.ListArray:
    """One list a row with all methods' scores of its faces, method by method."""
    bounds, type = offsets.to_numpy(), STAGED.field("scores").type
    if not blocks:
        return fold(pa.array(np.zeros_like(bounds)), pa.array([], SCORE), type)
    values = pa.concat_arrays(blocks)
    total = bounds[-1]
    order = [
        np.arange(low, high) + total * block
        for low, high in itertools.pairwise(bounds)
        for block in range(len(blocks))
    ]
    taken = values.take(pa.array(np.concatenate(order) if order else [], pa.int64()))
    return fold(pa.array(bounds * len(blocks), pa.int32()), taken, type)
