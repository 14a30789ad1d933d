"""Probe: what a video is, and the fingerprint that its identity rests on."""

import hashlib
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa

from operators.core.decode import MediaError, VideoInfo, probe
from operators.core.operator import Ports, extend
from schemas.flow import PROBED

MIB = 1 << 20


class Probe:
    """Reads a file's header and its first, middle and last MiB, never the whole."""

    @staticmethod
    def ports(opener: Callable[[dict[str, Any]], BinaryIO]) -> Ports:
        return Ports(("size_bytes",), PROBED)

    def __init__(self, opener: Callable[[dict[str, Any]], BinaryIO]) -> None:
        self._opener = opener

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [self._row(row) for row in batch.to_pylist()]
        columns = {name: [row.get(name) for row in rows] for name in PROBED.names}
        return extend(batch, self.ports(self._opener), columns)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        with self._opener(row) as file:
            found: dict[str, Any] = {"fingerprint": fingerprint(file, row["size_bytes"])}
            file.seek(0)
            try:
                found |= _described(probe(file))
            except MediaError as error:
                found["reason"] = str(error.reason)
        return found


def fingerprint(file: BinaryIO, size_bytes: int) -> str:
    """sha256 of the first, middle and last MiB: cheap, and changed by any edit of a container."""
    hashed = hashlib.sha256()
    for start in (0, max(0, size_bytes // 2 - MIB // 2), max(0, size_bytes - MIB)):
        file.seek(start, os.SEEK_SET)
        hashed.update(file.read(MIB))
    return hashed.hexdigest()


def _described(info: VideoInfo) -> dict[str, Any]:
    return {
        "container": info.container,
        "codec": info.codec,
        "width_px": info.width_px,
        "height_px": info.height_px,
        "time_base": str(info.time_base),
        "duration_seconds": info.duration_seconds,
        "has_audio": info.has_audio,
        "start_ticks": info.start_ticks,
        "frame_rate": info.frame_rate,
        "rotation_degrees": info.rotation_degrees,
    }
