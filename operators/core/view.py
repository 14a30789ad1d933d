"""What the detectors see of a video's frames, and where in the frame that lies."""

import dataclasses

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from operators.core.cascade import LONG_SIDE_PX, CascadeDetector
from operators.core.detect import Detections, fit_size
from operators.core.encode import Form
from operators.core.frames import Pixels
from operators.core.geometry import clip_boxes
from operators.core.media import VideoInfo

Boxes = NDArray[np.floating]


class View:
    """What detectors see of the frames of one video, and where that lies in the frame."""

    def __init__(self, info: VideoInfo, form: Form, detector_px: int) -> None:
        self._pixels = Pixels(form.rotation_degrees)
        self._shown = info.width_px, info.height_px
        self._upright = form.upright_wh
        long_side = max(self._shown)
        self._fit = fit_size(*self._shown, min(detector_px, long_side))
        self._small = fit_size(*self._shown, min(LONG_SIDE_PX, long_side))

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        height, width = self._fit
        return self._pixels.rgb_fit(frame, width, height)

    def to_frame(self, faces: Detections) -> tuple[Boxes, NDArray[np.floating]]:
        """Boxes of `rgb`'s picture in the coded one, upright, cut at its border; their scores."""
        boxes = self._scaled(faces.xyxy_px, self._fit)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return boxes[kept], faces.scores[kept]

    def second(self, detector: CascadeDetector, frame: VideoFrame) -> Boxes:
        """What the second detector finds, in the coded picture, upright."""
        height, width = self._small
        picture = self._pixels.rgb_fit(frame, width, height)
        grey = np.rint(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        return self._scaled(detector(grey), self._small)

    def _scaled(self, xyxy_px: Boxes, hw: tuple[int, int]) -> Boxes:
        width, height = self._upright
        boxes = np.asarray(xyxy_px, np.float64) * np.tile([width / hw[1], height / hw[0]], 2)
        return clip_boxes(boxes, width, height)


def as_coded(info: VideoInfo, form: Form) -> VideoInfo:
    """So that frames come in their coded size, and not stretched to square pixels."""
    width, height = form.upright_wh
    return dataclasses.replace(info, width_px=width, height_px=height)
