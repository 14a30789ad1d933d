"""A run's news in the store."""

from datetime import UTC, datetime

from infra import live, runs
from infra.live import News, StageNews
from infra.runs import RunRecord
from infra.storage import Root

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def news(run_id: str, **changes) -> News:
    values = {"run_id": run_id, "at": NOW, "since": NOW, "stages": {"embed": StageNews(unit="f")}}
    return News(**{**values, **changes})


def test_news_are_replaced_listed_beside_records_and_forgotten(root: Root) -> None:
    ids = [runs.new_run_id(NOW.replace(day=day)) for day in (3, 4)]
    for run_id in ids:
        runs.save(root, RunRecord(run_id=run_id, started=NOW))
        live.put(root, news(run_id))
    live.put(root, news(ids[0], seconds=7.5, segments={"ok": 2, "partial": 1}))
    told = live.told(root)
    assert list(told) == ids
    assert (told[ids[0]].seconds, told[ids[0]].written) == (7.5, 3)
    assert told[ids[1]] == news(ids[1])
    assert [record.run_id for record in runs.list_runs(root)] == ids
    live.discard(root, [ids[0], "never said a word"])
    assert list(live.told(root)) == [ids[1]]


def test_news_of_a_later_mien_are_read_and_nonsense_is_passed_over(root: Root) -> None:
    later = news("r1").model_dump_json().replace('"faces":0', '"faces":3,"mood":"good"')
    root.write("runs/r1.live.json", later.encode())
    root.write("runs/r2.live.json", b"{")
    assert live.told(root) == {"r1": news("r1", faces=3)}
