"""The child process: what it sees, what it may not do, and how it dies."""

import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import traceback
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from infra.child import Isolated, Limits, _Child
from infra.errors import Failed, Unreachable, discreet
from infra.ramdisk import RAM_DISK
from infra.sources import file_version, open_source
from operators.core.operator import empty_values
from tests.infra import chains

pytestmark = pytest.mark.slow  # seconds each, or many of them

BODY = b"0123456789" * 1000
ROWS = pa.schema(
    [
        ("segment_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("changed", pa.string()),
    ]
)


@pytest.fixture
def row(tmp_path: Path) -> pa.Table:
    path = tmp_path / "secret name.mp4"
    path.write_bytes(BODY)
    return listed(path)


def listed(path: Path) -> pa.Table:
    status = path.stat()
    values = ["s", str(path), status.st_size, file_version(status)]
    return pa.table([[value] for value in values], schema=ROWS)


def isolated(operator: type, *args: object, **limits: float) -> Isolated:
    return Isolated(
        chains.steps(operator, *args), ROWS, open_source, empty_values, Limits(**limits)
    )


def said(operator: type, row: pa.Table, *args: object) -> str:
    chain = isolated(operator, *args)
    try:
        return chain(row)["said"][0].as_py()
    finally:
        chain.close()


def test_reads_bytes_through_the_parent_and_never_learns_the_uri(row: pa.Table) -> None:
    assert said(chains.Content, row) == str(BODY[-3:] + BODY[2:6])
    assert said(chains.Columns, row) == str(["changed", "segment_id", "size_bytes"])


def test_has_no_credentials(row: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MIEN_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "secret")
    seen = said(chains.Environment, row)
    assert "PYTHONPATH" in seen
    assert not any(word in seen for word in ("AWS", "MIEN_KEY", "TOKEN"))


def test_reaches_no_network(row: pa.Table) -> None:
    probe = "import ctypes; print(ctypes.CDLL(None).unshare(0x50000000))"
    if subprocess.check_output([sys.executable, "-c", probe]).strip() != b"0":
        pytest.skip("this kernel lets no ordinary process leave the network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert said(chains.Network, row, server.getsockname()[1]) == "refused"


def test_its_memory_can_neither_be_dumped_nor_read(row: pa.Table) -> None:
    assert said(chains.Dumpable, row) == str((0, str(RAM_DISK)))


def test_one_child_serves_many_rows(row: pa.Table) -> None:
    chain = isolated(chains.Pid)
    try:
        out = chain(pa.concat_tables([row, row]))
        assert len(set(out["said"].to_pylist())) == 1
        assert out["said"][0].as_py() != str(os.getpid())
    finally:
        chain.close()


def test_a_crash_in_native_code_costs_the_row_not_this_process(
    row: pa.Table, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    chain = isolated(chains.Crash, marks)
    out = chain(row)
    assert out["status"].to_pylist() == ["quarantined"]
    assert out["reason"].to_pylist() == ["signal"]
    assert out["segment_id"].to_pylist() == ["s"]
    assert marks.read_text() == "xx"  # a second attempt, and no third


def test_a_hang_ends_at_the_time_limit(row: pa.Table) -> None:
    begin = time.monotonic()
    out = isolated(chains.Hang, seconds=1.5)(row)
    assert out["reason"].to_pylist() == ["timeout"]
    assert time.monotonic() - begin < 20


def test_too_much_memory_is_refused(row: pa.Table) -> None:
    out = isolated(chains.Greedy, memory_gib=1)(row)
    assert out["reason"].to_pylist() == ["memory"]


def test_an_exception_carries_no_content(row: pa.Table, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        out = isolated(chains.Leaky)(row)
    assert out["reason"].to_pylist() == ["error"]
    assert "ValueError" in caplog.text
    assert "content of a row" not in caplog.text


def test_nor_does_one_in_an_actor() -> None:
    @discreet()
    def leaky() -> None:
        try:
            int("the content of a row")
        except ValueError as error:
            raise KeyError("and more of it") from error

    with pytest.raises(Failed, match=r"^KeyError at .*test_child.py:\d+$") as caught:
        leaky()
    assert "content" not in "".join(traceback.format_exception(caught.value)).split("Failed:")[1]
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b""), "changed"),
        (lambda path: path.write_bytes(BODY[::-1]), "changed"),  # of the same size
        (lambda path: path.write_bytes(BODY + b"more"), "changed"),
        (lambda path: path.unlink(), "unreadable"),
    ],
)
def test_a_file_that_changed_or_went_is_named_so(row: pa.Table, change, reason: str) -> None:
    change(Path(row["uri"][0].as_py()))
    out = isolated(chains.Content)(row)
    assert out["reason"].to_pylist() == [reason]
    assert "uri" not in out.column_names


