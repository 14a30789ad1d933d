"""Readers beside a writer: at any moment a whole old or a whole new state."""

import multiprocessing
from multiprocessing.synchronize import Event
from typing import Any

import pytest

from infra.store import Store
from infra.tables import write_part
from pipelines.publish import make_visible
from pipelines.query import open_store
from tests.rows import store_tables, video_ids

PUBLISHES = 12
VIDEOS = 3
#: Each publish replaces all rows by those of another run; every table must tell of one run alone.
WHOLE = """
select (select list(distinct run_id) from videos) videos,
       (select list(distinct run_id) from segments) segments,
       (select count(*) from videos) n_videos,
       (select count(*) from faces) n_faces,
       (select count(*) from scores s join faces f using (face_id)) n_scores
"""


def publish(store: Store, number: int) -> None:
    name = f"run{number}"
    tables = store_tables(videos=VIDEOS, faces_per_video=4 + number, run_id=name)
    files = [
        file
        for table, rows in tables.items()
        for file in write_part(store.root, table, rows, name, {"mien.run_id": name})
    ]
    gone: dict[str, Any] = {table: [(v, None) for v in video_ids(VIDEOS)] for table in tables}
    make_visible(store, name, files, gone)


def hammer(url: str, begun: Event, over: Event, found: Any) -> None:
    """Open, read all tables, check, again; say how many states were seen."""
    seen: set[str] = set()
    while not over.is_set():
        row = open_store(url).execute(WHOLE).fetchall()[0]
        videos, segments, n_videos, n_faces, n_scores = row
        assert len(videos) == 1, row
        assert videos == segments, row
        number = int(videos[0].removeprefix("run"))
        assert n_videos == VIDEOS, row
        assert n_faces == n_scores == VIDEOS * (4 + number), row
        seen.add(videos[0])
        begun.set()
    found.put(len(seen))


@pytest.mark.slow
def test_a_reader_that_hammers_sees_whole_states_only(store_url: str) -> None:
    with Store.open(store_url, create=True).locked() as store:
        publish(store, 0)
        context = multiprocessing.get_context("spawn")
        begun, over, found = context.Event(), context.Event(), context.Queue()
        readers = [
            context.Process(target=hammer, args=(store_url, begun, over, found)) for _ in range(2)
        ]
        for reader in readers:
            reader.start()
        for number in range(1, PUBLISHES):
            begun.wait(60)  # importing takes longer than publishing
            publish(store, number)
        over.set()
        for reader in readers:
            reader.join(120)
    assert [reader.exitcode for reader in readers] == [0, 0]  # each assertion held, every time
    states = [found.get(timeout=10) for _ in readers]
    assert max(states) > 1  # it really read beside the writer


def test_a_query_keeps_its_state_while_others_publish(store_url: str) -> None:
    with Store.open(store_url, create=True).locked() as store:
        publish(store, 0)
        before = open_store(store_url)
        publish(store, 1)
        assert before.execute(WHOLE).fetchall()[0][0] == ["run0"]
        assert open_store(store_url).execute(WHOLE).fetchall()[0][0] == ["run1"]
