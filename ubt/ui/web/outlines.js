// A range brushed or a lasso drawn on a chart. It is drawn here and not by plotly, which looks for the points inside at
// every move of the pointer, and draws all of them again.
const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone
const MOVED = 4; // pixels from which a click is a drag
const round = v => Number(v.toPrecision(6));
let end = () => {}; // the drawing under way

function drawing(chart) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'ubt-drawing');
  const shape = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'polygon'));
  chart.appendChild(svg);
  return {show: corners => shape.setAttribute('points', corners.join(' ')), end: () => svg.remove()};
}

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();

  const tell = outline => {
    setTriggerValue('outline', outline);
    document.dispatchEvent(new CustomEvent('ubt-outlined'));
  };

  const begin = (key, chart, event) => {
    const all = chart._fullLayout, way = all && all.dragmode;
    if (event.button || event.ubtPassed || !['lasso', 'select'].includes(way) || !event.target.closest('.nsewdrag')) return;
    event.preventDefault();
    event.stopPropagation();
    const box = chart.getBoundingClientRect(), {xaxis, yaxis} = all, across = way === 'select' && all.selectdirection === 'h';
    const inside = ({clientX, clientY}) => [
      Math.min(Math.max(clientX - box.left, xaxis._offset), xaxis._offset + xaxis._length),
      Math.min(Math.max(clientY - box.top, yaxis._offset), yaxis._offset + yaxis._length)];
    const first = inside(event), path = [first];
    let shown = null;
    end();
    const corners = () => {
      if (way === 'lasso') return path;
      const [[a, c], [b, d]] = [first, path[path.length - 1]];
      const [low, high] = across ? [yaxis._offset + yaxis._length, yaxis._offset] : [c, d];
      return [[a, low], [b, low], [b, high], [a, high]];
    };
    const move = e => {
      if (e.type === 'mousemove' && !(e.buttons & 1)) { done(); return; } // released where nobody saw it
      const at = inside(e);
      if (!shown && Math.hypot(at[0] - first[0], across ? 0 : at[1] - first[1]) < MOVED) return;
      shown = shown || drawing(chart);
      path.push(at);
      shown.show(corners());
    };
    const done = () => {
      end = () => {};
      removeEventListener('mousemove', move, true);
      removeEventListener('mouseup', up, true);
      removeEventListener('keydown', escape, true);
      if (shown) shown.end();
    };
    const escape = e => { if (e.key === 'Escape') done(); };
    const up = e => {
      if (e.button) return;
      move(e);
      done();
      if (!shown) { pass('mousedown', event); pass('mouseup', e); return; }
      e.stopPropagation();
      const x = corners().map(at => round(xaxis.p2d(at[0] - xaxis._offset)));
      const y = corners().map(at => round(yaxis.p2d(at[1] - yaxis._offset)));
      tell({chart: key, x, y});
    };
    end = done;
    addEventListener('mousemove', move, true);
    addEventListener('mouseup', up, true);
    addEventListener('keydown', escape, true);
  };

  // A finger draws with plotly. What it drew is a query then; left on the chart, it would be moved in place of a new one.
  const touched = (key, chart, event) => {
    if (!event || !(event.lassoPoints || event.range)) return;
    const {x, y} = event.lassoPoints || {x: event.range.x.concat([...event.range.x].reverse()), y: event.range.y.flatMap(v => [v, v])};
    tell({chart: key, x: x.map(round), y: y.map(round)});
    setTimeout(() => {
      delete chart._fullLayout._activeSelectionIndex;
      chart.layout.selections = chart._fullLayout.selections = [];
      const drawn = '.selectionlayer > *, .zoomlayer .select-outline, .zoomlayer .outline-controllers';
      for (const element of chart.querySelectorAll(drawn)) element.remove();
    });
  };

  // A click is plotly's: it finds the point, and tells clicks from double clicks.
  const pass = (kind, {target, clientX, clientY, shiftKey, ctrlKey, metaKey}) => {
    const event = new MouseEvent(kind, {bubbles: true, cancelable: true, view: window, clientX, clientY, shiftKey, ctrlKey, metaKey});
    event.ubtPassed = true;
    (target instanceof Element ? target : document).dispatchEvent(event);
  };

  const listen = () => {
    for (const key of data.charts) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on) continue;
      chart.ubtBegin = event => begin(key, chart, event);
      if (chart.ubtOutlines) continue;
      chart.ubtOutlines = true;
      chart.addEventListener('mousedown', event => chart.ubtBegin(event), true);
      chart.on('plotly_selected', event => touched(key, chart, event));
      chart.on('plotly_deselect', () => tell({chart: key, x: [], y: []}));
    }
  };

  listen();
  const timer = setInterval(listen, 150); // charts come and go while the page is drawn
  stops.set(parentElement, () => clearInterval(timer));
  return () => stops.get(parentElement)();
}
