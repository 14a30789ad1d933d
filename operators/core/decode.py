"""Decode the sampled frames of a span of a video, whichever way the video is cut into spans."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from operators.core.cuts import is_cut
from operators.core.frames import Pixels, rgb, rgb_fit
from operators.core.media import MediaError, VideoInfo, probe
from operators.core.source import FrameSource
from schemas.reasons import Reason

__all__ = [
    "MediaError",
    "Pixels",
    "Reader",
    "Sample",
    "VideoInfo",
    "probe",
    "rgb",
    "rgb_fit",
    "samples",
]

#: How far before the span the previous sample is looked for, to find a shot cut between the two.
#: No track bridges a longer gap, so a cut in one would change nothing.
LOOKBACK_SECONDS = Fraction(1)
#: A file that ends this much before its declared end is not called cut short: containers round.
END_TOLERANCE_SECONDS = Fraction(1, 2)


@dataclass(frozen=True)
class Sample:
    """One sampled frame.

    pts_ticks: presentation time since the video's start, in its time base; pts_seconds the same in
    seconds. scored: on the grid of frames to score, not only of those to link. cut: a shot cut lies
    between the previous sample and this one. frame: for `Pixels`, as large as `VideoInfo` says.
    """

    pts_ticks: int
    pts_seconds: float
    scored: bool
    cut: bool
    frame: av.VideoFrame


@dataclass(frozen=True)
class Grid:
    """Buckets floor(t * fps) of a video's clock, in exact arithmetic; every tick where fps is None.

    A frame is on the grid if the frame before it lies in another bucket.
    """

    fps: Fraction | None
    time_base: Fraction

    def first_of_bucket(self, ticks: int, previous_ticks: int | None) -> bool:
        """Whether a frame at `ticks` is on the grid, given the frame before it."""
        if self.fps is None or previous_ticks is None:
            return True
        per_tick = self.time_base * self.fps
        return math.floor(ticks * per_tick) != math.floor(previous_ticks * per_tick)

    def bucket_start(self, seconds: Fraction) -> int:
        """The first tick of the bucket that holds a time."""
        if self.fps is None:
            return math.floor(seconds / self.time_base)
        return math.ceil(math.floor(seconds * self.fps) / self.fps / self.time_base)


class Reader:
    """Iterates once over the sampled frames of a span, and says afterwards how that went.

    complete: the span was read to its end, or to the end of a video that is whole. reason:
    TRUNCATED (the file ends before the span does), CORRUPT (packets or frames were lost; what
    FFmpeg could decode around them was yielded) or NO_TIMESTAMPS (most frames share the time of the
    one before, and were left out); None if all was sound. decoded_until_seconds: end
    of the last good frame in the span; the span's own end where it is complete.
    """

    def __init__(
        self,
        file: BinaryIO,
        info: VideoInfo,
        start_seconds: Fraction | float,
        end_seconds: Fraction | float,
        link_fps: Fraction | None,
        score_fps: Fraction | None,
        threads: int = 1,
    ) -> None:
        if score_fps is None:
            link_fps = None
        elif link_fps is not None and Fraction(link_fps, score_fps).denominator != 1:
            raise ValueError(f"link_fps {link_fps} is no multiple of score_fps {score_fps}")
        self._info = info
        self._link = Grid(link_fps, info.time_base)
        self._score = Grid(score_fps, info.time_base)
        self._start, self._end = Fraction(start_seconds), Fraction(end_seconds)
        self._duration = Fraction(info.duration_seconds)
        self._first_ticks = math.ceil(self._start / info.time_base)
        bounded = self._end < self._duration
        self._stop_ticks = math.ceil(self._end / info.time_base) if bounded else None
        self._source = FrameSource(file, info, threads)
        self._pixels = Pixels()
        self._sound_until = Fraction(0)
        self._nominal = 1 / Fraction(info.frame_rate) if info.frame_rate else Fraction(0)
        self.complete = False
        self.reason: Reason | None = None
        self.decoded_until_seconds = float(self._start)

    @property
    def frames_decoded(self) -> int:
        """Frames decoded in all, those before and after the span included."""
        return self._source.decoded

    @property
    def frames_skipped(self) -> int:
        """Frames left out: backwards in time, without a time, or marked as broken."""
        return self._source.skipped

    def __iter__(self) -> Iterator[Sample]:
        lookback = max(self._start - LOOKBACK_SECONDS, Fraction(0))
        target = min(self._link.bucket_start(lookback), self._score.bucket_start(self._start))
        frames = self._source.frames(target, self._stop_ticks)
        previous_ticks: int | None = None
        sampled: tuple[Fraction, NDArray[np.uint8]] | None = None
        with closing(frames):
            for ticks, frame in frames:
                if self._stop_ticks is not None and ticks >= self._stop_ticks:
                    self._finish(reached_end=True)
                    return
                self._note(ticks, frame)
                if self._link.first_of_bucket(ticks, previous_ticks):
                    seconds = ticks * self._info.time_base
                    thumb = self._pixels.luma(frame)
                    if ticks >= self._first_ticks:
                        near = sampled is not None and seconds - sampled[0] <= LOOKBACK_SECONDS
                        cut = sampled is not None and near and is_cut(sampled[1], thumb)
                        scored = self._score.first_of_bucket(ticks, previous_ticks)
                        yield Sample(ticks, float(seconds), scored, cut, frame)
                    sampled = seconds, thumb
                previous_ticks = ticks
        self._finish(reached_end=False)

    def _note(self, ticks: int, frame: av.VideoFrame) -> None:
        if frame.key_frame and ticks <= self._first_ticks:
            self._source.forgive_damage(ticks)
        tb = self._info.time_base
        self._sound_until = ticks * tb + (frame.duration * tb if frame.duration else self._nominal)

    def _finish(self, reached_end: bool) -> None:
        if self._source.damage_ticks is not None:
            self.reason = Reason.CORRUPT
        elif self._source.mostly_repeated:
            self.reason = Reason.NO_TIMESTAMPS
        missing = min(self._end, self._duration) - self._sound_until
        short = self._source.cut_short or missing > END_TOLERANCE_SECONDS
        if short and not reached_end:
            self.reason = Reason.TRUNCATED
            until = min(max(self._sound_until, self._start), self._end)
            self.decoded_until_seconds = float(until)
        else:
            self.complete = True
            self.decoded_until_seconds = float(self._end)


def samples(
    file: BinaryIO,
    info: VideoInfo,
    start_seconds: Fraction | float,
    end_seconds: Fraction | float,
    link_fps: Fraction | None,
    score_fps: Fraction | None,
    threads: int = 1,
) -> Reader:
    """The sampled frames of `[start_seconds, end_seconds)` on the video's clock.

    A frame is sampled if it is the first, in presentation order, of its bucket floor(t * fps);
    None samples every frame. It belongs to the span that holds its time. Neither rule knows where
    the span begins, so any cutting of a video yields the same samples in all. `link_fps` must be a
    multiple of `score_fps`. A span that ends at or after the video's duration takes every frame
    that is left. The reader seeks once and reads on from there.

    Raises ValueError for rates that do not nest.
    """
    return Reader(file, info, start_seconds, end_seconds, link_fps, score_fps, threads)
