"""Every kind of bad or odd media gives what it must, through the real child processes."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.reasons import Reason
from tests.media import make_corpus
from tests.media.corpus import Chain, Result, list_kind, write_corpus
from tests.media.kinds import KINDS, Kind, Outcome, ok, skipped

pytestmark = pytest.mark.slow


class Trap:
    """A server that counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self.calls += 1
            caller.close()

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "media", trap.port)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    chain = Chain()
    yield chain
    chain.close()


def kinds() -> Iterator[object]:
    for kind in KINDS.values():
        # strict: the day it gives what it must, the mark has to go
        marks = [pytest.mark.xfail(reason=kind.pending, strict=True)] if kind.pending else []
        yield pytest.param(kind, id=kind.name, marks=marks)


@pytest.mark.parametrize("kind", kinds())
def test_gives_what_it_must(
    kind: Kind, corpus: Path, chain: Chain, trap: Trap, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        got = chain.run(kind, corpus)
    assert kind.file not in caplog.text
    assert str(corpus) not in caplog.text
    assert trap.calls == 0
    assert got.reason not in (Reason.ERROR, Reason.SIGNAL, Reason.TIMEOUT, Reason.WORKER_LOST)
    want = kind.expected
    assert (got.status, got.reason) == (want.status, want.reason)
    if want.frames is not None:
        assert got.frames == want.frames


def test_the_whole_folder_is_listed_and_every_left_out_file_is_counted(
    tmp_path: Path, corpus: Path
) -> None:
    """All at once as well as one by one: no file hides another."""
    from infra.listing import list_sources

    fresh = write_corpus(tmp_path / "media")
    rows, counted = list_sources(str(fresh), (), (), 0)
    left_out = [k for k in KINDS.values() if k.expected.status == "skipped"]
    assert len(rows) == len(KINDS) - len(left_out)
    for reason in {k.expected.reason for k in left_out if k.expected.reason}:
        assert counted[reason] == sum(k.expected.reason == reason for k in left_out)


def test_the_trap_hears_who_follows_a_reference(trap: Trap) -> None:
    """Or it would prove nothing that it heard no one."""
    other = Trap()
    with socket.create_connection(("127.0.0.1", other.port)) as caller:
        caller.recv(1)
    assert (other.calls, trap.calls) == (1, 0)
    other.close()


def test_the_same_bytes_every_time(corpus: Path, tmp_path: Path, trap: Trap) -> None:
    for name in ("h264-moov-last-mp4", "h264-mkv", "vp9-webm", "av1-mp4", "hevc-mp4", "vp8-ogv"):
        assert KINDS[name].build() == KINDS[name].path(corpus).read_bytes()


def test_making_a_clip_leaves_the_priority_of_the_process() -> None:
    before = os.sched_getscheduler(0)
    KINDS["av1-mp4"].build()
    assert os.sched_getscheduler(0) == before


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(SystemExit):
        make_corpus.main([str(tmp_path)])
    assert "not empty" in capsys.readouterr().err


def test_the_page_says_what_is_wrong() -> None:
    kind = KINDS["h264-mkv"]
    right = make_corpus.page([Result(kind, ok(kind.expected.frames))])
    assert "1 kinds; 1 give what is expected" in right
    wrong = make_corpus.page([Result(kind, Outcome("partial", "corrupt", 3))])
    assert "1 kinds; 0 give what is expected" in wrong
    assert "**partial: corrupt**" in wrong


def test_the_committed_page_names_every_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bad-media.md").read_text()
    missing = [n for n in KINDS if f"| {n} |" not in text and n != "unreadable"]
    assert not missing, "run python -m tests.media.make_corpus DIR --check --docs docs/bad-media.md"


def test_a_listed_kind_is_the_file_that_was_made(corpus: Path) -> None:
    listed = list_kind(KINDS["h264-mkv"], corpus)
    assert isinstance(listed, dict)
    assert listed["size_bytes"] == KINDS["h264-mkv"].path(corpus).stat().st_size
    assert list_kind(KINDS["fifo"], corpus) == skipped("not a regular file").reason
