import os
import secrets
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import SourceError
from infra.listing import BAD_NAME, list_sources
from schemas.flow import SOURCE

NOW = 2_000_000_000.0


def make(folder: Path, *names: str, age_seconds: float = 1000) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 7)
        os.utime(path, (NOW - age_seconds, NOW - age_seconds))


def names(
    source: str | Path,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    min_age_seconds: float = 0,
) -> tuple[list[str], dict[str, int]]:
    rows, skipped = list_sources(str(source), include, exclude, min_age_seconds, NOW)
    assert rows.schema.equals(SOURCE, check_metadata=True)
    return [uri.rsplit("/", 1)[-1] for uri in rows["uri"].to_pylist()], skipped


def test_a_folder_is_read_to_its_depth_in_order(tmp_path: Path) -> None:
    make(
        tmp_path, "b.mp4", "a/z.MKV", "a/b/c.ts", "notes.txt", ".hidden.mp4", ".git/x.mp4", "noext"
    )
    rows, skipped = list_sources(str(tmp_path), (), (), 0, NOW)
    assert rows["uri"].to_pylist() == [
        str(tmp_path / name) for name in ("a/b/c.ts", "a/z.MKV", "b.mp4")
    ]
    assert rows["size_bytes"].to_pylist() == [7, 7, 7]
    assert skipped == {"hidden": 2, "not a video by name": 2}


def test_what_changed_shows_in_changed_alone(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    before, _ = list_sources(str(tmp_path), (), (), 0, NOW)
    make(tmp_path, "b.mp4", age_seconds=999)
    after, _ = list_sources(str(tmp_path), (), (), 0, NOW)
    assert before.drop_columns(["changed"]) == after.drop_columns(["changed"])
    changed = zip(before["changed"].to_pylist(), after["changed"].to_pylist(), strict=True)
    assert [one == other for one, other in changed] == [True, False]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ((), ("*.mkv",), ["a.mp4", "b.mp4", "d.mp4"]),
        (("*.mkv",), (), ["c.mkv"]),
        ((), ("raw",), ["a.mp4"]),
        ((), ("raw/day1",), ["a.mp4", "b.mp4", "c.mkv"]),
        (("raw/*",), (), ["b.mp4", "c.mkv", "d.mp4"]),
        (("raw/*.mp4",), (), ["b.mp4"]),
        (("**/*.mp4",), ("b.*",), ["a.mp4", "d.mp4"]),
        (("day1",), (), ["d.mp4"]),
        (("/raw/",), ("*.m??",), []),
    ],
)
def test_include_and_exclude(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], left: list[str]
) -> None:
    make(tmp_path, "a.mp4", "raw/b.mp4", "raw/c.mkv", "raw/day1/d.mp4")
    if not left:
        with pytest.raises(SourceError, match="4 excluded"):
            names(tmp_path, include, exclude)
        return
    found, skipped = names(tmp_path, include, exclude)
    assert found == left
    assert skipped == {"excluded": 4 - len(left)}


def test_young_files_wait_and_are_no_error_alone(tmp_path: Path) -> None:
    make(tmp_path, "old.mp4", age_seconds=61)
    make(tmp_path, "new.mp4", age_seconds=59)
    assert names(tmp_path, min_age_seconds=60) == (["old.mp4"], {"too young": 1})
    assert names(tmp_path, min_age_seconds=100) == ([], {"too young": 2})


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path / "away", "far.mp4")
    make(tmp_path / "source", "near/a.mp4")
    source = tmp_path / "source"
    (source / "near" / "up").symlink_to(source)
    (source / "away").symlink_to(tmp_path / "away")
    (source / "away2").symlink_to(tmp_path / "away")
    (source / "alias.mp4").symlink_to(source / "near" / "a.mp4")
    (source / "broken.mp4").symlink_to(source / "nothing")
    os.mkfifo(source / "pipe.mp4")
    rows, skipped = list_sources(str(source), (), (), 0, NOW)
    assert rows["uri"].to_pylist() == [
        str(source / name) for name in ("alias.mp4", "away/far.mp4", "near/a.mp4")
    ]
    assert skipped == {"not a regular file": 2}


def test_names_that_arrow_cannot_hold_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "line\nfeed.mp4", 'it\'s "50%" 🎬.mp4')
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")).write_bytes(b"")
    found, skipped = names(tmp_path)
    assert len(found) == 2
    assert skipped == {BAD_NAME: 1}