def test_dies_with_its_parent(row: pa.Table) -> None:
    script = textwrap.dedent(
        f"""
        import pyarrow as pa, time
        from infra.child import Isolated
        from infra.sources import open_source
        from operators.core.operator import empty_values
        from tests.infra import chains
        row = pa.Table.from_pylist({row.to_pylist()!r})
        chain = Isolated(chains.steps(chains.Pid), row.schema, open_source, empty_values)
        print(chain(row)["said"][0].as_py(), flush=True)
        time.sleep(60)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_a_file_that_is_written_while_it_is_read_is_named_so(row: pa.Table) -> None:
    path = Path(row["uri"][0].as_py())

    class Meddling:
        """Somebody writes into the file after its first range was read."""

        def __init__(self, uri: str, size_bytes: int, version: str) -> None:
            self._file = open_source(uri, size_bytes, version)

        def read_range(self, offset: int, length: int) -> bytes:
            data = self._file.read_range(offset, length)
            path.write_bytes(BODY[::-1])
            return data

        def check_unchanged(self) -> None:
            self._file.check_unchanged()

        def close(self) -> None:
            self._file.close()

    chain = Isolated(chains.steps(chains.Content), ROWS, Meddling, empty_values)
    assert chain(row)["reason"].to_pylist() == ["changed"]
    chain.close()


def test_what_is_renamed_over_a_file_leaves_the_one_that_is_read_whole(
    row: pa.Table, tmp_path: Path
) -> None:
    source = open_source(*(row[name][0].as_py() for name in ("uri", "size_bytes", "changed")))
    (tmp_path / "new").write_bytes(b"other")
    (tmp_path / "new").rename(row["uri"][0].as_py())
    assert source.read_range(0, 5) == BODY[:5]
    source.check_unchanged()
    source.close()


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (OSError("read error"), "quarantined", "unreadable"),
        (Unreachable("no answer for minutes"), "deferred", "storage"),
    ],
)
def test_a_read_that_fails_is_told_from_a_storage_that_is_gone(
    row: pa.Table, failure: Exception, status: str, reason: str
) -> None:
    class Failing:
        def __init__(self, *listed: object) -> None:
            pass

        def read_range(self, offset: int, length: int) -> bytes:
            raise failure

        def check_unchanged(self) -> None:
            pass

        def close(self) -> None:
            pass

    chain = Isolated(chains.steps(chains.Content), ROWS, Failing, empty_values)
    out = chain(row)
    assert out["status"].to_pylist() == [status]
    assert out["reason"].to_pylist() == [reason]


def test_once_a_stop_is_asked_for_rows_come_back_deferred(row: pa.Table) -> None:
    stop: list[bool] = []
    chain = Isolated(
        chains.steps(chains.Pid), ROWS, open_source, empty_values, stopping=lambda: bool(stop)
    )
    assert chain(row)["status"].to_pylist() == ["ok"]
    stop.append(True)
    out = chain(row)
    assert out["status"].to_pylist() == ["deferred"]
    assert out["reason"].to_pylist() == ["stopping"]
    assert out["segment_id"].to_pylist() == ["s"]
    chain.close()


def test_cpu_time_is_limited_beside_wall_time(row: pa.Table) -> None:
    """The parent's clock is stopped here, and the kernel ends the child."""
    chain = isolated(chains.Busy, seconds=1.5)
    chain._child = _Child(chains.steps(chains.Busy), Limits(1.5))
    chain._child._limits = Limits(60)
    assert chain(row)["reason"].to_pylist() == ["timeout"]


@pytest.mark.parametrize("nonsense", [b"R" + b"\xff" * 16, b"R", b"Tnot a table", b""])
def test_a_child_that_video_took_over_cannot_harm_its_parent(
    row: pa.Table, nonsense: bytes
) -> None:
    out = isolated(chains.Hostile, nonsense)(row)
    assert out["status"].to_pylist() == ["quarantined"]
    assert out["reason"].to_pylist() == ["error"]
