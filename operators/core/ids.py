"""Ids that extend a video_id and sort in time order."""


def segment_id(video_id: str, start_seconds: float, end_seconds: float) -> str:
    """Name a half-open span of a video, to the millisecond."""
    start_ms, end_ms = round(start_seconds * 1000), round(end_seconds * 1000)
    return f"{video_id}-{start_ms:010d}-{end_ms:010d}"


def track_id(video_id: str, pts_ticks: int, place: int) -> str:
    """Name a track by its first sample and its place among the tracks that begin there."""
    return f"{video_id}-t{pts_ticks:015d}-{place:02d}"


def face_id(video_id: str, pts_ticks: int, place: int) -> str:
    """Name a face by its frame and the place of its box in that frame."""
    return f"{video_id}-f{pts_ticks:015d}-{place:02d}"