def test_a_glob(tmp_path: Path) -> None:
    make(tmp_path, "cam1/a.mp4", "cam1/deep/b.mp4", "cam2/c.mp4", "hall/d.mp4", "cam1/e.txt")
    assert names(tmp_path / "cam*")[0] == ["a.mp4", "b.mp4", "c.mp4"]
    assert names(tmp_path / "*" / "*.mp4")[0] == ["a.mp4", "c.mp4", "d.mp4"]
    assert names(tmp_path / "**" / "b.mp4")[0] == ["b.mp4"]
    with pytest.raises(SourceError, match="holds no file"):
        names(tmp_path / "cam?" / "*.mkv")


def test_a_folder_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    make(tmp_path, "[2026]/a.mp4", "2/b.mp4")
    assert names(tmp_path / "[2026]")[0] == ["a.mp4"]


def test_one_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, "clip.bin")
    assert names(tmp_path / "clip.bin") == (["clip.bin"], {})


@pytest.mark.parametrize("missing", ["nowhere", "nowhere/*.mp4", "list.csv", "nowhere.parquet"])
def test_a_missing_source_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(SourceError, match="does not exist") as caught:
        names(tmp_path / missing)
    assert str(tmp_path / missing) in str(caught.value)


def test_an_empty_source_says_what_was_skipped(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no file"):
        names(tmp_path)
    make(tmp_path, "a.txt", "b.txt", ".c.mp4")
    with pytest.raises(SourceError, match=r"3 skipped \(1 hidden, 2 not a video by name\)"):
        names(tmp_path)


def test_a_manifest_in_csv(tmp_path: Path) -> None:
    make(tmp_path, "films/a.mp4", "b.odd")
    (tmp_path / "list.csv").write_text(
        "uri,session_id,view_id,recorded_at,remark\n"
        f"films/a.mp4,s1,left,2026-01-02T03:04:05+01:00,x\n{tmp_path}/b.odd,,,,\n"
    )
    rows, _ = list_sources(str(tmp_path / "list.csv"), (), (), 0, NOW)
    first, second = sorted(rows.to_pylist(), key=lambda row: row["session_id"] is None)
    assert first["uri"] == str(tmp_path / "films/a.mp4")
    assert (first["session_id"], first["view_id"]) == ("s1", "left")
    assert first["recorded_at"].isoformat() == "2026-01-02T02:04:05+00:00"
    assert (second["session_id"], second["recorded_at"]) == (None, None)


def test_a_manifest_in_parquet(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    pq.write_table(pa.table({"uri": ["a.mp4"], "view_id": [3]}), tmp_path / "list.parquet")
    rows, _ = list_sources(str(tmp_path / "list.parquet"), (), (), 0, NOW)
    assert rows["view_id"].to_pylist() == ["3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uri\na.mp4\ngone.mp4\n", "gone.mp4"),
        ("uri\na.mp4\n./a.mp4\n", "a.mp4 twice"),
        ("path\na.mp4\n", "no column `uri`"),
        ("uri,recorded_at\na.mp4,yesterday\n", "row 1: recorded_at"),
        ("uri,view_id\na.mp4,1\n,2\n", "row 2 has no uri"),
        ("", "no column `uri`"),
    ],
)
def test_a_bad_manifest_says_where(tmp_path: Path, text: str, said: str) -> None:
    make(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(SourceError, match=said):
        names(tmp_path / "list.csv")


@pytest.fixture
def bucket() -> str:
    url = f"memory://bucket/{secrets.token_hex(6)}"
    fs = fsspec.filesystem("memory")
    for name in ("b.mp4", "day/a.mp4", "day/x.txt", ".tmp/c.mp4"):
        fs.pipe_file(f"{url}/{name}", b"12345")
    return url


def test_a_prefix_in_an_object_store(bucket: str) -> None:
    rows, skipped = list_sources(bucket, (), ("b.*",), 0, NOW)
    assert rows["uri"].to_pylist() == [f"{bucket}/day/a.mp4"]
    assert rows["size_bytes"].to_pylist() == [5]
    assert skipped == {"excluded": 1, "hidden": 1, "not a video by name": 1}
    assert names(f"{bucket}/**/a.mp4")[0] == ["a.mp4"]
    assert names(f"{bucket}/day/x.txt")[0] == ["x.txt"]
    with pytest.raises(SourceError, match="does not exist"):
        names(f"{bucket}/nowhere")


def test_a_manifest_in_an_object_store(bucket: str) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"{bucket}/list.csv", b"uri\nday/a.mp4\n")
    assert names(f"{bucket}/list.csv")[0] == ["a.mp4"]
    fs.pipe_file(f"{bucket}/list.csv", b"uri\nday/none.mp4\n")
    with pytest.raises(SourceError, match=r"none\.mp4"):
        names(f"{bucket}/list.csv")


def test_an_unknown_kind_of_address_is_named() -> None:
    with pytest.raises(SourceError, match="nosuch://x"):
        names("nosuch://x/y")
