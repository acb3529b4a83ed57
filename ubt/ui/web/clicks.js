// A point of a map or a card that is clicked.
let refocus = null; // the card chosen by key, whose grid is drawn anew
const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();
  const point = event => {
    const row = event.points.length ? event.points[0].customdata : null;
    if (!Number.isInteger(row)) return;
    const {shiftKey, ctrlKey, metaKey} = event.event || {};
    setTriggerValue('clicked', {row, add: !!(shiftKey || ctrlKey || metaKey)});
  };

  const card = event => {
    const found = event.target.closest && event.target.closest('[data-pair]');
    if (!found || (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ')) return;
    event.preventDefault();
    if (event.type === 'keydown') refocus = {pair: found.dataset.pair, until: performance.now() + 5000};
    setTriggerValue('clicked', {id: found.dataset.pair, add: event.shiftKey || event.ctrlKey || event.metaKey});
  };

  const listen = () => {
    if (refocus && document.activeElement === document.body) {
      const again = document.querySelector(`[data-pair="${CSS.escape(refocus.pair)}"]`);
      if (again) again.focus({preventScroll: true});
    }
    if (refocus && performance.now() > refocus.until) refocus = null;
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || chart.ubtClicks) continue;
      chart.ubtClicks = true;
      chart.on('plotly_click', point);
    }
  };

  listen();
  const timer = setInterval(listen, 150); // charts come and go while the page is drawn
  document.addEventListener('click', card);
  document.addEventListener('keydown', card);
  stops.set(parentElement, () => {
    clearInterval(timer);
    document.removeEventListener('click', card);
    document.removeEventListener('keydown', card);
  });
  return () => stops.get(parentElement)();
}
