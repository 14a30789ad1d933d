"""The file of faces that fits and evaluations read: `faces.parquet`."""

import copy
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from infra.errors import ConfigurationError
from operators.anonymize import resolved
from operators.backbone import Backbone
from operators.core.tower import ImageTower, resize_crops
from operators.methods.registry import Reads
from schemas.config import Config
from schemas.tables import LABELS

CHUNK = 512
#: Columns that are read where they are there, beside `image`.
OPTIONAL = ("label", "subject", "clip_id", "session_id", "caption", "teacher")
#: Who a face is of, in the order of preference: intervals, folds and held-out parts go by people.
GROUP_COLUMNS = ("subject", "session_id", "clip_id")
#: Where a file's footer says what made its crops safe.
ANONYMIZER_KEY = b"mien.anonymizer"
MOST_TOWERS = 8

Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class FacesFile:
    """Faces and what is known of them, row by row; `labels` is -1 where a face has none.

    `anonymizer` is what made the crops safe before they were written, if the file says so.
    """

    path: str
    sha256: str
    anonymizer: dict[str, Any] | None
    images: pa.ChunkedArray
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self.columns.get("label")

    @property
    def teacher(self) -> NDArray[np.float32] | None:
        return self.columns.get("teacher")

    def names(self, column: str) -> list[str] | None:
        """A column of strings, if the file has it."""
        return self.columns.get(column)

    @property
    def groups(self) -> list[str] | None:
        """Whose face each is, as far as the file says: by person, session or clip."""
        return next((found for name in GROUP_COLUMNS if (found := self.names(name))), None)

    def take(self, rows: NDArray[np.integer]) -> "FacesFile":
        """The faces in these rows."""
        columns = {
            name: values[rows]
            if isinstance(values, np.ndarray)
            else [values[row] for row in rows.tolist()]
            for name, values in self.columns.items()
        }
        return replace(self, images=self.images.take(pa.array(rows)), columns=columns)

    def crops(self, size_px: int) -> Iterator[tuple[int, Crops]]:
        """Chunks as (place of the first face, `(n, size_px, size_px, 3) uint8 RGB`).

        Raises `ConfigurationError` for an image that does not decode; names the file and row.
        """
        for first in range(0, len(self), CHUNK):
            chunk = self.images.slice(first, CHUNK).to_pylist()
            out = np.empty((len(chunk), size_px, size_px, 3), np.uint8)
            for index, data in enumerate(chunk):
                image = cv2.imdecode(np.frombuffer(data or b"\0", np.uint8), cv2.IMREAD_COLOR)
                if image is None:
                    raise ConfigurationError(
                        f"{self.path}: the image in row {first + index} does not decode"
                    )
                if image.shape[0] != image.shape[1]:
                    side = max(image.shape[:2])
                    image = np.asarray(cv2.resize(image, (side, side)), np.uint8)
                rgb = np.ascontiguousarray(image[None, ..., ::-1])
                out[index] = resize_crops(rgb, size_px)[0]
            yield first, out


def read_faces(path: str, need: tuple[str, ...] = ()) -> FacesFile:
    """Read `path`; its images are decoded later, chunk by chunk.

    Raises:
        ConfigurationError: no such file, no Parquet, a column of `need` is missing, an unknown
            label, a teacher of ragged width or with values that are not finite, or no face.
    """
    try:
        schema = pq.read_schema(path)
        names = schema.names
        wanted = ["image", *(name for name in OPTIONAL if name in names)]
        if missing := [name for name in ("image", *need) if name not in names]:
            raise ConfigurationError(f"{path}: has no column {', '.join(missing)}")
        table = pq.read_table(path, columns=wanted)
        with Path(path).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"{path}: not a Parquet file that can be read: {error}") from None
    if len(table) == 0:
        raise ConfigurationError(f"{path}: holds no face")
    if not (
        pa.types.is_binary(table["image"].type) or pa.types.is_large_binary(table["image"].type)
    ):
        raise ConfigurationError(f"{path}: `image` holds {table['image'].type}, not encoded bytes")
    columns: dict[str, Any] = {}
    for name in wanted[1:]:
        if name == "label":
            columns[name] = _labels(path, table[name])
        elif name == "teacher":
            columns[name] = _teacher(path, table[name])
        elif table[name].null_count < len(table):
            if table[name].null_count and (name == "caption" or name in need):
                raise ConfigurationError(
                    f"{path}: `{name}` is empty in {table[name].null_count} rows: fill them, or "
                    "leave the column out"
                )
            # a face of whom nothing is said is of somebody else
            columns[name] = [
                f"row {row}" if value is None else str(value)
                for row, value in enumerate(table[name].to_pylist())
            ]
    if "label" in columns and (columns["label"] == -1).all():
        del columns["label"]
    if missing := [name for name in need if name not in columns]:
        raise ConfigurationError(f"{path}: column {', '.join(missing)} is empty: fill it in")
    written = (schema.metadata or {}).get(ANONYMIZER_KEY)
    anonymizer = json.loads(written) if written else None
    return FacesFile(path, sha256, anonymizer, table["image"], columns)


