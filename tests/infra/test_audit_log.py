import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from infra import audit_log, snapshots
from infra.audit_log import Kind
from infra.errors import ConfigurationError, StoreBusy
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root
from infra.store import Store
from tests.infra.places import KEY, places

FILE = TableFile("faces", "tables/faces/a.parquet", 3, 10, "0" * 64, "a", "b")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MIEN_KEY", KEY)
    return Store.open(places(tmp_path)[request.param], create=True)


def name(seq: int) -> str:
    return f"audit/{seq:012d}.json"


def logged(store: Store) -> Store:
    """A log of six events; a snapshot records the fourth."""
    for number in range(3):
        audit_log.append(store, "note", {"number": number, "share": 0.1, "who": "Zoë"})
    store.commit(lambda now: replace(now, files=(FILE,)), "publish", {"run_id": "r"})
    audit_log.append(store, "run_ended", {})
    audit_log.append(store, "note", {})
    return store


def found(store: Store, **given: audit_log.Head) -> list[tuple[int, Kind]]:
    return [(problem.seq, problem.kind) for problem in audit_log.verify(store, **given)]


def rewritten(root: Root, seq: int, changes: dict[str, object]) -> None:
    event = json.loads(root.read_bytes(name(seq)))
    root.write(name(seq), json.dumps({**event, **changes}).encode())


def test_an_empty_log_has_no_head_and_no_problem(store: Store) -> None:
    assert audit_log.head(store.root) is None
    assert audit_log.events(store) == []
    assert audit_log.verify(store) == []


def test_events_are_read_as_they_were_logged(store: Store) -> None:
    logged(store)
    events = audit_log.events(store)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert events[1].facts == {"number": 1, "share": 0.1, "who": "Zoë"}
    assert [event.previous for event in events] == ["", *(event.mac for event in events[:-1])]
    assert all(event.at.endswith("+00:00") for event in events)
    assert audit_log.head(store.root) == (6, events[-1].mac)
    assert audit_log.verify(store, (3, events[2].mac)) == []


def test_keys_that_json_turns_into_text_verify(store: Store) -> None:
    audit_log.append(store, "note", {"faces": {1: 1, 10: 2, 2: 3}})  # type: ignore[dict-item]
    assert audit_log.verify(store) == []


@pytest.mark.parametrize("facts", [{"n": float("nan")}, {"n": b"x"}])
def test_what_is_no_json_is_not_logged(store: Store, facts: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        audit_log.append(store, "note", facts)
    assert store.root.list("audit") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": {"number": 7}},
        {"at": "2020-01-01T00:00:00.000000+00:00"},
        {"kind": "erase"},
        {"previous": "0" * 64},
        {"mac": "0" * 64},
        {"mac": None},
        {"more": 1},
        {"seq": 9},
    ],
)
def test_a_changed_event_is_found(store: Store, changes: dict[str, object]) -> None:
    logged(store)
    rewritten(store.root, 2, changes)
    assert (2, Kind.CHANGED) in found(store)


def test_a_changed_newest_event_is_found_and_costs_no_further_one(store: Store) -> None:
    whole = logged(store).root.read_bytes(name(6))
    store.root.write(name(6), b"{")
    assert audit_log.append(store, "note", {}).seq == 7
    assert found(store) == [(6, Kind.CHANGED)]
    assert [event.seq for event in audit_log.events(store)] == [1, 2, 3, 4, 5, 7]
    store.root.write(name(6), whole)
    assert found(store) == []


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_removed_event_is_found(store: Store, seq: int) -> None:
    logged(store)
    store.root.delete([name(seq)])
    assert found(store) == [(seq, Kind.REMOVED)]


def test_a_planted_number_is_told_as_one_gap(store: Store) -> None:
    logged(store)
    for number in (10**12 - 1, 10**30):
        store.root.write(name(number), b"{}")
    assert found(store) == [(7, Kind.REMOVED), (10**12 - 1, Kind.CHANGED)]
    assert "event 7: and all up to 999999999998 are missing" in map(str, audit_log.verify(store))


def test_a_removed_event_is_found_where_the_others_are_numbered_anew(store: Store) -> None:
    logged(store)
    for seq in (3, 4, 5, 6):
        store.root.write(name(seq - 1), store.root.read_bytes(name(seq)))
    store.root.delete([name(6)])
    assert found(store)[:3] == [(seq, Kind.REORDERED) for seq in (2, 3, 4)]


