// Keys of the walk: arrows, PageUp and PageDown turn the steps, P presents; while it is presented also full screen, the
// notes of the step, and a clock. What is open stays open from step to step. All turns since the page was loaded are
// told at once: none is lost while the page is being drawn, and no button of the step before is pressed in its place.
const TYPING = 'input:not([type=range]), textarea, select, [contenteditable=true], [role=textbox], [role=combobox]';
const TAKES_ARROWS = TYPING + ', input[type=range], [role=slider], [role=radiogroup], [role=listbox]';
const BEGAN = 'ubt-lecture-began', STEP = 0.05, LATER = 200;
const open = {notes: false, clock: false};
const LOADED = String(Math.random());
let told = null, turns = '', stop = () => {};

const began = again => {
  let at = Number(sessionStorage.getItem(BEGAN));
  if (!at || again) sessionStorage.setItem(BEGAN, at = Date.now());
  return at;
};

const minutes = seconds => Math.floor(seconds / 60) + ':' + String(Math.floor(seconds % 60)).padStart(2, '0');

const make = (tag, parent, text = '', name = '') => {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  parent.append(element);
  return element;
};

const press = name => {
  const button = document.querySelector('.st-key-' + name + ' button');
  if (button && !button.disabled) button.click();
  return !!button;
};

const fill = () =>
  document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();

// The bar below the step, and its notes; returns what each key does.
function bar(root, data) {
  const tools = make('div', root, '', 'ubt-presenter'), notes = make('aside', root, '', 'ubt-notes'), buttons = {};
  tools.setAttribute('role', 'group');
  tools.setAttribute('aria-label', 'Presenter mode');
  notes.setAttribute('aria-label', 'Notes');
  for (const text of data.notes) make('p', notes, text);
  const clock = make('output', tools), act = {};
  const tick = () => {
    const said = `${minutes((Date.now() - began()) / 1000)} of ${data.whole} min, step until ${data.until}`;
    if (open.clock && clock.textContent !== said) clock.textContent = said;
  };
  const draw = () => {
    notes.hidden = !open.notes;
    clock.hidden = buttons.again.hidden = !open.clock;
    tick();
    for (const name of ['notes', 'clock']) buttons[name].setAttribute('aria-pressed', open[name]);
  };
  const button = (name, title, key, does) => {
    buttons[name] = make('button', tools, title);
    buttons[name].type = 'button';
    if (key) buttons[name].setAttribute('aria-keyshortcuts', key.toUpperCase());
    buttons[name].addEventListener('click', act[key || name] = () => { does(); draw(); });
  };
  button('again', '↺', '', () => began(true));
  buttons.again.setAttribute('aria-label', 'Start the clock again');
  button('clock', 'Clock (C)', 'c', () => { open.clock = !open.clock; });
  button('notes', 'Notes (N)', 'n', () => { open.notes = !open.notes; });
  button('full', 'Full screen (F)', 'f', fill);
  began();
  draw();
  const ticks = setInterval(tick, 500);
  return [act, () => { clearInterval(ticks); tools.remove(); notes.remove(); }];
}

export default function ({data, parentElement, setStateValue}) {
  stop(); // the page calls this again for every step, and what it returns only in the end
  const [act, gone] = data.presented ? bar(parentElement, data) : [{}, () => {}];

  const keyed = e => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.shiftKey || e.isComposing) return;
    const at = e.composedPath()[0], within = selector => at.closest && at.closest(selector), key = e.key.toLowerCase();
    if (document.querySelector('[data-testid=stDialog]')) return;
    const page = {PageDown: 'next', PageUp: 'before'}[e.key], arrow = {ArrowRight: 'next', ArrowLeft: 'before'}[e.key];
    const way = page || (within(TAKES_ARROWS) ? null : arrow), letter = !within(TYPING) && (act[key] || key === 'p');
    if (!way && !letter) return;
    e.preventDefault();
    e.stopPropagation();
    if (e.repeat) return;
    if (letter) act[key] ? act[key]() : press('present');
    else setStateValue('turned', {loaded: LOADED, turns: turns += way[0]});
  };

  const tell = () => {
    const [width, height] = data.screen, scale = Math.min(innerWidth / width, innerHeight / height);
    const rounded = Number((Math.floor(scale / STEP + 1e-6) * STEP).toFixed(2));
    if (data.presented && rounded !== told) setStateValue('scale', told = rounded);
  };
  let later = null;
  const resized = () => { clearTimeout(later); later = setTimeout(tell, LATER); };

  document.addEventListener('keydown', keyed, true);
  window.addEventListener('resize', resized);
  tell();
  return stop = () => {
    document.removeEventListener('keydown', keyed, true);
    window.removeEventListener('resize', resized);
    clearTimeout(later);
    gone();
  };
}
