// Works off the queue of pairs in review: shows a pair, moves on at a key, and sends what was decided as a numbered
// list until the server has confirmed it. What is kept here outlives the element on the page, and a reload.
const cases = new Map();
const LATER = 500, AGAIN = 3000, LONGEST = 15000, CHANGES = 16, CACHED = 256, AHEAD = 8;
const TYPING = 'input, textarea, select, [contenteditable=true], [role=textbox]';

const make = (name, tag = 'span', parent = null, text = '') => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};

// Decisions that were not confirmed before a reload, by the page that they were made on.
const stored = key => { try { return JSON.parse(sessionStorage.getItem(key)) || {}; } catch { return {}; } };

class Queue {
  constructor(name) {
    this.key = 'ubt-review-' + name;
    this.page = Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, '0')).join('');
    this.left = stored(this.key);
    Object.assign(this, {
      number: 0, outbox: [], overlay: new Map(), pairs: new Map(), states: new Map(), places: new Map(), following: [],
      refused: new Map(), changes: [], stack: [], row: null, place: null, want: null, moves: 0, undoing: null,
      attempt: 0, answered: 0, sentAt: 0, wait: AGAIN, failed: '', said: '', made: 0, timer: null, root: null,
    });
  }

  // What a pair has by now: what the server said, and over it what it has not confirmed yet.
  state(row) {
    return {...(this.states.get(row) || {label: null, mine: true, note: '', said: [], truth: ''}), ...(this.overlay.get(row) || {})};
  }

  placeOf(row) {
    const found = [...this.places].find(([, r]) => r === row);
    return found ? found[0] : null;
  }

  waiting() { return this.outbox.length + Object.values(this.left).reduce((sum, box) => sum + box.length, 0); }

  // --- to the server ------------------------------------------------------------------------------------------------

  keep() {
    const boxes = {...this.left, ...(this.outbox.length ? {[this.page]: this.outbox} : {})};
    try { sessionStorage.setItem(this.key, JSON.stringify(boxes)); } catch { /* storage is off: only a reload loses */ }
    return boxes;
  }

  send() {
    clearTimeout(this.timer);
    this.timer = null;
    if (!this.root) return;
    this.attempt += 1;
    this.sentAt = performance.now();
    const shown = this.pairs.get(this.row);
    this.set('sent', {
      attempt: this.page + ':' + this.attempt, pair: shown ? shown.id : null, want: this.want,
      holds: [...this.pairs.keys()], boxes: this.keep(),
    });
    this.draw();
  }

  // At once, or soon after the last message where that was not answered yet: messages that follow too fast would have
  // the server begin again and again.
  soon() {
    this.keep();
    if (this.timer !== null) return;
    const left = this.answered === this.attempt ? 0 : this.sentAt + LATER - performance.now();
    this.timer = setTimeout(() => this.send(), Math.max(0, left));
  }

  again() {
    const open = this.waiting() || this.want !== null || this.undoing !== null;
    if (!open || performance.now() - this.sentAt < this.wait) return;
    this.wait = Math.min(2 * this.wait, LONGEST);
    this.send();
  }

  // --- from the server ----------------------------------------------------------------------------------------------

  receive(data) {
    if (this.data === data) return;
    const other = this.data && this.data.queue !== data.queue, mine = data.attempt.split(':');
    const wanted = other && this.want !== null;
    if (other) this.places.clear();
    if (wanted) this.want = null;
    this.data = data;
    this.following = data.following;
    for (const [place, row] of data.window) this.places.set(place, row);
    for (const [row, pair] of Object.entries(data.pairs)) this.hold(Number(row), pair);
    for (const [row, state] of Object.entries(data.states)) this.states.set(Number(row), state);
    if (mine[0] === this.page) this.answered = Number(mine[1]);
    this.confirm(data);
    this.stand(data, other);
    if (wanted) this.onward();
    this.forget();
    const ahead = this.ahead().slice(0, AHEAD), lacks = ahead.some(p => !this.pairs.has(this.places.get(p)));
    if (this.answered === this.attempt && lacks) this.soon();
    this.draw();
  }

  hold(row, pair) {
    if (this.pairs.has(row)) return;
    const image = make('', 'img');
    image.alt = 'image of ' + pair.id;
    if (pair.image) {
      image.src = pair.image;
      image.decode().catch(() => {});
    }
    this.pairs.set(row, {...pair, picture: image});
  }

  confirm(data) {
    this.failed = data.failed;
    for (const [page, last] of Object.entries(data.acks)) {
      if (page === this.page) {
        if (this.outbox.some(one => one.number <= last)) this.wait = AGAIN;
        this.outbox = this.outbox.filter(one => one.number > last);
        for (const [row, {number}] of this.overlay) if (number <= last) this.overlay.delete(row);
      } else if (this.left[page]) {
        this.left[page] = this.left[page].filter(one => one.number > last);
        if (!this.left[page].length) delete this.left[page];
      }
    }
    for (const [page, number, why] of data.refused) {
      if (page !== this.page || this.refused.has(number)) continue;
      this.refused.set(number, why);
      this.stack = this.stack.filter(one => one.number !== number);
      this.said = 'Refused: ' + why;
    }
    this.keep();
    if (data.undone && data.undone[0] === this.undoing) {
      const count = data.undone[1];
      this.said = count ? `Undone: ${count} decision${count > 1 ? 's' : ''}.` : 'You have no decision to undo.';
      if (count && this.moves === this.undoneAt) this.jump = true;
      this.undoing = null;
    }
  }

  // Which pair is shown after the server has spoken: the same, unless the queue no longer has it.
  stand(data, other) {
    const jump = this.jump || this.row === null;
    this.jump = false;
    if (jump) return this.show(...data.at);
    const wanted = this.want === null ? undefined : this.places.get(this.want);
    if (this.pairs.has(wanted)) return this.show(this.want, wanted);
    if (!other) return;
    const place = this.placeOf(this.row);
    if (place !== null) this.place = place;
    else if (this.answered === this.attempt) this.show(...data.at);
    else this.soon();
  }

  // Drop pairs that are far away, so that memory does not grow.
  forget() {
    if (this.pairs.size <= CACHED) return;
    const near = new Set([...this.data.window.map(([, row]) => row), this.row, ...this.stack.slice(-AHEAD).map(s => s.row)]);
    for (const row of this.pairs.keys()) {
      if (this.pairs.size <= CACHED) break;
      if (!near.has(row)) this.pairs.delete(row);
    }
  }

  // --- what one does ------------------------------------------------------------------------------------------------

  // The pair that was on the screen when a key or the mouse was pressed; the browser may hand it over later.
  onScreen(event) {
    const seen = this.changes.find(([until]) => event.timeStamp < until);
    return seen ? seen[1] : this.row;
  }

  push(one) {
    this.number += 1;
    this.made += 1;
    this.outbox.push({number: this.number, ...one});
    this.said = '';
    this.moves += 1;
    return this.number;
  }

  decide(row, label) {
    if (row === null) return;
    const before = this.state(row);
    if (before.label !== label || !before.mine) {
      const number = this.push({do: 'label', pair: this.pairs.get(row).id, label});
      this.stack.push({number, row, label: before.label, mine: before.mine, note: before.note});
      this.overlay.set(row, {label, mine: true, note: before.note, number});
    }
    if (row === this.row) this.onward();
    this.soon();
    this.draw();
  }

  note(row, text) {
    const before = this.state(row);
    if (text === before.note) return;
    const number = this.push({do: 'note', pair: this.pairs.get(row).id, note: text});
    this.stack.push({number, row, label: before.label, mine: before.mine, note: before.note});
    this.overlay.set(row, {label: before.label, mine: before.mine, note: text, number});
    this.soon();
    this.draw();
  }

  undo() {
    const last = this.stack.pop();
    const number = this.push({do: 'undo', of: last ? last.number : 0});
    if (last) {
      this.overlay.set(last.row, {label: last.label, mine: last.mine, note: last.note, number});
      this.said = 'Undone: 1 decision.';
      if (this.pairs.has(last.row)) this.show(this.placeOf(last.row), last.row);
    } else {
      this.undoing = number;
      this.undoneAt = this.moves;
      this.said = 'Undoing…';
    }
    this.soon();
    this.draw();
  }

  // Places that are not decided, after this one and then from the start.
  ahead() {
    const open = p => p !== this.place && this.places.has(p) && this.state(this.places.get(p)).label === null;
    const all = [...new Set([...this.following, ...this.places.keys()])].filter(open).sort((a, b) => a - b);
    return [...all.filter(p => p > this.place), ...all.filter(p => p < this.place)];
  }

  onward() {
    const next = this.ahead()[0];
    this.go(next === undefined ? Math.min(this.place + 1, this.data.total - 1) : next);
  }

  go(place) {
    const row = this.places.get(place);
    if (row !== undefined && this.pairs.has(row)) this.show(place, row);
    else this.want = place;
    this.moves += 1;
    this.soon();
    this.draw();
  }

  step(event, by) {
    const row = this.onScreen(event), total = this.data.total;
    if (row !== this.row && by > 0) return; // the key before has moved on already
    const from = row === this.row ? this.place : this.placeOf(row);
    if (from !== null) this.go((from + by + total) % total);
  }

  show(place, row) {
    if (!this.pairs.has(row)) {
      this.want = place;
      return;
    }
    if (this.row !== null && this.row !== row) this.commit();
    const before = this.row;
    this.want = null;
    [this.place, this.row] = [place, row];
    if (before === row || !this.root) return;
    this.drawPair();
    if (before !== null) this.changes = [...this.changes, [performance.now(), before]].slice(-CHANGES);
  }

  // --- the page -----------------------------------------------------------------------------------------------------

  mount(parent) {
    this.unmount();
    const root = make('ubt-review', 'div', parent), bar = make('ubt-review-bar', 'div', root);
    Object.assign(this, {root, parent, stack: [], buttons: {}});
    this.places.clear();
    bar.setAttribute('role', 'group');
    bar.setAttribute('aria-label', 'Decide on the pair shown');
    const button = (name, title, key, act) => {
      const made = make('', 'button', bar, title);
      made.type = 'button';
      made.dataset.act = name;
      if (key) {
        made.setAttribute('aria-keyshortcuts', key.toUpperCase());
        make('', 'kbd', made, key.toUpperCase()).setAttribute('aria-hidden', 'true');
      }
      made.addEventListener('click', act);
      this.buttons[name] = made;
    };
    this.keys = {};
    for (const [label, key] of this.data.labels) {
      this.keys[key] = e => this.decide(this.onScreen(e), label);
      button(label, label[0].toUpperCase() + label.slice(1), key, this.keys[key]);
    }
    button('none', 'No decision', '', e => this.decide(this.onScreen(e), null));
    Object.assign(this.keys, {z: () => this.undo(), k: e => this.step(e, -1), j: e => this.step(e, 1)});
    button('undo', 'Undo', 'z', this.keys.z);
    button('before', 'Previous', 'k', this.keys.k);
    button('after', 'Next', 'j', this.keys.j);
    this.saved = make('ubt-review-saved', 'div', root);
    this.saved.setAttribute('role', 'status');
    const pair = make('ubt-review-pair', 'div', root), left = make('', 'div', pair), right = make('', 'div', pair);
    [this.picture, this.named] = [make('ubt-review-picture', 'div', left), make('ubt-review-id', 'div', left)];
    this.words = make('ubt-words', 'div', right);
    this.words.setAttribute('aria-live', 'polite');
    this.similar = make('ubt-table', 'table', right);
    this.truth = make('ubt-review-truth', 'div', right);
    this.contradiction = make('ubt-review-contradiction', 'div', right);
    const label = make('ubt-review-note', 'label', right);
    make('', 'span', label, 'Note');
    this.input = make('', 'input', label);
    Object.assign(this.input, {type: 'text', maxLength: this.data.note});
    this.input.addEventListener('change', () => this.commit());
    this.input.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === 'Escape') this.input.blur(); });
    this.listener = e => this.press(e);
    document.addEventListener('keydown', this.listener);
    this.clock = setInterval(() => this.again(), 500);
    this.leave = e => { if (this.timer !== null && (e.key === undefined || e.key === 'Enter')) this.send(); };
    window.addEventListener('pagehide', this.leave);
    for (const kind of ['pointerdown', 'keydown']) document.addEventListener(kind, this.leave, true); // a link
    this.warn = e => { if (this.waiting() && this.failed) e.preventDefault(); };
    window.addEventListener('beforeunload', this.warn);
    if (this.row !== null) this.drawPair();
    if (this.waiting()) this.soon();
  }

  unmount() {
    if (!this.root) return;
    document.removeEventListener('keydown', this.listener);
    window.removeEventListener('pagehide', this.leave);
    for (const kind of ['pointerdown', 'keydown']) document.removeEventListener(kind, this.leave, true);
    window.removeEventListener('beforeunload', this.warn);
    clearInterval(this.clock);
    clearTimeout(this.timer);
    this.root.remove();
    Object.assign(this, {root: null, timer: null, row: null, place: null, want: null, changes: [], undoing: null});
  }

  press(e) {
    const at = e.composedPath()[0], act = this.keys[e.key.toLowerCase()];
    if (!act || e.repeat || e.isComposing || e.ctrlKey || e.altKey || e.metaKey || !this.root.isConnected) return;
    if (at.closest && at.closest(TYPING)) return;
    if (document.querySelector('[data-testid=stDialog]')) return;
    e.preventDefault();
    act(e);
  }

  // A note that was typed belongs to the pair that it was typed at.
  commit() {
    if (this.root && this.row !== null) this.note(this.row, this.input.value.trim());
  }

  drawPair() {
    const pair = this.pairs.get(this.row);
    this.picture.replaceChildren(pair.image ? pair.picture : make('ubt-none', 'div', null, 'no image'));
    if (pair.broken) make('', 'small', this.picture, 'This image can no longer be read: ' + pair.broken);
    this.words.innerHTML = pair.words; // escaped by the server
    this.similar.replaceChildren();
    const head = make('', 'tr', make('', 'thead', this.similar)), body = make('', 'tbody', this.similar);
    for (const text of ['similarity under', '']) make('', 'th', head, text);
    for (const cells of pair.similarities) {
      const line = make('', 'tr', body);
      for (const text of cells) make('', 'td', line, text);
    }
    this.input.value = this.state(this.row).note;
    this.draw();
  }

  draw() {
    if (!this.root || this.row === null) return;
    const pair = this.pairs.get(this.row), state = this.state(this.row), focused = document.activeElement === this.input;
    this.root.dataset.pair = pair.id;
    const place = this.place === null ? '' : `${(this.place + 1).toLocaleString('en')} of `;
    this.named.textContent = `${place}${this.data.total.toLocaleString('en')} · ${pair.id}`;
    for (const [label] of this.data.labels) this.buttons[label].setAttribute('aria-pressed', state.label === label);
    this.buttons.none.disabled = state.label === null;
    if (!focused && this.input.value !== state.note) this.input.value = state.note;
    this.truth.textContent = state.truth && `Ground truth: ${state.truth}.`;
    const said = state.said.map(([label, who, at]) => `${who} said ${label} (${at.slice(0, 16).replace('T', ' ')})`);
    this.contradiction.textContent = said.length ? `⚠ Labels contradict each other: ${said.join(', ')}. The latest holds.` : '';
    this.drawSaved();
  }

  drawSaved() {
    const open = this.waiting(), some = `${open} decision${open > 1 ? 's' : ''}`;
    const parts = [
      this.said,
      this.want === null ? '' : 'Reading the next pair…',
      this.failed && open ? `${some} not saved yet: ${this.failed}. They are kept here and sent again.`
        : open ? `Saving ${some}…` : this.made ? 'All decisions are saved.' : '',
    ];
    this.saved.textContent = parts.filter(Boolean).join(' ') || 'Nothing is waiting to be saved.';
    this.saved.classList.toggle('failed', !!(this.failed && open) || this.said.startsWith('Refused'));
  }
}

export default function ({data, parentElement, setStateValue}) {
  const name = data.case + (data.who && '-' + data.who);
  if (!cases.has(name)) cases.set(name, new Queue(name));
  const queue = cases.get(name);
  queue.set = setStateValue;
  const fresh = queue.parent !== parentElement || !queue.root;
  if (fresh) {
    queue.data = data;
    queue.mount(parentElement);
    queue.data = null;
  }
  queue.receive(data);
  // The page also calls this when it only draws anew; the element is gone when it hangs on nothing.
  return () => setTimeout(() => { if (queue.parent === parentElement && !parentElement.isConnected) queue.unmount(); });
}
