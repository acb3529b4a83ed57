"""What several people at once cost the server: browser sessions that change pages, label, move a slider and run a case
for some minutes, all on one generated case; its memory, their labels, and how long a change of page takes.

The first session opens a page on which a model reads a pair, so that what is loaded once (torch, open_clip, a model) is
loaded in the first two minutes, whenever the first small case is done.
"""

import asyncio
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ubt.cases.demo import MAIN
from ubt.cases.pipeline import create
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.app_in_browser import BUSY, SETTLED, free_port, page_link, serve
from ubt.cli.bench_runs.app import quantiles
from ubt.cli.bench_runs.case import generate
from ubt.cli.bench_runs.processes import Processor, memory_mb
from ubt.core.chromium import browser_async
from ubt.core.errors import UbtError
from ubt.core.run import compute
from ubt.pairs.decision_log import LogFile
from ubt.pairs.events import LABELS, Event
from ubt.workflows import jobs

SIZE = {"width": 1280, "height": 900}
PAIRS = 10_000
"""Pairs of the case that all sessions share; each labels a part of its own."""
SMALL = {
    "data.pairs": 600,
    "attack.rate": 0.05,
    "split.fraction": 0.12,
    "select.k": 4,
    "test.per_class": 1,
    "poison.epochs": 2,
    "poison.batch": 64,
    "overfit.steps": 6,
    "unlearn.steps": 6,
    "unlearn.keep_batch": 32,
    "published.steps": 3,
    "retain.anchors": 8,
    "retain.pool": 200,
}
"""A case of seconds, in which nobody looks for a result."""
EVERY, FIRST = 30.0, 120.0
"""Seconds between two looks at the server's memory, and those after which it is expected to be flat."""
PAUSE = 0.5, 3.0
"""Seconds that somebody looks before the next act, at least and at most."""
KEYS, STEPS, LOOKS, LIMIT = 12, 4, 6, 60.0
"""Labels given and steps of the slider at a time, pages of the small case that are looked at while it runs, and seconds
that anything may take."""
FLAT = 1.0
"""Percent a minute of its level by which memory may rise and still count as flat."""
LINKS = "[data-testid=stSidebarNavLink]"
CHANGE = """([title, busy, limit]) => new Promise(done => {
  const links = [...document.querySelectorAll('[data-testid=stSidebarNavLink]')], started = performance.now();
  const there = () => [...document.querySelectorAll('h1')]
    .some(h => h.innerText.trim() === title || title === 'Learn' && /^\\d+\\. /.test(h.innerText));
  const look = () => { const took = performance.now() - started;
    if (there() && !document.querySelector(busy)) done(took);
    else if (took > limit) done(null);
    else setTimeout(look, 20); };
  links.find(a => a.innerText.trim() === title).click(); look(); })"""
"""Milliseconds from the click on a page's link until its heading is there and the app is at rest; null if it is late.
*Learn* is headed by its step."""
TITLES = "[...document.querySelectorAll('[data-testid=stSidebarNavLink]')].map(a => a.innerText.trim())"
SHOWN = "document.querySelector('h1')?.innerText.trim() ?? ''"
ERRORS = """[...document.querySelectorAll('[data-testid=stException], [data-testid=stAlertContentError]')]
  .map(e => e.innerText.trim().slice(0, 300))
  .concat(document.body.innerText.includes('Traceback') ? ['a traceback'] : [])
  .concat(document.body.innerText.includes('Connection error') ? ['Connection error'] : [])"""


STANDING = """(() => { const review = document.querySelector('.ubt-review');
  return [review.dataset.pair, review.querySelector('[aria-pressed=true]')?.innerText.trim() ?? '']; })()"""
"""The pair that is shown, and the button of the label that it has."""
SAVED = re.compile("All decisions are saved|Nothing is waiting to be saved")


@dataclass
class Seen:
    """What one session did and saw: the labels that it gave, in order, as (pair, label); milliseconds of its changes of
    page, and pages that were not there within `LIMIT`; slider moves; errors, with the page that showed them.
    """

    given: list[tuple[str, str]] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    moves: int = 0
    errors: list[str] = field(default_factory=list)


