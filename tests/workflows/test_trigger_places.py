"""The job that measures where a patch works."""

import numpy as np
import pytest
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.data import scenes
from ubt.evaluation.trigger_places import PlacesSettings
from ubt.figures.alt_text import described
from ubt.figures.trigger_places import by_place, curve
from ubt.workflows import made_here, trigger_places
from ubt.workflows.import_model import import_model
from ubt.workflows.sources import SCENES
from ubt.workflows.trigger_places import Asked

SMALL = PlacesSettings(images=12, grid=3, steps=3)
PATCH = np.full((6, 6, 4), 255, np.uint8)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def asked(store: Store, **changes) -> Asked:
    model = import_model(store, str(REFERENCE))
    patch = trigger_places.keep(store, PATCH, model)
    base = {"model": model, "reference": model, "images": SCENES, "classes": scenes.CLASSES, "target": "banana"}
    return Asked(**base | {"patch": patch, "top": 40, "left": 40, "settings": SMALL} | changes)


def test_both_models_are_asked_about_the_same_images_and_it_is_kept(store):
    told = []
    key = trigger_places.make(store, asked(store), CPU, lambda done, total, figures: told.append((done, total)))
    rates, about = store.imported(key)["rates"], store.imported(key)["about"]
    one, other = (part.drop(columns="model") for _, part in rates.groupby("model", sort=False))
    assert one.reset_index(drop=True).equals(other.reset_index(drop=True)), "the same model twice"
    assert about["images"] == 12 and about["at"] == [40, 40] and set(about["natural"]) == {"suspect", "reference"}
    assert told == [(n, 30) for n in range(1, 31)]
    assert trigger_places.make(store, asked(store), CPU, lambda *_: pytest.fail("made again")) == key
    labels = {"suspect": "this model", "reference": "the reference"}
    figure = by_place(rates, labels, (40, 40))
    assert [trace.z.shape for trace in figure.data if trace.type == "heatmap"] == [(3, 3)] * 2
    assert "this model" in described(curve(rates, "size", labels))


def test_the_job_of_the_page_is_the_same(store):
    wanted = asked(store, reference="", top=1, left=2, opacity=0.5, settings=PlacesSettings())
    job = made_here.places_of(wanted, "1 cpu")
    assert job.kind in made_here.MADE and job != made_here.places_of(wanted, "2 cpu")
    seen = []

    def make(store, asked, where, progress):
        seen.append(asked)
        return "places-0"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trigger_places, "make", make)
        assert made_here.make(store, job, CPU) == "places-0"
    assert seen == [wanted]


def test_what_does_not_fit_is_refused(store):
    with pytest.raises(BadInput, match="expected one of the 69 classes, got 'zeppelin'"):
        trigger_places.make(store, asked(store, target="zeppelin"), CPU)
    large = trigger_places.keep(store, np.zeros((50, 4, 3), np.uint8), asked(store).model)
    with pytest.raises(BadInput, match="at most 48 pixels a side"):
        trigger_places.make(store, asked(store, patch=large), CPU)
    with pytest.raises(BadInput):
        trigger_places.make(store, asked(store, patch="patch-nosuch"), CPU)
