"""From the segments of a sample to what a whole archive will take: estimators and intervals.

Pure. Within a stratum a total is the ratio of what was measured to the seconds of video it was
measured on, times the seconds of video that the stratum holds. Intervals are the rescaling
bootstrap's (Rao and Wu, 1988, "Resampling inference with complex survey data") over the drawn
segments of each stratum, with Student's t for few of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from pipelines.sampling import Stratum

CONFIDENCE = 0.9
RESAMPLES = 1000
STAGES = ("extract", "anonymize", "embed", "score")

#: Exponent of the widest interval that is worth printing: a factor of about a thousand.
MOST = 7.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; no ends where nothing can be said of its spread."""

    value: float
    low: float | None
    high: float | None

    @staticmethod
    def exactly(value: float) -> "Estimate":
        return Estimate(value, value, value)


@dataclass(frozen=True)
class Left:
    """What is left to do. Arrays have one value a stratum.

    `unreadable_videos` have no segment: probing could not read them, and each counts as
    `usual_seconds`. `published_seconds (H,)` are those of videos whose faces will be published,
    `method_seconds (H,)` are multiplied by the number of methods that will be.
    """

    videos: int
    unreadable_videos: int
    usual_seconds: float
    published_segments: int
    strata: tuple[Stratum, ...]
    published_seconds: Floats
    method_seconds: Floats

    @property
    def seconds(self) -> Floats:
        return np.array([stratum.seconds for stratum in self.strata])

    @property
    def segments(self) -> int:
        return sum(stratum.segments for stratum in self.strata)


@dataclass(frozen=True)
class Sampled:
    """What the drawn segments gave; arrays have one value a drawn segment.

    `written` are their WRITTEN rows, stratum after stratum in the order they were drawn.
    `tracks` counts those that begin in the segment, `resolve_seconds` is what making its flat rows
    took. `table_bytes` has, for each table, the bytes of a file of one row and of each further row.
    """

    written: pa.Table
    tracks: Floats
    staged_bytes: Floats
    resolve_seconds: Floats
    table_bytes: dict[str, tuple[float, float]]


class Resamples:
    """Totals of each stratum: the estimate, and what it would have been with other draws.

    Arrays of totals are `(1 + RESAMPLES, H)`, one column a stratum: the estimate comes first.
    """

    def __init__(self, strata: Sequence[Stratum], seconds: Floats, seed: int = 0) -> None:
        """`seconds (n,)` are those of the drawn segments, stratum after stratum."""
        self._counts = np.array([len(stratum.drawn) for stratum in strata])
        self._columns = np.split(np.arange(self._counts.sum()), np.cumsum(self._counts)[:-1])
        self._seconds = seconds
        self._whole = all(len(s.drawn) == s.segments for s in strata)
        rng = np.random.default_rng(seed)
        shape = (1 + RESAMPLES, len(seconds))
        self._of_finite, self._of_endless = np.ones(shape), np.ones(shape)
        for stratum, columns in zip(strata, self._columns, strict=True):
            count = len(columns)
            if count < 2:
                continue
            again = rng.multinomial(count - 1, np.full(count, 1 / count), RESAMPLES)
            weights = again * count / (count - 1)
            unseen = math.sqrt(1 - count / stratum.segments)
            self._of_finite[1:, columns] = 1 - unseen + unseen * weights
            self._of_endless[1:, columns] = weights

    def totals(self, values: Floats, stratum_seconds: Floats, remeasured: bool = False) -> Floats:
        """Totals of what was measured as `values (n,)`, over `stratum_seconds (H,)` of video.

        A sample of the whole archive knows its counts exactly. What would differ if the same
        segments were `remeasured`, a time, is never known that well.
        """
        weights = self._of_endless if remeasured else self._of_finite
        rates = [
            (weights[:, columns] @ values[columns]) / (weights[:, columns] @ self._seconds[columns])
            for columns in self._columns
        ]
        return np.stack(rates, axis=1) * stratum_seconds

    def interval(
        self, totals: Floats, remeasured: bool = False, made: Floats | None = None
    ) -> Estimate:
        """The estimate of the sum over strata, or of `made (1 + RESAMPLES,)` from it.

        One drawn segment has no spread to tell an interval from, and where none had any of what is
        counted nobody knows how much the others have.
        """
        sums = totals.sum(axis=1) if made is None else made
        value = float(sums[0])
        if self._whole and not remeasured:
            return Estimate.exactly(value)
        if self._counts.max() < 2:
            return Estimate(value, None, None)
        if value <= 0:
            return Estimate(value, value, None)
        if not (spread := float(sums[1:].std())):
            return Estimate.exactly(value)
        # By a factor, not a difference: what is counted has a long tail above, and none below 0.
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, self._freedom(totals))
        factor = math.exp(min(float(quantile) * spread / value, MOST))
        return Estimate(value, value / factor, value * factor)

    def _freedom(self, totals: Floats) -> float:
        """Satterthwaite's degrees of freedom: a stratum that varies alone counts alone."""
        variances = totals[1:].var(axis=0)
        some = self._counts > 1
        below = (variances[some] ** 2 / (self._counts[some] - 1)).sum()
        return float(variances.sum() ** 2 / below) if below else 1.0


