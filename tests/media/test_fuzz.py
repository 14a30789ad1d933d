"""Whatever is done to a file, it comes out with a typed reason, and the child lives on.

`MIEN_FUZZ_EXAMPLES=2000` makes it look longer.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.child import Limits
from infra.sources import file_version
from schemas.reasons import Reason, Status
from tests.media.corpus import Chain
from tests.media.mutations import bases, changes

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("MIEN_FUZZ_EXAMPLES", "100"))
FILES = bases()
#: What no file may do: the first two are bugs, the others lose a child.
NEVER = {
    str(reason)
    for reason in (Reason.ERROR, Reason.WORKER_LOST, Reason.SIGNAL, Reason.TIMEOUT, Reason.MEMORY)
}


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    chain = Chain(Limits(seconds=20, memory_gib=2))
    yield chain
    chain.close()


def examine(chain: Chain, path: Path, data: bytes) -> list[dict]:
    """Probe a file and extract it; the outcomes hold together. Returns its segments."""
    path.write_bytes(data)
    probed = chain.probe(
        {
            "source_id": "s",
            "size_bytes": len(data),
            "changed": file_version(path.stat()),
            "uri": str(path),
        }
    )
    assert probed["reason"] not in NEVER
    if probed["reason"] is not None:
        return []
    segments = chain.extract(probed)
    for row in segments:
        assert row["reason"] not in NEVER
        assert (row["status"] == Status.OK) == (row["reason"] is None)
        assert row["faces_found"] == len(row["faces"]) == len(row["crops_raw"])
        assert row["frames_sampled"] == len(row["handover"])
        assert (row["status"] == Status.QUARANTINED) <= (row["frames_sampled"] == 0)
        ticks = [sample["pts_ticks"] for sample in row["handover"]]
        assert ticks == sorted(set(ticks))
        assert 0 <= row["seconds_read"] <= row["end_seconds"] - row["start_seconds"] + 1e-6
    return segments


@pytest.mark.parametrize("name", FILES)
def test_what_is_broken_here_was_sound(name: str, chain: Chain, tmp_path: Path) -> None:
    segments = examine(chain, tmp_path / "x", FILES[name])
    assert [row["status"] for row in segments] == [Status.OK]
    assert segments[0]["frames_sampled"] == 12


@pytest.mark.timeout(3600)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from(list(FILES)), how=st.lists(changes(FILES), min_size=1, max_size=4))
def test_no_damage_is_an_error_or_ends_the_child(
    chain: Chain, tmp_path_factory: pytest.TempPathFactory, name: str, how: list
) -> None:
    data = FILES[name]
    for change in how:
        data = change(data) if data else data
    before = chain.processes()
    examine(chain, tmp_path_factory.getbasetemp() / "fuzzed", data)
    now = chain.processes()
    assert all(was in (None, child) for was, child in zip(before, now, strict=True))
