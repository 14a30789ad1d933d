"""How much is under way between the first stage and the last."""

import time
from pathlib import Path

import pyarrow as pa
import pytest
import ray.data
from ray.data import ActorPoolStrategy

from infra import window

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

ROWS, LIMIT = 24, 4


class Begin:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, batch: pa.Table) -> pa.Table:
        for number in batch["item"].to_pylist():
            (self._folder / f"begun-{number}").touch()
        return batch


class End:
    """A slow stage behind a fast one; it says how much had begun and was not ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        time.sleep(1.0)  # what starts late

    def __call__(self, batch: pa.Table) -> pa.Table:
        begun = len(list(self._folder.glob("begun-*")))
        ended = len(list(self._folder.glob("ended-*")))
        time.sleep(0.05)
        for number in batch["item"].to_pylist():
            (self._folder / f"ended-{number}").touch()
        return batch.append_column("under_way", pa.array([begun - ended] * len(batch)))


def most_under_way(folder: Path, limit: int) -> int:
    rows = ray.data.from_items(list(range(ROWS)), override_num_blocks=ROWS)
    window.bound(rows, limit)
    for stage in (Begin, End):
        rows = rows.map_batches(
            stage,
            fn_constructor_args=(folder,),
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=1),
            num_cpus=0.25,
        )
    came = rows.take_all()
    assert len(came) == ROWS
    return max(row["under_way"] for row in came)


@pytest.mark.parametrize("bound", [True, False])
def test_no_more_rows_are_under_way_than_allowed(bound: bool, tmp_path: Path) -> None:
    most = most_under_way(tmp_path, LIMIT if bound else 10 * ROWS)
    assert most <= LIMIT if bound else most > LIMIT
