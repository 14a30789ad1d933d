"""Files that are healthy, however rare their container, codec, size or pixels: all must be read."""

from functools import partial as bind

import numpy as np

from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import FRAMES, encode, film, plain
from tests.media.kinds import declare, ok, refused
from tests.media.surgery import renumbered

CONTAINERS = "sound: containers and codecs"
PICTURES = "sound: sizes and pixels"

for file, about, build in (
    ("h264 moov first.mp4", "H.264, index in front", clips.faststart),
    ("h264 moov last.mp4", "H.264, index at the end", clips.mp4),
    ("h264 fragmented.mp4", "H.264 in fragments", clips.fragmented),
    ("h264 with sound.mp4", "H.264 with AAC beside it", bind(encode, "mp4", sound=True)),
    ("h264.mkv", "H.264 in Matroska", clips.mkv),
    ("h264.ts", "H.264 in an MPEG transport stream", clips.ts),
    ("h264 bluray.m2ts", "a transport stream with 192-byte packets", bind(
        encode, "m2ts", muxer={"mpegts_m2ts_mode": "1"})),
    ("h264.flv", "H.264 in Flash video", clips.flv),
    ("h264.avi", "H.264 with B-frames in AVI, which stores no presentation times", bind(
        encode, "avi")),
    ("hevc.mp4", "HEVC", bind(encode, "mp4", "libx265")),
    ("vp8.webm", "VP8", bind(encode, "webm", "libvpx")),
    ("vp9.webm", "VP9", clips.webm),
    ("vp8.ivf", "VP8 in IVF", bind(encode, "ivf", "libvpx")),
    ("vp8.ogv", "VP8 in Ogg", bind(encode, "ogv", "libvpx", format="ogg")),
    ("mpeg1.mpg", "MPEG-1 in a system stream", bind(encode, "mpg", "mpeg1video")),
    ("mpeg2 program.mpg", "MPEG-2 in a program stream", bind(encode, "mpg", "mpeg2video")),
    ("mpeg2.ts", "MPEG-2 in a transport stream", bind(encode, "ts", "mpeg2video")),
    ("mpeg4 part 2.avi", "MPEG-4 part 2", clips.avi),
    ("mpeg4 with B-frames.avi", "MPEG-4 part 2 with B-frames", bind(
        encode, "avi", "mpeg4", options={"bf": "2", "g": "12"})),
    ("prores.mov", "ProRes 4:2:2", bind(
        encode, "mov", "prores_ks", pix_fmt="yuv422p10le")),
    ("cineform.mov", "CineForm", bind(encode, "mov", "cfhd", pix_fmt="yuv422p10le")),
    ("animation.mov", "QuickTime Animation", bind(encode, "mov", "qtrle", pix_fmt="rgb24")),
    ("ffv1.mkv", "FFV1", bind(encode, "mkv", "ffv1")),
    ("huffyuv.avi", "HuffYUV", bind(encode, "avi", "huffyuv", pix_fmt="yuv422p")),
    ("utvideo.avi", "Ut Video", bind(encode, "avi", "utvideo")),
    ("wmv2.wmv", "Windows Media Video in ASF", bind(encode, "wmv", "wmv2")),
    ("sorenson.flv", "Sorenson H.263 in Flash video", bind(encode, "flv", "flv")),
    ("mjpeg.avi", "Motion JPEG", bind(encode, "avi", "mjpeg", pix_fmt="yuvj420p")),
    ("uncompressed.y4m", "YUV4MPEG2, uncompressed", bind(encode, "y4m", "wrapped_avframe")),
    ("mpeg4.nut", "MPEG-4 part 2 in NUT, under a name that says MP4", bind(
        encode, "nut", "mpeg4", options={"bf": "0"})),
):  # fmt: skip
    declare(CONTAINERS, file.replace(".nut", " in nut.mp4"), about, ok(FRAMES), build)

declare(
    CONTAINERS,
    "av1.mp4",
    "AV1",
    ok(12),
    bind(encode, "mp4", "libsvtav1", film(12, 64, 64)),
)
for suffix in ("mov", "mxf"):
    declare(
        CONTAINERS,
        f"dnxhr.{suffix}",
        "DNxHR as editing suites write it",
        ok(8),
        bind(
            encode,
            suffix,
            "dnxhd",
            film(8, 256, 144),
            pix_fmt="yuv422p",
            options={"profile": "dnxhr_sq"},
        ),
    )
declare(
    CONTAINERS,
    "h263.3gp",
    "H.263 of an early phone",
    ok(24),
    bind(encode, "3gp", "h263", film(24, 176, 144)),
)
declare(
    CONTAINERS,
    "realvideo.rm",
    "RealVideo 1",
    ok(FRAMES),
    bind(encode, "rm", "rv10"),
)
declare(
    CONTAINERS,
    "camcorder.dv",
    "DV of a tape",
    ok(5),
    bind(encode, "dv", "dvvideo", plain(5, 720, 576), fps=25),
)


