"""A job for tests of the main path, footage for it, and what it leaves behind."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.store import Store
from infra.tables import table_rows
from schemas.config import Config
from schemas.tables import TABLES

GOVERNANCE = {
    "controller": "tests",
    "operator": "tests",
    "purpose": "research",
    "setting": "laboratory",
    "jurisdiction": "other",
    "legal_basis": "consent",
    "notice_reference": "none",
    "retention_days": 1,
    "overseer": "tests",
}
#: Columns that say how long something took or which run did it, not what was found.
CIRCUMSTANCE = {"run_id", "segment_id", *(n for n in TABLES["segments"].names if "_seconds" in n)}


def job(source: str, store: str, backbone: str, **changes: Any) -> Config:
    """A small configuration; `changes` holds keys of its sections."""
    values: dict[str, Any] = {
        "source": source,
        "store": store,
        "governance": GOVERNANCE,
        "plan": {"segment_seconds": 2},
        "extract": {"detector_px": 320, "actors": 1},
        "embed": {"backbone": backbone},
        "tracking": {"enabled": False},
        "run": {"max_quarantined": 0.5},
    }
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value}
    return Config.model_validate(values)


def frames(count: int, step: int) -> list[np.ndarray]:
    """A portrait that moves by `step` pixels a frame."""
    import skimage.data

    face = skimage.data.astronaut()[:200:2, 120:320:2]
    out = []
    for index in range(count):
        frame = np.full((144, 256, 3), 80, np.uint8)
        left = 20 + step * index
        frame[20:120, left : left + 100] = face
        out.append(frame)
    return out


def tables(store: Path) -> dict[str, pa.Table]:
    root = Store.open(str(store), create=False)
    return {name: table_rows(root.root, root.latest(), name) for name in TABLES}


def same_rows(left: Path, right: Path) -> None:
    first, second = tables(left), tables(right)
    for name in TABLES:
        columns = [c for c in first[name].column_names if c not in CIRCUMSTANCE]
        if name == "segments":
            columns = [c for c in columns if not c.endswith("_seconds")]
        assert first[name].select(columns).equals(second[name].select(columns)), name


def start_until_staged(job: Path, cfg: Config) -> subprocess.Popen:
    """`mien score` in a process of its own, which has just staged its first segment."""
    job.write_text(cfg.model_dump_json())
    command = [sys.executable, "-m", "pipelines.cli", "score", "-c", str(job)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with job.with_suffix(".log").open("wb") as log:
        driver = subprocess.Popen(command, env=environment, stderr=log)
    deadline = time.monotonic() + 150
    while not list(Path(str(cfg.store)).glob("staging/*/*.parquet")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return driver
