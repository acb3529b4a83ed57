// An image with a patch on it that is dragged, resized at its corner, or moved by the arrow keys. While it moves the
// server is told where it is as often as it answers; once it rests, that it rests.
const LATEST = 1500; // milliseconds after which an answer is no longer waited for
const KEYS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

const stops = new WeakMap(); // called again with every change of data; what it returns is called at the end alone

export default function ({data, parentElement, setTriggerValue}) {
  stops.get(parentElement)?.();
  let stage = parentElement.querySelector('.ubt-lens');
  if (!stage) {
    stage = document.createElement('div');
    stage.className = 'ubt-lens';
    const below = Object.assign(new Image(), {alt: '', draggable: false});
    const patch = document.createElement('div');
    patch.className = 'ubt-patch';
    patch.tabIndex = 0;
    patch.setAttribute('role', 'group');
    patch.setAttribute('aria-roledescription', 'movable patch');
    patch.append(Object.assign(new Image(), {alt: '', draggable: false}));
    patch.append(Object.assign(document.createElement('span'), {className: 'ubt-corner', ariaHidden: 'true'}));
    stage.append(below, patch);
    parentElement.append(stage);
    Object.assign(stage, {below, patch, sent: null, asked: 0, number: data.number, moving: null});
  }
  const {below, patch} = stage;
  const ratio = data.patch.height / data.patch.width;
  const most = Math.max(data.patch.height, data.patch.width);

  const size = () => ({
    height: Math.max(1, Math.round(data.patch.height * stage.at.side / most)),
    width: Math.max(1, Math.round(data.patch.width * stage.at.side / most)),
  });
  const put = at => {
    const side = Math.min(data.longest, Math.max(1, Math.round(at.side)));
    stage.at = {side, top: at.top, left: at.left};
    const {height, width} = size();
    stage.at.top = Math.min(data.height - height, Math.max(0, Math.round(at.top)));
    stage.at.left = Math.min(data.width - width, Math.max(0, Math.round(at.left)));
    const share = (n, of) => `${100 * n / of}%`;
    patch.style.top = share(stage.at.top, data.height);
    patch.style.left = share(stage.at.left, data.width);
    patch.style.height = share(height, data.height);
    patch.style.width = share(width, data.width);
    patch.setAttribute('aria-label', `Patch, ${width} by ${height} pixels, left ${stage.at.left}, top ${stage.at.top}.`
      + ' Arrow keys move it, plus and minus resize it.');
    Object.assign(stage.dataset, stage.at);
  };
  const same = (a, b) => a && b && a.top === b.top && a.left === b.left && a.side === b.side;
  const tell = rests => {
    if (!rests && (same(stage.at, stage.sent) || performance.now() - stage.asked < LATEST)) return;
    stage.sent = {...stage.at};
    stage.told = stage.asked = performance.now();
    stage.number += 1;
    setTriggerValue('moved', {...stage.at, rests, number: stage.number});
  };
  const rest = () => { clearTimeout(stage.timer); stage.timer = setTimeout(() => tell(true), 200); };

  const point = event => {
    const box = below.getBoundingClientRect();
    return {top: (event.clientY - box.top) / box.height * data.height, left: (event.clientX - box.left) / box.width * data.width};
  };
  patch.onpointerdown = event => {
    const at = point(event);
    patch.setPointerCapture(event.pointerId);
    patch.focus({preventScroll: true});
    clearTimeout(stage.timer);
    stage.moving = {corner: event.target.className === 'ubt-corner', top: at.top - stage.at.top, left: at.left - stage.at.left};
    event.preventDefault();
  };
  patch.onpointermove = event => {
    if (!stage.moving) return;
    const at = point(event);
    if (stage.moving.corner) {
      const longer = Math.max(at.top - stage.at.top, (at.left - stage.at.left) * Math.min(1, ratio), at.left - stage.at.left);
      const free = most * Math.min((data.height - stage.at.top) / data.patch.height, (data.width - stage.at.left) / data.patch.width);
      put({...stage.at, side: Math.min(free, longer)});
    } else {
      put({...stage.at, top: at.top - stage.moving.top, left: at.left - stage.moving.left});
    }
    tell(false);
  };
  patch.onpointerup = patch.onpointercancel = () => {
    if (!stage.moving) return;
    stage.moving = null;
    tell(true);
  };
  patch.onkeydown = event => {
    const step = KEYS[event.key], by = event.shiftKey ? 4 : 1;
    const grow = {'+': 1, '=': 1, '-': -1}[event.key];
    if (!step && !grow) return;
    event.preventDefault();
    event.stopPropagation();
    put(step ? {...stage.at, top: stage.at.top + by * step[0], left: stage.at.left + by * step[1]} : {...stage.at, side: stage.at.side + by * grow});
    tell(false);
    rest();
  };

  below.src = data.image;
  patch.firstChild.src = data.patch.image;
  patch.firstChild.style.opacity = data.opacity;
  stage.style.aspectRatio = `${data.width} / ${data.height}`;
  stage.asked = 0; // this is the answer
  const untold = stage.at && !same(stage.at, stage.sent); // it was moved on since the server was told
  if (performance.now() - (stage.told ?? 0) > LATEST) stage.number = Math.min(stage.number, data.number); // a new session
  if (stage.moving || untold || data.number < stage.number) {
    put(stage.at);
    tell(false);
  } else {
    put(data.at);
    stage.sent = {...stage.at};
  }
  stops.set(parentElement, () => {});
  return () => clearTimeout(stage.timer);
}
