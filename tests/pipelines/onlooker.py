"""Someone who watches a run from outside: its file in the store, and its metrics."""

import contextlib
import socket
import threading
from pathlib import Path
from urllib.request import urlopen

from infra import live
from infra.live import News
from infra.storage import Root


class Onlooker:
    """Reads what a run says for the length of its block, and keeps every answer."""

    def __init__(self, store: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.store = store
        self.news: list[News] = []
        self.scrapes: list[str] = []
        self._root, self._url = Root(str(store)), f"http://127.0.0.1:{self.port}/metrics"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Onlooker":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.news += live.told(self._root).values()
            with contextlib.suppress(OSError), urlopen(self._url, timeout=5) as answer:
                self.scrapes.append(answer.read().decode())