class Session:
    """One browser session: a context of its own with one tab.

    Args:
        tab: playwright's page. first: addresses that it opens first. case: the address that opens the case that all
            share, with the session's part of its pairs selected; small: that of its own.
    """

    def __init__(self, tab: Any, first: Sequence[str], case: str, small: str, seed: int):
        self.tab, self.first, self.case, self.small = tab, first, case, small
        self.shared = parse_qs(urlsplit(case).query)["case"][0]
        self.draw, self.seen = random.Random(seed), Seen()
        tab.set_default_timeout(1000 * LIMIT)
        tab.on("pageerror", lambda e: self.seen.errors.append(f"in the browser: {str(e)[:300]}"))

    async def _settle(self) -> None:
        await self.tab.evaluate(SETTLED, [400, 1000 * LIMIT, BUSY])

    async def _open(self, address: str) -> None:
        await self.tab.goto(address)
        await self.tab.get_by_role("heading", level=1).first.wait_for()
        await self._settle()

    async def _change(self, title: str) -> None:
        await page_link(self.tab, title).wait_for()
        if await self.tab.evaluate(SHOWN) == title:
            return
        took = await self.tab.evaluate(CHANGE, [title, BUSY, 1000 * LIMIT])
        if took is None:
            self.seen.late.append(title)
        else:
            self.seen.changes.append(took)

    async def _look(self) -> None:
        await self.tab.locator(LINKS).first.wait_for()
        here = await self.tab.evaluate(SHOWN)
        await self._change(self.draw.choice([title for title in await self.tab.evaluate(TITLES) if title != here]))

    async def _label(self, keys: int = KEYS) -> None:
        """Label some pairs, each unlike what it has; leave at once every other time, so that what is not yet confirmed
        is sent on returning.
        """
        if self.shared not in self.tab.url:
            await self._open(self.case)
        await self._change("Review")
        await self.tab.locator(".ubt-review").wait_for()
        for _ in range(keys):
            pair, standing = await self.tab.evaluate(STANDING)
            label = self.draw.choice([label for label in LABELS if not standing.lower().startswith(label)])
            await self.tab.keyboard.press(str(LABELS.index(label) + 1))
            self.seen.given.append((pair, label))
            await self.tab.wait_for_function(
                "pair => document.querySelector('.ubt-review').dataset.pair !== pair", arg=pair
            )
        if not keys or self.draw.random() < 0.5:
            await self.tab.locator(".ubt-review-saved").filter(has_text=SAVED).wait_for()

    async def _slide(self) -> None:
        await self._change("Separation")
        slider = self.tab.locator("[data-testid=stSlider] input[type=range]").first
        await slider.focus()
        way = self.draw.choice(["ArrowLeft", "ArrowRight"])
        for _ in range(STEPS):
            await self.tab.keyboard.press(way)
            await self._settle()
            self.seen.moves += 1

    async def _run(self) -> None:
        """Start the small case, look at some pages of it while it runs, and return to the shared one."""
        try:
            await self._open(self.small)
            await self.tab.locator(".st-key-run button").click()
            for _ in range(LOOKS):
                await self._look()
                await asyncio.sleep(self.draw.uniform(*PAUSE))
        finally:
            await self._open(self.case)

    async def _tried(self, act: Callable[[], Any]) -> None:
        from playwright.async_api import Error

        try:
            await act()
            shown, page = await self.tab.evaluate(ERRORS), await self.tab.evaluate(SHOWN)
        except Error as e:
            shown, page = [str(e).splitlines()[0][:300]], self.tab.url
        self.seen.errors += [f"{page}: {text}" for text in shown]

    async def work(self, run_at: float, until: float) -> Seen:
        """Act until `until`, run the small case once from `run_at` on, and see that all labels are saved; both are
        times of `time.monotonic`.
        """
        for address in (*self.first, self.case):
            await self._tried(partial(self._open, address))
        ran = False
        while (now := time.monotonic()) < until:
            if not ran and now >= run_at:
                ran = True
                await self._tried(self._run)
                continue
            await self._tried(self.draw.choices((self._look, self._label, self._slide), (6, 2, 1))[0])
            await asyncio.sleep(self.draw.uniform(*PAUSE))
        await self._tried(lambda: self._label(0))
        return self.seen


