// Reads the scripts that draw charts while the first page is looked at.
export default function ({data}) {
  if (window.ubtFetched) return;
  window.ubtFetched = true;
  const later = window.requestIdleCallback || (f => setTimeout(f, 500));
  const fetch = name => import(new URL('static/js/' + name, document.baseURI)).catch(() => {});
  later(() => data.scripts.forEach(fetch));
}
