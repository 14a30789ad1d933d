"""`mien redact` over an archive: names, what is made again and what is not, exit codes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.copies import put_copy, read_records
from infra.errors import ConfigurationError, SourceError
from infra.storage import Root
from operators.core.media import probe
from operators.core.operator import Step, check_wiring
from operators.redact import Means, Redact
from pipelines.redact import Redaction, copy_names, redact
from schemas.config import Config
from schemas.redaction import REDACTED, TO_REDACT
from tests.pipelines.jobs import frames
from tests.s3 import S3Server
from tests.videos import write_video

QUIET = Console(quiet=True)


def record(status: str) -> dict[str, Any]:
    return {"copy_name": "a.mp4", "status": status, "reason": None, "copy_bytes": 1}


@pytest.mark.parametrize(
    ("statuses", "deferred", "code"),
    [
        (["ok", "ok"], 0, 0),
        ([], 0, 0),
        (["ok", "partial"], 0, 3),
        (["ok", "quarantined"], 0, 3),
        (["ok", "partial"], 1, 6),
        (["face_left", "partial"], 1, 4),
    ],
)
def test_exit_codes(statuses: list[str], deferred: int, code: int) -> None:
    assert Redaction([record(status) for status in statuses], 0, deferred).exit_code == code


def test_copies_are_named_by_where_the_videos_lie() -> None:
    uris = ["/in/a.mp4", "/in/b/a.mov", "/in/b/c.webm"]
    assert copy_names(uris, "/in/") == ["a.mp4", "b/a.mov.mp4", "b/c.webm.mp4"]
    assert copy_names(uris[1:], "/elsewhere/list.csv") == ["a.mov.mp4", "c.webm.mp4"]
    assert copy_names(["s3://x/y/a.mp4"], "s3://x/y/a.mp4") == ["a.mp4"]
    with pytest.raises(SourceError, match=r"copy a\.mov\.mp4"):
        copy_names(["/in/a.mov", "/in/a.mov.mp4"], "/in")


def test_copies_do_not_go_among_the_sources(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    cfg = Config(source=str(tmp_path))
    for out in (tmp_path, tmp_path / "safe"):
        with pytest.raises(ConfigurationError, match="lies in the source"):
            redact(cfg, str(out), QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_copy_that_is_no_longer_safe_goes(tmp_path: Path) -> None:
    out = Root(str(tmp_path))
    put_copy(out, record("ok"), b"video")
    assert read_records(out)["a.mp4"]["copy_bytes"] == 5
    put_copy(out, record("face_left"), None)
    assert not (tmp_path / "a.mp4").exists()
    assert read_records(out)["a.mp4"]["status"] == "face_left"


def test_what_leaves_the_child_is_the_record_and_the_copy() -> None:
    step = Step(Redact, (Config().redact, Means(), open))
    start = [name for name in TO_REDACT.names if name != "uri"]
    assert check_wiring(start, [step]) == {"source_id", "fingerprint", *REDACTED.names}


@pytest.mark.ray
def test_an_archive_is_redacted_once(ray_cluster: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    write_video(source / "one.mp4", frames(8, 4), fps=8)
    write_video(source / "deep" / "two.mov", frames(8, 2), fps=8)
    (source / "text.mp4").write_text("no video")
    cfg = Config.model_validate({"source": str(source), "extract": {"actors": 1}})

    said = Console(file=io.StringIO(), width=400)
    first = redact(cfg, str(out), said)
    assert "redact.style" not in said.file.getvalue()  # pyright: ignore
    assert first.exit_code == 3
    assert [(r["copy_name"], r["status"], r["reason"]) for r in first.records] == [
        ("deep/two.mov.mp4", "ok", None),
        ("one.mp4", "ok", None),
        ("text.mp4", "quarantined", "no_video"),
    ]
    made = {name: (out / name).stat().st_mtime_ns for name in ("one.mp4", "deep/two.mov.mp4")}
    body = (out / "redaction.json").read_text()
    assert '"residual": 0' in body
    assert str(source) not in body

    (out / "records" / "one.mp4.json").unlink()  # as a kill between copy and record leaves it
    again = redact(cfg, str(out), QUIET)
    assert (again.exit_code, again.made_before) == (3, 1)
    kept = ("frames", "faces", "detections", "copy_bytes", "fingerprint", "status")
    for before, after in zip(first.records, again.records, strict=True):
        assert [before[name] for name in kept] == [after[name] for name in kept]
    assert (out / "deep/two.mov.mp4").stat().st_mtime_ns == made["deep/two.mov.mp4"]
    assert (out / "one.mp4").stat().st_mtime_ns > made["one.mp4"]


@pytest.mark.ray
def test_copies_go_to_s3_once(ray_cluster: Path, s3: S3Server, tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", frames(8, 2), fps=8)
    settings = {"source": str(tmp_path), "extract": {"actors": 1}, "redact": {"style": "blur"}}
    cfg, url = Config.model_validate(settings), s3.url()
    said = Console(file=io.StringIO(), width=400)

    first = redact(cfg, url, said)
    assert (first.exit_code, [r["copy_name"] for r in first.records]) == (0, ["one.mp4"])
    out = Root(url)
    copy = out.read_bytes("one.mp4")
    assert len(copy) == first.records[0]["copy_bytes"]
    assert probe(io.BytesIO(copy)).width_px == probe((tmp_path / "one.mp4").open("rb")).width_px
    assert json.loads(out.read_bytes("redaction.json"))["totals"]["residual"] == 0
    assert "redact.style=blur" in said.file.getvalue()  # pyright: ignore

    made = [(found.rel, found.modified_at) for found in out.find("")]
    again = redact(cfg, url, QUIET)
    assert (again.exit_code, again.made_before) == (0, 1)
    kept = [(found.rel, found.modified_at) for found in Root(url).find("")]
    assert {m for m in made if m[0] != "redaction.json"} < set(kept)