@dataclass(frozen=True)
class Forecast:
    """What a run over all that is left will find, write and take, whatever the cluster.

    `busy_seconds` are those of each stage, over all its actors; CPU-hours and GPU-hours are sums of
    them, not what a cluster holds reserved. `lost_share` is the share of the planned seconds that
    will be quarantined. `totals` has the resampled busy seconds of each stage and of resolve.
    """

    video_hours: float
    videos: int
    segments: int
    faces: Estimate
    rows: dict[str, Estimate]
    staging_bytes: Estimate
    published_bytes: Estimate
    busy_seconds: dict[str, Estimate]
    cpu_hours: Estimate
    gpu_hours: Estimate
    lost_share: Estimate
    resamples: Resamples
    totals: dict[str, Floats]


def forecast(left: Left, sampled: Sampled, embeds_on_gpu: bool, seed: int = 0) -> Forecast:
    """What is left, from what the drawn segments gave."""
    rows = sampled.written
    column = {name: np.asarray(rows[name].to_pylist(), np.float64) for name in _MEASURED}
    spans = column["end_seconds"] - column["start_seconds"]
    broken = np.array([reason is not None for reason in rows["reason"].to_pylist()], bool)
    draws = Resamples(left.strata, spans, seed)
    seconds = left.seconds

    found = draws.totals(column["faces_found"], seconds)
    by_table = {
        "faces": draws.totals(column["faces_found"], left.published_seconds),
        "tracks": draws.totals(sampled.tracks, left.published_seconds),
        "scores": draws.totals(column["faces_found"], left.method_seconds),
        "track_scores": draws.totals(sampled.tracks, left.method_seconds),
        # every face has a vector, or none has
        "embeddings": draws.totals(
            column["faces_found"], left.published_seconds * ("embeddings" in sampled.table_bytes)
        ),
    }
    rows_of = {name: draws.interval(by_table[name]) for name in by_table}
    rows_of |= {
        "videos": Estimate.exactly(left.videos),
        "segments": Estimate.exactly(left.published_segments),
    }
    if "embeddings" not in sampled.table_bytes:
        rows_of["embeddings"] = Estimate.exactly(0)
    totals = {
        stage: draws.totals(column[f"{stage}_seconds"], seconds, remeasured=True)
        for stage in STAGES
    }
    totals["resolve"] = draws.totals(sampled.resolve_seconds, seconds, remeasured=True)
    on_gpu = totals["embed"] * embeds_on_gpu
    on_cpu = np.sum(list(totals.values()), axis=0) - on_gpu
    unread = np.where(broken, np.maximum(0, spans - column["seconds_read"]), 0)
    lost = draws.totals(unread, seconds)
    unreadable = left.usual_seconds * left.unreadable_videos
    share = (lost.sum(axis=1) + unreadable) / max(seconds.sum() + unreadable, 1e-9)
    rows_drawn = {name: by_table[name].sum(axis=1) for name in by_table}
    rows_drawn |= {
        name: np.full(1 + RESAMPLES, rows_of[name].value) for name in ("videos", "segments")
    }
    return Forecast(
        video_hours=float(seconds.sum()) / 3600,
        videos=left.videos,
        segments=left.segments,
        faces=draws.interval(found),
        rows=rows_of,
        staging_bytes=draws.interval(draws.totals(sampled.staged_bytes, seconds)),
        published_bytes=draws.interval(found, made=_bytes(rows_drawn, sampled.table_bytes)),
        busy_seconds={stage: draws.interval(totals[stage], remeasured=True) for stage in STAGES},
        cpu_hours=draws.interval(on_cpu / 3600, remeasured=True),
        gpu_hours=(
            draws.interval(on_gpu / 3600, remeasured=True) if embeds_on_gpu else Estimate.exactly(0)
        ),
        lost_share=draws.interval(lost, made=share),
        resamples=draws,
        totals=totals,
    )


_MEASURED = (
    *("start_seconds", "end_seconds", "seconds_read", "faces_found"),
    *(f"{stage}_seconds" for stage in STAGES),
)


def _bytes(rows: dict[str, Floats], table_bytes: dict[str, tuple[float, float]]) -> Floats:
    """Bytes of the tables: one file each, since what a file costs of itself is little."""
    total = np.zeros(1 + RESAMPLES)
    for name, (first, further) in table_bytes.items():
        total += np.where(rows[name] > 0, first + further * np.maximum(0, rows[name] - 1), 0)
    return total