def _labels(path: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    values = column.to_pylist()
    unknown = sorted({str(value) for value in values if value is not None} - set(LABELS))
    if unknown:
        raise ConfigurationError(
            f"{path}: unknown labels {', '.join(unknown[:5])}; known: {', '.join(LABELS)}"
        )
    order = {label: index for index, label in enumerate(LABELS)}
    return np.asarray([-1 if value is None else order[value] for value in values], np.int64)


def _teacher(path: str, column: pa.ChunkedArray) -> NDArray[np.float32]:
    kind = column.type
    if not (
        pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    ):
        raise ConfigurationError(f"{path}: `teacher` holds {kind}, not vectors")
    if column.null_count:
        raise ConfigurationError(f"{path}: `teacher` has {column.null_count} empty rows")
    widths = np.asarray([len(vector) for vector in column.to_numpy()])
    if len(set(widths.tolist())) > 1:
        row = int(np.flatnonzero(widths != widths[0])[0])
        raise ConfigurationError(
            f"{path}: `teacher` is {widths[0]} wide in row 0 and {widths[row]} in row {row}"
        )
    vectors = np.stack(column.to_numpy()).astype(np.float32)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise ConfigurationError(
            f"{path}: `teacher` holds NaN or infinite values in {int(bad.sum())} rows, "
            f"the first is row {int(np.flatnonzero(bad)[0])}"
        )
    if vectors.shape[1] == 0:
        raise ConfigurationError(f"{path}: `teacher` holds vectors of no width")
    return vectors


class Reader:
    """Turns a file's faces into what methods read, exactly as a run does.

    The configured anonymizer comes first, then the tower at its one batch shape; `threads` towers
    run side by side, one thread each, so that neither cores nor chunks show in a result.
    """

    def __init__(
        self, cfg: Config, backbone: Backbone, faces: FacesFile, threads: int | None = None
    ) -> None:
        self.backbone, self.faces = backbone, faces
        self._cuda = torch.cuda.is_available()
        cores = 1 if self._cuda else min(os.cpu_count() or 1, MOST_TOWERS)
        self.threads = threads or cores
        self._make_safe_by(cfg)
        auto = cfg.extract.crop_px == "auto"
        self.crop_px = backbone.image_size_px if auto else int(cfg.extract.crop_px)
        self._idle: SimpleQueue[ImageTower] = SimpleQueue()

    def under(self, cfg: Config) -> "Reader":
        """The same faces and towers with another configuration's anonymizer."""
        other = copy.copy(self)
        other._make_safe_by(cfg)
        return other

    def _make_safe_by(self, cfg: Config) -> None:
        faces = self.faces
        entry, strength = resolved(cfg.privacy)
        self.cfg, self.anonymizer = cfg, {"name": entry.name, "strength": strength}
        if faces.anonymizer not in (None, self.anonymizer):
            raise ConfigurationError(
                f"{faces.path}: its crops were made safe by {faces.anonymizer}, and "
                f"privacy.anonymizer is {self.anonymizer}: use the configuration of `mien crops`"
            )
        if entry.load:
            entry.load()  # here, not in a pool: see `read`

    @property
    def fingerprint(self) -> str:
        """Names what `read` gives, if nothing is disturbed."""
        parts = (self.faces.sha256, self.backbone.sha256, self.crop_px, self.anonymizer)
        return json.dumps([*parts, len(self.faces)])

    def safe(self, crops: Crops) -> Crops:
        """What the anonymizer leaves of crops; those made safe before stay as they are."""
        if self.faces.anonymizer is not None:
            return crops
        entry, strength = resolved(self.cfg.privacy)
        return entry.apply(crops, strength)

    def crops(self) -> Iterator[Crops]:
        """All faces, made safe, chunk by chunk."""
        for _, crops in self.faces.crops(self.crop_px):
            yield self.safe(crops)

    def read(
        self,
        reads: Reads,
        disturb: Callable[[Crops, int], Crops] = lambda crops, first: crops,
        progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    ) -> NDArray:
        """Embeddings `(N, D) float32` or crops `(N, P, P, 3) uint8`, by what a method reads.

        `disturb(crops, first)` changes raw crops before they are made safe.
        """
        faces = self.faces
        if reads is Reads.CROPS:
            return np.concatenate(
                [self.safe(disturb(crops, first)) for first, crops in faces.crops(self.crop_px)]
            )
        out = np.empty((len(faces), self.backbone.embedding_dim), np.float32)

        def embed(item: tuple[int, Crops]) -> int:
            first, crops = item
            tower = self._idle.get()
            vectors = tower(self.safe(disturb(crops, first)))
            self._idle.put(tower)
            # Embed hands vectors on as float16
            out[first : first + len(crops)] = vectors.astype(np.float16)
            return len(crops)

        # Built here and not in the pool: tracing multiplies matrices, and a thread that ends having
        # done so takes threads of MKL along, later, which crashes whoever multiplies then.
        while self._idle.qsize() < min(self.threads, math.ceil(len(faces) / CHUNK)):
            self._idle.put(self._tower())
        done, chunks = 0, faces.crops(self.crop_px)
        with ThreadPoolExecutor(self.threads) as pool:
            # a few at a time: `map` would decode the whole file ahead
            while window := list(itertools.islice(chunks, 2 * self.threads)):
                for count in pool.map(embed, window):
                    done += count
                    progress(done, len(faces), "faces")
        return out

    def _tower(self) -> ImageTower:
        device = "cuda" if self._cuda else "cpu"
        return ImageTower(self.backbone, device, self.cfg.embed.batch_crops)
