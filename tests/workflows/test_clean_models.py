"""Clean models of other training: made once, kept in the store, found again."""

import pytest
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.workflows import clean_models, pretrain_scenes
from ubt.workflows.clean_models import KINDS, Kind, clean_model, stand_in
from ubt.workflows.import_model import imported_models, opened


def test_a_kind_is_trained_once_and_says_what_it_is(tmp_path, monkeypatch):
    small = {"scenes": 1000, "epochs": 1, "batch": 500}
    brief = {name: Kind(kind.about, small, kind.architecture) for name, kind in KINDS.items()}
    monkeypatch.setattr(clean_models, "KINDS", brief)
    monkeypatch.setattr(pretrain_scenes.held_out_accuracy, "__defaults__", (2,))
    store = Store(tmp_path)
    key = clean_model(store, "other architecture", CPU)
    assert clean_model(store, "other architecture", CPU) == key
    assert list(imported_models(store)) == [key]
    found = opened(store, key)
    assert found.read("model").config["vision_cfg"] == KINDS["other architecture"].architecture["vision_cfg"]
    card = found["card"]
    assert (card["state"], card["made_from"]["kind"]) == ("clean", "other architecture")
    assert 0 <= card["CA, percent"] <= 100
    asked = []
    monkeypatch.setattr(pretrain_scenes, "pretrain", lambda recipe, *rest: asked.append(recipe.seed) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clean_model(store, "other architecture", CPU, seed=9)
    assert asked == [9], "another seed is another model"
    assert stand_in("other architecture", 9) != stand_in("other architecture")
    assert not list(store.root.glob("work/reference-*/card.json"))
    with pytest.raises(BadInput, match="unknown kind of clean model 'nosuch'; expected one of: other training"):
        clean_model(store, "nosuch", CPU)
