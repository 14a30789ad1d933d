"""Old versions of objects: in a bucket that keeps them, what was deleted or replaced stays.

The permissions are those of AWS; other servers may have coarser ones.
"""

import errno
import secrets
from collections.abc import Iterator
from typing import Any

from fsspec.utils import get_protocol

from infra import runs, staging, tables
from infra.errors import StoreError
from infra.outages import patiently, plain_errors
from infra.storage import Root
from infra.traces import PROBES

#: What of a store may hold more of a video than its keyed ids.
PREFIXES = (*(f"{part.FOLDER}/" for part in (tables, staging, runs)), PROBES)
_LOOK, _LIST, _DELETE = "s3:GetBucketVersioning", "s3:ListBucketVersions", "s3:DeleteObjectVersion"
_TRIAL = "erasing/.trial"
_AT_ONCE = 1000  # what S3 deletes in one call


def are_kept(root: Root) -> bool:
    """Whether the store lies in a bucket that keeps old versions, or kept them once.

    Raises:
        StoreError: It may not be asked.
    """
    if get_protocol(root.url) not in ("s3", "s3a"):
        return False
    answer = _call(root, _LOOK, "get_bucket_versioning")
    return answer.get("Status") in ("Enabled", "Suspended")


def check(root: Root) -> None:
    """Where old versions are kept, that they may be deleted. Raises `StoreError` as both do."""
    if are_kept(root):
        require_rights(root)


def require_rights(root: Root) -> None:
    """Try on an object made for it what `purge` will do.

    Raises:
        StoreError: It names the permission that is missing.
    """
    _call(root, _LIST, "list_object_versions", Prefix=_key(root, _TRIAL), MaxKeys=1)
    rel = f"{_TRIAL}-{secrets.token_hex(4)}"
    root.write(rel, b"trial")
    root.delete([rel])
    _delete(root, _found(root, rel))


def purge(root: Root) -> int:
    """Delete every old version of what may hold rows, and every mark of a deletion; how many.

    Current objects stay.
    """
    found = [entry for prefix in PREFIXES for entry in _found(root, prefix)]
    _delete(root, found)
    return len(found)


def _found(root: Root, prefix: str) -> list[dict[str, str]]:
    """Old versions below a prefix, and then the marks: without its mark one would be current."""
    old: list[dict[str, str]] = []
    marks: list[dict[str, str]] = []
    for page in _pages(root, prefix):
        old += [_named(one) for one in page.get("Versions", ()) if not one["IsLatest"]]
        marks += [_named(one) for one in page.get("DeleteMarkers", ())]
    return [*old, *marks]


def _pages(root: Root, prefix: str) -> Iterator[dict[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = _call(root, _LIST, "list_object_versions", Prefix=_key(root, prefix), **after)
        yield page
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            after["VersionIdMarker"] = page["NextVersionIdMarker"]


def _named(entry: dict[str, Any]) -> dict[str, str]:
    return {"Key": entry["Key"], "VersionId": entry["VersionId"]}


def _delete(root: Root, entries: list[dict[str, str]]) -> None:
    for start in range(0, len(entries), _AT_ONCE):
        some = {"Objects": entries[start : start + _AT_ONCE], "Quiet": True}
        answer = _call(root, _DELETE, "delete_objects", Delete=some)
        if answer.get("Errors"):
            raise _missing(root, _DELETE)


def _call(root: Root, permission: str, method: str, **arguments: Any) -> dict[str, Any]:
    fs: Any = root.fs
    bucket = root.path("").split("/", 1)[0]

    def ask() -> dict[str, Any]:
        with plain_errors(root.url):
            try:
                return fs.call_s3(method, Bucket=bucket, **arguments)
            except PermissionError as error:
                raise _missing(root, permission) from error
            except OSError as error:
                if error.errno == errno.ENOSYS and permission == _LOOK:
                    return {}  # a server that knows no versions
                raise

    return patiently(root.patience_seconds, ask)


def _missing(root: Root, permission: str) -> StoreError:
    return StoreError(
        f"{root.url}: its bucket may keep old versions, and to erase them takes the permission "
        f"{permission}: grant it, and run again"
    )


def _key(root: Root, rel: str) -> str:
    return root.path(rel).split("/", 1)[1]
