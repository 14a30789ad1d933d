"""A folder and an object store to put stores into; the latter lives in this process's memory."""

import secrets
from pathlib import Path

KEY = "ab" * 32


def places(folder: Path) -> dict[str, str]:
    """Urls of new, empty places by kind."""
    return {"folder": str(folder / "store"), "bucket": f"memory://bucket/{secrets.token_hex(6)}"}
