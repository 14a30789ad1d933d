"""Files that were cut short, hit by errors, or that are no video at all."""

import io
import zipfile
from functools import partial as bind

from PIL import Image

from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import encode, film, sound_only
from tests.media.kinds import Outcome, declare, ok, partial, refused
from tests.media.surgery import find, flip_bits, noise, packets, patch, pid, replace

CUT = "cut short"
DAMAGE = "damage"
OTHER = "no video"
IN_ORDER = {"bf": "0", "g": "12"}


# --- cut short -----------------------------------------------------------------------------------


def cut_in(source: str, path: str, share: float) -> bytes:
    """A file that ends at a share of one of its boxes."""
    data = clips.faststart() if source == "moov first" else clips.mp4()
    target = find(data, path)
    return data[: target.start + round(share * (target.end - target.start))]


def cut(data: bytes, share: float) -> bytes:
    return data[: round(share * len(data))]


lost, some = refused(Reason.TRUNCATED), partial(Reason.TRUNCATED)
for source, path, share, expected in (
    ("moov first", "ftyp", 0.5, lost),
    ("moov first", "ftyp", 1, lost),
    ("moov first", "moov", 0.1, lost),
    ("moov first", "moov", 0.6, lost),
    ("moov first", "moov", 1, lost),
    ("moov first", "mdat", 0.01, lost),
    ("moov first", "mdat", 0.3, some),
    ("moov first", "mdat", 0.6, some),
    ("moov first", "mdat", 0.97, some),
    ("moov last", "ftyp", 1, lost),
    ("moov last", "mdat", 0.5, lost),
    ("moov last", "mdat", 1, lost),
    ("moov last", "moov", 0.02, lost),
    ("moov last", "moov", 0.5, lost),
    ("moov last", "moov", 0.98, ok(clips.FRAMES)),
):  # fmt: skip
    where = f"{source} cut at {share:.0%} of {path}"
    declare(
        CUT, f"{where.replace('%', '')}.mp4", where, expected, bind(cut_in, source, path, share)
    )


def cut_at_a_packet(share: float) -> bytes:
    whole = packets(clips.ts())
    return b"".join(whole[: round(share * len(whole))])


for file, about, expected, build in (
    ("cut fragmented.mp4", "fragments, the last ones missing", partial(Reason.TRUNCATED),
     lambda: cut(clips.fragmented(), 0.6)),
    ("cut.mkv", "Matroska", some, lambda: cut(clips.mkv(), 0.6)),
    ("cut.webm", "WebM", some, lambda: cut(clips.webm(), 0.6)),
    ("cut.avi", "AVI, its index lost", some, lambda: cut(clips.avi(), 0.6)),
    ("cut.flv", "Flash video", some, lambda: cut(clips.flv(), 0.6)),
    ("cut.mpg", "a program stream: nothing in it tells that there was more", ok(), lambda: cut(
        encode("mpg", "mpeg2video"), 0.6)),
    ("cut.wmv", "ASF, where FFmpeg tells a cut packet from a broken one by nothing",
     partial(Reason.CORRUPT), lambda: cut(encode("wmv", "wmv2"), 0.4)),
    ("cut.mxf", "MXF", refused(Reason.TRUNCATED), lambda: cut(
        encode("mxf", "mpeg2video"), 0.02)),
    ("cut between packets.ts", "nothing in the file tells that there was more", ok(),
     lambda: cut_at_a_packet(0.6)),
    ("cut in a header.mkv", "Matroska, 40 bytes of it", lost, lambda: clips.mkv()[:40]),
    ("cut in a header.avi", "AVI, 60 bytes of it", lost, lambda: clips.avi()[:60]),
    ("cut in a header.flv", "Flash video, 11 bytes of it", lost, lambda: clips.flv()[:11]),
    ("no moov.mp4", "the index is gone, the media are whole", lost,
     lambda: replace(clips.mp4(), "moov", b"")),
    ("moov only.mp4", "an index and nothing else", lost,
     lambda: replace(clips.mp4(), "mdat", b"")),
):  # fmt: skip
    declare(CUT, file, about, expected, build)


# --- damage --------------------------------------------------------------------------------------


def flipped(count: int) -> bytes:
    data = clips.mp4()
    media = find(data, "mdat")
    return flip_bits(data, media.body + 600, media.end, count)


def first_frame_gone() -> bytes:
    """The first key frame is bytes of zero; the next one comes 12 frames later."""
    data = clips.simple_mp4()
    size = int.from_bytes(data[find(data, "moov/trak/mdia/minf/stbl/stsz").body + 12 :][:4], "big")
    return patch(data, find(data, "mdat").body, bytes(size))


def no_key_frame() -> bytes:
    """A transport stream of one group of pictures that begins after its key frame."""
    whole = packets(encode("ts", options={"bf": "0", "g": "600", "x264-params": "scenecut=0"}))
    video = [i for i, packet in enumerate(whole) if pid(packet) == 256 and packet[1] & 0x40]
    return b"".join(whole[:3] + whole[video[1] :])


def from_mid_group() -> bytes:
    """As every recording of a broadcast begins: with frames that refer to what was not recorded."""
    whole = packets(encode("ts", options=IN_ORDER))
    video = [i for i, packet in enumerate(whole) if pid(packet) == 256 and packet[1] & 0x40]
    return b"".join(whole[:3] + whole[video[5] :])


def with_gaps(lost: tuple[int, ...]) -> bytes:
    """Transport packets lost on the way."""
    return b"".join(p for i, p in enumerate(packets(encode("ts"))) if i not in lost)


def lost_in_the_middle() -> bytes:
    whole = packets(encode("ts", options=IN_ORDER))
    middle = [i for i, p in enumerate(whole) if pid(p) == 256 and not p[1] & 0x40]
    return b"".join(p for i, p in enumerate(whole) if i not in middle[20:24])


