"""How fast the sliders of *Learn* and *What if* answer, in a real Chromium."""

from collections.abc import Callable
from pathlib import Path

from ubt.cases.store import Store
from ubt.cli.app_in_browser import served, settle
from ubt.cli.bench_runs.app import BUSY, between, quantiles
from ubt.cli.bench_runs.busy import alone_and_beside, busy_processes
from ubt.core.chromium import browser
from ubt.reports.lecture.steps import STEPS
from ubt.reports.paper.whatif import WHAT_IF

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


def measure(cache: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, dict[str, dict[str, float]]]:
    """Every slider, moved by key to and fro, alone and beside two busy processes.

    Returns:
        The slider to `alone` and `beside`, each to milliseconds (`median`, `p95`, `most`) from the key to where the app
        has answered: all is drawn, once, and it is at rest.
    """
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
    return found


def _moved(tab) -> list[float]:
    slider, way, took = tab.locator(f"{HOME} input[type=range]").first, "ArrowRight", []
    slider.focus()
    for _ in range(PRESSES + 2):
        least, at, most = slider.evaluate("e => [e.min, e.value, e.max].map(Number)")
        way = "ArrowRight" if at <= least else "ArrowLeft" if at >= most else way
        took.append(between(tab, [SEEN], READY, lambda press=tab.keyboard.press, way=way: press(way)))
    return took[2:]
