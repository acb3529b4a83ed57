"""How fast the app is over a large case, in a real Chromium, beside plain numpy and scikit-learn on the same work in
the same run.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ubt.cases.record import CaseRecord
from ubt.cases.store import Store
from ubt.cli.app_in_browser import free_port, page_link, serve, settle
from ubt.cli.bench_runs.busy import alone_and_beside, busy_processes
from ubt.cli.bench_runs.case import generate
from ubt.cli.bench_runs.peak import Peak
from ubt.core.chromium import browser
from ubt.core.run import Compute, Run
from ubt.evaluation.detection import caught
from ubt.figures.similarity import BINS, binned, counted
from ubt.pairs import neighbors, query
from ubt.pairs.neighbors import Approximate, IndexSettings
from ubt.pairs.projection import MapSettings
from ubt.workflows import derived

MOVES, LASSOS, QUERIES, OPENINGS = 40, 12, 1000, 6
BUSY = 2
"""Processes that keep a core busy while everything is measured a second time."""
_INDEX = derived.index_options("joint", "overfit", IndexSettings(kind="ivf"))
MARKS = {
    "separation": ".st-key-chart-similarity_overfit .js-plotly-plot .scatterlayer",
    "map": ".st-key-map-overfit .nsewdrag",
    "review": ".ubt-card img",
    "neighbours": ".ubt-card img",
    "inspect": ".ubt-card.chosen img",
}
"""Page to what is there once it is open."""


def measure(cache: Path, pairs: int, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything over a generated case of `pairs` pairs, which is kept in the cache with its map and its index.

    Returns:
        `opening`: page to seconds from the click on its link, each time, the first on a fresh server; `slider`,
        `lasso`, and of *Inspect* what `_inspected` returns: milliseconds (median, 95th percentile) from release to
        redrawn; `beside`: the same beside two busy processes; `export`: seconds for all pairs as parquet;
        `private_mb`: the most the app had of its own memory
        during all of it;
        `neighbours`, `work`: see `searched` and `computed`.
    """
    store = Store(cache)
    say(f"generating {pairs:,} pairs")
    name = generate(store, pairs)
    record = store.record(name)
    for kind, options in (("map", derived.map_options(record, "joint", MapSettings(), ["overfit"])), ("index", _INDEX)):
        say(f"the {kind}")
        derived.make(store, record, kind, options, Run(compute=Compute("cpu", "fp32")))
    result: dict[str, Any] = {"pairs": pairs}
    log = store.root / "work" / "bench.log"
    port = free_port()
    app = serve(cache, port, log)
    try:
        with busy_processes(BUSY) as busy, browser() as b, Peak(app.pid) as peak:
            address = f"http://127.0.0.1:{port}"
            for load in alone_and_beside(busy):
                say(f"opening pages, moving the slider, drawing lassos, {load}")
                answers = {
                    "opening": _opened(b, address, name),
                    "slider": _slid(b, f"{address}/separation?case={name}"),
                    "lasso": _lassoed(b, f"{address}/map?case={name}"),
                    **_inspected(b, f"{address}/inspect?case={name}"),
                }
                result |= answers if load == "alone" else {load: answers}
            say("exporting all pairs")
            result["export"] = _exported(b, f"{address}/separation?case={name}")
        result["private_mb"] = peak.mb
    finally:
        app.kill()
        app.wait()
    say("searching neighbours")
    result["neighbours"] = searched(store, record)
    say("the same work in numpy")
    result["work"] = computed(store, record)
    return result


def _tab(b, address: str, page: str, quiet: float = 0.4) -> Any:
    """A tab with a page, once that is drawn and nothing has changed for `quiet` seconds."""
    tab = b.new_page(viewport={"width": 1280, "height": 1100})
    tab.set_default_timeout(120_000)
    tab.goto(address)
    tab.locator(MARKS[page]).wait_for()
    settle(tab, quiet)
    return tab


def _exported(b, address: str) -> float:
    tab = _tab(b, address, "separation")
    tab.get_by_role("button", name="Export", exact=True).click()
    started = time.perf_counter()
    with tab.expect_download() as download:
        tab.locator(".st-key-export-parquet button").click()
    download.value.path()
    took = time.perf_counter() - started
    tab.close()
    return took


