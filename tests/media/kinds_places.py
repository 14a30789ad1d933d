"""What a local folder can hold besides plain files, and files that change while they are in use."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from infra.listing import BAD_NAME, NOT_A_FILE
from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import FRAMES
from tests.media.kinds import Kind, Outcome, add, ok, refused, skipped

PLACES = "places and names"
CHANGES = "changes behind the pipeline's back"

#: Beside the file in its kind's folder, and hidden from the listing by its name.
HIDDEN = ".kept"


def loop(path: Path) -> None:
    path.symlink_to(path)


def folder_loop(path: Path) -> None:
    """A folder that links to itself, with one good video in it."""
    path.write_bytes(clips.mp4())
    (path.parent / "again").symlink_to(path.parent)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nothing.mp4")


def link(path: Path) -> None:
    target = path.parent / HIDDEN
    target.write_bytes(clips.mp4())
    path.symlink_to(target)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    # A socket's path may be no longer than about a hundred bytes, so it is made from within.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def not_utf8(path: Path) -> None:
    name = os.fsencode(path.parent) + b"/caf\xe9.mp4"
    Path(os.fsdecode(name)).write_bytes(clips.mp4())


def unreadable(path: Path) -> None:
    path.write_bytes(clips.mp4())
    path.chmod(0)


nothing = skipped(NOT_A_FILE)
for name, about, file, expected, place in (
    ("link-to-itself", "a link that leads to itself", "x.mp4", nothing, loop),
    ("folder-loop", "a folder that links to itself", "x.mp4", ok(FRAMES), folder_loop),
    ("dangling-link", "a link to nothing", "x.mp4", nothing, dangling),
    ("link", "a link to a good video", "x.mp4", ok(FRAMES), link),
    ("folder", "a folder called x.mp4", "x.mp4", skipped(""), Path.mkdir),
    ("fifo", "a named pipe, which would block a reader for ever", "x.mp4", nothing, fifo),
    ("socket", "a Unix socket", "x.mp4", nothing, listening),
    ("not-utf-8", "a name that is not UTF-8", "caf?.mp4", skipped(BAD_NAME), not_utf8),
):  # fmt: skip
    add(Kind(name, PLACES, about, file, expected, place=place))

if os.geteuid() != 0:  # root reads everything
    add(Kind("unreadable", PLACES, "a file without permissions", "x.mp4",
             refused(Reason.UNREADABLE), place=unreadable))  # fmt: skip

for name, about, file in (
    ("name-with-newline", "a line feed in the name", "two\nlines.mp4"),
    ("name-with-quotes", "quotes in the name", 'it\'s "so" `called`.mp4'),
    ("name-with-emoji", "an emoji in the name", "🎬 ünïcode.mp4"),
    ("name-with-percent", "percent signs in the name", "100%20%s%d%%.mp4"),
    ("name-with-dash", "a name that begins like an option", "-i --help.mp4"),
    ("name-with-scheme", "a name that looks like an address", "http:127.0.0.1.mp4"),
    ("name-with-glob", "a name of glob characters", "[a]*?{b,c}.mp4"),
    ("name-with-spaces", "spaces at both ends", " x .mp4"),
    ("name-very-long", "a name of 255 bytes", "n" * 251 + ".mp4"),
):
    add(Kind(name, PLACES, about, file, ok(FRAMES), clips.mp4))


# --- changes -------------------------------------------------------------------------------------


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def another(path: Path) -> bytes:
    """Another valid video of the same size: a shorter one, and padding."""
    video = clips.encode("mp4", frames=clips.film()[24:40])
    padding = path.stat().st_size - len(video)
    return video + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8)


def rename_over(path: Path) -> None:
    """Replace a file as careful programs do: whole, by one rename."""
    new = path.parent / HIDDEN
    new.write_bytes(another(path))
    os.utime(new, (1, 1))
    new.rename(path)


def overwrite(path: Path) -> None:
    """Replace a file's bytes in place."""
    with path.open("r+b") as file:
        file.write(another(path))
    os.utime(path, (1, 1))


Change = Callable[[Path], None]


def changing(
    name: str,
    about: str,
    expected: Outcome,
    **when: Change,
) -> None:
    file = "x.mp4"
    add(Kind(name, CHANGES, about, file, expected, clips.mp4, None, **when))


changed, gone = refused(Reason.CHANGED), refused(Reason.UNREADABLE)
changing("grows-after-listing", "a recording that still goes on", changed, after_listing=grow)
changing("shrinks-after-listing", "a file that was cut since", changed, after_listing=shrink)
changing("deleted-after-listing", "a file that is gone", gone, after_listing=Path.unlink)
changing("deleted-after-probe", "a file that goes after it was probed", gone,
         before_extract=Path.unlink)  # fmt: skip
changing("grows-after-probe", "a file that grows after it was probed", changed,
         before_extract=grow)  # fmt: skip
changing("replaced-after-listing", "another file of the same size", changed,
         after_listing=rename_over)  # fmt: skip
changing("replaced-after-probe", "another file of the same size", changed,
         before_extract=rename_over)  # fmt: skip
changing("replaced-while-read", "a rename: the open file stays as it was", ok(FRAMES),
         while_reading=rename_over)  # fmt: skip
changing("overwritten-while-read", "other bytes of the same size under the reader", changed,
         while_reading=overwrite)  # fmt: skip
changing("cut-while-read", "a file cut short under the reader", changed,
         while_reading=shrink)  # fmt: skip
changing("deleted-while-read", "a file removed under the reader, which still has it open",
         ok(FRAMES), while_reading=Path.unlink)  # fmt: skip
