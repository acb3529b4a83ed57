"""A patch made of scenes, and of imported pairs, against the models there are."""

import pytest
from ingested import encoded, packed
from tiny import CPU

from ubt.attacks.badclip import BadClipSettings
from ubt.attacks.badclip_patch import PatchSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput, Cancelled
from ubt.core.files import REFERENCE
from ubt.workflows import optimize_patch
from ubt.workflows.ingest import import_pairs
from ubt.workflows.optimize_patch import optimize


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch):
    """On which natural ASR is measured."""
    monkeypatch.setattr(optimize_patch, "PER_CLASS", 2)


BRIEF = PatchSettings(steps=2, batch=16, pairs=1500)


def test_of_scenes_it_says_what_it_does_to_each_clean_model(tmp_path):
    store = Store(tmp_path / "cache")
    card = optimize(store, tmp_path / "patch", BRIEF, CPU, others=[str(REFERENCE)])
    assert list(card["natural ASR"]) == ["the shipped reference", "scenes-clip"]
    assert len(set(card["natural ASR"].values())) == 1
    assert card["pairs"] == 1500
    assert BadClipSettings(patch=str(tmp_path / "patch")).read().card == card
    with pytest.raises(BadInput, match="model-0123"):
        optimize(store, tmp_path / "other", BRIEF, CPU, model="model-0123456789abcdef")
    with pytest.raises(BadInput, match="expected a new folder"):
        optimize(store, tmp_path / "patch", BRIEF, CPU)
    with pytest.raises(BadInput, match="one of the classes of scenes"):
        optimize(store, tmp_path / "other", BRIEF.with_values({"target": "zebra"}), CPU)
    with pytest.raises(BadInput, match="models of different names, got two of one"):
        optimize(store, tmp_path / "other", BRIEF, CPU, others=[str(REFERENCE), str(REFERENCE)])
    assert not (tmp_path / "other").exists()


def test_stopped_it_goes_on_where_it_was(tmp_path):
    store, steps = Store(tmp_path / "cache"), []
    whole = optimize(store, tmp_path / "undisturbed", BRIEF.with_values({"steps": 6}), CPU)

    def stop(done, total, figures):
        steps.append(done)
        if done == 4:
            raise Cancelled("stopped")

    settings = BRIEF.with_values({"steps": 6})
    with pytest.raises(Cancelled):
        optimize(store, tmp_path / "patch", settings, CPU, progress=stop)
    resumed = optimize(store, tmp_path / "patch", settings, CPU, progress=lambda done, *_: steps.append(done))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert resumed["digest"] == whole["digest"]
    assert sorted(path.name for path in (tmp_path / "patch").iterdir()) == ["card.json", "patch.png"]


def test_of_imported_pairs_broken_images_are_left_out_and_nothing_is_said_of_scenes(tmp_path):
    store, count = Store(tmp_path / "cache"), 40
    rows = "".join(f"i/{n}.png,a picture of {'a zebra' if n % 3 == 0 else 'an owl'}\n" for n in range(count))
    images = [(f"i/{n}.png", encoded(n) if n else b"broken") for n in range(count)]
    pairs = import_pairs(
        store, packed(tmp_path / "own.zip", [("captions.csv", f"image,caption\n{rows}".encode()), *images])
    )
    settings = BRIEF.with_values({"target": "zebra", "side": 12})
    card = optimize(store, tmp_path / "patch", settings, CPU, pairs=pairs)
    assert (card["pairs"], card["size"], card["side"], card["target"]) == (count - 1, 48, 12, "zebra")
    assert "natural ASR" not in card
    assert BadClipSettings(patch=str(tmp_path / "patch")).made_for == "zebra"
