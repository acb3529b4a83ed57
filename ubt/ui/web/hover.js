// The image and caption of the point that the pointer rests on.
const REST = 120; // milliseconds

const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setStateValue}) {
  stops.get(parentElement)?.();
  let box = parentElement.querySelector('.ubt-hover');
  if (!box) {
    box = document.createElement('div');
    box.className = 'ubt-hover';
    box.hidden = true;
    parentElement.appendChild(box);
  }
  box.wanted = box.wanted ?? null;

  const fill = () => {
    const fits = box.wanted !== null && data.shown.row === box.wanted;
    box.hidden = !fits;
    if (!fits) return;
    box.replaceChildren();
    if (data.shown.image) {
      const image = document.createElement('img');
      image.src = data.shown.image;
      image.alt = '';
      box.append(image);
    }
    box.append(data.shown.caption);
    const {x, y} = box.at;
    box.style.left = Math.min(x + 16, innerWidth - box.offsetWidth - 8) + 'px';
    box.style.top = Math.max(8, Math.min(y + 16, innerHeight - box.offsetHeight - 8)) + 'px';
  };
  box.fill = fill;
  box.ask = row => setStateValue('row', row);

  const over = event => {
    const row = event.points.length ? event.points[0].customdata : null;
    if (!Number.isInteger(row)) return;
    box.wanted = row;
    box.at = {x: event.event.clientX, y: event.event.clientY};
    clearTimeout(box.timer);
    box.fill();
    if (box.hidden) box.timer = setTimeout(() => box.ask(row), REST);
  };
  const away = () => { clearTimeout(box.timer); box.wanted = null; box.hidden = true; };

  const listen = () => {
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || chart.ubtHover) continue;
      chart.ubtHover = true;
      chart.on('plotly_hover', over);
      chart.on('plotly_unhover', away);
    }
  };

  fill();
  listen();
  const timer = setInterval(listen, 150); // charts come and go while the page is drawn
  stops.set(parentElement, () => clearInterval(timer));
  return () => stops.get(parentElement)();
}
