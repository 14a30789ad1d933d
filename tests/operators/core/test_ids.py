import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.core.ids import face_id, segment_id, track_id

VIDEO = "a" * 24
TICKS = st.integers(0, 10**12)
PLACES = st.integers(0, 31)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(TICKS, PLACES), min_size=2, max_size=20, unique=True))
def test_ids_sort_as_time_and_place_do(moments: list[tuple[int, int]]) -> None:
    for name in (face_id, track_id):
        ids = [name(VIDEO, *moment) for moment in sorted(moments)]
        assert ids == sorted(set(ids))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(0, 10**8), min_size=3, max_size=20, unique=True))
def test_segments_sort_as_their_starts_do(milliseconds: list[int]) -> None:
    borders = [value / 1000 for value in sorted(milliseconds)]
    ids = [segment_id(VIDEO, *span) for span in itertools.pairwise(borders)]
    assert ids == sorted(set(ids))


def test_ids_are_safe_as_file_names() -> None:
    for name in (segment_id(VIDEO, 0.0005, 60), face_id(VIDEO, 1, 2), track_id(VIDEO, 1, 2)):
        assert re.fullmatch(r"[0-9a-z-]+", name)
        assert name.startswith(f"{VIDEO}-")
