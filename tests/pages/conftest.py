"""Caches for the pages under test."""

import pytest
from harness import ROOT
from streamlit.runtime.pages_manager import PagesManager
from tiny import alone

from ubt.cases import Store


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("UBT_CACHE", str(tmp_path / "cache"))
    made = PagesManager.__init__

    def remembers(self, *args, **kwargs):
        """A server learns once that the app navigates by itself; the harness forgets it before every run."""
        made(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", remembers)
    return tmp_path / "cache"


@pytest.fixture
def full(cache, tiny_case, tiny_store) -> Store:
    """A cache with the finished tiny case alone."""
    return alone(tiny_store, tiny_case.name, cache)
