"""Files that name other files or servers: none of those may ever be opened."""

import struct
from functools import partial as bind

from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import FRAMES
from tests.media.kinds import BESIDE, PLACEHOLDER, PORT, REFERENCES, declare, ok, refused
from tests.media.surgery import box, replace


def data_elsewhere(location: str) -> bytes:
    """An index whose media are said to lie in another file."""
    data = clips.mp4()
    url = box(b"url ", struct.pack(">I", 0) + location.encode() + b"\x00")
    return replace(data, "moov/trak/mdia/minf/dinf/dref", box(
        b"dref", struct.pack(">II", 0, 1) + url))  # fmt: skip


def alias_elsewhere(location: str) -> bytes:
    """The same by a QuickTime alias record, with its absolute path."""
    path = location.encode()
    volume = b"\x02hd".ljust(28, b"\x00")
    name = bytes([min(len(path), 63)]) + path[:63].ljust(63, b"\x00")
    record = bytes(10) + volume + bytes(12) + name + bytes(16) + bytes(2) + bytes(2) + bytes(10)
    record += struct.pack(">hH", 2, len(path)) + path + b"\x00" * (len(path) % 2)
    record += struct.pack(">hH", -1, 0)
    alias = box(b"alis", struct.pack(">I", 0) + bytes(6) + record)
    return replace(clips.mp4(), "moov/trak/mdia/minf/dinf/dref", box(
        b"dref", struct.pack(">II", 0, 1) + alias))  # fmt: skip


def reference_movie(location: str) -> bytes:
    target = struct.pack(">I", 0) + b"url " + struct.pack(">I", len(location) + 1)
    rdrf = box(b"rdrf", target + location.encode() + b"\x00")
    return box(b"ftyp", b"qt  " + bytes(4) + b"qt  ") + box(
        b"moov", box(b"rmra", box(b"rmda", rdrf))
    )


URL = f"http://127.0.0.1:{PORT}/{BESIDE}"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
TEXTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "concat script": "ffconcat version 1.0\nfile '{}'\n",
    "pls": "[playlist]\nFile1={}\nLength1=-1\nNumberOfEntries=1\nVersion=2\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>\n',
    "concat protocol": "concat:{}|{}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>\n",
    "sdp": SDP + "a=control:{}\n" + f"m=video {PORT} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


def playlist(name: str, target: str) -> bytes:
    return TEXTS[name].replace("{}", target).encode()


for name in TEXTS:
    for where, target in (("file", PLACEHOLDER.decode()), ("server", URL)):
        declare(REFERENCES, f"{name} to a {where}.mp4", f"{name} that names a {where}",
                refused(Reason.NO_VIDEO), bind(playlist, name, target))  # fmt: skip
for where, target in (("file", "file:///etc/passwd"), ("server", URL)):
    declare(REFERENCES, f"media in another {where}.mp4", f"media said to be in a {where} are here",
            ok(FRAMES), bind(data_elsewhere, target))  # fmt: skip
    declare(REFERENCES, f"reference movie to a {where}.mov", f"a QuickTime link to a {where}",
            refused(Reason.NO_VIDEO), bind(reference_movie, target))  # fmt: skip
declare(REFERENCES, "alias to a file.mov", "a QuickTime alias to a file",
        refused(Reason.TRUNCATED), bind(alias_elsewhere, "/etc/passwd"))  # fmt: skip
