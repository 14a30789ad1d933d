"""What Prometheus gets, and that the dashboard asks for nothing else."""

import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.errors import ConfigurationError
from infra.exporter import exporting, metrics
from infra.live import ClusterUse, News, StageNews
from schemas.config import Run
from schemas.reasons import Reason

DASHBOARD = Path(__file__).parents[2] / "infra" / "grafana" / "mien.json"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
NEWS = News(
    run_id="20260102T000000000Z-aaaaaa",
    at=NOW,
    since=NOW,
    wave=3,
    planned_segments=8,
    planned_seconds=480,
    segments={"ok": 4, "partial": 1},
    seconds=290.5,
    faces=77,
    quarantined={"truncated": 1},
    eta_seconds=12,
    stages={
        "extract": StageNews(unit="frames", rows=99, busy_seconds=3.5, queued=2, in_flight=1),
        "anonymize": StageNews(unit="faces", rows=77, busy_seconds=0.5),
        "write": StageNews(unit="segments", rows=5, queued=0, in_flight=0),
    },
    cluster=ClusterUse(cpus=4, cpus_in_use=3.5, object_store_bytes=1 << 20),
)


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def scraped(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of /metrics: by name, then by the values of its labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


def test_a_scrape_tells_what_the_news_tell(port: int) -> None:
    with exporting(Run(metrics_port=port)) as exporter:
        assert scraped(port) == {}
        exporter.source = lambda: NEWS
        found = scraped(port)
        assert found["mien_segments_total"] == {("ok",): 4, ("partial",): 1, ("quarantined",): 0}
        assert found["mien_quarantined_total"][("truncated",)] == 1
        assert len(found["mien_quarantined_total"]) == len(Reason)  # rate() needs the zero before
        assert found["mien_stage_rows_total"][("extract",)] == 99
        assert found["mien_stage_seconds_total"] == {("extract",): 3.5, ("anonymize",): 0.5}
        assert found["mien_stage_queued_segments"] == {("extract",): 2, ("write",): 0}
        assert found["mien_wave"] == {(): 3}
        assert found["mien_object_store_bytes"] == {(): 1 << 20}
        exporter.source = lambda: NEWS.model_copy(update={"wave": None, "eta_seconds": None})
        assert not {"mien_wave", "mien_eta_seconds"} & scraped(port).keys()
    with pytest.raises(URLError):
        scraped(port)


def test_names_follow_the_conventions() -> None:
    """prometheus.io/docs/practices/naming: base units, and `_total` on what only grows."""
    for family in metrics(NEWS):
        assert re.fullmatch(r"mien(_[a-z]+)+", family.name)
        assert not re.search(r"_(ms|milliseconds|minutes|mib|kb)\b", family.name)
        assert family.documentation
        assert family.type in ("counter", "gauge")
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels <= {"status", "reason", "stage", "run_id"}
        totals = [sample.name.endswith("_total") for sample in family.samples]
        assert set(totals) == {family.type == "counter"}


def test_a_port_that_is_taken_is_named(port: int) -> None:
    with exporting(Run(metrics_port=port)):
        with (
            pytest.raises(ConfigurationError, match=rf"port {port} .*in use.*run\.metrics_port"),
            exporting(Run(metrics_port=port)),
        ):
            pass
        assert scraped(port) == {}


def test_without_a_port_nothing_listens() -> None:
    with exporting(Run()) as exporter:
        assert exporter.source is None


# --- the dashboard -------------------------------------------------------------------------------


def expressions(value: Any) -> Iterator[str]:
    """Every PromQL text in a dashboard, those of its variables among them."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("expr", "definition") if isinstance(value.get(key), str))
        if value.get("qryType"):
            yield value["query"]
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from expressions(item)


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def test_the_dashboard_asks_for_exported_metrics_only_and_for_all_of_them(
    dashboard: dict[str, Any],
) -> None:
    exported = {sample.name for family in metrics(NEWS) for sample in family.samples}
    asked = {name for text in expressions(dashboard) for name in re.findall(r"\bmien_\w+", text)}
    assert asked - exported == set()
    assert exported - asked == {"mien_frames_total"}  # extract's rows are the same frames


def test_the_dashboard_groups_by_labels_that_are_there(dashboard: dict[str, Any]) -> None:
    labels = {
        sample.name: {*sample.labels, "instance"}  # the one that Prometheus adds
        for family in metrics(NEWS)
        for sample in family.samples
    }
    grouped = 0
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            found = labels[re.findall(r"\bmien_\w+", target["expr"])[0]]
            for label in re.findall(r"by \((\w+)\)", target["expr"]):
                grouped += 1
                assert label in found, target["expr"]
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in found | {"run_id"}, target["legendFormat"]
    assert grouped


def test_the_dashboard_has_what_grafana_wants(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] == 42  # the last of the classic model, Grafana 12 and 13
    assert re.fullmatch(r"[\w-]{1,40}", dashboard["uid"])
    assert dashboard["title"]
    assert dashboard["time"] == {"from": "now-3h", "to": "now"}
    assert "id" not in dashboard
    variables = {item["name"]: item for item in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    taken: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in dashboard["panels"]:
        assert panel["type"] in ("timeseries", "stat", "gauge")
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        for target in panel["targets"]:
            text = target["expr"]
            assert text.count("(") == text.count(")")
            assert text.count('{instance=~"$instance"}') == len(re.findall(r"\bmien_", text))
