// Arrow keys, and PageUp and PageDown also while a slider has the focus, press the buttons of the walk.
export default function () {
  const TAKES_ARROWS =
    'input, textarea, select, [role=slider], [role=radiogroup], [role=listbox], [contenteditable=true]';

  const turn = e => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.shiftKey) return;
    const page = {PageDown: 'next', PageUp: 'before'}[e.key], arrow = {ArrowRight: 'next', ArrowLeft: 'before'}[e.key];
    const taken = e.target.closest && e.target.closest(TAKES_ARROWS);
    const way = page || (taken ? null : arrow);
    const button = way && document.querySelector('.st-key-step-' + way + ' button');
    if (!button) return;
    e.preventDefault();
    e.stopPropagation();
    if (!button.disabled && !e.repeat) button.click();
  };

  document.addEventListener('keydown', turn, true);
  return () => document.removeEventListener('keydown', turn, true);
}