def _opened(b, address: str, name: str) -> dict[str, list[float]]:
    tab, took = b.new_page(viewport={"width": 1280, "height": 900}), {page: [] for page in MARKS}
    tab.set_default_timeout(120_000)
    tab.goto(f"{address}/?case={name}")
    settle(tab)
    for _ in range(OPENINGS):
        for page, mark in MARKS.items():
            started = time.perf_counter()
            page_link(tab, page.capitalize()).click()
            tab.locator(mark).first.wait_for(state="attached")
            took[page].append(time.perf_counter() - started)
            page_link(tab, "Overview").click()
            settle(tab)
    tab.close()
    return took


_TOOK = Path(__file__).with_name("took.js").read_text(encoding="utf-8")
"""Leaves in `window.ubtTook` what `between` returns."""


def between(tab, state: list[str], ready: str, act: Callable[[], None]) -> float:
    """Milliseconds from the release of the mouse, or the key, in `act` until all that `state` reads has changed and
    `ready` holds.
    """
    tab.evaluate(_TOOK, [state, ready])
    act()
    tab.wait_for_function("window.ubtTook !== null", timeout=60_000)
    took = tab.evaluate("window.ubtTook")
    settle(tab)
    return took


def quantiles(took: list[float]) -> dict[str, float]:
    """The median, the 95th percentile and the most of some milliseconds."""
    return {"median": median(took), "p95": float(np.percentile(took, 95)), "most": max(took)}


def _slid(b, address: str) -> dict[str, float]:
    tab = _tab(b, address, "separation")
    thumb = tab.locator("[class*=st-key-threshold-] [data-testid=stSliderThumbValue]")
    track = tab.locator("[class*=st-key-threshold-]").first.bounding_box()
    took = []
    line = "document.querySelector('.st-key-chart-similarity_overfit .ubt-line')?.ariaValueNow"
    state = [line, "document.querySelector('.ubt-table').innerText"]
    ready = f"document.querySelector('.ubt-table').innerText.includes('in D_susp, ' + (+{line}).toFixed(2))"
    for n in range(MOVES + 2):
        at, end = thumb.bounding_box(), track["x"] + track["width"] * (0.55 + 0.4 * ((n * 7) % MOVES) / MOVES)

        def drag(x: float = at["x"] + at["width"] / 2, y: float = at["y"] + at["height"] + 8, end: float = end) -> None:
            tab.mouse.move(x, y)
            tab.mouse.down()
            tab.mouse.move((x + end) / 2, y, steps=3)
            tab.mouse.move(end, y, steps=3)
            tab.mouse.up()

        took.append(between(tab, state, ready, drag))
    tab.close()
    return quantiles(took[2:])


def _circle(tab, chart: str, n: int, r: np.random.Generator) -> Callable[[], None]:
    """Draws a circle on a map by hand, to its left or right in turns."""
    box = tab.locator(f"{chart}:not([data-retained]) .nsewdrag").bounding_box()
    x, y = box["x"] + box["width"] * (0.3 if n % 2 else 0.7), box["y"] + box["height"] * r.uniform(0.4, 0.6)
    radius = min(box["width"], box["height"]) * r.uniform(0.2, 0.25)
    corners = [(x + radius * np.cos(t), y + radius * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 16)]

    def draw() -> None:
        tab.mouse.move(*corners[0])
        tab.mouse.down()
        for corner in corners[1:]:
            tab.mouse.move(*corner, steps=2)
        tab.mouse.up()

    return draw


_SAID = "document.querySelector('.st-key-said').innerText"
_CARDS = "[...document.querySelectorAll('.ubt-card')].map(e => e.dataset.pair).join()"
_FIRST = "[...document.querySelector('.ubt-grid').querySelectorAll('.ubt-card')].map(e => e.dataset.pair).join()"
_COMPLETE = (
    "document.querySelectorAll('.ubt-card img').length > 0 && [...document.querySelectorAll('.ubt-card img')].every(i"
    " => i.complete)"
)


def _lassoed(b, address: str) -> dict[str, float]:
    tab, took, r = _tab(b, address, "map", 2), [], np.random.default_rng(0)
    ticked = "[...document.querySelectorAll('[class*=st-key-ticked]')].map(e => e.className).join()"
    ready = f"{_COMPLETE} && document.querySelector('[data-testid=stDataFrame] canvas') !== null"
    for n in range(LASSOS + 1):
        took.append(between(tab, [_SAID, ticked, _CARDS], ready, _circle(tab, ".st-key-map-overfit", n, r)))
    tab.close()
    return quantiles(took[1:])


