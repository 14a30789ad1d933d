"""Old versions of objects: deleted for good, or refused with the permission that is missing."""

import errno
from typing import Any

import pytest

from infra import versions
from infra.errors import StoreError
from infra.storage import Root
from tests.s3 import S3Server

PERMISSIONS = {
    "get_bucket_versioning": "s3:GetBucketVersioning",
    "list_object_versions": "s3:ListBucketVersions",
    "delete_objects": "s3:DeleteObjectVersion",
}


class Bucket:
    """A bucket in memory with old versions, two a page, that refuses one kind of call."""

    def __init__(self, refused: str = "", status: str | None = "Enabled") -> None:
        self.refused, self.status = refused, status
        self.held: list[tuple[str, str, bool, bool]] = []  # key, version, latest, a mark

    def call_s3(self, method: str, **asked: Any) -> dict[str, Any]:
        if method == self.refused:
            if method == "delete_objects":  # told per object, not for the call
                return {"Errors": [{"Code": "AccessDenied"}]}
            raise PermissionError
        return getattr(self, method)(**asked)

    def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
        return {"Status": self.status} if self.status else {}

    def list_object_versions(self, Prefix: str, KeyMarker: str = "", **_: Any) -> dict[str, Any]:
        start = int(KeyMarker or 0)
        below = [entry for entry in sorted(self.held) if entry[0].startswith(Prefix)]
        page = below[start : start + 2]
        named = [{"Key": k, "VersionId": v, "IsLatest": new, "mark": m} for k, v, new, m in page]
        return {
            "Versions": [entry for entry in named if not entry["mark"]],
            "DeleteMarkers": [entry for entry in named if entry["mark"]],
            "IsTruncated": start + 2 < len(below),
            "NextKeyMarker": str(start + 2),
        }

    def delete_objects(self, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:
        gone = {(entry["Key"], entry["VersionId"]) for entry in Delete["Objects"]}
        self.held = [entry for entry in self.held if entry[:2] not in gone]
        return {}

    def pipe_file(self, path: str, data: bytes) -> None:
        self.held.append((path.split("/", 1)[1], f"v{len(self.held)}", True, False))

    def rm_file(self, path: str) -> None:
        key = path.split("/", 1)[1]
        self.held = [(k, v, k != key and new, mark) for k, v, new, mark in self.held]
        self.held.append((key, f"v{len(self.held)}", True, True))

    def _strip_protocol(self, url: str) -> str:
        return url.removeprefix("s3://")


def root_of(bucket: Bucket) -> Root:
    root = Root("s3://bucket/store")
    root._fs = bucket  # type: ignore[assignment]
    return root


@pytest.mark.parametrize("refused", PERMISSIONS)
def test_a_missing_permission_is_named_before_anything_is_done(refused: str) -> None:
    root = root_of(Bucket(refused))
    with pytest.raises(StoreError, match=PERMISSIONS[refused]):
        versions.check(root)


def test_with_all_permissions_the_trial_leaves_nothing() -> None:
    bucket = Bucket()
    versions.require_rights(root_of(bucket))
    assert bucket.held == []


@pytest.mark.parametrize(
    ("status", "kept"), [("Enabled", True), ("Suspended", True), (None, False)]
)
def test_a_suspended_bucket_still_has_the_versions_of_before(status: str, kept: bool) -> None:
    assert versions.are_kept(root_of(Bucket(status=status))) is kept


def test_a_server_that_knows_no_versions_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()

    def unknown(method: str, **_: Any) -> dict[str, Any]:
        raise OSError(errno.ENOSYS, method)

    monkeypatch.setattr(bucket, "call_s3", unknown)
    assert not versions.are_kept(root_of(bucket))
    assert not versions.are_kept(Root("/a/folder"))


def test_old_versions_and_marks_go_page_by_page_and_current_ones_stay() -> None:
    bucket = Bucket()
    for name in ("tables/f/1", "staging/r/2", "runs/3", "audit/1", "snapshots/1"):
        bucket.held += [(f"store/{name}", f"v{n}", n == 2, False) for n in range(3)]
        bucket.held += [(f"store/{name}.deleted", "v0", False, False)]
        bucket.held += [(f"store/{name}.deleted", "v1", True, True)]
    assert versions.purge(root_of(bucket)) == 3 * (2 + 2)
    erased = [entry for entry in bucket.held if "/audit/" not in entry[0]]
    erased = [entry for entry in erased if "/snapshots/" not in entry[0]]
    assert [(latest, mark) for _, _, latest, mark in erased] == [(True, False)] * 3


@pytest.mark.slow
def test_on_a_real_server(s3: S3Server) -> None:
    fs: Any = s3.client()
    fs.mkdir("versioned")
    status = {"Status": "Enabled"}
    fs.call_s3("put_bucket_versioning", Bucket="versioned", VersioningConfiguration=status)
    root = Root("s3://versioned/store")
    assert versions.are_kept(root)
    assert not versions.are_kept(Root(s3.url()))
    versions.require_rights(root)
    for data in (b"1", b"2"):
        root.write("tables/faces/1.parquet", data)
        root.write("tables/faces/2.parquet", data)
    root.delete(["tables/faces/1.parquet"])
    assert versions.purge(root) == 4
    left = fs.call_s3("list_object_versions", Bucket="versioned", Prefix="store/")
    assert [(v["Key"], v["IsLatest"]) for v in left["Versions"]] == [
        ("store/tables/faces/2.parquet", True)
    ]
    assert not left.get("DeleteMarkers")
    assert root.read_bytes("tables/faces/2.parquet") == b"2"
