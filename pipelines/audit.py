"""Audit: what was done to a store, and whether its log of that is whole."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from infra import audit_log
from infra.audit_log import Event, Problem
from infra.errors import AuditChainBroken
from infra.store import Store


@dataclass(frozen=True)
class Audit:
    """A store's log as it was found."""

    store: str
    head: str | None
    """`SEQ:MAC` of the newest event."""
    events: tuple[Event, ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "whole": not self.problems}

    def check(self) -> None:
        """Raises `AuditChainBroken` (exit 4) where the log is not what was written."""
        if self.problems:
            raise AuditChainBroken(
                f"{self.store}: the audit log is not what was written: "
                f"{'; '.join(map(str, self.problems))}: restore {audit_log.FOLDER}/ from a backup "
                "and find out who changed it"
            )

    def __str__(self) -> str:
        if not self.events:
            return "nothing was logged yet"
        return (
            f"{len(self.events)} events, none changed, removed or reordered. A cut-off end shows "
            f"against a head kept elsewhere: mien audit {self.store} --head {self.head}"
        )


def audit(url: str, head: str | None = None) -> Audit:
    """Read and check the log. `head` is `SEQ:MAC`, kept outside of the store.

    Raises:
        ConfigurationError: `head` is none.
        StoreError: There is no store, or its key is another.
    """
    expected = audit_log.parse_head(head) if head else None
    store = Store.open(url, create=False)
    newest = audit_log.head_text(audit_log.head(store.root))
    problems = audit_log.verify(store, expected)
    return Audit(store.root.url, newest, tuple(audit_log.events(store)), tuple(problems))


def event_line(event: Event) -> str:
    """An event as one line for people; `--json` has it as it was logged."""
    facts = json.dumps(event.facts, ensure_ascii=False)
    line = f"{event.seq:>6}  {event.at[:19]}  {event.kind:<10}  {facts}"
    return "".join(c if c.isprintable() else "?" for c in line)  # it may have been tampered with
