"""One writer a store: who holds it, who may take it over, and what a writer of old may still do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from infra import lock as locks
from infra import snapshots
from infra.errors import StoreBusy
from infra.lock import locked
from infra.snapshots import Snapshot
from infra.storage import Root
from infra.store import Store
from tests.infra.places import KEY

pytestmark = pytest.mark.slow  # seconds each, or many of them


@pytest.fixture
def store(place: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MIEN_KEY", KEY)
    return Store.open(place, create=True)


def silent(root: Root, number: int) -> None:
    """Make a lease look as if its holder, on another machine, had not beaten for long."""
    rel = f"lock/{number:012d}.json"
    lease = json.loads(root.read_bytes(rel)) | {"host": "elsewhere", "beat_at": time.time() - 60}
    root.write(rel, json.dumps(lease).encode())


def add(name: str):
    return lambda now: replace(now, run_id=name)


def test_a_second_writer_is_refused_and_told_who_holds_it(store: Store) -> None:
    who = f"process {os.getpid()} on"
    with store.locked(), pytest.raises(StoreBusy, match=who) as busy, store.locked():
        pass
    assert busy.value.exit_code == 7
    with store.locked() as again:  # the first one gave it back
        assert not again.lost


def test_a_second_writer_waits_as_long_as_it_was_told(store: Store) -> None:
    said: list[str] = []
    with store.locked():
        begin = time.monotonic()
        with pytest.raises(StoreBusy), store.locked(1.5, said.append):
            pass
        assert 1.4 < time.monotonic() - begin < 10
    assert len(said) == 1
    first = threading.Event()

    def hold() -> None:
        with store.locked():
            first.set()
            time.sleep(1)

    thread = threading.Thread(target=hold)
    thread.start()
    first.wait()
    with store.locked(20, said.append):
        pass
    thread.join()


def test_who_is_taken_over_commits_nothing_more(store: Store) -> None:
    with store.locked() as old:
        assert old.lock is not None
        old.commit(add("before"))
        silent(store.root, old.lock.number)
        with store.locked() as new:
            assert old.lost
            assert not new.lost
            with pytest.raises(StoreBusy, match="took this store over"):
                old.commit(add("late"))
            new.commit(add("after"))
        with pytest.raises(StoreBusy):  # nor once the new holder is done
            old.commit(add("later"))
    assert store.latest().run_id == "after"


def test_a_commit_that_was_already_thinking_is_refused_too(store: Store) -> None:
    """The fence lies in the chain itself: there is no moment between the check and the commit."""
    with store.locked() as old:
        assert old.lock is not None
        number = old.lock.number

        def slow(now: Snapshot) -> Snapshot:
            silent(store.root, number)
            with store.locked() as new:
                new.commit(add("new"))
            return replace(now, run_id="old")

        with pytest.raises(StoreBusy):
            old.commit(slow)
    assert store.latest().run_id == "new"


def test_writers_without_a_lock_keep_the_fence(store: Store) -> None:
    with store.locked() as holder:
        assert holder.lock is not None
        store.commit(lambda now: Snapshot(run_id="erase"))
        assert store.latest().fence == holder.lock.number
        holder.commit(add("run"))


#: A bucket in this process's memory has no second process.
SHARED = ["folder", pytest.param("s3", marks=pytest.mark.slow)]


@pytest.mark.parametrize("place", SHARED, indirect=True)
def test_a_killed_holder_on_this_machine_is_followed_at_once(store: Store) -> None:
    script = f"""
import sys, time
from infra.storage import Root
from infra.lock import locked
with locked(Root({store.root.url!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(StoreBusy), store.locked():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.locked() as mine:
        assert not mine.lost


def test_a_holder_that_beats_keeps_its_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(locks, "_alive", lambda pid, started: False)
    monkeypatch.setattr(locks.socket, "gethostname", lambda: "elsewhere")
    with locked(store.root):
        monkeypatch.setattr(locks.socket, "gethostname", lambda: "here")
        time.sleep(1.5)
        with pytest.raises(StoreBusy), locked(store.root):
            pass


def test_of_many_at_once_one_holds_it(store: Store) -> None:
    held, most = [], []
    guard = threading.Lock()

    def work(number: int) -> None:
        with locked(store.root, 30):
            with guard:
                held.append(number)
                most.append(len(held))
            time.sleep(0.01)
            with guard:
                held.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert len(store.root.list("lock")) == 1  # leases of old are cleared away
    assert snapshots.latest(store.root).fence == 4
