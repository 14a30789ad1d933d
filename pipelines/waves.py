"""Waves: a run goes through its archive a slice at a time.

The driver holds one slice's segments, whatever the size of the archive, and what a slice makes
ready is published while the next one is scored.
"""

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any

from pipelines.planned import Video

#: How long a wave should take: long against the start of its actors, short against a night.
WAVE_SECONDS = 900.0
#: Segments of the first wave for each CPU, before any speed is known: some minutes of work.
FIRST_SEGMENTS = 64


@dataclass(frozen=True)
class Wave:
    """A slice of a plan, in its order."""

    number: int
    todo: list[dict[str, Any]]  # PLANNED rows
    staged: list[dict[str, Any]]  # PLANNED rows of segments that an earlier start has staged
    videos: list[Video]  # those whose last segment is in it, or that have none


def waves(
    videos: Iterable[Video], staged: Set[str], planned: int, size: Callable[[], int], first: int = 1
) -> Iterator[Wave]:
    """Cut a plan into waves of `size()` segments to score, asked before each one.

    `staged` are the ids of segments that need no scoring, `planned` is the number of all segments,
    `first` the number of the first wave. A rest of less than half a wave is not left alone.
    """
    wave, limit, left = Wave(first, [], [], []), size(), planned
    for video in videos:
        last = video.count - 1
        if last < 0:
            wave.videos.append(video)
        for index, segment in enumerate(video.segments):
            (wave.staged if segment["segment_id"] in staged else wave.todo).append(segment)
            left -= 1
            if index == last:
                wave.videos.append(video)
            if len(wave.todo) >= limit and left > limit / 2:
                yield wave
                wave, limit = Wave(wave.number + 1, [], [], []), size()
    if wave.todo or wave.staged or wave.videos:
        yield wave


class Pace:
    """How many segments make a wave: a fixed number, or about WAVE_SECONDS by the speed so far."""

    def __init__(self, fixed: int | str, cpus: float) -> None:
        self._fixed = fixed if isinstance(fixed, int) else None
        self._auto = FIRST_SEGMENTS * max(1, int(cpus))

    def __call__(self) -> int:
        return self._fixed or self._auto

    def took(self, segments: int, seconds: float) -> None:
        """So many segments were scored in so many seconds."""
        if segments and seconds > 0:
            self._auto = max(1, round(segments * WAVE_SECONDS / seconds))


def wave_sizes(
    segments: int,
    segment_seconds: float,
    start_seconds: float,
    fixed: int | str,
    cpus: float,
) -> list[int]:
    """Into what waves so many segments will be cut, as `waves` and `Pace` do it.

    A wave takes `start_seconds` and then `segment_seconds` of wall time for each segment.
    """
    pace, sizes, left = Pace(fixed, cpus), [], segments
    while left:
        limit = pace()
        size = limit if left - limit > limit / 2 else left
        pace.took(size, start_seconds + size * segment_seconds)
        sizes.append(size)
        left -= size
    return sizes
