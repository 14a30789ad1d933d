"""The store's audit log: what was done to its rows and on what ground, one event a file.

Each event's code (HMAC-SHA256 under the store's key) covers the event and the code of the one
before it. So a changed, removed or moved event shows in the chain itself. A tail that was cut off
does not: it shows against the heads that snapshots and runs recorded, and against one kept
elsewhere (MLflow has every run's). Events name no uri. mien never deletes one.
"""

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from infra import runs, snapshots
from infra.errors import ConfigurationError
from infra.identity import Identity
from infra.storage import Root, in_parallel

if TYPE_CHECKING:
    from infra.store import Store

FOLDER = "audit"
_FIELDS = {"seq", "at", "kind", "facts", "previous", "nonce", "mac"}
_MAC_DIGITS, _MOST_DIGITS = 64, 18
#: `previous` of an event that vouches for none before it.
UNKNOWN = ""

#: Number and code of the newest event.
Head = tuple[int, str]


@dataclass(frozen=True)
class Event:
    """Something that was done, or was about to be when it was logged."""

    seq: int
    """1, 2, 3 ..."""
    at: str
    """UTC, ISO 8601."""
    kind: str
    facts: Mapping[str, Any]
    """Plain JSON. No uri, no path or name of a video."""
    previous: str
    """`mac` of the event before; empty for the first, and where that one could not be read."""
    nonce: str
    """Random: tells a writer's own put from another's equal one."""
    mac: str = ""


