"""Where a run stands as Prometheus metrics, served by the driver while it works.

No label holds a uri or the id of a video. `infra/grafana/mien.json` draws what is exported here.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from infra.errors import ConfigurationError
from infra.live import ClusterUse, News
from schemas.config import Run
from schemas.reasons import Reason, Status

_STOP_SECONDS = 5.0


class Exporter(Collector):
    """Answers a scrape with what `source` says then; with nothing before there is a run."""

    source: Callable[[], News] | None = None

    def collect(self) -> Iterator[Metric]:
        if self.source is not None:
            yield from metrics(self.source())


@contextlib.contextmanager
def exporting(cfg: Run) -> Iterator[Exporter]:
    """Serve /metrics for the length of the block, if `run.metrics_port` names a port.

    Raises:
        ConfigurationError: It cannot be had.
    """
    exporter = Exporter()
    if cfg.metrics_port is None:
        yield exporter
        return
    registry = CollectorRegistry()
    registry.register(exporter)
    try:
        server, thread = start_http_server(cfg.metrics_port, cfg.metrics_host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"metrics cannot be served on {cfg.metrics_host} port {cfg.metrics_port} "
            f"({error.strerror}): name a free port as run.metrics_port, or null for none"
        ) from None
    try:
        yield exporter
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_STOP_SECONDS)


def metrics(news: News) -> Iterator[Metric]:
    """Every metric of a run, with its value."""
    yield _gauge("mien_run_info", "The run that is at work", 1, run_id=news.run_id)
    yield _gauge("mien_run_start_time_seconds", "When it began", news.since.timestamp())
    yield _labelled(
        CounterMetricFamily("mien_segments", "Segments written", labels=["status"]),
        {status: news.segments.get(status, 0) for status in Status},
    )
    yield _gauge("mien_planned_segments", "Segments to write in all", news.planned_segments)
    yield _counter("mien_video_seconds", "Video that written segments span", news.seconds)
    yield _gauge("mien_planned_video_seconds", "Video to score in all", news.planned_seconds)
    yield _counter("mien_frames", "Frames on which faces were scored", news.frames)
    yield _counter("mien_faces", "Faces on those frames", news.faces)
    yield _labelled(
        CounterMetricFamily("mien_quarantined", "Spans quarantined", labels=["reason"]),
        {reason: news.quarantined.get(reason, 0) for reason in Reason},
    )
    yield _counter("mien_retried_segments", "Segments planned a second time", news.retried)
    yield _gauge(
        "mien_times_real_time", "Video scored a second, last minutes", news.times_real_time
    )
    if news.eta_seconds is not None:
        yield _gauge("mien_eta_seconds", "Until all is written, as it goes now", news.eta_seconds)
    if news.wave is not None:
        yield _gauge("mien_wave", "The wave that is at work", news.wave)
    yield from _stages(news)
    if news.cluster is not None:
        yield from _cluster(news.cluster)


def _stages(news: News) -> Iterator[Metric]:
    values = {name: stage.model_dump() for name, stage in news.stages.items()}
    labels = ["stage"]
    for key, family in {
        "rows": CounterMetricFamily(
            "mien_stage_rows", "Frames, faces or segments done", labels=labels
        ),
        "busy_seconds": CounterMetricFamily(
            "mien_stage_seconds", "Time that workers spent on them", labels=labels
        ),
        "queued": GaugeMetricFamily(
            "mien_stage_queued_segments", "Segments waiting for the stage", labels=labels
        ),
        "in_flight": GaugeMetricFamily(
            "mien_stage_in_flight_segments", "Segments inside the stage", labels=labels
        ),
    }.items():
        yield _labelled(family, {name: of[key] for name, of in values.items()})


def _cluster(use: ClusterUse) -> Iterator[Metric]:
    yield _gauge("mien_cpus", "CPUs of the cluster", use.cpus)
    yield _gauge("mien_cpus_in_use", "CPUs that actors and tasks hold", use.cpus_in_use)
    yield _gauge("mien_gpus", "GPUs of the cluster", use.gpus)
    yield _gauge("mien_gpus_in_use", "GPUs that actors and tasks hold", use.gpus_in_use)
    yield _gauge("mien_object_store_bytes", "Object store in use", use.object_store_bytes)
    yield _gauge(
        "mien_object_store_capacity_bytes", "Object store", use.object_store_capacity_bytes
    )
    yield _counter("mien_spilled_bytes", "Spilled since the cluster began", use.spilled_bytes)
    yield _counter("mien_worker_restarts", "Workers that died and came back", use.worker_restarts)


def _gauge(name: str, meaning: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _labelled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float | None]
) -> Metric:
    for label, value in values.items():
        if value is not None:
            family.add_metric([label], value)
    return family
