"""What a hand does on the page and streamlit does not tell: a range brushed or a lasso drawn on a chart, as its outline
and not as a list of points, and a card clicked in a grid.
"""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

_LISTEN = """
export default function ({data, setTriggerValue}) {
  const draw = (key, e) => {
    if (!e) return;
    const round = v => Number(v.toPrecision(6));
    if (e.lassoPoints) setTriggerValue('drawn', {chart: key, x: e.lassoPoints.x.map(round), y: e.lassoPoints.y.map(round)});
    else if (e.range && e.range.x) {
      const [[a, b], [c, d]] = [e.range.x, e.range.y];
      setTriggerValue('drawn', {chart: key, x: [a, b, b, a].map(round), y: [c, c, d, d].map(round)});
    }
  };
  const hook = () => {
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || chart.ubtHeard) continue;
      chart.ubtHeard = true;
      chart.on('plotly_selected', e => draw(key, e));
      chart.on('plotly_deselect', () => setTriggerValue('drawn', {chart: key, x: [], y: []}));
      chart.on('plotly_click', e => {
        const row = e.points.length ? e.points[0].customdata : null;
        if (key.startsWith('map') && Number.isInteger(row)) setTriggerValue('picked',
          {row, add: !!(e.event && (e.event.shiftKey || e.event.ctrlKey || e.event.metaKey))});
      });
    }
  };
  const pick = e => {
    const card = e.target.closest && e.target.closest('[data-pair]');
    if (!card || (e.type === 'keydown' && e.key !== 'Enter' && e.key !== ' ')) return;
    e.preventDefault();
    setTriggerValue('picked', {id: card.dataset.pair, add: e.shiftKey || e.ctrlKey || e.metaKey});
  };
  hook();
  const again = setInterval(hook, 150);
  document.addEventListener('click', pick);
  document.addEventListener('keydown', pick);
  return () => { clearInterval(again); document.removeEventListener('click', pick); document.removeEventListener('keydown', pick); };
}
"""


def listen(
    charts: tuple[str, ...],
    drawn: Callable[[str, list[float], list[float]], None],
    picked: Callable[[str | int, bool], None],
) -> None:
    """Call back when something is drawn on one of the charts, by their keys, or a pair is clicked in a grid.

    Args:
        drawn: called with the chart's key and the outline's x and y; both empty when it was taken back by a double
        click.
        picked: called with a pair's id, or the row of a point that was clicked, and whether Shift or Ctrl was held.
    """

    def heard() -> None:
        said = st.session_state["bridge"]
        if (d := said.get("drawn")) and d["chart"] in charts:
            drawn(d["chart"], d["x"], d["y"])
        if p := said.get("picked"):
            picked(int(p["row"]) if "row" in p else str(p["id"]), bool(p["add"]))

    component = st.components.v2.component("ubt_bridge", js=_LISTEN)
    component(key="bridge", data={"charts": list(charts)}, on_drawn_change=heard, on_picked_change=heard)


_FETCH = """
export default function ({data}) {
  if (window.ubtFetched) return;
  window.ubtFetched = true;
  const later = window.requestIdleCallback || (f => setTimeout(f, 500));
  later(() => data.scripts.forEach(name => import(new URL('static/js/' + name, document.baseURI)).catch(() => {})));
}
"""


def fetch_ahead() -> None:
    """Have the browser read what draws charts while the first page is looked at; the first chart then comes a second
    sooner.
    """
    scripts = [path.name for path in (Path(st.__file__).parent / "static" / "static" / "js").glob("PlotlyChart.*.js")]
    st.components.v2.component("ubt_fetch_ahead", js=_FETCH)(key="fetch-ahead", data={"scripts": scripts}, height=0)