class Kind(StrEnum):
    """How a log can differ from what was written."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    CUT_OFF = "cut_off"


@dataclass(frozen=True)
class Problem:
    """One place where the log is not what was written."""

    seq: int
    kind: Kind
    message: str

    def __str__(self) -> str:
        return f"event {self.seq}: {self.message}"


def append(store: "Store", kind: str, facts: Mapping[str, Any]) -> Event:
    """Log an event as the newest one, whoever else logs at the same time.

    Raises:
        ValueError, TypeError: `facts` are no JSON.
    """
    facts = json.loads(json.dumps(facts, allow_nan=False))  # what a reader will find
    while True:
        seq, previous = head(store.root) or (0, UNKNOWN)
        moment = datetime.now(UTC).isoformat(timespec="microseconds")
        event = Event(seq + 1, moment, kind, facts, previous, secrets.token_hex(8))
        event = replace(event, mac=_mac(store.identity, event))
        if store.root.create(_name(event.seq), json.dumps(asdict(event), indent=1).encode()):
            return event


def events(store: "Store") -> list[Event]:
    """Every event that can be read, oldest first. Whether they are genuine, `verify` tells."""
    return [event for _, event in sorted(_read(store.root).items()) if event]


def head(root: Root) -> Head | None:
    """Number and code of the newest event, as it claims; None where nothing was logged."""
    newest = max((_number(rel) for rel, _ in root.list(FOLDER)), default=0)
    if not newest:
        return None
    event = _parse(root.read_bytes(_name(newest)))
    return newest, event.mac if event else UNKNOWN  # a damaged one breaks the chain, not the run


def head_text(value: Head | None) -> str | None:
    """A head as it is recorded: `SEQ:MAC`."""
    return f"{value[0]}:{value[1]}" if value else None


def parse_head(text: str) -> Head:
    """The head that `text` says. Raises `ConfigurationError` where it is none."""
    found = _head_in(text.strip())
    if found is None:
        raise ConfigurationError(
            f"{text!r}: is no head of an audit log: give SEQ:MAC as `mien audit` prints it"
        )
    return found


def _head_in(text: object) -> Head | None:
    seq, _, mac = text.partition(":") if isinstance(text, str) else ("", "", "")
    is_one = seq.isdecimal() and len(seq) <= _MOST_DIGITS and int(seq) > 0 and _is_mac(mac)
    return (int(seq), mac) if is_one else None


def verify(store: "Store", expected_head: Head | None = None) -> list[Problem]:
    """Where the log is not what was written, in its order; none where it is.

    `expected_head` is one that was kept outside of the store. Those inside are compared as well.
    """
    found = _read(store.root)
    problems = [*_broken(store.identity, found)]
    recorded = list(_recorded(store.root))
    if expected_head:
        recorded.append(("the head given", expected_head))
    told = {problem.seq for problem in problems}
    for where, (seq, mac) in recorded:
        problem = _differs(found, where, seq, mac)
        if problem and seq not in told:
            told.add(seq)
            problems.append(problem)
    return sorted(problems, key=lambda problem: problem.seq)


def _broken(identity: Identity, found: Mapping[int, Event | None]) -> Iterator[Problem]:
    """What the chain itself tells."""
    last = 0
    for seq in sorted(found):
        if seq > last + 1:  # told as one: a planted number may be huge
            these = "is missing" if seq == last + 2 else f"and all up to {seq - 1} are missing"
            yield Problem(last + 1, Kind.REMOVED, these)
        last = seq
        event, before = found[seq], found.get(seq - 1)
        if event is None or not hmac.compare_digest(event.mac, _mac(identity, event)):
            yield Problem(seq, Kind.CHANGED, "was changed: its code does not fit it")
        elif event.seq != seq:
            yield Problem(seq, Kind.REORDERED, f"was written as event {event.seq}")
        elif before and event.previous not in (before.mac, UNKNOWN):
            yield Problem(seq, Kind.CHANGED, f"followed another event {seq - 1} than stands there")


def _differs(found: Mapping[int, Event | None], where: str, seq: int, mac: str) -> Problem | None:
    """What a recorded head tells."""
    if seq > max(found, default=0):
        return Problem(seq, Kind.CUT_OFF, f"is gone with all after it: {where} names it")
    if seq not in found:
        return None  # a gap, which the chain tells
    event = found[seq]
    if event is None or event.mac != mac:
        return Problem(seq, Kind.CHANGED, f"is not the one that {where} names")
    return None


def _recorded(root: Root) -> Iterator[tuple[str, Head]]:
    """Every head that a snapshot or a run recorded, newest first, and who did."""
    rels = [
        rel
        for folder in (snapshots.FOLDER, runs.FOLDER)
        for rel, _ in reversed(root.list(folder))
        if rel.endswith(".json") and rel.count(".") == 1  # a record, not what lies beside it
    ]
    for rel, data in zip(rels, in_parallel(lambda rel: _bytes(root, rel), rels), strict=True):
        if recorded := _head_in(_json(data).get("audit_head")):
            yield rel, recorded


def _read(root: Root) -> dict[int, Event | None]:
    """Every event by the number of its file; None where it is none."""
    numbers = sorted(filter(None, (_number(rel) for rel, _ in root.list(FOLDER))))
    data = in_parallel(lambda seq: _bytes(root, _name(seq)), numbers)
    return dict(zip(numbers, map(_parse, data), strict=True))


def _bytes(root: Root, rel: str) -> bytes:
    try:
        return root.read_bytes(rel)
    except FileNotFoundError:  # gone since it was listed
        return b""


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _parse(data: bytes) -> Event | None:
    value = _json(data)
    texts = (value.get(name) for name in ("at", "kind", "previous", "nonce", "mac"))
    if set(value) != _FIELDS or not all(isinstance(text, str) for text in texts):
        return None
    if not isinstance(value["seq"], int) or not isinstance(value["facts"], dict):
        return None
    return Event(**value) if _is_mac(value["mac"]) else None


def _mac(identity: Identity, event: Event) -> str:
    body = {name: value for name, value in asdict(event).items() if name != "mac"}
    return identity.audit_code(json.dumps(body, sort_keys=True, separators=(",", ":")))


def _is_mac(text: str) -> bool:
    return len(text) == _MAC_DIGITS and set(text) <= set("0123456789abcdef")


def _name(seq: int) -> str:
    return f"{FOLDER}/{seq:012d}.json"


def _number(rel: str) -> int:
    """An event's number by its file; 0 for what is none."""
    stem = rel.rsplit("/", 1)[-1].removesuffix(".json")
    if not stem.isdecimal() or len(stem) > _MOST_DIGITS:
        return 0
    return int(stem) if _name(int(stem)) == rel else 0
