"""What the driver knows of its run while it works: told of every written batch, asked by many.

The terminal, the store's live file, the Prometheus exporter and MLflow's curves all show the same
`News`.
"""

import contextlib
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from infra import live, window
from infra.live import ClusterUse, News, Point, StageNews
from infra.runs import RunRecord
from infra.storage import Root
from infra.store import Store
from infra.usage import cluster_use
from pipelines.planned import Plan
from schemas.reasons import DEFERRED
from schemas.tables import COSTS

EVERY_SECONDS = 5.0
#: How far back rates look: a minute for each stage, longer for the ETA, which should not jump.
RATE_SECONDS, ETA_SECONDS = 60.0, 600.0
_SAMPLE_SECONDS = 1.0
_POINT_SECONDS = 30.0
MOST_POINTS = 200
_STOP_SECONDS = 10.0
UNITS = {"extract": "frames", "anonymize": "faces", "embed": "faces", "score": "faces"}
WRITE = "write"
_BUSY = tuple(field.name for field in COSTS)


class Tally:
    """Counts WRITTEN rows; `clock` gives seconds that only grow."""

    def __init__(
        self, run_id: str, plan: Plan, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.phase = "scoring"
        self.wave: int | None = None
        self._run_id, self._clock = run_id, clock
        self._since = datetime.now(UTC)
        self._planned = plan.count
        readable = [video.row for video in plan.videos if video.count]
        self._planned_seconds = sum(row["duration_seconds"] or 0.0 for row in readable)
        self._lock = threading.Lock()
        self._status: Counter[str] = Counter()
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._reasons = Counter(v.row["reason"] for v in plan.videos if not v.count)
        self._begun: set[str] = set()
        self._retried = 0
        self._samples: deque[tuple[float, defaultdict[str, float]]] = deque()
        self._sample()

    def begin(self, todo: pa.Table) -> None:
        """PLANNED rows are about to flow; those that just did so are tried again."""
        ids = set(todo["segment_id"].to_pylist())
        with self._lock:
            self._retried += len(ids & self._begun)
            self._begun = ids

    def add(self, written: pa.Table, earlier: bool = False) -> None:
        """WRITTEN rows came back; deferred ones do not count.

        Those that an `earlier` driver wrote are done, and say nothing of how fast this one is.
        """
        rows = [row for row in written.to_pylist() if row["status"] != DEFERRED]
        more = {
            "seconds": sum(map(_span, rows)),
            "segments": len(rows),
            "frames": sum(row["frames_sampled"] for row in rows),
            "faces": sum(row["faces_found"] for row in rows),
            **{name: sum(row[name] for row in rows) for name in _BUSY},
        }
        with self._lock:
            self._status.update(row["status"] for row in rows)
            self._reasons.update(row["reason"] for row in rows if row["reason"])
            past = [sums for _, sums in self._samples] if earlier else []
            for sums in (self._sums, *past):
                for name, value in more.items():
                    sums[name] += value
            self._sample()

    def news(self, flow: Sequence[tuple[str, tuple[int, int]]] = ()) -> News:
        """Where the run stands. `flow`: for its stages, how many segments wait and are inside."""
        with self._lock:
            now, sums = self._clock(), self._sums
            left = max(0.0, self._planned_seconds - sums["seconds"])
            speed = self._rate("seconds", now, ETA_SECONDS)
            return News(
                run_id=self._run_id,
                at=datetime.now(UTC),
                since=self._since,
                phase=self.phase,
                wave=self.wave,
                planned_segments=self._planned,
                planned_seconds=self._planned_seconds,
                segments=dict(self._status),
                seconds=sums["seconds"],
                frames=int(sums["frames"]),
                faces=int(sums["faces"]),
                quarantined=dict(self._reasons),
                retried=self._retried,
                times_real_time=speed,
                eta_seconds=left / speed if speed else None,
                stages=self._stages(now, flow),
            )

    def _stages(
        self, now: float, flow: Sequence[tuple[str, tuple[int, int]]]
    ) -> dict[str, StageNews]:
        units = {**UNITS, WRITE: "segments"}
        inside = dict(flow)
        if flow:  # Ray holds the rest of the plan outside the first stage
            begun = sum(count for _, count in inside.values())
            begun += sum(waiting for waiting, _ in list(inside.values())[1:])
            first = flow[0][0]
            left = self._planned - self._sums["segments"] - begun
            inside[first] = (max(0, int(left)), inside[first][1])
        stages = {}
        for name, unit in units.items():
            busy = f"{name}_seconds"
            queued, in_flight = inside.get(name, (None, None))
            stages[name] = StageNews(
                unit=unit,
                rows=int(self._sums[unit]),
                rows_per_second=self._rate(unit, now, RATE_SECONDS),
                busy_seconds=self._sums[busy] if busy in _BUSY else None,
                busy_workers=self._rate(busy, now, RATE_SECONDS) if busy in _BUSY else None,
                queued=queued,
                in_flight=in_flight,
            )
        return stages

    def _sample(self) -> None:
        """Remember the sums of now, at most one a second and as far back as rates look."""
        now = self._clock()
        if len(self._samples) > 1 and now - self._samples[-2][0] < _SAMPLE_SECONDS:
            self._samples.pop()
        self._samples.append((now, self._sums.copy()))
        while len(self._samples) > 1 and now - self._samples[1][0] > ETA_SECONDS:
            self._samples.popleft()

    def _rate(self, name: str, now: float, back: float) -> float:
        """How much a second was added to a sum since `back` seconds ago, or since the beginning."""
        then, sums = self._samples[0]
        for at, held in self._samples:
            if at > now - back:
                break
            then, sums = at, held
        spent = min(back, now - then)
        return float(self._sums[name] - sums[name]) / spent if spent > 0 else 0.0


class Curve:
    """A bounded series of points: when it is full every second one goes, and it takes fewer."""

    def __init__(self, most: int = MOST_POINTS, every_seconds: float = _POINT_SECONDS) -> None:
        self._most, self._every_seconds = most, every_seconds
        self.points: list[Point] = []

    def add(self, point: Point) -> None:
        """Keep it, unless the last one is younger than the spacing."""
        if self.points and not self._due(point):
            return
        if len(self.points) >= self._most:
            self.points = self.points[::2]
            self._every_seconds *= 2
            if not self._due(point):
                return
        self.points.append(point)

    def _due(self, point: Point) -> bool:
        return (point.at - self.points[-1].at).total_seconds() >= self._every_seconds


class Live(Tally):
    """The tally of a run at work. As a context it keeps the store's live file and the curve."""

    def __init__(self, store: Store, record: RunRecord, plan: Plan, flow: Sequence[str]) -> None:
        """`flow` names the stages that Ray holds segments in front of, in order."""
        super().__init__(record.run_id, plan)
        self._store = store
        # Not the patient one: who waits for minutes has no news.
        self._root = Root(store.root.url)
        self._flow = tuple(flow)
        self._use: ClusterUse | None = None
        self._curve = Curve()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="mien-live", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_STOP_SECONDS)

    def now(self) -> News:
        """Where the run stands, with what the cluster was last seen to be doing."""
        flow = []
        with contextlib.suppress(Exception):  # Ray's internals, while another thread changes them
            flow = list(zip(self._flow, window.under_way(), strict=False))
        return self.news(flow).model_copy(update={"cluster": self._use})

    def points(self) -> list[Point]:
        """The run's curve up to now, at most MOST_POINTS + 1 points."""
        return [*self._curve.points, _point(self.now())]

    def _tell(self) -> None:
        """Until the end: put the news into the store, keep the curve. Trouble is for later."""
        self._put()
        with contextlib.suppress(Exception):  # what killed runs left: there is one writer
            live.discard(self._root, set(live.told(self._root)) - {self._run_id})
        while True:
            with contextlib.suppress(Exception):  # Ray's head is slow or gone
                self._use = cluster_use()
            self._put()
            if self._over.wait(EVERY_SECONDS):
                break
        with contextlib.suppress(Exception):
            if not self._store.lost:  # then another driver says how this run goes
                live.discard(self._root, [self._run_id])

    def _put(self) -> None:
        news = self.now()
        self._curve.add(_point(news))
        with contextlib.suppress(Exception):  # the store does not answer
            live.put(self._root, news)


def _point(news: News) -> Point:
    values = {
        "video_seconds": news.seconds,
        "faces": news.faces,
        "times_real_time": news.times_real_time,
        "quarantined": sum(news.quarantined.values()),
        **{f"{name}_rows_per_second": of.rows_per_second for name, of in news.stages.items()},
    }
    if news.eta_seconds is not None:
        values["eta_seconds"] = news.eta_seconds
    return Point(news.at, {name: float(value) for name, value in values.items()})


def _span(row: dict[str, Any]) -> float:
    return row["end_seconds"] - row["start_seconds"]
