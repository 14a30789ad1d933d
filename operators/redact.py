"""Redact: a video in; its copy without faces out, looked through frame by frame."""

import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.cascade import CascadeDetector
from operators.core.cover import cover
from operators.core.encode import Form, Writer, form_of
from operators.core.geometry import iou_matrix, pad_boxes
from operators.core.lookout import Lookout
from operators.core.masks import Masks, own_copy
from operators.core.media import MediaError, VideoInfo, probe
from operators.core.operator import Ports, extend
from operators.core.sound import open_sound
from operators.core.source import FrameSource
from operators.core.view import View, as_coded
from schemas.config import Redact as RedactConfig
from schemas.reasons import Reason, Status
from schemas.redaction import FACE_LEFT, REDACT_ONLY, REDACTED

#: A detection that lies under masks to this share is the mask, or what little is seen beside it.
UNDER_MASKS = 0.75
#: Faces of this score and overlap are the same, plainly seen, on two frames.
SURE_SCORE, SURE_IOU = 0.5, 0.5
#: A file that ends this much before its declared end is not called cut short.
END_TOLERANCE_SECONDS = 0.5

Boxes = NDArray[np.floating]
Opener = Callable[[dict[str, Any]], BinaryIO]


@dataclass
class _Found:
    """What is known of a video, frame by frame; boxes are (n, 4) xyxy pixels as coded, upright."""

    times: list[float] = field(default_factory=list)
    looked: list[bool] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)
    scores: list[NDArray[np.floating]] = field(default_factory=list)
    second: dict[int, Boxes] = field(default_factory=dict)
    skipped: int = 0
    reason: Reason | None = None

    def add(self, index: int, boxes: Boxes, scores: NDArray[np.floating]) -> None:
        """More faces of one frame."""
        self.boxes[index] = np.concatenate([self.boxes[index], boxes])
        self.scores[index] = np.concatenate([self.scores[index], scores])
        self.looked[index] = True

    def stays(self, first: int, last: int, longest_seconds: float) -> bool:
        """Whether two frames show the same faces, plainly, and hardly moved; not where none is."""
        boxes, others = self.boxes[first], self.boxes[last]
        if not len(boxes) or len(boxes) != len(others):
            return False
        sure = min(self.scores[first].min(), self.scores[last].min()) >= SURE_SCORE
        same = iou_matrix(boxes, others) >= SURE_IOU
        near = self.times[last] - self.times[first] <= longest_seconds
        return bool(near and sure and same.any(axis=0).all() and same.any(axis=1).all())


@dataclass
class _Left:
    """What was found in a copy: {frame: (boxes, scores)}, and how many detections were masks."""

    faces: dict[int, tuple[Boxes, NDArray[np.floating]]] = field(default_factory=dict)
    under_masks: int = 0
    second: int = 0

    @property
    def count(self) -> int:
        return sum(len(boxes) for boxes, _ in self.faces.values())


@dataclass(frozen=True)
class Means:
    """What does the work; no result depends on it.

    device: what runs the detector. threads: that detect at once. largest_copy_bytes: a copy stays
    in memory until it is safe, so one that grows beyond this is not made.
    """

    device: str = "cpu"
    threads: int = 1
    largest_copy_bytes: int = 1 << 29


