// What is selected, over charts that show everything: a veil over the rest of maps, curves over veiled histograms. So no
// chart is drawn again for a selection.
const every = new WeakMap(); // by the parent, veils by the chart's key
const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone
const THICK = 0.78, ROOM = 2;

const bits = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

// The veil, with a hole over each selected point, through which it is seen as it is. As pixels: to draw 50,000
// rectangles takes ten times as long.
function holes(to, chart, selected, scale) {
  const {xaxis, yaxis} = chart._fullLayout, {width, height} = to.canvas;
  const pixels = new Uint32Array(width * height).fill(new Uint32Array(to.getImageData(0, 0, 1, 1).data.buffer)[0]);
  const x0 = xaxis.d2p(0) * scale, ax = xaxis.d2p(1) * scale - x0, y0 = yaxis.d2p(0) * scale, ay = yaxis.d2p(1) * scale - y0;
  let count = 0;
  for (const {type, visible, marker, x, y, customdata: rows} of chart._fullData) {
    if (type !== 'scattergl' || !rows || visible !== true) continue;
    const size = Math.round(((marker.size || 4) + ROOM) * scale);
    for (let n = 0; n < rows.length; n++) {
      const row = rows[n];
      if (!(selected[row >> 3] & (128 >> (row & 7)))) continue;
      count++;
      const left = Math.round(x0 + ax * x[n] - size / 2), top = Math.round(y0 + ay * y[n] - size / 2);
      const from = Math.max(0, left), until = Math.min(width, left + size);
      if (!(from < until)) continue;
      for (let line = Math.max(0, top), end = Math.min(height, top + size); line < end; line++) pixels.fill(0, line * width + from, line * width + until);
    }
  }
  to.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
  return count;
}

function hatch(colour) {
  const tile = document.createElement('canvas'), size = 6;
  tile.width = tile.height = size;
  const to = tile.getContext('2d');
  to.strokeStyle = colour;
  for (const by of [-size, 0, size]) { to.moveTo(by - 1, size + 1); to.lineTo(by + size + 1, -1); }
  to.stroke();
  return to.createPattern(tile, 'repeat');
}

// The share of the selected pairs in each bin, as the chart draws all pairs.
function curves(to, chart, parts) {
  const {xaxis, yaxis} = chart._fullLayout;
  for (const {x, y, width, colour, dash, hatched} of parts.filter(part => part.x.length)) {
    const step = new Path2D();
    x.forEach((at, n) => {
      const height = yaxis.d2p(y[n]);
      step[n ? 'lineTo' : 'moveTo'](xaxis.d2p(at - width / 2), height);
      step.lineTo(xaxis.d2p(at + width / 2), height);
    });
    const area = new Path2D(step);
    area.lineTo(xaxis.d2p(x[x.length - 1] + width / 2), yaxis.d2p(0));
    area.lineTo(xaxis.d2p(x[0] - width / 2), yaxis.d2p(0));
    to.fillStyle = hatched ? hatch(colour) : colour;
    to.globalAlpha = hatched ? 0.8 : 0.3;
    to.fill(area);
    to.globalAlpha = 1;
    to.strokeStyle = colour;
    to.lineWidth = 1.6;
    to.setLineDash(dash ? [2, 3] : []);
    to.stroke(step);
  }
}

export default function ({data, parentElement}) {
  stops.get(parentElement)?.();
  const veils = every.get(parentElement) || new Map();
  every.set(parentElement, veils);
  const selected = data.selected === null ? null : bits(data.selected), keys = [...data.maps, ...Object.keys(data.curves)];

  const draw = ({chart, canvas}) => {
    const all = chart && chart._fullLayout;
    if (!all || !all.xaxis || !all.yaxis) return;
    const scale = devicePixelRatio || 1, {_offset: left, _length: width} = all.xaxis, {_offset: top, _length: height} = all.yaxis;
    canvas.style.cssText = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const to = canvas.getContext('2d', {willReadFrequently: true});
    to.scale(scale, scale);
    to.globalAlpha = THICK;
    to.fillStyle = getComputedStyle(document.querySelector('.stApp')).backgroundColor;
    to.fillRect(0, 0, width, height);
    to.globalAlpha = 1;
    const parts = data.curves[canvas.key];
    if (parts) curves(to, chart, parts);
    else canvas.dataset.selected = holes(to, chart, selected, scale);
    const said = parts ? parts.map(part => part.said).join(', ') : `${canvas.dataset.selected} of the points drawn`;
    canvas.ariaLabel = `Selected: ${said}`;
  };

  const update = () => {
    for (const [key, veil] of veils) {
      if (selected !== null && keys.includes(key)) continue;
      veil.canvas.remove();
      veils.delete(key);
    }
    for (const key of selected === null ? [] : keys) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on || !chart._fullData) continue;
      const veil = veils.get(key) || {canvas: Object.assign(document.createElement('canvas'), {className: 'ubt-veil', role: 'img', key})};
      veils.set(key, veil);
      const above = chart.querySelectorAll('.svg-container > .main-svg')[1]; // names, legend and hover labels
      if (above && above.previousElementSibling !== veil.canvas) above.before(veil.canvas);
      if (!chart.ubtVeil) {
        chart.on('plotly_afterplot', () => chart.ubtVeil());
        chart.on('plotly_relayouting', () => chart.ubtVeil());
      }
      chart.ubtVeil = () => { const now = veils.get(key); if (now && now.chart === chart) now.draw(now); };
      if (veil.chart === chart && veil.draw === draw) continue;
      Object.assign(veil, {chart, draw});
      draw(veil);
    }
  };

  update();
  const timer = setInterval(update, 150); // charts come and go while the page is drawn
  const themed = matchMedia('(prefers-color-scheme: dark)'), later = () => setTimeout(() => veils.forEach(draw), 300);
  themed.addEventListener('change', later);
  stops.set(parentElement, () => { clearInterval(timer); themed.removeEventListener('change', later); });
  return () => {
    stops.get(parentElement)();
    for (const veil of veils.values()) veil.canvas.remove();
    veils.clear();
  };
}
