"""The main job from a bucket into a bucket: the same rows as on disk, and no secret on the way."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra.errors import SourceError, StoreBusy
from infra.runs import State
from infra.store import Store
from infra.tables import table_rows
from pipelines.cli import app
from pipelines.score import score
from schemas.tables import TABLES
from tests.infra.places import KEY
from tests.pipelines.jobs import CIRCUMSTANCE, frames, job
from tests.s3 import S3Server
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def content(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows without what depends on where they lie: ids are keyed by the uri."""
    store = Store.open(url, create=False)
    found = {}
    for name in TABLES:
        rows = table_rows(store.root, store.latest(), name)
        kept = [
            c
            for c in rows.column_names
            if not c.endswith("_id") and c not in ("uri", *CIRCUMSTANCE)
        ]
        found[name] = sorted(rows.select(kept).to_pylist(), key=repr)
    return found


def test_a_run_from_bucket_to_bucket_equals_one_on_disk(
    s3: S3Server,
    ray_cluster: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIEN_KEY", KEY)
    archive = tmp_path / "archive"
    archive.mkdir()
    write_video(archive / "a film's 100%.mp4", frames(32, 1), fps=8)
    (archive / "letter.mp4").write_text("Dear archive, this is not a video." * 20)
    source, store = s3.url(), s3.url()
    s3.client().put(str(archive), source, recursive=True)
    quiet = Console(quiet=True)
    outcome = score(job(source, store, str(tiny_backbone)), quiet)
    assert outcome.exit_code == 3
    score(job(str(archive), str(tmp_path / "store"), str(tiny_backbone)), quiet)
    assert content(store) == content(str(tmp_path / "store"))
    assert score(job(source, store, str(tiny_backbone)), quiet).record.state is State.NOTHING_NEW

    said = CliRunner().invoke(app, ["query", store, "select count(*) n from faces"])
    assert said.output.split() == ["n", "--", "16"]
    runs = CliRunner().invoke(app, ["runs", store])
    assert "published" in runs.output
    page = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["report", store, "--out", str(page)]).exit_code == 0

    with Store.open(store, create=False).locked(), pytest.raises(StoreBusy, match="--wait"):
        score(job(source, store, str(tiny_backbone)), quiet)

    # nothing of the secrets in what the run wrote or in the logs of its workers
    secrets = [s3.environment["AWS_SECRET_ACCESS_KEY"].encode(), KEY.encode()]
    client = s3.client()
    written = [client.cat_file(path) for path in client.find(store)]
    logs = [path.read_bytes() for path in (ray_cluster / "logs").rglob("*") if path.is_file()]
    assert any(logs)
    for data in (*written, *logs, page.read_bytes()):
        assert not any(secret in data for secret in secrets)
    assert not any(b"a film" in data for data in logs)


def test_an_empty_prefix_is_named(s3: S3Server, tiny_backbone: Path) -> None:
    with pytest.raises(SourceError, match="does not exist or is empty"):
        score(job(s3.url("nothing-here"), s3.url(), str(tiny_backbone)), Console(quiet=True))
