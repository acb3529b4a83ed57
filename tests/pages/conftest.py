"""Caches for the pages under test."""

import pytest
from harness import ROOT
from streamlit.runtime.pages_manager import PagesManager

from ubt.cases import demo, store


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("UBT_CACHE", str(tmp_path / "cache"))
    for module in (store, demo):
        monkeypatch.setattr(module, "READY", tmp_path / "nothing-shipped")
    made = PagesManager.__init__

    def remembers(self, *args, **kwargs):
        """A server learns once that the app navigates by itself; the harness forgets it before every run."""
        made(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", remembers)
    return tmp_path / "cache"
