"""The page Help in a real Chromium: all of a table can be seen, however wide it is."""

WITHIN = """() => { const tables = [...document.querySelectorAll('.st-key-help-text table')];
    const wide = tables.filter(t => t.scrollWidth > t.clientWidth);
    return wide.length && wide.every(t => (t.scrollLeft = 9, t.scrollLeft > 0))
        && tables.every(t => t.getBoundingClientRect().right <= innerWidth); }"""


def test_a_wide_table_scrolls_within_the_page(app, full, tab):
    tab.goto(f"{app(full.root)}/help?document=measured&part=every-attack")
    tab.get_by_role("heading", name="Every attack").wait_for()
    tab.locator(".st-key-help-text table").first.wait_for()
    tab.wait_for_function(WITHIN)  # the browser may draw the table before the app's style sheet is there
