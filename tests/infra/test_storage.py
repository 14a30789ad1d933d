import errno
import os
import pickle
import threading
from pathlib import Path

import pytest

from infra.errors import Resumable, StoreError
from infra.outages import plain_errors
from infra.storage import Root, in_parallel
from tests.infra.places import places


def test_what_is_written_is_read(root: Root) -> None:
    root.write("a/b.bin", b"one")
    root.write("a/b.bin", b"two")
    assert root.read_bytes("a/b.bin") == b"two"
    with root.open("a/b.bin") as file:
        file.seek(1)
        assert file.read() == b"wo"


def test_create_never_replaces(root: Root) -> None:
    assert root.create("a/b.bin", b"first")
    assert not root.create("a/b.bin", b"second")
    assert root.read_bytes("a/b.bin") == b"first"


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    names = [f"{number}".encode() for number in range(40)]
    won = in_parallel(lambda name: root.create("seat", name.encode()), [n.decode() for n in names])
    assert won.count(True) == 1
    assert root.read_bytes("seat") == names[won.index(True)]


def test_a_lost_answer_to_a_create_is_no_conflict(tmp_path: Path) -> None:
    root = Root(places(tmp_path)["bucket"])
    assert root.create("seat", b"mine")
    assert root.create("seat", b"mine")  # the client sends a put again whose answer it missed


def test_list_is_sorted_recursive_and_below_the_folder(root: Root) -> None:
    for rel in ("b/2", "a/1/x", "a/0", "ab"):
        root.write(rel, b"12")
    assert root.list("a") == [("a/0", 2), ("a/1/x", 2)]
    assert [rel for rel, _ in root.list("")] == ["a/0", "a/1/x", "ab", "b/2"]
    assert root.list("nowhere") == []


def test_marks_for_folders_in_a_bucket_are_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Root(places(tmp_path)["bucket"])
    listed = {
        root.path(""): {"type": "directory", "size": 0},
        root.path("a/file"): {"type": "file", "size": 1},
    }
    monkeypatch.setattr(root.fs, "find", lambda path, detail: listed)
    assert root.list("") == [("a/file", 1)]


def test_temporary_files_are_never_listed_nor_left(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(rel for rel, _ in root.list("a"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for number in range(100):
        root.write(f"a/{number % 3}", b"x" * 1000)
        root.create(f"a/{number % 3}", b"y")
    stop.set()
    watcher.join()
    assert seen <= {"a/0", "a/1", "a/2"}
    assert sorted(os.listdir(tmp_path / "a")) == ["0", "1", "2"]


def test_a_reader_sees_the_whole_old_or_the_whole_new(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    root.write("file", b"a" * 100_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for letter in (b"b", b"c"):
                root.write("file", letter * 100_000)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    states = [root.read_bytes("file") for _ in range(300)]
    stop.set()
    writer.join()
    assert all(len(state) == 100_000 and len(set(state)) == 1 for state in states)


def test_delete_forgives_what_is_gone(root: Root) -> None:
    root.write("a", b"1")
    root.delete(["a", "a", "never"])
    assert not root.exists("a")


def test_pickles_as_its_url_alone(root: Root) -> None:
    root.write("a", b"1")
    assert root.fs is not None
    data = pickle.dumps(root)
    assert len(data) < 100 + len(root.url)
    assert pickle.loads(data).read_bytes("a") == b"1"


def test_relative_and_file_urls_name_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = {Root(url).url for url in ("x", "./x/", f"file://{tmp_path}/x", f"{tmp_path}/y/../x")}
    assert urls == {str(tmp_path / "x")}


@pytest.mark.parametrize(
    ("number", "error", "word"),
    [
        (errno.ENOSPC, Resumable, "no space"),
        (errno.EDQUOT, Resumable, "no space"),
        (errno.EIO, Resumable, "run again"),
        (errno.EACCES, StoreError, "permission denied"),
        (errno.EROFS, StoreError, "read-only"),
    ],
)
def test_what_storage_does_is_one_plain_line(
    number: int, error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word) as caught, plain_errors("/store"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("/store: ")
    assert "\n" not in str(caught.value)


def test_no_space_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    root = Root(str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Resumable):
        root.write("a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StoreError, match="file stands"):
        Root(str(tmp_path / "x")).read_bytes("a")