def test_reordered_events_are_found(store: Store) -> None:
    logged(store)
    second, third = store.root.read_bytes(name(2)), store.root.read_bytes(name(3))
    store.root.write(name(2), third)
    store.root.write(name(3), second)
    assert found(store)[:2] == [(2, Kind.REORDERED), (3, Kind.REORDERED)]


def test_a_log_that_is_cut_off_is_found_by_the_snapshot(store: Store) -> None:
    logged(store)
    store.root.delete([name(seq) for seq in (4, 5, 6)])
    assert found(store) == [(4, Kind.CUT_OFF)]
    assert "snapshots/" in str(audit_log.verify(store)[0])
    store.root.delete([name(seq) for seq in (1, 2, 3)])
    assert found(store) == [(4, Kind.CUT_OFF)]


def test_a_log_that_is_cut_off_after_the_snapshot_is_found_by_a_head_kept_outside(
    store: Store,
) -> None:
    logged(store)
    kept = audit_log.head(store.root)
    assert kept is not None
    store.root.delete([name(6)])
    assert found(store) == []
    assert found(store, expected_head=kept) == [(6, Kind.CUT_OFF)]


def test_a_log_that_is_cut_off_and_grew_again_is_found(store: Store) -> None:
    logged(store)
    store.root.delete([name(seq) for seq in (4, 5, 6)])
    store.commit(lambda now: replace(now, files=()), "erase")
    assert found(store) == [(4, Kind.CHANGED)]


def test_an_event_of_before_the_cut_in_what_grew_again_is_found(store: Store) -> None:
    old = logged(store).root.read_bytes(name(5))
    store.root.delete([name(seq) for seq in (5, 6)])
    for _ in range(3):
        audit_log.append(store, "note", {})
    store.root.write(name(5), old)
    assert found(store) == [(6, Kind.CHANGED)]


def test_the_log_of_another_store_with_the_same_key_is_found(store: Store, tmp_path: Path) -> None:
    other = logged(Store.open(str(tmp_path / "other"), create=True))
    logged(store)
    for seq in range(1, 7):
        store.root.write(name(seq), other.root.read_bytes(name(seq)))
    assert found(store) == [(4, Kind.CHANGED)]


def test_writers_at_once_lose_no_event(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"), create=True)

    def write() -> None:
        for _ in range(8):
            audit_log.append(store, "note", {})

    writers = [threading.Thread(target=write, daemon=True) for _ in range(5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [event.seq for event in audit_log.events(store)] == list(range(1, 41))
    assert audit_log.verify(store) == []


def test_every_change_of_the_tables_is_logged_before_it_is_seen(store: Store) -> None:
    seen: list[Snapshot] = []
    real = Root.create

    def create(root: Root, rel: str, data: bytes, private: bool = False) -> bool:
        if rel.startswith("snapshots/"):
            assert [event.kind for event in audit_log.events(store)] == ["publish"]
            seen.append(snapshots.latest(root))
        return real(root, rel, data, private)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Root, "create", create)
        made = store.commit(lambda now: replace(now, files=(FILE,)), "publish", {"run_id": "r"})
    assert seen == [Snapshot()]
    (event,) = audit_log.events(store)
    assert event.facts == {
        "run_id": "r",
        "snapshot": 1,
        "files_added": {"faces": {"files": 1, "rows": 3}},
        "files_removed": {},
    }
    assert made.audit_head == f"1:{event.mac}"
    assert store.commit(lambda now: now, "publish") == made
    assert len(audit_log.events(store)) == 1


def test_a_run_that_lost_the_store_logs_no_change(store: Store) -> None:
    with store.locked() as old:
        snapshots.commit(store.root, lambda now: replace(now, fence=now.fence + 1))
        with pytest.raises(StoreBusy):
            old.commit(lambda now: replace(now, files=(FILE,)), "publish")
    assert audit_log.events(store) == []


@pytest.mark.slow
def test_a_log_in_a_bucket(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_KEY", KEY)
    store = logged(Store.open(place, create=True))
    assert found(store) == []
    store.root.delete([name(seq) for seq in (3, 5, 6)])
    assert found(store) == [(3, Kind.REMOVED)]


@pytest.mark.parametrize(
    "text",
    ["", "3", "0:" + "0" * 64, "9" * 5000 + ":" + KEY, "x:" + "0" * 64, "3:abc", "-1:" + KEY],
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="SEQ:MAC"):
        audit_log.parse_head(text)


def test_a_head_is_read_as_it_is_written() -> None:
    assert audit_log.parse_head(f"12:{KEY}") == (12, KEY)
    assert audit_log.head_text((12, KEY)) == f"12:{KEY}"
    assert audit_log.head_text(None) is None
