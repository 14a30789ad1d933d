import json
import pickle
import stat
from pathlib import Path

import pytest

from infra.errors import ConfigurationError, StoreError
from infra.identity import Identity, given_key
from infra.store import Store, readable
from tests.infra.places import KEY, places


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_KEY", raising=False)
    monkeypatch.delenv("MIEN_KEY_FILE", raising=False)


def key_file(folder: Path, mode: int = 0o600, text: str = KEY) -> str:
    path = folder / "the.key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_new_local_store_gets_a_private_key_and_opens_again(tmp_path: Path) -> None:
    first = Store.open(str(tmp_path / "s"), create=True)
    path = tmp_path / "s" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Store.open(str(tmp_path / "s"), create=False)
    assert again.identity.source_id("x") == first.identity.source_id("x")
    assert path.read_text().strip() not in (tmp_path / "s" / "store.json").read_text()


def test_a_missing_store_names_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="mien score SOURCE --out"):
        Store.open(str(tmp_path / "s"), create=False)
    with pytest.raises(StoreError, match="mien score SOURCE --out"):
        readable(str(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_another_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(str(tmp_path / "s"), create=True)
    monkeypatch.setenv("MIEN_KEY", KEY)
    with pytest.raises(StoreError, match="another key"):
        Store.open(str(tmp_path / "s"), create=True)


def test_a_lost_key_is_refused_but_readers_need_none(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s"), create=True)
    (tmp_path / "s" / "key").unlink()
    with pytest.raises(StoreError, match="MIEN_KEY"):
        Store.open(str(tmp_path / "s"), create=True)
    assert readable(str(tmp_path / "s")).url == str(tmp_path / "s")


@pytest.mark.parametrize("open_it", [lambda url: Store.open(url, True), readable])
def test_another_schema_version_is_refused(tmp_path: Path, open_it) -> None:
    Store.open(str(tmp_path / "s"), create=True)
    mark = tmp_path / "s" / "store.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "schema_version": 99}))
    with pytest.raises(StoreError, match="schema version 99"):
        open_it(str(tmp_path / "s"))


def test_a_folder_of_other_things_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(StoreError, match="not empty"):
        Store.open(str(tmp_path), create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_remote_store_wants_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = places(tmp_path)["bucket"]
    with pytest.raises(ConfigurationError, match="MIEN_KEY"):
        Store.open(url, create=True)
    monkeypatch.setenv("MIEN_KEY_FILE", key_file(tmp_path))
    made = Store.open(url, create=True)
    assert {rel for rel, _ in made.root.list("")} == {"store.json"}
    monkeypatch.setenv("MIEN_KEY", KEY)
    Store.open(url, create=False)


def test_a_key_file_that_others_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_KEY_FILE", key_file(tmp_path, 0o640))
    with pytest.raises(ConfigurationError, match="chmod 600"):
        given_key()


@pytest.mark.parametrize("text", ["secret", KEY[:-2], "zz" * 32])
def test_what_is_no_key_is_refused_without_showing_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_KEY", text)
    with pytest.raises(ConfigurationError, match="openssl") as caught:
        given_key()
    assert text not in str(caught.value)


def test_the_key_never_travels(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"), create=True)
    with pytest.raises(TypeError, match="stays on the driver"):
        pickle.dumps(store)
    assert (tmp_path / "s" / "key").read_text().strip() not in repr(store)


def test_ids_differ_by_key_place_size_and_content() -> None:
    one, other = Identity(b"1" * 32), Identity(b"2" * 32)
    ids = {
        one.video_id("/a", 12, "f"),
        other.video_id("/a", 12, "f"),
        one.video_id("/b", 12, "f"),
        one.video_id("/a", 13, "f"),
        one.video_id("/a", 12, "g"),
        one.video_id("/a1", 2, "f"),  # parts must not run together
        one.source_id("/a"),
        other.source_id("/a"),
        one.key_fingerprint,
    }
    assert len(ids) == 9
    assert all(len(name) == 24 and int(name, 16) >= 0 for name in ids)
