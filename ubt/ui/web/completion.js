// Offers the words that begin with the one before the cursor of a text field, as the browser's own list.
export default function ({data}) {
  const MOST = 12;
  const list = document.createElement('datalist');
  list.id = 'ubt-words-' + data.field;
  document.body.append(list);

  const offer = e => {
    const field = document.querySelector('.st-key-' + data.field + ' input');
    if (!field || e.target !== field) return;
    const text = field.value, word = /[\w.-]*$/.exec(text)[0];
    const quoted = (text.match(/"/g) || []).length % 2 || (text.match(/'/g) || []).length % 2;
    const begins = w => w !== word && w.toLowerCase().startsWith(word.toLowerCase());
    const found = word && !quoted && field.selectionStart === text.length ? data.words.filter(begins) : [];
    list.replaceChildren(...found.slice(0, MOST).map(w => new Option(w, text.slice(0, -word.length) + w)));
    field.setAttribute('list', list.id);
  };

  document.addEventListener('input', offer, true);
  return () => {
    document.removeEventListener('input', offer, true);
    list.remove();
  };
}