class Redact:
    """Detects, covers, encodes, and looks through what it wrote until no face is left in it."""

    @staticmethod
    def ports(cfg: RedactConfig, how: "Means", opener: Opener) -> Ports:
        return Ports(("fingerprint", *REDACT_ONLY), REDACTED, drops=REDACT_ONLY)

    def __init__(self, cfg: RedactConfig, how: "Means", opener: Opener) -> None:
        self._ports = self.ports(cfg, how, opener)
        self._cfg, self._how, self._opener = cfg, how, opener
        self._look: Lookout[int] = Lookout(how.device, how.threads)
        self._second = CascadeDetector()
        self._masks = Masks(cfg.style, cfg.shape, cfg.strength)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [self._video(row) for row in batch.to_pylist()]
        columns = {name: [row[name] for row in rows] for name in REDACTED.names}
        return extend(batch, self._ports, columns)

    def _video(self, row: dict[str, Any]) -> dict[str, Any]:
        begin = time.perf_counter()
        info = VideoInfo.from_row(row)
        with self._opener(row) as file:
            form = form_of(file, info, self._cfg.crf)
            found = self._find(file, info, form)
        if not found.times:
            return self._said(found, begin, Status.QUARANTINED)
        redone = rounds = 0
        while True:
            covered = cover(
                found.times,
                found.looked,
                found.boxes,
                found.scores,
                self._cfg.gap_seconds,
                self._cfg.extend_seconds,
            )
            masks = [pad_boxes(boxes, self._cfg.margin) for boxes in covered.xyxy_px]
            copy = self._write(row, info, form, masks)
            if copy is None:
                found.reason = Reason.MEMORY
                return self._said(found, begin, Status.QUARANTINED)
            left = self._left(copy, info, form, masks, found)
            rounds += 1
            if not left.count or rounds == self._cfg.rounds:
                break
            redone += left.count
            for index, (boxes, scores) in left.faces.items():
                found.add(index, boxes, scores)
        status = FACE_LEFT if left.count else Status.PARTIAL if found.reason else Status.OK
        return self._said(
            found,
            begin,
            status,
            copy=None if left.count else copy.getvalue(),
            faces=covered.tracks,
            boxes_filled=covered.filled,
            gaps_filled=covered.gaps,
            rounds=rounds,
            redone=redone,
            residual=left.count,
            under_masks=left.under_masks,
            second_in_copy=left.second,
        )

    def _said(self, found: _Found, begin: float, status: str, **more: Any) -> dict[str, Any]:
        zeros = dict.fromkeys(REDACTED.names, 0)
        return {
            **zeros,
            "copy": None,
            "status": str(status),
            "reason": found.reason and str(found.reason),
            "frames": len(found.times),
            "frames_left_out": found.skipped,
            "detections": sum(map(len, found.boxes)),
            "second_frames": len(found.second),
            "second_in_source": sum(map(len, found.second.values())),
            "detector": self._look.name,
            "redact_seconds": time.perf_counter() - begin,
            **more,
        }

    def _find(self, file: BinaryIO, info: VideoInfo, form: Form) -> _Found:
        """The first pass: faces on every so many frames, and what is wrong with the file.

        It looks at every other of these frames first, and at those between where faces move, come,
        go or are faint, and where there is none.
        """
        found = _Found()
        every = self._cfg.detect_every
        between: dict[int, NDArray[np.uint8]] = {}
        wanted: deque[int] = deque()
        source = FrameSource(file, as_coded(info, form))
        view = View(info, form, self._cfg.detector_px)
        seconds = 0.0

        def pictures() -> Iterator[tuple[int, NDArray[np.uint8]]]:
            nonlocal seconds
            due = 0.0
            for index, (ticks, frame) in enumerate(source.frames(0)):
                seconds = float(ticks * info.time_base)
                found.times.append(seconds)
                found.looked.append(False)
                found.boxes.append(np.zeros((0, 4)))
                found.scores.append(np.zeros(0))
                if seconds >= due:
                    due = seconds + self._cfg.second_every_seconds
                    found.second[index] = view.second(self._second, frame)
                if index % (2 * every) == 0:
                    yield index, view.rgb(frame)
                elif index % every == 0:
                    between[index] = view.rgb(frame)
                while wanted:
                    later = wanted.popleft()
                    yield later, between.pop(later)

        def look(images: Iterable[tuple[int, NDArray[np.uint8]]]) -> None:
            for index, faces in self._look(images, self._cfg.threshold):
                found.boxes[index], found.scores[index] = view.to_frame(faces)
                found.looked[index] = True
                middle = index - every
                if middle not in between or index % (2 * every):
                    continue
                if found.stays(middle - every, index, self._cfg.gap_seconds):
                    del between[middle]
                else:
                    wanted.append(middle)

        try:
            look(pictures())
        except MediaError as error:
            found.reason = error.reason
        look(sorted(between.items()))
        found.skipped = source.skipped
        if source.damage_ticks is not None:
            found.reason = Reason.CORRUPT
        elif source.mostly_repeated:
            found.reason = Reason.NO_TIMESTAMPS
        missing = info.duration_seconds - seconds - 1 / form.rate
        if source.cut_short or missing > END_TOLERANCE_SECONDS:
            found.reason = Reason.TRUNCATED
        return found

    def _write(
        self, row: dict[str, Any], info: VideoInfo, form: Form, masks: list[Boxes]
    ) -> io.BytesIO | None:
        """The copy; None where it is too large. Decodes again: frames are not kept."""
        out = io.BytesIO()
        with ExitStack() as stack:
            sound = None
            if info.has_audio and self._cfg.audio != "drop":
                heard = stack.enter_context(self._opener(row))
                sound = stack.enter_context(open_sound(heard, info, self._cfg.audio == "mask"))
            file = stack.enter_context(self._opener(row))
            writer = Writer(out, form, sound)
            turns = form.rotation_degrees // 90
            frames = FrameSource(file, as_coded(info, form)).frames(0)
            for boxes, (ticks, frame) in zip(masks, frames, strict=True):
                safe = own_copy(frame, form.pixels)
                self._masks.draw(safe, boxes, turns)
                writer.write(ticks, frame.duration or 0, safe)
                if out.tell() > self._how.largest_copy_bytes:
                    return None
            writer.close()
        return out

    def _left(
        self, copy: BinaryIO, info: VideoInfo, form: Form, masks: list[Boxes], found: _Found
    ) -> _Left:
        """What is found in the written file, on every frame of it.

        Raises ValueError where the file has other frames than were written.
        """
        left = _Left()
        written = probe(copy)
        source = FrameSource(copy, as_coded(written, form))
        view = View(info, form, self._cfg.detector_px)
        times: list[float] = []

        def pictures() -> Iterator[tuple[int, NDArray[np.uint8]]]:
            for index, (ticks, frame) in enumerate(source.frames(0)):
                times.append(float(ticks * written.time_base))
                if index in found.second:
                    boxes = view.second(self._second, frame)
                    seen = self._masks.covered(boxes, masks[index]) < UNDER_MASKS
                    left.second += int(seen.sum())
                yield index, view.rgb(frame)

        for index, faces in self._look(pictures(), self._cfg.verify_threshold):
            if index >= len(masks):
                break
            boxes, scores = view.to_frame(faces)
            seen = self._masks.covered(boxes, masks[index]) < UNDER_MASKS
            left.under_masks += int((~seen).sum())
            if seen.any():
                left.faces[index] = boxes[seen], scores[seen]
        if len(times) != len(found.times) or not np.allclose(
            np.subtract(times, times[0]), np.subtract(found.times, found.times[0]), atol=1e-4
        ):
            raise ValueError(f"the copy has {len(times)} frames of {len(found.times)}")
        return left
