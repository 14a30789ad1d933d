"""Runs of the main job that are killed until there have been enough kills."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import staging
from infra.store import Store
from infra.tables import table_rows
from schemas.config import Config
from schemas.tables import TABLES
from tests.chaos.nodes import Nodes
from tests.chaos.noted import BEGUN, read_begun
from tests.pipelines.jobs import CIRCUMSTANCE
from tests.s3 import S3Server

ROOT = Path(__file__).parents[2]
MEAN_PAUSE_SECONDS = 4.0
S3_STOP_SECONDS = (1.0, 12.0)
#: How long a lost node's work may take to go on elsewhere before this counts as a failure.
LONGEST_RECOVERY_SECONDS = 90.0
LONGEST_RUN_SECONDS = 900.0
RESUMABLE, QUARANTINED = 6, 3

Rows = dict[str, Counter[str]]


@dataclass
class Tally:
    """What happened. `redone` counts segments begun again, for whatever reason."""

    kills: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    segments: int = 0
    redone: int = 0
    rounds: int = 0
    after_driver_kill: list[float] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    starved: dict[str, Any] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return self.kills.total()

    def summary(self) -> dict[str, Any]:
        """As it is printed and committed."""
        return {
            "kills": self.killed,
            "kills_by_kind": dict(sorted(self.kills.items())),
            "rounds": self.rounds,
            "segments": self.segments,
            "lost_rows": self.lost,
            "doubled_rows": self.doubled,
            "redone_segments": self.redone,
            "redone_an_actor_after_a_driver_kill_at_most": max(
                self.after_driver_kill, default=None
            ),
            "node_loss_worked_around_seconds_at_most": max(self.recovery_seconds, default=None),
            "node_losses_measured": len(self.recovery_seconds),
            "all_nodes_but_the_head_lost": self.starved,
            "exit_codes": dict(sorted(self.exits.items())),
            "trouble": self.trouble,
        }


class Monkey:
    """Starts the main job, kills what it is made of, and starts it again until it is through.

    `kinds` says what to kill, one after the other; the last round is left alone from then on.
    """

    def __init__(
        self,
        nodes: Nodes,
        s3: S3Server,
        folder: Path,
        kinds: list[str],
        rng: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._nodes, self._s3, self._folder, self._rng, self._say = nodes, s3, folder, rng, say
        self._begun = Path(os.environ[BEGUN])
        self._due = list(kinds)
        self.tally = Tally()

    @property
    def through(self) -> bool:
        return not self._due

    def undisturbed(self, cfg: Config, *options: str) -> Rows:
        """What the job publishes when it is left alone. Raises `RuntimeError` where it fails."""
        driver = self._start(cfg, *options)
        if (code := driver.wait(LONGEST_RUN_SECONDS)) != 0:
            raise RuntimeError(f"exit code {code}: {self._folder}/driver.log")
        return published(str(cfg.store))

    def round(self, cfg: Config, expected: Rows) -> None:
        """One store: run and kill until the job is through, then compare."""
        self._begun.unlink(missing_ok=True)
        deadline = time.monotonic() + LONGEST_RUN_SECONDS
        while True:
            code = self._life(cfg)
            self._nodes.fill()
            if code in (0, QUARANTINED):
                break
            if code not in (RESUMABLE, None):
                self._trouble(f"exit code {code}")
            if time.monotonic() > deadline:
                self._trouble(f"not through after {LONGEST_RUN_SECONDS:.0f} s")
                return
        if code == QUARANTINED:  # two kills met one segment
            self.undisturbed(cfg, "--retry-quarantined")
        begun = [item.segment_id for item in read_begun(self._begun)]
        self.tally.segments += len(set(begun))
        self.tally.redone += len(begun) - len(set(begun))
        self.tally.rounds += 1
        self._compare(expected, published(str(cfg.store)))
        if left := staging.staged_runs(Store.open(str(cfg.store), create=False).root):
            self._trouble(f"left in staging: {left}")

    def starve(self, cfg: Config, expected: Rows) -> None:
        """Lose every node but the head, for good: the job ends by itself, and is gone on with."""
        self._begun.unlink(missing_ok=True)
        driver = self._start(cfg)
        while not read_begun(self._begun) and driver.poll() is None:
            time.sleep(0.1)
        self._nodes.kill_all_but_the_head()
        at = time.monotonic()
        code = driver.wait(LONGEST_RUN_SECONDS)
        self.tally.starved = {"exit_code": code, "seconds": round(time.monotonic() - at, 1)}
        if code not in (0, RESUMABLE):
            self._trouble(f"without its nodes: exit code {code}")
        self._nodes.fill()
        self.round(cfg, expected)

    def _compare(self, expected: Rows, got: Rows) -> None:
        for table in TABLES:
            missing, more = expected[table] - got[table], got[table] - expected[table]
            self.tally.lost += missing.total()
            self.tally.doubled += more.total()
            if missing or more:
                self._trouble(f"{table}: {missing.total()} rows missing, {more.total()} too many")

    def _life(self, cfg: Config) -> int | None:
        """One process of the job; its exit code, or None where it was killed."""
        driver = self._start(cfg)
        started, due = time.time(), self._next_moment()
        while driver.poll() is None:
            time.sleep(0.1)
            if time.monotonic() < due or self.through:
                continue
            kind = self._due.pop(0)
            if kind == "driver":
                self._count(kind)
                driver.kill()
                driver.wait()
                self._after_driver_kill(cfg, started)
                return None
            if self._kill(kind, driver):
                self._count(kind)
            else:
                self._due.insert(2, kind)  # there is none of it yet
            due = self._next_moment()
        self.tally.exits[str(driver.returncode)] += 1
        return driver.returncode

    def _next_moment(self) -> float:
        return time.monotonic() + 0.5 + self._rng.expovariate(1 / MEAN_PAUSE_SECONDS)

    def _kill(self, kind: str, driver: subprocess.Popen) -> bool:
        if kind == "child":
            return self._nodes.kill_one(self._nodes.children())
        if kind == "worker":
            return self._nodes.kill_one(self._nodes.workers())
        if kind == "s3":
            self._s3.pause()
            time.sleep(self._rng.uniform(*S3_STOP_SECONDS))
            self._s3.go_on()
            return True
        at = time.time()
        lost = self._nodes.kill_node(raylet_only=kind == "raylet")
        self._await_recovery(at, lost, driver)
        self._nodes.fill()
        return True

    def _await_recovery(self, at: float, lost: set[int], driver: subprocess.Popen) -> None:
        """Until as many actors as a node took with it begin segments elsewhere."""
        before = {item.pid for item in read_begun(self._begun) if item.at <= at}
        if not lost & before:
            return
        while driver.poll() is None:
            fresh = [i for i in read_begun(self._begun) if i.at > at and i.pid not in before]
            if len({item.pid for item in fresh}) >= len(lost & before):
                self.tally.recovery_seconds.append(round(fresh[-1].at - at, 1))
                return
            if time.time() - at > LONGEST_RECOVERY_SECONDS:
                self._trouble(f"a lost node's work did not go on within {time.time() - at:.0f} s")
                return
            time.sleep(0.2)

    def _after_driver_kill(self, cfg: Config, started: float) -> None:
        """How many segments were begun in vain, for each extract actor."""
        time.sleep(3)  # workers end with their driver; what they were writing is written
        begun = {item.segment_id for item in read_begun(self._begun) if item.at > started}
        store = Store.open(str(cfg.store), create=True)
        staged = {
            s
            for run in staging.staged_runs(store.root)
            for s in staging.staged_segments(store.root, run)
        }
        if staged:  # else nothing was done yet, or all is published
            live = table_rows(store.root, store.latest(), "segments", ["segment_id"])
            in_vain = begun - staged - set(live["segment_id"].to_pylist())
            self.tally.after_driver_kill.append(round(len(in_vain) / int(cfg.extract.actors), 2))

    def _start(self, cfg: Config, *options: str) -> subprocess.Popen:
        path = self._folder / "job.json"
        path.write_text(cfg.model_dump_json())
        command = [sys.executable, "-m", "tests.chaos.noted", "score", "-c", str(path), *options]
        with (self._folder / "driver.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def _count(self, kind: str) -> None:
        self.tally.kills[kind] += 1
        self._say(f"kill {self.tally.killed}: {kind}")

    def _trouble(self, text: str) -> None:
        self.tally.trouble.append(text)
        self._say(f"trouble: {text}")


def published(store_url: str) -> Rows:
    """All rows of each table, without what depends on when and by whom they were made."""
    store = Store.open(store_url, create=False)
    found = {}
    for name in TABLES:
        rows = table_rows(store.root, store.latest(), name)
        kept = [c for c in rows.column_names if c not in CIRCUMSTANCE]
        if name == "segments":
            kept = [c for c in kept if not c.endswith("_seconds")]
        found[name] = Counter(
            json.dumps(row, sort_keys=True, default=str) for row in rows.select(kept).to_pylist()
        )
    return found
