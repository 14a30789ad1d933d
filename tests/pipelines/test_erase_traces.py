"""What is left of an erased video beside the tables: nothing, on MLflow's servers too."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from infra import audit_log, erasures, runs, staging, tracking
from infra.errors import Resumable
from infra.mlflow_eraser import erase_logged
from infra.runs import RunRecord
from infra.store import Store
from infra.tables import read_small_table
from infra.traces import PROBES, names_any
from tests.pipelines.erasable import VICTIM, VIDEOS, do, holding, traced
from tests.rows import video_ids


def test_staging_plans_probes_reports_and_mlflow_forget_it(erasable: Store) -> None:
    folder = traced(erasable)
    do(erasable, videos=[VICTIM])
    left = {name.split("-")[0] for name in staging.staged_segments(erasable.root, "waiting")}
    assert left == set(video_ids(VIDEOS, 0)) - {VICTIM}
    assert VICTIM not in runs.load_plan(erasable.root, "waiting")["video_id"].to_pylist()
    probes = read_small_table(erasable.root, PROBES)
    assert probes is not None
    assert len(probes) == VIDEOS - 1
    assert not erasable.root.exists("runs/waiting.report.html")
    buffer = json.loads(erasable.root.read_bytes(f"runs/waiting{tracking.BUFFER}"))
    assert list(buffer["artifacts"]) == ["other.html"]
    assert [path.name for path in folder.iterdir()] == ["other.html"]
    told = audit_log.events(erasable)[-1].facts["other_traces"]
    assert told == {
        "staged_segments": 2,
        "planned_videos": 1,
        "probes": 1,
        "reports": 1,
        "waiting_for_mlflow": 1,
        "mlflow_artifacts": 1,
    }


def test_an_mlflow_server_out_of_reach_is_asked_again(
    erasable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(erasable)
    answers: list[int | None] = [None, 2]
    asked = []

    def server(cfg: Any, *arguments: Any) -> int | None:
        asked.append(cfg.uri)
        return answers.pop(0) if cfg.uri else erase_logged(cfg, *arguments)

    text = "tracking: {uri: 'http://me:secret@nowhere:1'}"
    record = RunRecord(run_id="later", started=datetime.now(UTC), config_yaml=text)
    runs.save(erasable.root, record)
    monkeypatch.setattr("pipelines.erasing.erase_logged", server)
    with pytest.raises(Resumable, match="out of reach") as stopped:
        do(erasable, videos=[VICTIM])
    assert "secret" not in str(stopped.value)
    assert not holding(erasable, VICTIM)  # the files do not wait for it
    do(erasable, videos=[VICTIM])
    assert not erasures.pending(erasable.root)
    assert audit_log.events(erasable)[-1].facts["other_traces"]["mlflow_artifacts"] == 3


@pytest.mark.parametrize("text", ["{}", "<b>{}4b7</b>", "0a{}", "\\u00e9{}"])
def test_a_name_is_found_wherever_it_stands_among_thousands(text: str) -> None:
    names = [name[:12].encode() for name in video_ids(2000, 7)]
    page = b"<html>" + text.format(names[999].decode()).encode() + b"</html>" * 1000
    assert names_any(page, names)
    assert not names_any(page.replace(names[999], names[999][::-1]), names)
    assert not names_any(page, [])