def bad_sps() -> bytes:
    data = clips.mp4()
    at = data.index(b"avcC") + 4
    return patch(data, at + 8, b"\x67" + bytes(12))


def overwritten(data: bytes, start: float, size: int, seed: int = 0) -> bytes:
    return patch(data, round(start * len(data)), noise(size, seed))


RESYNC = "FFmpeg goes on at the next whole block, and no packet tells of the frames between"
PENDING = {f"hole of whole frames.{suffix}": RESYNC for suffix in ("mkv", "webm", "flv")}
for file, about, expected, build in (
    ("few bit errors.mp4", "eight bits turned over", partial(Reason.CORRUPT),
     bind(flipped, 8)),
    ("many bit errors.mp4", "2000 bits turned over", partial(Reason.CORRUPT),
     bind(flipped, 2000)),
    ("first key frame gone.mp4", "the first key frame is zeros", partial(Reason.CORRUPT),
     first_frame_gone),
    ("no key frame.ts", "not one key frame", refused(Reason.CORRUPT), no_key_frame),
    ("begins in mid-group.ts", "as recordings of broadcasts begin", ok(), from_mid_group),
    ("gaps.ts", "packets lost on the way", partial(Reason.CORRUPT), lost_in_the_middle),
    ("wrong sync.ts", "100 bytes of something before the first packet", ok(clips.FRAMES),
     lambda: noise(100) + clips.ts()),
    ("sync lost.ts", "77 bytes of something between two packets", ok(clips.FRAMES),
     lambda: b"".join(packets(clips.ts())[:40]) + noise(77) + b"".join(packets(clips.ts())[40:])),
    ("corrupt SPS.mp4", "a parameter set of garbage", refused(Reason.CORRUPT), bad_sps),
    ("hole.mkv", "300 bytes of noise in a cluster", partial(Reason.CORRUPT),
     lambda: overwritten(clips.mkv(), 0.27, 300, 1)),
    ("hole.avi", "300 bytes of noise among the frames", partial(Reason.CORRUPT),
     lambda: overwritten(clips.avi(), 0.51, 300, 13)),
    ("hole.flv", "300 bytes of noise in a tag", partial(Reason.CORRUPT),
     lambda: overwritten(clips.flv(), 0.25, 300)),
    ("hole of whole frames.mkv", "300 bytes of noise where frames begin", partial(Reason.CORRUPT),
     lambda: overwritten(clips.mkv(), 0.25, 300)),
    ("hole of whole frames.webm", "300 bytes of noise where frames begin", partial(Reason.CORRUPT),
     lambda: overwritten(clips.webm(), 0.25, 300)),
    ("hole of whole frames.flv", "300 bytes of noise where frames begin", partial(Reason.CORRUPT),
     lambda: overwritten(clips.flv(), 0.35, 300, 5)),
    ("noise after the end.mp4", "5000 bytes of noise behind a whole file", ok(clips.FRAMES),
     lambda: clips.mp4() + noise(5000)),
    ("text before the start.mp4", "a line of text in front of a whole file",
     refused(Reason.NO_VIDEO), lambda: b"HTTP/1.1 200 OK\r\n\r\n" + clips.mp4()),
):  # fmt: skip
    declare(DAMAGE, file, about, expected, build, PENDING.get(file))


# --- no video ------------------------------------------------------------------------------------


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(film()[0]).save(file, form)
    return file.getvalue()


def moving_gif() -> bytes:
    return encode("gif", "gif", film()[:12], pix_fmt="rgb8")


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(zipfile.ZipInfo("clip.mp4"), clips.mp4())
    return file.getvalue()


def branded(brand: bytes) -> bytes:
    """A picture file's brand on a file that has no other sign of what it is."""
    return patch(patch(clips.faststart(), 8, brand), 16, brand)


def still_in_mp4() -> bytes:
    """Sound with its cover picture, in a file that says it is a video."""
    return sound_only("mp4", cover=False)


none: Outcome = refused(Reason.NO_VIDEO)
HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>\n"
for file, about, expected, build in (
    ("zero bytes.mp4", "nothing", refused(Reason.EMPTY), bytes),
    ("one byte.mp4", "a single byte", none, lambda: b"\x00"),
    ("few bytes.mp4", "seven bytes", none, lambda: b"\x00\x00\x00\x18fty"),
    ("zeros.mp4", "a file that was allocated and never written", none, lambda: bytes(100_000)),
    ("text.mp4", "text under a video's name", none, lambda: b"minutes of the meeting\n" * 300),
    ("noise.mp4", "random bytes", none, lambda: noise(50_000)),
    ("page.mp4", "a web server's error page", none, lambda: HTML * 20),
    ("archive.mp4", "a zip that holds a video", none, archive),
    ("sound.m4v", "AAC in MP4", none, bind(sound_only, "m4a")),
    ("sound with cover.mp4", "MP3 with a cover picture", none, bind(
        sound_only, "mp3", "libmp3lame", True)),
    ("wave.mp4", "uncompressed sound", none, bind(sound_only, "wav", "pcm_s16le")),
    ("sound.mkv", "AAC in Matroska", none, bind(sound_only, "mkv")),
    ("png.mp4", "a PNG picture", none, bind(picture, "PNG")),
    ("jpeg.mp4", "a JPEG picture", none, bind(picture, "JPEG")),
    ("avif.mp4", "an AVIF picture", none, bind(picture, "AVIF")),
    ("heic.mp4", "a file of a HEIC picture's brand", none, bind(branded, b"heic")),
    ("gif.mp4", "a moving GIF: a picture by its format", none, moving_gif),
):  # fmt: skip
    declare(OTHER, file, about, expected, build)
