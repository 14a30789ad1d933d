"""What was erased is known again by its place and by its content."""

import pytest

from infra import tombstones
from infra.errors import StoreError
from infra.storage import Root
from infra.tombstones import Kind, Tombstone, Tombstones

VIDEO = Tombstone(kind=Kind.VIDEO, video_id="v1", source_id="s1", content_id="c1")
SPAN = Tombstone(
    kind=Kind.SPAN, video_id="v2", source_id="s2", content_id="c2", start_seconds=0, end_seconds=9
)
EXPIRED = Tombstone(kind=Kind.EXPIRED, video_id="v3", source_id="s3", content_id="c3")


def test_they_outlive_a_second_writing(root: Root) -> None:
    assert len(tombstones.load(root)) == 0
    tombstones.put(root, "one", (VIDEO, SPAN))
    tombstones.put(root, "one", (VIDEO, SPAN))
    tombstones.put(root, "two", (EXPIRED,))
    assert tombstones.read(root) == [VIDEO, SPAN, EXPIRED]


def test_one_that_cannot_be_read_lets_nothing_pass(root: Root) -> None:
    root.write("erased/one.json", b'[{"kind": "video"}]')
    with pytest.raises(StoreError, match=r"erased/one\.json: holds no tombstones"):
        tombstones.read(root)


@pytest.mark.parametrize(
    ("source_id", "content_id", "is_held"),
    [
        ("s1", "other", True),  # replaced at its place
        ("other", "c1", True),  # a copy
        ("s1", None, True),
        ("other", None, False),  # nothing of it was read
        ("s2", "c2", False),  # a part alone
        ("s3", "c3", False),  # expired: the very file alone, by `expired`
    ],
)
def test_a_video_is_known_by_place_or_content(
    source_id: str, content_id: str | None, is_held: bool
) -> None:
    erased = Tombstones([VIDEO, SPAN, EXPIRED])
    assert erased.holds({"source_id": source_id, "content_id": content_id}) is is_held


def test_parts_and_what_expired() -> None:
    erased = Tombstones([VIDEO, SPAN, EXPIRED])
    for place in ({"source_id": "s2"}, {"source_id": "x", "content_id": "c2"}):
        assert erased.parts(place) == (SPAN,)
    assert erased.parts({"source_id": "s2", "content_id": "c2"}) == (SPAN,)
    assert erased.parts({"source_id": "x", "content_id": None}) == ()
    assert erased.expired("v3")
    assert not erased.expired("v1")
