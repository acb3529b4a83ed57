// What does not fit on the screen: the page scrolls; text of a chart that its box cuts, that lies on other text; a
// legend that lies on the chart's marks.
() => {
  const wrong = [], [main, walk] = ['[data-testid=stMain]', '.st-key-walk'].map(s => document.querySelector(s));
  const box = e => e.getBoundingClientRect(), SLACK = 1.5;
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > SLACK
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > SLACK;
  const inside = (a, b) => a.left >= b.left - SLACK && a.right <= b.right + SLACK
    && a.top >= b.top - SLACK && a.bottom <= b.bottom + SLACK;
  const letters = e => { // without the leading above and below them
    const {left, right, top, bottom, height} = box(e);
    return {left, right, top: top + .2 * height, bottom: bottom - .2 * height};
  };
  const screen = {left: 0, top: 0, right: innerWidth, bottom: innerHeight};
  for (const e of [document.scrollingElement, main]) {
    if (e.scrollHeight > e.clientHeight || e.scrollWidth > e.clientWidth)
      wrong.push(`scrolls: ${e.tagName} ${e.scrollWidth}x${e.scrollHeight} in ${e.clientWidth}x${e.clientHeight}`);
  }
  const shown = [...walk.querySelectorAll('p, h1, td, th, img, button, figcaption')].filter(e => box(e).width);
  for (const e of shown) if (!inside(box(e), screen)) wrong.push('off the screen: ' + e.innerText);
  const foot = box(document.querySelector('.ubt-presenter')), whose = document.querySelector('.st-key-whose');
  for (const e of shown) {
    if (over(box(e), foot) || (whose && !whose.contains(e) && over(box(e), box(whose))))
      wrong.push('lies on the bar below: ' + e.innerText);
  }
  for (const chart of walk.querySelectorAll('.js-plotly-plot')) {
    const texts = [...chart.querySelectorAll('.main-svg text')].filter(t => t.textContent.trim() && box(t).width);
    if (!texts.length) wrong.push('a chart without text');
    for (const text of texts) if (!inside(box(text), box(chart))) wrong.push('cut: ' + text.textContent);
    texts.forEach((a, n) => texts.slice(n + 1).forEach(b => {
      if (over(letters(a), letters(b))) wrong.push(`on each other: ${a.textContent} | ${b.textContent}`);
    }));
    const legend = chart.querySelector('.legend');
    const marks = chart.querySelectorAll('.cartesianlayer .plot :is(.point, .js-line, .js-fill)');
    for (const mark of legend ? marks : []) {
      if (over(box(mark), box(legend))) wrong.push('the legend lies on a mark');
    }
  }
  return wrong;
}
