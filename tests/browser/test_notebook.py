"""What leaves the app for a notebook, in a real Chromium; and the app as it is installed, started from elsewhere."""

import io
import os
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
from harness import no_traceback
from installed import installed

from ubt.cli.app_in_browser import free_port
from ubt.pairs import image_dataset

SELECTED = "suspicious and similarity_overfit > 0.3"


def test_the_selection_is_copied_as_python_and_leaves_with_its_images(app, mapped, tab, tiny_case):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.goto(f"{app(mapped.root)}/map?case={tiny_case.name}&select={SELECTED.replace('>', '%3E')}")
    tab.get_by_role("button", name="Export", exact=True).click()
    code = tab.get_by_test_id("stCode").filter(has_text="open_case")
    code.hover()
    code.get_by_role("button").click()
    tab.wait_for_function("navigator.clipboard.readText().then(text => text.includes('open_case'))")
    names: dict = {}
    exec(tab.evaluate("navigator.clipboard.readText()"), names)
    chosen = names["case"].select(SELECTED, truth=True)
    assert len(chosen)
    pd.testing.assert_frame_equal(names["pairs"], chosen)
    with tab.expect_download() as download:
        tab.locator(".st-key-export-images button").click()
    with zipfile.ZipFile(download.value.path()) as z:
        frame = pd.read_parquet(io.BytesIO(z.read(image_dataset.FILE)))
    assert frame["id"].tolist() == chosen["id"].tolist()
    no_traceback(tab)


def test_installed_it_starts_from_any_folder_with_every_page(tab, tmp_path):
    pytest.importorskip("setuptools", "77", reason="no setuptools here that can build the wheel")
    environment, port = os.environ | {"PYTHONPATH": str(installed(tmp_path))}, free_port()
    command = [sys.executable, "-P", "-m", "ubt", "app", "--port", str(port), "--", "--server.headless", "true"]
    (elsewhere := tmp_path / "elsewhere").mkdir()
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                tab.goto(f"http://127.0.0.1:{port}/help")
                break
            except Exception:
                assert server.poll() is None, (tmp_path / "log").read_text()
                tab.wait_for_timeout(200)
        tab.get_by_role("heading", level=1, name="Help").wait_for()
        tab.get_by_test_id("stSidebarNavLink").filter(has_text="Data").click()
        tab.get_by_role("heading", level=1, name="Data").wait_for()
        no_traceback(tab)
        assert (elsewhere / "cache" / "cases").is_dir()
    finally:
        server.terminate()
        server.wait(timeout=30)