def _inspected(b, address: str) -> dict[str, dict[str, float]]:
    """On *Inspect*: a threshold's line dragged, a histogram brushed, a lasso on the map, another pair clicked."""
    tab, r = _tab(b, address, "inspect", 2), np.random.default_rng(0)
    took: dict[str, list[float]] = {"line": [], "brush": [], "inspect lasso": [], "pair": []}
    line = "document.querySelector('.st-key-chart-similarity_overfit .ubt-line')?.ariaValueNow"
    counted = "document.querySelector('.st-key-thresholds').innerText"
    chart = tab.locator(".st-key-chart-similarity_overfit .nsewdrag").bounding_box()
    low = chart["y"] + chart["height"] * 0.9

    def pulled(by: float) -> None:
        box = tab.locator(".ubt-line").last.bounding_box()
        tab.mouse.move(box["x"] + 7, low)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 7 + by, low, steps=4)
        tab.mouse.up()

    def brushed(at: float) -> None:
        tab.mouse.move(chart["x"] + chart["width"] * at, chart["y"] + 8)
        tab.mouse.down()
        tab.mouse.move(chart["x"] + chart["width"] * (at + 0.2), low, steps=4)
        tab.mouse.up()

    drawn = "document.querySelector('[class*=st-key-map] .ubt-veil')?.dataset.selected"
    chosen = "document.querySelector('.ubt-card.chosen')?.dataset.pair"
    shown = "document.querySelector('.ubt-pictures img')?.src"
    for n in range(LASSOS + 1):
        took["line"].append(between(tab, [line, counted], "true", lambda n=n: pulled(-40 if n % 2 else 40)))
        took["brush"].append(between(tab, [_SAID, drawn, _FIRST], _COMPLETE, lambda n=n: brushed(0.5 + 0.02 * n)))
        circle = _circle(tab, "[class*=st-key-map-overfit]", n, r)
        took["inspect lasso"].append(between(tab, [_SAID, drawn, _FIRST], _COMPLETE, circle))
        card = tab.locator(".ubt-grid").first.locator("[data-pair]:not(.chosen)").nth(n % 4 + 1)
        took["pair"].append(between(tab, [chosen, shown], _COMPLETE, card.click))
    tab.close()
    return {what: quantiles(some[1:]) for what, some in took.items()}


def searched(store: Store, record: CaseRecord) -> dict[str, Any]:
    """Seconds of exact neighbours of one pair and of 1,000 in both spaces' joint, beside numpy and scikit-learn, and of
    the index.
    """
    held = derived.embedding(store, record, "overfit")
    parts = held.parts("joint")
    rows = np.random.default_rng(0).choice(len(parts[0]), min(QUERIES, len(parts[0])), replace=False)
    asked = held.rows("joint", rows)
    made = store.open(derived.key(record, "index", _INDEX))
    index = Approximate(made.read("index"), made["about"], parts)
    exact, truth = _timed(lambda: neighbors.exact(parts, asked, 11), 1)
    found = {
        "exact, 1 pair": _timed(lambda: neighbors.exact(parts, asked[:1], 11))[0],
        f"exact, {len(rows):,} pairs": exact,
    }
    found["numpy, 1 pair"] = _timed(lambda: _numpy_nearest(parts, asked[:1], 11))[0]
    some = min(100, len(rows))
    found[f"numpy, {len(rows):,} pairs (from {some})"] = (
        _timed(lambda: _numpy_nearest(parts, asked[:some], 11), 1)[0] * len(rows) / some
    )
    found["index, 1 pair"] = _timed(lambda: index.search(asked[:1], 11), 9)[0]
    took, answer = _timed(lambda: index.search(asked, 11))
    found[f"index, {len(rows):,} pairs"] = took
    hits = [
        len(set(a[a != row][:10]) & set(t[t != row][:10])) for a, t, row in zip(answer[1], truth[1], rows, strict=True)
    ]
    found["recall@10"], found["build"] = sum(hits) / (10 * len(rows)), made["about"]["build_seconds"]
    from sklearn.neighbors import NearestNeighbors

    plain = NearestNeighbors(n_neighbors=11, algorithm="brute", metric="cosine").fit(parts[0])
    found["scikit-learn, 1 pair, images alone"] = _timed(lambda: plain.kneighbors(parts[0][rows[:1]]))[0]
    found["exact, 1 pair, images alone"] = _timed(lambda: neighbors.exact(parts[:1], held.rows("image", rows[:1]), 11))[
        0
    ]
    return found


