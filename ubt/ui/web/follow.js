// Parts of a page that are drawn one by one. Each says how new all was when it was drawn; one that shows something older
// than another part has met is drawn again.
const parts = new Map(); // by name
const AGAIN = 5000; // milliseconds after which a part that was to be drawn again is asked once more
const QUIET = 30, APART = 8;
let timer = 0;

const running = () => document.querySelector('.stApp')?.dataset.testScriptState === 'running';

// Streamlit sends what is told in one turn as if it were of one part, so that only the first would be drawn.
function ask([part, ...others]) {
  part.asked = performance.now();
  part.again();
  others.forEach(other => { other.asked = part.asked; });
  if (others.length) setTimeout(ask, APART, others);
}

// Not while the page is being drawn: what is old then may be on its way.
function settle() {
  clearTimeout(timer);
  if (running()) { timer = setTimeout(settle, QUIET); return; }
  const newest = {};
  for (const {now} of parts.values()) for (const [what, n] of Object.entries(now)) newest[what] = Math.max(newest[what] || 0, n);
  const old = [...parts.values()].filter(part => part.shows.some(what => part.now[what] < newest[what]));
  const waiting = old.filter(part => performance.now() - part.asked > AGAIN);
  if (waiting.length) ask(waiting);
  if (old.length) timer = setTimeout(settle, AGAIN);
}

// Something was outlined on a chart: what shows the selection will be old, so that nobody need wait for it.
function outlined() {
  const others = [...parts].filter(([name, part]) => part.shows.includes('selection') && name !== part.selects);
  if (others.length) setTimeout(ask, APART, others.map(([, part]) => part));
}

export default function ({data, parentElement, setTriggerValue}) {
  const {part: name, now, shows, selects} = data;
  const own = {parentElement, now, shows, selects, asked: -AGAIN, again: () => setTriggerValue('again', data.run)};
  parts.set(name, own);
  document.removeEventListener('ubt-outlined', outlined);
  document.addEventListener('ubt-outlined', outlined);
  settle();
  return () => {
    if (parts.get(name)?.parentElement === parentElement) parts.delete(name);
  };
}