def rows_of(width: int, height: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(frame[:height, :width]) for frame in film(FRAMES, 64, 48)]


def two_parts(
    size: tuple[int, int] = (64, 48), pix_fmt: str = "yuv420p", sound: bool = False
) -> bytes:
    """A transport stream whose second half is of another size or pixel format, or has sound."""
    times = [round(1000 * index / 24) for index in range(FRAMES)]
    half = FRAMES // 2
    frames = film(FRAMES, *size)[half:]
    settings = {"bf": "0", "g": "12"}
    first = encode("ts", frames=film()[:half], pts=times[:half], options=settings)
    second = encode(
        "ts", frames=frames, pix_fmt=pix_fmt, pts=times[half:], options=settings, sound=sound
    )
    return renumbered(first + second)


for file, about, build in (
    ("10-bit h264.mp4", "H.264 of ten bits", bind(encode, "mp4", pix_fmt="yuv420p10le")),
    ("10-bit hevc.mp4", "HEVC Main 10", bind(encode, "mp4", "libx265", pix_fmt="yuv420p10le")),
    ("4-4-4.mp4", "H.264 with full chroma", bind(encode, "mp4", pix_fmt="yuv444p")),
    ("grey h264.mp4", "no chroma at all", bind(encode, "mp4", pix_fmt="gray")),
    ("grey ffv1.mkv", "no chroma at all, lossless", bind(encode, "mkv", "ffv1", pix_fmt="gray")),
    ("grey 16-bit.mkv", "sixteen bits of grey", bind(encode, "mkv", "ffv1", pix_fmt="gray16le")),
    ("alpha vp9.webm", "VP9 with an alpha channel", bind(
        encode, "webm", "libvpx-vp9", pix_fmt="yuva420p", options={"auto-alt-ref": "0"})),
    ("alpha png.mov", "PNG frames with alpha", bind(encode, "mov", "png", pix_fmt="rgba")),
    ("interlaced h264.mp4", "interlaced H.264", bind(
        encode, "mp4", options={"flags": "+ildct+ilme+bitexact"})),
    ("interlaced mpeg2.mpg", "interlaced MPEG-2", bind(
        encode, "mpg", "mpeg2video", options={"flags": "+ildct+ilme+bitexact"})),
    ("odd sizes.mp4", "63x47 pixels", bind(
        encode, "mp4", frames=rows_of(63, 47), pix_fmt="yuv444p")),
    ("one pixel.mkv", "1x1 pixels", bind(
        encode, "mkv", "ffv1", rows_of(1, 1), pix_fmt="yuv444p")),
    ("one pixel h264.mp4", "1x1 pixels of H.264", bind(
        encode, "mp4", frames=rows_of(1, 1), pix_fmt="yuv444p")),
    ("very wide.mp4", "4096x2 pixels", bind(
        encode, "mp4", frames=plain(FRAMES, 4096, 2))),
    ("very tall.mp4", "2x4096 pixels", bind(
        encode, "mp4", frames=plain(FRAMES, 2, 4096), options={"bf": "0"})),
    ("all black.mp4", "nothing in the picture", bind(
        encode, "mp4", frames=[np.zeros((48, 64, 3), np.uint8)] * FRAMES)),
):  # fmt: skip
    declare(PICTURES, file, about, ok(FRAMES), build)

declare(
    PICTURES,
    "8k.mp4",
    "7680x4320 pixels",
    ok(1),
    bind(encode, "mp4", frames=plain(1, 7680, 4320), options={"preset": "ultrafast", "bf": "0"}),
)
declare(
    PICTURES,
    "beyond 8k.mp4",
    "9216x4320 pixels: more than the limit",
    refused(Reason.TOO_LARGE),
    bind(encode, "mp4", frames=plain(1, 9216, 4320), options={"preset": "ultrafast", "bf": "0"}),
)
declare(
    PICTURES,
    "one frame.mp4",
    "a video of a single frame",
    ok(1),
    bind(encode, "mp4", frames=film()[:1]),
)
declare(
    PICTURES,
    "size changes.ts",
    "H.264 that grows to twice its size in mid-stream",
    ok(FRAMES),
    bind(two_parts, size=(128, 96)),
)
declare(
    PICTURES,
    "sound begins late.ts",
    "a sound stream that the first second does not have",
    ok(FRAMES),
    bind(two_parts, sound=True),
)
declare(
    PICTURES,
    "chroma changes.ts",
    "H.264 that goes from 4:2:0 to 4:4:4 in mid-stream",
    ok(FRAMES),
    bind(two_parts, pix_fmt="yuv444p"),
)
