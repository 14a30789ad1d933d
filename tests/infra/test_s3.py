"""What only a real object store can show: conditions, ranges, outages, secrets."""

import logging
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import storage
from infra.errors import StoreError, Unreachable
from infra.listing import list_sources
from infra.sources import RANGE_BYTES, Changed, open_source
from infra.storage import Root, in_parallel
from infra.store import Store
from tests.infra.places import KEY
from tests.s3 import S3Server, s3_server

pytestmark = pytest.mark.slow


def test_of_many_conditional_puts_one_wins(s3: S3Server) -> None:
    root = Root(s3.url())
    names = [str(number) for number in range(16)]
    won = in_parallel(lambda name: root.create("seat", name.encode()), names)
    assert won.count(True) == 1
    assert root.read_bytes("seat").decode() == names[won.index(True)]


def test_a_store_in_a_bucket_needs_a_key_and_then_opens_anywhere(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_KEY", KEY)
    url = s3.url()
    made = Store.open(url, create=True)
    assert Store.open(url, create=False).identity.source_id("x") == made.identity.source_id("x")
    assert made.latest().seq == 0


def test_a_prefix_of_more_keys_than_a_page_is_listed_whole(s3: S3Server) -> None:
    url = s3.url("many")
    client = s3.client()
    in_parallel(lambda number: client.pipe_file(f"{url}/{number}.mp4", b"1"), range(1100))
    rows, skipped = list_sources(url, (), (), 0)
    assert len(rows) == 1100
    assert skipped == {}
    assert rows["uri"][0].as_py() == f"{url}/0.mp4"


def listed(url: str) -> tuple[str, int, str]:
    row = list_sources(url, (), (), 0)[0].to_pylist()[0]
    return row["uri"], row["size_bytes"], row["changed"]


def test_a_range_of_a_video_is_read_and_no_more(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3.url()}/a.mp4"
    body = bytes(range(256)) * (1 << 16)  # 16 MiB
    s3.client().pipe_file(url, body)
    source = open_source(*listed(url))
    asked: list[int] = []
    whole = source._fs.cat_file

    def counted(path: str, start: int, end: int) -> bytes:
        asked.append(end - start)
        return whole(path, start=start, end=end)

    monkeypatch.setattr(source._fs, "cat_file", counted)
    for offset in (9_000_001, 9_000_003, 9_500_000):
        assert source.read_range(offset, 5000) == body[offset : offset + 5000]
    assert source.read_range(len(body) - 10, 100) == body[-10:]
    assert sum(asked) == 2 * RANGE_BYTES


def test_an_object_that_was_put_anew_is_noticed(s3: S3Server) -> None:
    url = f"{s3.url()}/a.mp4"
    s3.client().pipe_file(url, b"one" * 1000)
    known = listed(url)
    source = open_source(*known)
    s3.client().pipe_file(url, b"two" * 1000)
    with pytest.raises(Changed):
        source.check_unchanged()
    with pytest.raises(Changed):
        open_source(*known)
    s3.client().rm_file(url)
    with pytest.raises(FileNotFoundError):
        open_source(*known)


def test_no_secret_is_pickled_or_said(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = Root(s3.url()).patient()
    root.write("a", b"1")
    url = f"{s3.url()}/a.mp4"
    s3.client().pipe_file(url, b"12345")
    pickled = pickle.dumps((root, open_source, listed(url)))
    assert pickle.loads(pickled)[0].read_bytes("a") == b"1"
    wrong = "this-is-my-wrong-secret"
    with caplog.at_level(logging.INFO):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", wrong)
        monkeypatch.setattr(storage.fsspec, "filesystem", _fresh(storage.fsspec.filesystem))
        with pytest.raises(StoreError, match="permission denied") as refused:
            Root(root.url).read_bytes("a")
    for secret in (*[s3.environment[f"AWS_{name}"] for name in SECRETS], wrong):
        assert secret.encode() not in pickled
        assert secret not in caplog.text
        assert secret not in str(refused.value)


SECRETS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")


def _fresh(make: Callable) -> Callable:
    """A client that knows the environment of now: they are kept for a process's life."""
    return lambda protocol, **options: make(protocol, skip_instance_cache=True, **options)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server to be stopped: the others' tests use another one."""
    with s3_server(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(storage.fsspec, "filesystem", _fresh(storage.fsspec.filesystem))
        yield server


def later(seconds: float, act: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_outage_is_waited_out_by_work_that_has_begun(own: S3Server) -> None:
    root = Root(own.url())
    root.write("a", b"1")
    own.kill()
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"out of reach|failed"):
        root.read_bytes("a")
    assert time.monotonic() - begin < 60
    back = later(1, own.start)
    patient = root.patient()
    assert patient.create("b", b"2")
    assert patient.read_bytes("a") == b"1"
    back.join()
    own.pause()
    back = later(2, own.go_on)
    assert patient.read_bytes("b") == b"2"
    back.join()
