"""Whether *Review* keeps every decision of somebody who presses a key as soon as the next pair is on the screen, and
how soon that is, in a real Chromium: alone, and beside two busy processes.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ubt.cases.store import Store
from ubt.cli.app_in_browser import served, settle
from ubt.cli.bench_runs.app import BUSY, quantiles
from ubt.cli.bench_runs.busy import alone_and_beside, busy_processes
from ubt.cli.bench_runs.case import generate
from ubt.core.chromium import browser
from ubt.pairs.annotations import Review
from ubt.pairs.events import LABELS

SIZE = {"width": 1280, "height": 900}
WATCH = """() => {
  window.ubtKeys = [];
  const shown = () => document.querySelector('.ubt-review').dataset.pair;
  const pressed = e => {
    const pair = window.ubtShown;
    const look = now => {
      window.ubtShown = shown();
      if (window.ubtShown === pair) requestAnimationFrame(look);
      else window.ubtKeys.push([pair, e.key, performance.now() - e.timeStamp]);
    };
    requestAnimationFrame(look);
  };
  window.ubtShown = shown();
  window.addEventListener('keydown', pressed, true);
}"""
"""Keeps, of each key, the pair that was on the screen when it was pressed, and the milliseconds until a frame shows
another."""
NEXT = "count => window.ubtKeys.length >= count"


def press_keys(tab: Any, count: int, seed: int = 0) -> tuple[dict[str, str], list[float]]:
    """Label `count` pairs at random, each as soon as its id is on the screen.

    Returns:
        The label that each pair was given, by the id on the screen, and milliseconds from each key to the next pair.
    """
    tab.evaluate(WATCH)
    drawn = random.Random(seed)
    for n in range(count):
        tab.keyboard.press(str(drawn.randrange(len(LABELS)) + 1))
        tab.wait_for_function(NEXT, arg=n + 1)
    keys = tab.evaluate("window.ubtKeys")
    return {pair: LABELS[int(key) - 1] for pair, key, _ in keys}, [took for *_, took in keys]


def compared(review: Review, given: dict[str, str]) -> dict[str, int]:
    """How many of the pairs that were labelled got another label (`wrong`) or none (`lost`); labels on others are wrong
    too.
    """
    labels = review.labels().dropna(subset="label").set_index("id")["label"].to_dict()
    return {
        "wrong": sum(given.get(pair) != label for pair, label in labels.items()),
        "lost": len(given.keys() - labels.keys()),
    }


def measure(cache: Path, keys: int = 600, say: Callable[[str], None] = lambda text: None) -> dict[str, dict[str, Any]]:
    """`keys` decisions alone and as many beside two busy processes, each on a case of its own.

    Returns:
        `alone` and `beside` to `keys`, `wrong`, `lost`, and milliseconds from a key to the next pair (`median`, `p95`,
        `most`).
    """
    store, found = Store(cache), {}
    log = store.root / "work" / "bench.log"
    with busy_processes(BUSY) as busy, served(store.root, log) as address, browser() as b:
        for n, load in enumerate(alone_and_beside(busy)):
            say(f"{keys} keys {load}")
            name = generate(store, keys + 400, seed=n, width=64)
            review = Review(store.root / "cases" / name / "review.sqlite")
            review.path.unlink(missing_ok=True)
            tab = b.new_page(viewport=SIZE)
            tab.set_default_timeout(60_000)
            tab.goto(f"{address}/review?case={name}&select=similarity_reference < 2")
            tab.locator(".ubt-review").wait_for()
            settle(tab)
            given, took = press_keys(tab, keys)
            tab.get_by_text("All decisions are saved.").wait_for()
            tab.close()
            found[load] = {"keys": keys, **compared(review, given), **quantiles(took)}
    return found
