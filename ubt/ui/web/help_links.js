// A link from document to document is followed in the same tab, without a new session.
export default function ({data, setTriggerValue}) {
  const follow = e => {
    const link = e.target.closest && e.target.closest('.st-key-' + data.home + ' a[href]');
    if (!link || e.button || e.ctrlKey || e.metaKey || e.shiftKey) return;
    const url = new URL(link.href, document.baseURI);
    if (url.origin !== location.origin || !url.searchParams.has('document')) return;
    e.preventDefault();
    e.stopPropagation();
    setTriggerValue('followed', url.search.slice(1));
  };
  document.addEventListener('click', follow, true);
  return () => document.removeEventListener('click', follow, true);
}
