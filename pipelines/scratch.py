"""A scratch store: what planning reads of a real one, in a folder that is deleted."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from infra import runs, snapshots, staging, tombstones
from infra.ramdisk import RAM_DISK, SPILL
from infra.storage import Root, in_parallel
from infra.store import MARK, Store
from infra.traces import PROBES
from pipelines.record import UNFINISHED


@contextmanager
def scratch_store(url: str | None) -> Iterator[tuple[Store, Store | None]]:
    """A store in a temporary folder with the key, the published videos, the probes and what was
    erased of the one at `url`, and that one where it exists. It is only read.

    Raises `StoreError` where it has another key or version.
    """
    home = RAM_DISK if RAM_DISK.is_dir() else None
    # Named as what Ray spills: the next run deletes it where this one was killed.
    with tempfile.TemporaryDirectory(prefix=f"{SPILL}-{os.getpid()}-", dir=home) as folder:
        if not url or not Root(url).exists(MARK):
            yield Store.open(folder, create=True), None
            return
        real = Store.open(url, create=False)
        real = replace(real, root=real.root.patient())
        scratch = Store(Root(folder), real.identity)
        files = real.latest().of("videos")
        rels = [*(file.path for file in files), *_if_there(real.root, PROBES)]
        rels += [rel for rel, _ in real.root.list(tombstones.FOLDER)]
        in_parallel(lambda rel: scratch.root.write(rel, real.root.read_bytes(rel)), rels)
        snapshots.commit(scratch.root, lambda current: replace(current, files=files))
        yield scratch, real


def _if_there(root: Root, rel: str) -> list[str]:
    return [rel] if root.exists(rel) else []


def staged_already(store: Store, run_hash: str, video_ids: set[str]) -> set[str]:
    """Segments of these videos that the next run will find done: staged by an unfinished one."""
    found: set[str] = set()
    for record in runs.list_runs(store.root):
        if record.state in UNFINISHED and record.hashes.get("run") == run_hash:
            names = staging.staged_segments(store.root, record.run_id)
            own = {name for name in names if name.rsplit("-", 2)[0] in video_ids}
            found = own or found  # it goes on with the last such run
    return found
