"""Extract: a segment of video in; its faces, their raw crops and all link samples' boxes out."""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.align import align
from operators.core.crops import crops_to_array
from operators.core.decode import MediaError, Pixels, Reader, Sample, VideoInfo, samples
from operators.core.detect import Detections, FaceDetector
from operators.core.operator import Ports, extend
from operators.core.quality import brightness, head_pose, occlusion, sharpness, size_px
from schemas.config import Extract as ExtractConfig
from schemas.flow import EXTRACTED, PLAN_ONLY, crops
from schemas.reasons import Status

#: Tracks are linked on at least this many frames a second, whatever is scored.
LINK_FRAMES_PER_SECOND = 8
FRAMES_A_BATCH = 16

Opener = Callable[[dict[str, Any]], BinaryIO]


def frame_rates(cfg: ExtractConfig) -> tuple[Fraction | None, Fraction | None]:
    """Frames a second to link on, and to score: the first a multiple of the second.

    None for both is every frame.
    """
    if cfg.frames_per_second == "all":
        return None, None
    score = Fraction(cfg.frames_per_second).limit_denominator(1000)
    return score * max(1, math.ceil(LINK_FRAMES_PER_SECOND / score)), score


@dataclass
class _Found:
    """What one segment has yielded so far."""

    faces: list[dict[str, Any]] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    scored_frames: int = 0
    dropped: int = 0


class Extract:
    """Decodes, detects, aligns and measures. The only operator that sees a frame."""

    @staticmethod
    def ports(cfg: ExtractConfig, crop_px: int, opener: Opener) -> Ports:
        reads = ("segment_id", "video_id", "start_seconds", "end_seconds", *PLAN_ONLY)
        writes = pa.schema([*EXTRACTED, crops("crops_raw", crop_px)])
        return Ports(reads, writes, drops=PLAN_ONLY)

    def __init__(self, cfg: ExtractConfig, crop_px: int, opener: Opener) -> None:
        self._ports = self.ports(cfg, crop_px, opener)
        self._cfg, self._crop_px, self._opener = cfg, crop_px, opener
        self._link, self._score = frame_rates(cfg)
        self._detector = FaceDetector(cfg.device, cfg.detector_px)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [self._segment(row) for row in batch.to_pylist()]
        columns = {name: [row[name] for row in rows] for name in EXTRACTED.names}
        type = self._ports.writes.field("crops_raw").type
        flat = [crop for row in rows for crop in row["crops_raw"]]
        shape = (len(flat), self._crop_px, self._crop_px, 3)
        pixels = np.stack(flat) if flat else np.zeros(shape, np.uint8)
        offsets = np.cumsum([0, *(len(row["crops_raw"]) for row in rows)])
        columns["crops_raw"] = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), crops_to_array(pixels, type.value_type), type=type
        )
        return extend(batch, self._ports, columns)

    def _segment(self, row: dict[str, Any]) -> dict[str, Any]:
        begin = time.perf_counter()
        start, end = row["start_seconds"], row["end_seconds"]
        info, found = VideoInfo.from_row(row), _Found()
        with self._opener(row) as file:
            reader = samples(file, info, start, end, self._link, self._score)
            pixels = Pixels(info.rotation_degrees)
            frames = iter(reader)
            try:
                while members := list(itertools.islice(frames, FRAMES_A_BATCH)):
                    self._batch(members, info, pixels, found)
            except MediaError as error:  # it was sound when it was probed
                reader.reason = error.reason
        seconds_read = (end if reader.complete else reader.decoded_until_seconds) - start
        return {
            "frames_sampled": found.scored_frames,
            "faces_found": len(found.faces),
            "faces_dropped": found.dropped,
            "cuts": sum(link["cut"] for link in found.links),
            "seconds_read": max(0.0, seconds_read),
            "decoder": f"pyav:{info.codec}",
            "device": self._detector.name,
            "status": str(_status(reader, found)),
            "reason": reader.reason and str(reader.reason),
            "extract_seconds": time.perf_counter() - begin,
            "faces": found.faces,
            "handover": found.links,
            "crops_raw": found.crops,
        }

    def _batch(self, members: list[Sample], info: VideoInfo, pixels: Pixels, found: _Found) -> None:
        size = info.width_px, info.height_px
        fit_h, fit_w = self._detector.fit_size(*size)
        images = [pixels.rgb_fit(sample.frame, fit_w, fit_h) for sample in members]
        detected = self._detector(images, self._cfg.detector_threshold)
        for sample, faces in zip(members, detected, strict=True):
            self._sample(sample, faces.to_frame((fit_h, fit_w), *size), pixels, found)

    def _sample(self, sample: Sample, faces: Detections, pixels: Pixels, found: _Found) -> None:
        limit = self._cfg.max_faces_per_frame
        if len(faces) > limit:
            best = np.sort(np.argsort(-faces.scores, kind="stable")[:limit])
            found.dropped += (len(faces) - limit) * sample.scored
            faces = faces.take(best)
        first = len(found.faces)
        if sample.scored:
            found.scored_frames += 1
            if len(faces):
                self._measure(sample, faces, pixels, found)
        found.links.append(
            {
                "pts_ticks": sample.pts_ticks,
                "pts_seconds": sample.pts_seconds,
                "cut": sample.cut,
                "xyxy_px": list(faces.xyxy_px),
                "detection_scores": faces.scores,
                "face_index": [first + i if sample.scored else -1 for i in range(len(faces))],
            }
        )

    def _measure(self, sample: Sample, faces: Detections, pixels: Pixels, found: _Found) -> None:
        frame = pixels.rgb(sample.frame)
        aligned = align(frame, faces.landmarks_px, self._crop_px, xyxy_px=faces.xyxy_px)
        yaw, pitch, roll = head_pose(faces.landmarks_px)
        columns = {
            "xyxy_px": faces.xyxy_px,
            "detection_score": faces.scores,
            "landmarks_px": faces.landmarks_px.reshape(len(faces), 10),
            "sharpness": sharpness(aligned),
            "brightness": brightness(aligned),
            "size_px": size_px(faces.xyxy_px),
            "yaw_degrees": yaw,
            "pitch_degrees": pitch,
            "roll_degrees": roll,
            "occlusion": occlusion(aligned),
        }
        for index in range(len(faces)):
            found.faces.append(
                {
                    "pts_seconds": sample.pts_seconds,
                    "pts_ticks": sample.pts_ticks,
                    **{name: values[index] for name, values in columns.items()},
                }
            )
        found.crops.extend(aligned)


def _status(reader: Reader, found: _Found) -> Status:
    if reader.complete and reader.reason is None:
        return Status.OK
    return Status.PARTIAL if found.links else Status.QUARANTINED
