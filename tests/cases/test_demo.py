"""What the package ships of finished cases: whole, small, the same as what was run, and never written to."""

import json

import numpy as np
import pytest
from tiny import CPU, tiny

from ubt.attacks.rendered_scenes import Drawn
from ubt.cases import demo
from ubt.cases.quantized import Coded
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import make_demo
from ubt.core.files import READY
from ubt.reports.paper.whatif import WHAT_IF


@pytest.fixture
def made(tiny_case, tiny_store, tmp_path) -> Store:
    """The tiny case as it would be shipped."""
    store = Store(tmp_path / "ready")
    make_demo.keep_case(tiny_store, CPU, demo.MAIN, make_demo.DemoCase("tiny", tiny()), store)
    return store


def test_what_is_shipped_is_whole_and_small(tmp_path):
    store, files = Store(tmp_path), [p for p in READY.rglob("*") if p.suffix in (".json", ".parquet", ".npz", ".npy")]
    assert set(demo.names()) == set(make_demo.CASES)
    for name in demo.names():
        record = store.record(name)
        assert CaseSettings.from_dict(record.settings) == make_demo.CASES[name].settings
        for key in record.artefacts.values():
            artefact = store.open(key)
            assert all(artefact[entry] is not None for entry in artefact.manifest["entries"])
    assert max(p.stat().st_size for p in files) < 1e6
    assert sum(p.stat().st_size for p in files) < 6e6
    assert store.names() == []


def test_the_shipped_grid_is_the_sweeps():
    import pandas as pd

    table = pd.read_parquet(demo.grid())
    for name, sweep in WHAT_IF.items():
        part = table[table["sweep"] == name]
        assert part["value"].tolist() == [float(v) for v in sweep.factors[0].values]
        assert part["default"].sum() == 1
        assert not part.loc[part["default"], "state"].any()
    measured = table[table["state"] == ""]
    inside = measured[["overfit clean", "overfit poisoned"]].map(sum).sum(axis=1)
    assert (inside == np.where(measured["sweep"] == "fraction", 10_000 * measured["value"], 600).round()).all()


def test_a_shipped_case_shows_what_was_run(made, tiny_case):
    record, run = made.record(demo.MAIN), tiny_case.artefacts
    drawn = made.open(record.artefacts["data"])["images"]
    images = run["data"]["images"]
    assert isinstance(drawn, Drawn)
    assert np.array_equal(np.asarray(drawn), images)
    assert np.array_equal(drawn[np.array([5, 3])], images[[5, 3]])
    assert np.array_equal(drawn[7], images[7])
    for stage in ("score", "score_overfit"):
        assert made.open(record.artefacts[stage])["similarity"].equals(run[stage]["similarity"])
    assert record.metrics == json.loads(json.dumps(tiny_case.metrics))
    kept = made.open(record.artefacts["unlearn"]).manifest
    assert "model" in kept["left out"]
    assert "model" not in kept["entries"]
    exact, coded = (
        run["score_overfit"]["image_features"],
        made.open(record.artefacts["score_overfit"])["image_features"],
    )
    assert np.abs(coded @ coded.T - exact @ exact.T).max() < 0.02
    assert not set(record.artefacts.values()) & {a.path.name for a in run.values()}


def test_coded_vectors_keep_their_angles():
    vectors = np.random.default_rng(0).standard_normal((50, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = Coded.of(vectors).decoded()
    assert np.abs(found @ found.T - vectors @ vectors.T).max() < 0.015
