"""The sample archive: every video has the one property that it is there for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video.frame import VideoFrame

from pipelines import footage
from pipelines import footage_scenes as scenes
from pipelines.footage import CUT_SECONDS, FRAMES_PER_SECOND, Clip, clips, make_archive, write_clip

SHORT_SECONDS = 0.5
CLIPS = {clip.name: clip for clip in clips()}


def short(name: str, seconds: float = SHORT_SECONDS) -> Clip:
    return replace(CLIPS[name], seconds=seconds)


def frames(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


@pytest.mark.parametrize("name", [name for name, clip in CLIPS.items() if clip.kept == 1])
def test_decodes_to_every_frame_at_its_time(name: str, tmp_path: Path) -> None:
    times = [frame.time for frame in frames(write_clip(tmp_path, short(name)))]
    expected = np.arange(SHORT_SECONDS * FRAMES_PER_SECOND) / FRAMES_PER_SECOND
    np.testing.assert_allclose(np.array(times) - (times[0] or 0), expected, atol=1.1e-3)


@pytest.mark.parametrize("name", ["one_person.mp4", "changing_light.mp4", "web.webm"])
def test_the_same_bytes_every_time(name: str, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    once = write_clip(tmp_path, short(name)).read_bytes()
    assert once == write_clip(tmp_path / "again", short(name)).read_bytes()


def test_a_display_matrix_turns_the_stored_frame_upright(tmp_path: Path) -> None:
    clip = short("rotated.mp4", 0.1)
    frame = next(frames(write_clip(tmp_path, clip)))
    assert (frame.width, frame.height, frame.rotation) == (640, 360, 90)
    upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90).astype(int)
    filmed = scenes.handheld(scenes.collins())(0.0)
    assert upright.shape == filmed.shape == (640, 360, 3)
    assert abs(upright - filmed).mean() < 6


def test_the_other_videos_are_not_turned(tmp_path: Path) -> None:
    assert next(frames(write_clip(tmp_path, short("one_person.mp4", 0.1)))).rotation == 0


def test_the_truncated_file_fails_late_not_early(tmp_path: Path) -> None:
    path = write_clip(tmp_path, short("truncated.mp4", 4.0))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 4  # the header promises all of it
    decoded = 0
    try:
        for _ in frames(path):
            decoded += 1
    except FFmpegError:
        assert 0.4 < decoded / (4 * FRAMES_PER_SECOND) < 0.9
    else:
        pytest.fail("the whole file decodes")


def test_the_picture_jumps_at_the_cut_and_nowhere_else(tmp_path: Path) -> None:
    path = write_clip(tmp_path, short("hard_cut.mp4", CUT_SECONDS + 0.5))
    grey = [f.to_ndarray(format="gray")[::4, ::4].astype(int) for f in frames(path)]
    jumps = [abs(a - b).mean() for a, b in zip(grey[1:], grey, strict=False)]
    cut = round(CUT_SECONDS * FRAMES_PER_SECOND) - 1
    assert int(np.argmax(jumps)) == cut
    assert jumps[cut] > 10 * max(jumps[:cut] + jumps[cut + 1 :])
    assert (cut + 1) % footage.GOP_FRAMES != 0  # the cut is inside a group of pictures


def test_people_move_and_the_light_changes() -> None:
    for name in ("one_person.mp4", "two_people.mp4", "rotated.mp4", "broadcast.ts", "web.webm"):
        scene = CLIPS[name].scene
        assert abs(scene(0.0).astype(int) - scene(1.0)).mean() > 5, name
    levels = [CLIPS["changing_light.mp4"].scene(second).mean() for second in (1.5, 4.5)]
    assert levels[0] > 2 * levels[1]


def test_sound_where_it_is_announced(tmp_path: Path) -> None:
    for name in ("changing_light.mp4", "one_person.mp4"):
        with av.open(str(write_clip(tmp_path, short(name)))) as container:
            assert bool(container.streams.audio) == CLIPS[name].audio


def test_a_new_folder_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footage, "clips", lambda: [short("no_face.mp4", 0.1), broken])

    def no_scene(seconds: float) -> np.ndarray:
        raise RuntimeError

    broken = replace(CLIPS["one_person.mp4"], scene=no_scene)
    with pytest.raises(RuntimeError):
        make_archive(tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(footage, "clips", lambda: [short("no_face.mp4", 0.1)])
    assert make_archive(tmp_path / "archive") == [tmp_path / "archive" / "no_face.mp4"]
    assert [path.name for path in tmp_path.rglob("*.*")] == ["no_face.mp4"]
