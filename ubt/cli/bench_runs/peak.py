"""What a process has of its own memory."""

import contextlib
import threading
from pathlib import Path


class Peak:
    """The most that a process has of its own memory while inside, in MB: what it does not share with files, looked at
    first, last and every 50 ms.
    """

    def __init__(self, pid: int):
        self.path, self.mb, self._done = Path(f"/proc/{pid}/status"), 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def _look(self) -> None:
        own = next(
            (int(line.split()[1]) for line in self.path.read_text().splitlines() if line.startswith("RssAnon")), 0
        )
        self.mb = max(self.mb, own / 1e3)

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._look()

    def __enter__(self) -> "Peak":
        self._look()
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._watcher.join()
        with contextlib.suppress(OSError):
            self._look()