def _numpy_nearest(parts: tuple[np.ndarray, ...], asked: np.ndarray, k: int) -> np.ndarray:
    halves = np.split(asked, len(parts), axis=1)
    similarity = sum(half @ part.T for half, part in zip(halves, parts, strict=True))
    return np.argpartition(-similarity, k, axis=1)[:, :k]


def computed(store: Store, record: CaseRecord) -> dict[str, float]:
    """Milliseconds of what a slider's move and a lasso compute, ours and plain numpy's or matplotlib's."""
    read = {
        s: store.open(record.artefacts[s])["similarity"]["similarity"].to_numpy(np.float32)
        for s in ("score", "score_poisoned", "score_overfit")
    }
    truth = store.open(record.artefacts["attack"])["truth"]["poisoned"].to_numpy(bool)
    score, overfit, size = read["score"], read["score_overfit"], len(truth) // 100
    order, overfit_order = np.argsort(score, kind="stable"), np.argsort(-overfit, kind="stable")
    bins = {n: binned(v) for n, v in read.items()}

    def ours() -> None:
        caught(score, overfit, size, 0.7, 70, None, order, overfit_order).counts(truth)
        for b in bins.values():
            counted(b[truth]), counted(b[~truth])

    def plain() -> None:
        caught(score, overfit, size, 0.7, 70).counts(truth)
        for v in read.values():
            np.histogram(v[truth], BINS), np.histogram(v[~truth], BINS)

    made = store.open(derived.key(record, "map", derived.map_options(record, "joint", MapSettings(), ["overfit"])))
    xy = np.array(made.read("xy_overfit"))
    centre, radius = np.nanmedian(xy, axis=0), np.nanstd(xy)
    corners = [(centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 100)]
    lasso, columns = query.parse(query.inside("map", corners)), {"map_x": xy[:, 0], "map_y": xy[:, 1]}
    from matplotlib.path import Path as Outline

    works = {
        "slider, ours": ours,
        "slider, numpy": plain,
        "lasso, ours": lambda: lasso.rows(columns),
        "lasso, matplotlib": lambda: Outline(corners).contains_points(xy),
    }
    return {name: 1000 * _timed(work)[0] for name, work in works.items()}


def _timed(work: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    took, answer = [], None
    for _ in range(times):
        started = time.perf_counter()
        answer = work()
        took.append(time.perf_counter() - started)
    return median(took), answer


def report(results: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The figures as lines of a table, a column a size."""
    lines: dict[str, list[str]] = {}
    for r in results:
        own = {
            f"opening {page}, s (first, again)": f"{first:.2f}, {median(again):.2f}"
            for page, (first, *again) in r["opening"].items()
        }
        for answers, beside in ((r, ""), (r["beside"], ", beside two busy processes")):
            changes = [1000 * s for _, *again in answers["opening"].values() for s in again]
            for what, took in (
                ("change of page", quantiles(changes)),
                ("slider", answers["slider"]),
                ("lasso", answers["lasso"]),
                ("Inspect: line", answers["line"]),
                ("Inspect: brush", answers["brush"]),
                ("Inspect: lasso", answers["inspect lasso"]),
                ("Inspect: another pair", answers["pair"]),
            ):
                own[f"{what}, ms (median, 95 %){beside}"] = f"{took['median']:.0f}, {took['p95']:.0f}"
        own["all pairs as parquet, s"] = f"{r['export']:.1f}"
        own["the app's own memory at most, MB"] = f"{r['private_mb']:.0f}"
        own |= {
            f"neighbours: {k}" + ("" if k == "recall@10" else ", s"): f"{v:.4g}" for k, v in r["neighbours"].items()
        }
        own |= {f"computing: {k}, ms": f"{v:.1f}" for k, v in r["work"].items()}
        for k, v in own.items():
            lines.setdefault(k, []).append(v)
    return list(lines.items())


def write(results: list[dict[str, Any]], file: Path) -> None:
    """The figures as JSON."""
    file.write_text(json.dumps(results, indent=1))
