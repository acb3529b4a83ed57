// Handles over the vertical lines of charts, to be dragged or moved by the arrow keys; what a line became is told.
const handles = new Map(); // by name; they stay while the page is drawn again
const SNAP = 4000; // milliseconds after which a line that the server left where it was goes back to it

const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();
  const wanted = new Set(data.lines.map(line => line.name));
  for (const [name, handle] of handles) {
    if (wanted.has(name)) continue;
    clearTimeout(handle.timer);
    handle.remove();
    handles.delete(name);
  }

  const tell = handle => {
    clearTimeout(handle.timer);
    handle.timer = null;
    setTriggerValue('moved', {name: handle.line.name, value: handle.value});
  };

  const put = (handle, value) => {
    const {low, high, step} = handle.line;
    handle.value = Number(Math.min(high, Math.max(low, Math.round(value / step) * step)).toFixed(4));
    place(handle);
  };

  const axes = handle => handle.chart && handle.chart._fullLayout && handle.chart._fullLayout.xaxis ? handle.chart._fullLayout : null;

  const place = handle => {
    const all = axes(handle);
    if (!all) return;
    const x = all.xaxis._offset + all.xaxis.d2p(handle.value);
    handle.style.cssText = `left:${x - 7}px;top:${all.yaxis._offset}px;height:${all.yaxis._length}px`;
    handle.setAttribute('aria-valuenow', handle.value);
    handle.dataset.value = handle.value.toFixed(2);
    handle.hidden = x < all.xaxis._offset - 1 || x > all.xaxis._offset + all.xaxis._length + 1;
    handle.classList.toggle('left-half', x - all.xaxis._offset < 0.4 * all.xaxis._length);
  };

  const made = line => {
    const handle = document.createElement('div');
    handle.className = 'ubt-line';
    handle.tabIndex = 0;
    handle.setAttribute('role', 'slider');
    handle.setAttribute('aria-orientation', 'horizontal');
    handle.addEventListener('pointerdown', event => {
      handle.setPointerCapture(event.pointerId);
      handle.classList.add('dragged');
      handle.focus({preventScroll: true});
      event.preventDefault();
      event.stopPropagation();
    });
    handle.addEventListener('mousedown', event => event.stopPropagation()); // no brush begins here
    handle.addEventListener('pointermove', event => {
      const all = axes(handle);
      if (!handle.classList.contains('dragged') || !all) return;
      put(handle, all.xaxis.p2d(event.clientX - handle.chart.getBoundingClientRect().left - all.xaxis._offset));
    });
    const release = () => {
      if (!handle.classList.contains('dragged')) return;
      handle.classList.remove('dragged');
      if (handle.value === handle.line.value) return;
      const before = handle.line;
      handle.tell();
      setTimeout(() => { if (handle.line === before) { handle.value = before.value; place(handle); } }, SNAP);
    };
    handle.addEventListener('pointerup', release);
    handle.addEventListener('pointercancel', release);
    handle.addEventListener('keydown', event => {
      const steps = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10}[event.key];
      if (!steps) return;
      event.preventDefault();
      put(handle, handle.value + steps * handle.line.step);
      clearTimeout(handle.timer);
      handle.timer = setTimeout(() => handle.tell(), 150);
    });
    handles.set(line.name, handle);
    return handle;
  };

  const update = () => {
    for (const line of data.lines) {
      const chart = document.querySelector('.st-key-' + line.chart + ' .js-plotly-plot');
      if (!chart || !chart.on) continue;
      const handle = handles.get(line.name) || made(line);
      handle.tell = () => tell(handle);
      if (handle.parentNode !== chart) chart.appendChild(handle);
      if (handle.chart !== chart) {
        handle.chart = chart;
        chart.on('plotly_afterplot', () => place(handle));
      }
      if (handle.line === line) continue;
      handle.line = line;
      handle.setAttribute('aria-label', line.label);
      if (!handle.firstChild) handle.append(Object.assign(document.createElement('span'), {ariaHidden: 'true'}));
      handle.firstChild.textContent = line.title;
      handle.setAttribute('aria-valuemin', line.low);
      handle.setAttribute('aria-valuemax', line.high);
      if (!handle.timer && !handle.classList.contains('dragged')) handle.value = line.value;
      place(handle);
    }
  };

  update();
  const timer = setInterval(update, 150); // charts come and go while the page is drawn
  stops.set(parentElement, () => clearInterval(timer));
  return () => stops.get(parentElement)();
}
