import importlib

import pytest

from ubt.ui.view import warm


@pytest.mark.parametrize("attributed", [False, True])
def test_what_reads_pairs_is_loaded_ahead_where_a_case_has_models_alone(attributed, monkeypatch):
    loaded = []
    monkeypatch.setattr(importlib, "import_module", loaded.append)
    warm.clear()
    warm(attributed).join()
    assert {"plotly.graph_objects", "faiss"} <= set(loaded)
    assert ("ubt.clip.attribution" in loaded) == attributed
    warm.clear()
