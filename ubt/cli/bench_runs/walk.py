"""How fast the sliders of *Learn* and *What if* answer, and models while a patch is dragged on *Image*, in a real
Chromium.
"""

import time
from collections.abc import Callable
from pathlib import Path

from ubt.cases import demo
from ubt.cases.events import Event, Journal
from ubt.cases.store import Store
from ubt.cli.app_in_browser import served, settle
from ubt.cli.bench_runs.app import BUSY, between, quantiles
from ubt.cli.bench_runs.busy import alone_and_beside, busy_processes
from ubt.core.chromium import browser
from ubt.core.run import compute
from ubt.data import scenes
from ubt.reports.lecture.steps import STEPS
from ubt.reports.paper.whatif import WHAT_IF
from ubt.workflows import gate as gates
from ubt.workflows import jobs, made_here, sources

PRESSES = 20
HOME, SIZE = ".st-key-walk", {"width": 1280, "height": 720}
COUNT = f"""() => {{
  const app = document.querySelector('[data-test-script-state]');
  const count = () => {{ window.ubtRuns += app.dataset.testScriptState === 'running'; }};
  window.ubtRuns = 0;
  window.ubtPlots = document.querySelectorAll('{HOME} .js-plotly-plot').length;
  new MutationObserver(count).observe(app, {{attributeFilter: ['data-test-script-state']}}); }}"""
SEEN = f"""(() => {{ const home = document.querySelector('{HOME}');
  const plots = [...home.querySelectorAll('.js-plotly-plot')].map(g => [g.layout.shapes, g.data]);
  return JSON.stringify([window.ubtRuns, plots, [...home.querySelectorAll('img')].map(i => i.src)]); }})()"""
"""What changes with an answer: the app was at work, or what is drawn is another."""
READY = f"""!document.querySelector('[data-test-script-state=running]') &&
  document.querySelectorAll('{HOME} .js-plotly-plot .cartesianlayer .trace').length >= window.ubtPlots &&
  document.querySelectorAll('{HOME} .js-plotly-plot').length === window.ubtPlots &&
  [...document.querySelectorAll('{HOME} img')].every(i => i.complete)"""
"""Everything is drawn, once, and the app is at rest."""


ANSWERS = """(() => { const plot = document.querySelector('.st-key-image-answers .js-plotly-plot');
  return plot && plot._fullData ? Array.from(plot._fullData[0].x).join() : '' })()"""
"""What models take the image on *Image* for, as it is drawn."""
DRAGGED = "Image: a patch, dragged"


def measure(cache: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, dict[str, dict[str, float]]]:
    """Every slider, moved by key to and fro, alone and beside two busy processes.

    Returns:
        The slider, or what is dragged, to `alone` and `beside`, each to milliseconds (`median`, `p95`, `most`) from the
        key to where the app has answered: all is drawn, once, and it is at rest; from the pointer's step to where what
        the models answer is drawn.
    """
    gate_made(Store(cache))
    log = Store(cache).root / "work" / "bench.log"
    what_if = {f"What if: {sweep.title}": f"whatif?what={name}" for name, sweep in WHAT_IF.items()}
    learn = {f"Learn {step.heading}": f"learn?step={step.name}" for step in STEPS if step.number}
    found = {}
    with busy_processes(BUSY) as busy, served(cache, log) as address, browser() as b:
        for title, page in (learn | what_if).items():
            say(title)
            tab = b.new_page(viewport=SIZE)
            tab.goto(f"{address}/{page}")
            if title in learn:
                tab.locator(".st-key-show button").click(timeout=60_000)
            tab.locator(f"{HOME} .js-plotly-plot .cartesianlayer, {HOME} img").first.wait_for(
                state="attached", timeout=60_000
            )
            settle(tab)
            tab.evaluate(COUNT)
            found[title] = {load: quantiles(_moved(tab)) for load in alone_and_beside(busy)}
            tab.close()
        say(DRAGGED)
        tab = b.new_page(viewport=SIZE)
        tab.goto(f"{address}/image?case={demo.MAIN}")
        on_image(tab)
        found[DRAGGED] = {load: quantiles(_dragged(tab)) for load in alone_and_beside(busy)}
    return found


def gate_made(store: Store) -> str:
    """A small gate of the built-in case's poisoned model, as the job of the page *Image* leaves it behind; its name."""
    model = f"{sources.OF_CASE}{demo.MAIN}/poison"
    sides = sources.resolved(store, model), sources.resolved(store, sources.SHIPPED)
    settings = gates.GateSettings(clean=64, held=99)
    watch = gates.Watch(*sides, classes=scenes.CLASSES, detectors=("one_pass",), settings=settings)
    key = gates.calibrate(store, watch, compute())
    of = f"{gates.VERSION} {store.case(demo.MAIN).artefacts['poison']} {compute()}"
    told = store.root / "work" / jobs.import_lock(made_here.gate_of(model, sources.SHIPPED, sources.SCENES, [], of))
    told.mkdir(parents=True, exist_ok=True)
    Journal(told / "events.jsonl", fresh=True)(Event("done", key))
    return key


def on_image(tab) -> None:
    """Lay the case's own trigger over an image on the page *Image*."""
    tab.get_by_text("Detector that decides").first.wait_for(timeout=60_000)
    tab.get_by_text("attack", exact=True).first.click()
    tab.locator(".ubt-patch").wait_for()
    settle(tab)
    tab.locator(".ubt-patch").scroll_into_view_if_needed()


def _dragged(tab) -> list[float]:
    """Milliseconds from each step of the pointer, with a patch in its hold, to the models' answers."""
    box, took = tab.locator(".ubt-patch").bounding_box(), []
    one, x, y = box["width"] / 7, box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    tab.mouse.move(x, y)
    tab.mouse.down()
    for n in range(PRESSES + 2):
        before, started = tab.evaluate(ANSWERS), time.perf_counter()
        tab.mouse.move(x - one * (1 + n % 12), y - one * (n % 7))
        tab.wait_for_function(f"before => ({ANSWERS} || before) !== before", arg=before, polling=10)
        took.append(1000 * (time.perf_counter() - started))
    tab.mouse.move(x, y)
    tab.mouse.up()
    settle(tab)
    return took[2:]


def _moved(tab) -> list[float]:
    slider, way, took = tab.locator(f"{HOME} input[type=range]").first, "ArrowRight", []
    slider.focus()
    for _ in range(PRESSES + 2):
        least, at, most = slider.evaluate("e => [e.min, e.value, e.max].map(Number)")
        way = "ArrowRight" if at <= least else "ArrowLeft" if at >= most else way
        took.append(between(tab, [SEEN], READY, lambda press=tab.keyboard.press, way=way: press(way)))
    return took[2:]
