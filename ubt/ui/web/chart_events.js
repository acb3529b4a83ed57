// A range brushed or a lasso drawn on a chart, and a point or a card that is clicked.
export default function ({data, setTriggerValue}) {
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

  const point = (key, event) => {
    const row = event.points.length ? event.points[0].customdata : null;
    if (!key.startsWith('map') || !Number.isInteger(row)) return;
    const {shiftKey, ctrlKey, metaKey} = event.event || {};
    setTriggerValue('clicked', {row, add: !!(shiftKey || ctrlKey || metaKey)});
  };

  const card = event => {
    const found = event.target.closest && event.target.closest('[data-pair]');
    if (!found || (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ')) return;
    event.preventDefault();
    setTriggerValue('clicked', {id: found.dataset.pair, add: event.shiftKey || event.ctrlKey || event.metaKey});
  };

  const listen = () => {
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || chart.ubtHeard) continue;
      chart.ubtHeard = true;
      chart.on('plotly_selected', event => outline(key, event));
      chart.on('plotly_deselect', () => setTriggerValue('outline', {chart: key, x: [], y: []}));
      chart.on('plotly_click', event => point(key, event));
    }
  };

  listen();
  const timer = setInterval(listen, 150); // charts come and go while the page is drawn
  document.addEventListener('click', card);
  document.addEventListener('keydown', card);
  return () => {
    clearInterval(timer);
    document.removeEventListener('click', card);
    document.removeEventListener('keydown', card);
  };
}
