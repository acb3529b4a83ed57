// Rings around places of each map, over the chart, so that the chart need not be drawn again.
const rings = new Map(); // by the chart's key, a list

const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement}) {
  stops.get(parentElement)?.();
  const place = ring => {
    const all = ring.chart && ring.chart._fullLayout;
    if (!all || !all.xaxis || !ring.xy) return;
    const [x, y] = [all.xaxis.d2p(ring.xy[0]), all.yaxis.d2p(ring.xy[1])];
    const inside = x >= 0 && y >= 0 && x <= all.xaxis._length && y <= all.yaxis._length;
    const style = `left:${all.xaxis._offset + x}px;top:${all.yaxis._offset + y}px;display:${inside ? 'block' : 'none'}`;
    if (ring.told !== style) ring.style.cssText = ring.told = style; // a page at rest changes nothing
  };

  const fit = (some, wanted) => {
    while (some.length > wanted) some.pop().remove();
    while (some.length < wanted) some.push(Object.assign(document.createElement('div'), {className: 'ubt-ring'}));
    return some;
  };

  const update = () => {
    for (const [key, some] of rings) if (!(key in data.at)) { fit(some, 0); rings.delete(key); }
    for (const [key, places] of Object.entries(data.at)) {
      const chart = document.querySelector('.st-key-' + key + ' .js-plotly-plot');
      if (!chart || !chart.on) continue;
      const some = fit(rings.get(key) || [], places.length);
      rings.set(key, some);
      if (!chart.ubtRing) {
        const again = () => (rings.get(key) || []).forEach(place);
        chart.on('plotly_afterplot', again);
        chart.on('plotly_relayouting', again);
        chart.ubtRing = true;
      }
      some.forEach((ring, n) => {
        ring.xy = places[n];
        ring.chart = chart;
        if (ring.parentNode !== chart) chart.appendChild(ring);
        place(ring);
      });
    }
  };

  update();
  const timer = setInterval(update, 150); // charts come and go while the page is drawn
  stops.set(parentElement, () => clearInterval(timer));
  return () => {
    stops.get(parentElement)();
    for (const some of rings.values()) fit(some, 0);
    rings.clear();
  };
}
