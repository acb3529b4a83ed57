"""The built-in case in a real Chromium, on an empty cache: every model reads a pair, the purified one is taken away."""

import re
import zipfile

import open_clip
from harness import no_traceback

from ubt.clip import models


def test_what_is_shipped_is_read_compared_and_taken_away(app, store, tab, tmp_path):
    address = app(store.root)
    tab.goto(f"{address}/tokens")
    tab.get_by_text(re.compile("Purified, ours.*similarity")).wait_for()
    tab.get_by_role("button", name="purified, published").click()
    tab.get_by_text(re.compile("Purified, published.*similarity")).wait_for()
    tab.goto(f"{address}/neighbours?ask=a+caption")
    tab.get_by_text(re.compile(r"of the 20 nearest are flagged")).wait_for()
    tab.goto(f"{address}/unlearn")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Purified, ours (zip)").click()
    with zipfile.ZipFile(download.value.path()) as z:
        z.extractall(tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    models.load(folder)
    open_clip.create_model_and_transforms(f"local-dir:{folder}")
    no_traceback(tab)
    assert store.names() == []
