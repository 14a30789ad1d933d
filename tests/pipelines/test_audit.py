"""`mien audit`: a whole log is listed, a broken one ends with exit 4."""

import json
import sys
from pathlib import Path

import pytest

from infra import audit_log
from infra.store import Store
from pipelines.cli import main


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(str(tmp_path / "store"), create=True)
    for number in range(3):
        audit_log.append(made, "note", {"number": number})
    return made


def mien_audit(monkeypatch: pytest.MonkeyPatch, store: Store, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mien", "audit", store.root.url, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_whole_log_is_listed_with_its_head(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = audit_log.head_text(audit_log.head(store.root))
    assert head is not None
    assert mien_audit(monkeypatch, store) == 0
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["1", "2", "3"]
    assert head in said.err.replace("\n", "")
    assert mien_audit(monkeypatch, store, "--json", "--head", head) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["whole"], answer["problems"], answer["head"]) == (True, [], head)
    assert [event["facts"]["number"] for event in answer["events"]] == [0, 1, 2]


def test_a_changed_a_removed_and_a_cut_off_log_end_with_4(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = audit_log.head_text(audit_log.head(store.root))
    assert head is not None
    files = sorted(Path(store.root.url, "audit").iterdir())
    files[2].unlink()
    assert mien_audit(monkeypatch, store) == 0  # nothing in the store tells
    assert mien_audit(monkeypatch, store, "--head", head) == 4
    assert "event 3: is gone with all after it: the head given" in " ".join(
        capsys.readouterr().err.split()
    )
    files[0].write_text(files[0].read_text().replace('"number": 0', '"number": 9'))
    capsys.readouterr()
    assert mien_audit(monkeypatch, store, "--json") == 4
    answer = json.loads(capsys.readouterr().out)
    assert answer["whole"] is False
    assert [(one["seq"], one["kind"]) for one in answer["problems"]] == [(1, "changed")]
    files[0].write_text(files[0].read_text().replace('"note"', '"\\u001b[2J"'))
    assert mien_audit(monkeypatch, store) == 4
    assert "?[2J" in capsys.readouterr().out
    files[0].unlink()
    assert mien_audit(monkeypatch, store) == 4
    assert "event 1: is missing" in " ".join(capsys.readouterr().err.split())


def test_a_store_that_logged_nothing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Store.open(str(tmp_path / "empty"), create=True)
    assert mien_audit(monkeypatch, empty) == 0
    assert "nothing was logged yet" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["3", "3:abc", "latest"])
def test_what_is_no_head_is_wrong_usage(
    store: Store, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    assert mien_audit(monkeypatch, store, "--head", head) == 2
