"""`mien submit`: what it checks, what it hands over, and a run on a cluster with a token."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra import job_server, submission
from infra.submission import Submission
from pipelines.cli import main
from pipelines.cli_submit import Log
from tests.head import ROOT, Head, ray_head
from tests.infra.places import KEY
from tests.pipelines.jobs import GOVERNANCE, frames, job, tables
from tests.videos import write_video

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Submission]:
    """What a cluster would have been handed; there is none."""
    sent: list[Submission] = []

    def hand_over(client: object, item: Submission) -> str:
        sent.append(item)
        return "mien-1"

    monkeypatch.setattr(job_server, "connect", lambda address: None)
    monkeypatch.setattr(submission, "submit", hand_over)
    return sent


def mien_submit(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mien", "submit", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def job_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"source": "s3://a/b", "governance": GOVERNANCE}))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["governance.purpose=fun"], 5, "governance.purpose"),
        (["governance=null"], 5, "no governance section"),
        (["plan.segment_second=5"], 2, "did you mean segment_seconds?"),
        (["privacy.anonymizer=blurr"], 2, "blurr"),
        (["score.methods=[zero_shots]"], 2, "zero_shots"),
        (["source=null"], 2, "no source"),
        (["--env", "NOT_SET_HERE"], 2, "not set here"),
    ],
)
def test_nothing_is_sent_before_all_is_checked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    handed_over: list[Submission],
    job_yaml: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    given = ["-c", str(job_yaml), "--out", "s3://c", "--address", NOWHERE, *arguments]
    assert mien_submit(monkeypatch, *given) == code
    assert message in capsys.readouterr().err
    assert not handed_over


def test_a_cluster_is_named_by_option_configuration_or_rays_variable(
    monkeypatch: pytest.MonkeyPatch, handed_over: list[Submission], job_yaml: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(job_server, "connect", asked.append)
    given = ["-c", str(job_yaml), "--out", "s3://c", "--no-wait"]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert mien_submit(monkeypatch, *given) == 2
    monkeypatch.setenv("RAY_ADDRESS", "http://third:1")
    assert mien_submit(monkeypatch, *given) == 0
    assert mien_submit(monkeypatch, *given, "cluster.address=http://second:1") == 0
    assert mien_submit(monkeypatch, *given, "--address", "http://first:1") == 0
    assert asked == ["http://third:1", "http://second:1", "http://first:1"]


def test_the_job_is_the_run_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    handed_over: list[Submission],
    job_yaml: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_KEY", KEY)
    options = ["--limit", "3", "--retry-quarantined", "--wait", "9", "--no-wait", "--json"]
    given = ["archive", "-c", str(job_yaml), "--out", "store", "--address", NOWHERE, *options]
    assert mien_submit(monkeypatch, *given, "run.stop_at=06:30") == 0
    [sent] = handed_over
    cfg = yaml.safe_load(sent.config_json)
    assert cfg["source"] == str(tmp_path / "archive")
    assert cfg["store"] == str(tmp_path / "store")
    assert cfg["cluster"]["address"] == "auto"
    assert cfg["run"]["stop_at"] == "06:30:00"
    assert sent.arguments == ("--json", "--limit", "3", "--retry-quarantined", "--wait", "9.0")
    assert sent.environment["MIEN_KEY"] == KEY
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"submission_id": "mien-1", "address": NOWHERE}
    assert KEY not in shown.out + shown.err


def test_a_record_in_the_log_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    text = 'one\n{\n "state": "published",\n "counts": {\n  "faces": 3\n }\n}\ntwo\n'
    log = Log("mien-1")
    for start in range(0, len(text), 5):
        log.write(text[start : start + 5])
    shown = capsys.readouterr()
    assert shown.err == "one\ntwo\n"
    assert json.loads(shown.out) == {
        "submission_id": "mien-1",
        "state": "published",
        "counts": {"faces": 3},
    }


def submitted(head: Head, folder: Path, token: str, *arguments: str) -> subprocess.Popen[str]:
    """`mien submit` from `folder`, as a user of a cluster starts it."""
    dropped = ("AWS_", "RAY_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN": token}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "submit", "--address", head.address, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_on_a_cluster_with_a_token(
    monkeypatch: pytest.MonkeyPatch, tiny_backbone: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("MIEN_KEY", KEY)
    archive = tmp_path / "archive"
    archive.mkdir()
    write_video(archive / "film.mp4", frames(16, 1), fps=8)
    cfg = job("unused", "unused", str(tiny_backbone))
    (tmp_path / "job.yaml").write_text(cfg.model_dump_json())
    given = ("-c", "job.yaml", "--json", "--out", "store")

    with ray_head(cpus=4) as head:
        good = submitted(head, tmp_path, head.token, "archive", *given)
        wrong = submitted(head, tmp_path, "0" * 32, "archive", *given)
        missing = submitted(head, tmp_path, head.token, "nothing", *given)
        said = {process: process.communicate() for process in (wrong, missing, good)}

    out, err = said[wrong]
    assert (wrong.returncode, out) == (2, "")
    assert err.strip().endswith("it needs the token of that cluster")
    assert len(err.splitlines()) == 1

    out, err = said[missing]
    assert (missing.returncode, out) == (2, ""), err  # as `mien score` ended on the cluster
    assert f"mien: {tmp_path}/nothing" in err

    out, err = said[good]
    assert good.returncode == 0, err
    record = json.loads(out)
    assert (record["state"], record["exit_code"]) == ("published", 0)
    assert record["submission_id"] in err
    assert KEY not in out + err
    published = tables(tmp_path / "store")
    assert published["videos"].num_rows == 1
    assert published["faces"].num_rows > 0
    assert not (tmp_path / "store" / "key").exists()  # the key came with the job
