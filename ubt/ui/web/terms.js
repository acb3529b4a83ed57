// Says what a term of the field means while the pointer rests on it, or after a click, wherever it stands.
const REST = 350; // milliseconds
const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement}) {
  stops.get(parentElement)?.();
  const terms = Object.keys(data.terms).sort((a, b) => b.length - a.length);
  const escaped = terms.map(term => term.replace(/[^\w ]/g, '\\$&'));
  const pattern = new RegExp('(?<![\\w-])(' + escaped.join('|') + ')(?![\\w-])', 'gi');
  const exact = new Map(terms.map(term => [term.toLowerCase(), term]));
  let box = parentElement.querySelector('.ubt-term');
  if (!box) {
    box = document.createElement('div');
    box.className = 'ubt-term';
    box.setAttribute('role', 'tooltip');
    box.hidden = true;
    parentElement.appendChild(box);
  }
  let timer = null;

  const found = event => {
    const place = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const node = place && place.offsetNode;
    if (!node || node.nodeType !== Node.TEXT_NODE || !node.parentElement.closest('[data-testid=stMain]')) return null;
    if (node.parentElement.closest('button, input, textarea, a, [role=tab], code')) return null;
    for (const match of node.data.matchAll(pattern)) {
      if (match.index > place.offset || place.offset > match.index + match[0].length) continue;
      const term = exact.get(match[0].toLowerCase());
      if (/^[A-Z]+$/.test(term) && match[0] !== term) return null; // "ca", "ra" in a caption
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      const around = range.getBoundingClientRect();
      const inside = event.clientX >= around.left && event.clientX <= around.right
        && event.clientY >= around.top && event.clientY <= around.bottom;
      return inside ? {term, around} : null;
    }
    return null;
  };

  const show = ({term, around}) => {
    box.replaceChildren(Object.assign(document.createElement('b'), {textContent: term}), ' ' + data.terms[term]);
    box.hidden = false;
    box.style.left = Math.max(8, Math.min(around.left, innerWidth - box.offsetWidth - 8)) + 'px';
    const below = around.bottom + 6;
    box.style.top = (below + box.offsetHeight < innerHeight ? below : around.top - box.offsetHeight - 6) + 'px';
  };

  const hide = () => { clearTimeout(timer); box.hidden = true; };
  const moved = event => {
    hide();
    if (event.buttons) return;
    timer = setTimeout(() => { const at = found(event); if (at) show(at); }, REST);
  };
  const clicked = event => { hide(); const at = found(event); if (at) show(at); };
  const listened = [['pointermove', moved], ['click', clicked], ['keydown', hide], ['wheel', hide]];
  for (const [kind, act] of listened) document.addEventListener(kind, act, {passive: true});
  stops.set(parentElement, () => {
    hide();
    for (const [kind, act] of listened) document.removeEventListener(kind, act);
  });
  return () => stops.get(parentElement)();
}
