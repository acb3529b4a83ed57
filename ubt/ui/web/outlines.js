// A range brushed or a lasso drawn on a chart.
const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();
  const round = v => Number(v.toPrecision(6));

  const outline = (key, event) => {
    if (!event) return;
    if (event.lassoPoints) {
      const {x, y} = event.lassoPoints;
      setTriggerValue('outline', {chart: key, x: x.map(round), y: y.map(round)});
    } else if (event.range && event.range.x) {
      const [[a, b], [c, d]] = [event.range.x, event.range.y];
      setTriggerValue('outline', {chart: key, x: [a, b, b, a].map(round), y: [c, c, d, d].map(round)});
    }
  };

  const listen = () => {
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || chart.ubtOutlines) continue;
      chart.ubtOutlines = true;
      chart.on('plotly_selected', event => outline(key, event));
      chart.on('plotly_deselect', () => setTriggerValue('outline', {chart: key, x: [], y: []}));
    }
  };

  listen();
  const timer = setInterval(listen, 150); // charts come and go while the page is drawn
  stops.set(parentElement, () => clearInterval(timer));
  return () => stops.get(parentElement)();
}
