"""What processes of this machine take: memory and processor time, from `/proc`."""

import contextlib
import os
import time
from pathlib import Path


def memory_mb(pid: int) -> tuple[float, float]:
    """The resident memory of a process in MB, and what of it is its own and no file's.

    Raises:
        OSError: there is no such process.
    """
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {words[0]: int(words[1]) / 1e3 for words in lines if words and words[0] in ("VmRSS:", "RssAnon:")}
    return found.get("VmRSS:", 0.0), found.get("RssAnon:", 0.0)


def _all() -> dict[int, tuple[int, float]]:
    """Every process to its parent and the seconds of processor time it has had."""
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            found[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / tick
    return found


class Processor:
    """The processor time of a server, of the jobs it has started, and of everything else that this process has started,
    the browser; from when it is made. Whatever ends between two looks counts up to the last one.
    """

    def __init__(self, server: int):
        self.server, self.started, self.first, self.last = server, time.monotonic(), {}, {}
        self.look()
        self.first = self.last.copy()

    def look(self) -> None:
        """Take down what every process has had until now."""
        running = _all()
        for pid, (_, seconds) in running.items():
            if kind := self._kind(pid, running):
                self.last[kind, pid] = seconds

    def _kind(self, pid: int, running: dict[int, tuple[int, float]]) -> str:
        if pid == self.server:
            return "server"
        while pid in running:
            pid = running[pid][0]
            if pid == self.server:
                return "jobs"
            if pid == os.getpid():
                return "browser"
        return ""

    def cores(self) -> dict[str, float]:
        """How many cores each kept busy on average: `server`, `jobs`, `browser`."""
        self.look()
        took = time.monotonic() - self.started
        found = dict.fromkeys(("server", "jobs", "browser"), 0.0)
        for key, seconds in self.last.items():
            found[key[0]] += (seconds - self.first.get(key, 0.0)) / took
        return found