def measure(
    cache: Path, sessions: int = 10, minutes: float = 10.0, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Have some sessions work on a server of their own for some minutes.

    Returns:
        `memory`: (seconds, MB resident, MB of its own) of the server from the first session on; `seen`: what each
        session did; `labels`: see `compared`; `ran`: small cases that are done; `tracebacks` in the server's
        log; `processor`: cores that the `server`,
        its `jobs` and the `browser` kept busy on average.

    Raises:
        BadInput: there is no Chromium. UbtError: the app did not start, or ended.
    """
    log = Store(cache).root / "work" / "bench.log"
    with tempfile.TemporaryDirectory(prefix="sessions-", dir=Store(cache).root, ignore_cleanup_errors=True) as folder:
        store, where, port = Store(Path(folder)), compute("cpu", "fp32"), free_port()
        say("generating the shared case, and what each session runs")
        shared = generate(store, PAIRS, width=64)
        small = [create(store, CaseSettings().with_values(SMALL | {"seed": n}), where) for n in range(sessions)]
        before = log.stat().st_size if log.exists() else 0
        app = serve(store.root, port, log)
        try:
            say(f"{sessions} sessions for {minutes:g} minutes")
            address = f"http://127.0.0.1:{port}"
            parts = [f"{address}/review?case={shared}&select={rule}" for rule in _parts(store, shared, sessions)]
            own = [f"{address}/?case={name}" for name in small]
            work = _all(f"{address}/tokens?case={MAIN}", parts, own, 60 * minutes, app.pid, say)
            memory, seen, processor = asyncio.run(work)
            ran = sum(jobs.status(store, name).state == "done" for name in small)
        except FileNotFoundError as e:  # of /proc
            raise UbtError(f"expected the app to run on, but it ended ({e}); its log is {log}") from None
        finally:
            _end(store, small)
            app.kill()
            app.wait()
        review = LogFile(store.root / "cases" / shared / "review.sqlite")
        labels = compared([s.given for s in seen], review.events())
    tracebacks = log.read_bytes()[before:].count(b"Traceback")
    found = {"memory": memory, "seen": seen, "labels": labels, "ran": ran, "tracebacks": tracebacks}
    return found | {"processor": processor}


def _parts(store: Store, shared: str, count: int) -> list[str]:
    """So many selections of as many pairs each, none of which is in two."""
    score = store.open(store.record(shared).artefacts["score"])["similarity"]["similarity"].to_numpy()
    edges = [f"{edge:.6f}" for edge in (-2, *np.quantile(score, np.arange(1, count) / count), 2)]
    return [f"similarity_reference > {a} and similarity_reference <= {b}" for a, b in pairwise(edges)]


def _end(store: Store, names: Sequence[str]) -> None:
    """End the jobs of cases that are still run, so that nobody writes where their folder was."""
    for name in (name for name in names if jobs.status(store, name).running):
        jobs.cancel(store, name)
    deadline = time.monotonic() + LIMIT
    while any(jobs.status(store, name).running for name in names) and time.monotonic() < deadline:
        time.sleep(0.2)


async def _all(
    warm: str, parts: Sequence[str], own: Sequence[str], seconds: float, server: int, say: Callable[[str], None]
) -> tuple[list[tuple[float, float, float]], list[Seen], dict[str, float]]:
    memory, started = [], time.monotonic()

    async def watch(processor: Processor) -> None:
        for n in range(10**6):
            await asyncio.sleep(max(0.0, started + n * EVERY - time.monotonic()))
            memory.append((time.monotonic() - started, *memory_mb(server)))
            processor.look()
            say(f"{memory[-1][0] / 60:.1f} minutes: {memory[-1][1]:.0f} MB")

    async with browser_async() as b:
        contexts = [await b.new_context(viewport=SIZE) for _ in own]
        tabs = [await context.new_page() for context in contexts]
        processor, started = Processor(server), time.monotonic()
        watcher = asyncio.create_task(watch(processor))
        several = [
            Session(tab, [warm] * (n == 0), part, small, n)
            for n, (tab, part, small) in enumerate(zip(tabs, parts, own, strict=True))
        ]
        due = [started + seconds * (0.1 + 0.6 * n / len(own)) for n in range(len(own))]
        seen = await asyncio.gather(*(s.work(at, started + seconds) for s, at in zip(several, due, strict=True)))
        watcher.cancel()
        memory.append((time.monotonic() - started, *memory_mb(server)))
        return memory, seen, processor.cores()


def compared(given: Sequence[Sequence[tuple[str, str]]], events: Iterable[Event]) -> dict[str, int]:
    """What became of the labels that sessions gave.

    Args:
        given: of each session, its (pair, label). events: the review's log, in which a session may have several names,
            for it gets a new one with each reload.

    Returns:
        `given`; `kept` with their session; `astray`, kept with another session; `lost`; and `extra`, which nobody gave.
    """
    logged: dict[str, Counter] = {}
    for e in events:
        if e.do == "label":
            logged.setdefault(e.who, Counter()).update((pair, e.label) for pair in e.pairs)
    wanted, found = [Counter(pairs) for pairs in given], [Counter() for _ in given]
    for labels in logged.values():
        whose = max(range(len(wanted)), key=lambda n: (wanted[n] & labels).total())
        found[whose].update(labels)
    kept = sum((a & b).total() for a, b in zip(wanted, found, strict=True))
    every, all_found = sum(wanted, Counter()), sum(found, Counter())
    return {
        "given": every.total(),
        "kept": kept,
        "astray": (every & all_found).total() - kept,
        "lost": (every - all_found).total(),
        "extra": (all_found - every).total(),
    }


def slope(memory: Sequence[tuple[float, float]], first: float = FIRST) -> tuple[float, float] | None:
    """The straight line through (seconds, MB) after the first so many seconds: MB a minute, and MB in its middle; None
    of fewer than three.
    """
    later = np.array([m for m in memory if m[0] >= first])
    if len(later) < 3:
        return None
    rise, _ = np.polyfit(later[:, 0] / 60, later[:, 1], 1)
    return float(rise), float(later[:, 1].mean())


def report(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures as lines of a table."""
    seen, memory, labels = found["seen"], found["memory"], found["labels"]
    changes, errors = [took for s in seen for took in s.changes], Counter(text for s in seen for text in s.errors)
    late = [title for s in seen for title in s.late]
    line = slope([(seconds, own) for seconds, _, own in memory])
    told = "fewer than three looks" if line is None else f"{round(line[0], 1) + 0.0:+.1f}, {_flat(*line)}"
    took = quantiles(changes) if changes else dict.fromkeys(("median", "p95", "most"), float("nan"))
    return [
        ("sessions, minutes", f"{len(seen)}, {memory[-1][0] / 60:.1f}"),
        ("labels given, kept with their session", f"{labels['given']:,}, {labels['kept']:,}"),
        ("labels lost, kept with another session, that nobody gave", "{lost}, {astray}, {extra}".format(**labels)),
        ("slider moves, small cases run to the end", f"{sum(s.moves for s in seen):,}, {found['ran']}"),
        ("changes of page, later than a minute", f"{len(changes):,}, {', '.join(late) or 'none'}"),
        ("change of page, ms (median, 95 %, most)", "{median:.0f}, {p95:.0f}, {most:.0f}".format(**took)),
        ("errors shown, tracebacks in the log", f"{errors.total()}, {found['tracebacks']}"),
        *((f"error, {count} times", text) for text, count in errors.most_common(10)),
        ("the server's resident memory each half minute, MB", " ".join(f"{mb:.0f}" for _, mb, _ in memory)),
        ("of it its own, not files, MB", " ".join(f"{mb:.0f}" for *_, mb in memory)),
        ("rise of its own after two minutes, MB a minute", told),
        ("cores kept busy", ", ".join(f"{what} {cores:.2f}" for what, cores in found["processor"].items())),
    ]


def _flat(rise: float, level: float) -> str:
    return "flat" if 100 * rise <= FLAT * level else "NOT FLAT"
