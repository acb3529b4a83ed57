// A drawing of squares: painted with the pointer, or by the arrow keys and space. What it became is told when the
// pointer is lifted, or a moment after the last key.
const KEYS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
const REST = 300; // milliseconds
const LATEST = 3000; // milliseconds after which an answer is no longer waited for

const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();
  let root = parentElement.querySelector('.ubt-paint');
  if (!root) {
    root = document.createElement('div');
    root.className = 'ubt-paint';
    const palette = document.createElement('div');
    palette.className = 'ubt-palette';
    palette.setAttribute('role', 'radiogroup');
    palette.setAttribute('aria-label', 'Colour');
    const board = document.createElement('div');
    board.className = 'ubt-board';
    board.tabIndex = 0;
    board.setAttribute('role', 'application');
    root.append(board, palette);
    parentElement.append(root);
    Object.assign(root, {palette, board, pen: data.pen, cursor: [0, 0], told: data.squares, number: data.number});
  }
  const {palette, board} = root, side = data.side;
  const answered = data.number >= root.number || performance.now() - (root.at ?? 0) > LATEST;
  if (!root.squares || root.squares.length !== side * side || (!root.painting && !root.timer && answered)) {
    root.squares = [...data.squares];
    root.told = data.squares;
    root.number = data.number;
  }
  const rgb = Object.fromEntries(data.palette.map(([c, , colour]) => [c, colour]));
  const names = Object.fromEntries(data.palette.map(([c, name]) => [c, name]));

  const show = () => {
    if (board.children.length !== side * side) {
      board.replaceChildren(...root.squares.map(() => document.createElement('i')));
      board.style.gridTemplateColumns = `repeat(${side}, 1fr)`;
    }
    root.squares.forEach((c, n) => {
      const cell = board.children[n];
      cell.style.background = rgb[c] || '';
      cell.className = (c in rgb && rgb[c] ? '' : 'clear') + (root.getRootNode().activeElement === board && n === root.cursor[0] * side + root.cursor[1] ? ' cursor' : '');
    });
    const [y, x] = root.cursor;
    board.setAttribute('aria-label', `Drawing, ${side} by ${side} squares. Row ${y + 1}, column ${x + 1}: ${names[root.squares[y * side + x]]}. Arrow keys move, space paints ${names[root.pen]}.`);
    root.dataset.squares = root.squares.join('');
    for (const one of palette.children) {
      one.setAttribute('aria-checked', String(one.dataset.colour === root.pen));
      one.tabIndex = one.dataset.colour === root.pen ? 0 : -1;
    }
  };
  const tell = () => {
    clearTimeout(root.timer);
    root.timer = null;
    if (root.told === root.squares.join('')) return;
    root.told = root.squares.join('');
    root.number += 1;
    root.at = performance.now();
    setTriggerValue('drawn', {squares: root.told, number: root.number});
  };
  const paint = (y, x, c) => {
    if (y < 0 || x < 0 || y >= side || x >= side) return;
    root.squares[y * side + x] = c;
    root.cursor = [y, x];
    show();
  };
  const under = event => {
    const box = board.getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / box.height * side), Math.floor((event.clientX - box.left) / box.width * side)];
  };

  root.take = c => { root.pen = c; show(); };
  if (!palette.children.length) {
    palette.append(...data.palette.map(([c, name, colour]) => {
      const one = document.createElement('button');
      one.type = 'button';
      one.dataset.colour = c;
      one.title = name;
      one.setAttribute('role', 'radio');
      one.setAttribute('aria-label', name);
      one.style.background = colour || '';
      one.className = colour ? '' : 'clear';
      one.onclick = () => root.take(c);
      return one;
    }));
    palette.onkeydown = event => {
      const by = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const all = [...palette.children], at = all.findIndex(one => one.dataset.colour === root.pen);
      const next = all[(at + by + all.length) % all.length];
      root.take(next.dataset.colour);
      next.focus();
    };
  }
  board.onpointerdown = event => {
    board.setPointerCapture(event.pointerId);
    board.focus({preventScroll: true});
    root.painting = true;
    paint(...under(event), root.pen);
    event.preventDefault();
  };
  board.onpointermove = event => { if (root.painting) paint(...under(event), root.pen); };
  board.onpointerup = board.onpointercancel = () => { if (root.painting) { root.painting = false; tell(); } };
  board.onkeydown = event => {
    const step = KEYS[event.key];
    if (!step && event.key !== ' ') return;
    event.preventDefault();
    event.stopPropagation();
    if (step) {
      root.cursor = root.cursor.map((n, i) => Math.min(side - 1, Math.max(0, n + step[i])));
      show();
    } else {
      paint(...root.cursor, root.pen);
      clearTimeout(root.timer);
      root.timer = setTimeout(tell, REST);
    }
  };
  board.onfocus = board.onblur = show;
  root.cursor = root.cursor.map(n => Math.min(n, side - 1));
  show();
  stops.set(parentElement, () => {});
  return () => clearTimeout(root.timer);
}
