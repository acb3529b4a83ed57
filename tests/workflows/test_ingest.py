"""Bringing as a job, which others can follow, cancel and find again."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ingested import folder
from ingested import pixels as random_pixels

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.data import catalogue, classification_sets, generated
from ubt.workflows import jobs
from ubt.workflows.ingest import Wanted, check_targets, first_rows, import_labelled, import_wanted, lab_of, listed


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)


def run(store: Store, wanted: Wanted) -> int:
    return jobs.main(str(store.root), "--import", json.dumps(vars(wanted)))


def test_a_job_imports_what_the_library_imports_and_says_what_it_is_called(tmp_path):
    store = Store(tmp_path / "cache")
    wanted = Wanted(
        "pairs",
        str(folder(tmp_path / "mine", [("images/0.png", "a"), ("images/9.png", "gone"), ("images/1.png", "b")])),
    )
    lock = jobs.import_lock(wanted)
    assert jobs.imported(store, lock) == ""
    assert run(store, wanted) == 0
    assert jobs.imported(store, lock) == import_wanted(store, wanted)
    assert jobs.being_imported(store) == {}
    assert first_rows(store, jobs.imported(store, lock), 1)["caption"].tolist() == ["a"]
    assert listed(store)[jobs.imported(store, lock)]["quarantined"] == {"missing file": 1}
    with pytest.raises(BadInput, match="expected pairs, labelled or model"):
        import_wanted(store, Wanted("nosuch", ""))


def test_a_job_is_seen_by_others_and_a_cancelled_one_keeps_nothing(tmp_path, monkeypatch):
    store, seen = Store(tmp_path / "cache"), []
    wanted = Wanted("pairs", str(folder(tmp_path / "mine")), {"caption": "caption"})
    lock, watched = jobs.import_lock(wanted), catalogue.watched

    def slow(source, limit, progress):
        yield from watched(source, limit, lambda *told: None)
        other = threading.Thread(
            target=lambda: seen.append((jobs.being_imported(Store(store.root)), jobs.cancel(store, lock)))
        )
        other.start()
        other.join()
        progress(1, 2, {"rows": 3.0})

    monkeypatch.setattr(catalogue, "watched", slow)
    assert run(store, wanted) == 0
    assert seen == [({lock: wanted}, True)]
    assert jobs.view_progress(store, lock).figures == {"rows": 3.0}
    assert jobs.imported(store, lock) == ""
    assert not store.all_imported("pairs")
    assert not store.cancel_flag(lock).exists()


def test_what_cannot_be_imported_is_said_once_and_by_name(tmp_path, capsys):
    store = Store(tmp_path / "cache")
    assert run(store, Wanted("labelled", str(tmp_path / "nosuch.csv"))) == 1
    assert "nosuch.csv: expected" in capsys.readouterr().err
    assert run(store, Wanted("pairs", str(folder(tmp_path / "mine")), {"image": "nosuch"})) == 1
    assert "'nosuch'" in capsys.readouterr().err


def test_a_lab_case_is_made_of_what_is_there(tmp_path):
    store = Store(tmp_path / "cache")
    pairs = import_wanted(store, Wanted("pairs", str(folder(tmp_path / "p"))))
    labelled = import_labelled(
        store, folder(tmp_path / "l", table=b"image,label\nimages/0.png,cat\nimages/1.png,owl\n")
    )
    assert lab_of(store, pairs, labelled, "", 0.5) == {
        "own.pairs": pairs,
        "own.test": labelled,
        "own.reference": "",
        "own.spare": 0.5,
    }
    with pytest.raises(BadInput, match="found none"):
        lab_of(store, pairs, labelled.replace("labelled-", "labelled-0")[:25], "", 0.0)


def test_a_relative_path_and_an_absolute_one_are_the_same_pairs_and_changed_images_are_others(tmp_path, monkeypatch):
    store, source = Store(tmp_path / "cache"), folder(tmp_path / "mine", [("images/0.png", "a"), ("images/1.png", "b")])
    monkeypatch.chdir(tmp_path)
    relative, absolute = (
        import_wanted(store, Wanted("pairs", str(path))) for path in (source.relative_to(tmp_path), source)
    )
    assert relative == absolute
    image = tmp_path / "mine" / "images" / "0.png"
    image.write_bytes((tmp_path / "mine" / "images" / "1.png").read_bytes() + b" ")
    assert import_wanted(store, Wanted("pairs", str(source))) != absolute


def test_a_reference_that_was_trained_on_some_of_the_pairs_needs_them_spared(tmp_path):
    store, key = Store(tmp_path), "0123456789abcdef"
    names = [f"pairs-{key}", f"labelled-{key}", f"model-{key}"]
    for name in names:
        said = {"made_from": {"trained_on": {"pairs": names[0], "share": 0.5}}}
        store.write(name, {"about": {}, "card": said}, {"stage": name, "brought": True, "seconds": 0.0})
    with pytest.raises(BadInput, match=r"--spare: expected at least 0\.5"):
        lab_of(store, *names, spare=0.4)
    assert lab_of(store, *names, spare=0.5)["own.spare"] == 0.5
    assert lab_of(store, "", names[1], names[2], spare=0.0)["own.spare"] == 0.0


def test_a_data_set_is_imported_by_its_name(tmp_path, monkeypatch):
    """One whose images are files stays where it is; CIFAR's pixels become PNG files, whose pixels are the same."""
    store, at = Store(tmp_path / "cache"), generated.labelled(tmp_path / "data/imagenet/val", 2, 24)
    monkeypatch.setenv("UBT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("ubt.data.imagenet.wnids", lambda: sorted(generated.WNIDS.values()))
    names = [
        next(name for name, wnid in generated.WNIDS.items() if wnid == folder)
        for folder in sorted(generated.WNIDS.values())
    ]
    monkeypatch.setattr("open_clip.IMAGENET_CLASSNAMES", names)
    monkeypatch.setitem(classification_sets.SETS, "imagenet", replace(classification_sets.SETS["imagenet"], classes=4))
    by_name, by_path = (store.imported(import_labelled(store, Path(source))) for source in ("imagenet", str(at)))
    assert by_name["classes"] == by_path["classes"] == names
    opened = [
        catalogue.open_images(a["about"], a["images"]["image"].to_numpy(object), 24)[:] for a in (by_name, by_path)
    ]
    assert (opened[0] == opened[1]).all()
    assert by_name["images"]["label"].tolist() == by_path["images"]["label"].tolist()

    pixels, labels = np.stack([random_pixels(i, 32, 32) for i in range(20)]), np.arange(20) % 10
    found = classification_sets.LabelledSet(pixels, labels, [f"class {9 - i}" for i in range(10)])
    monkeypatch.setattr("ubt.data.classification_sets.read", lambda name, size, root="": found)
    cifar = store.imported(import_labelled(store, Path("cifar10")))
    assert cifar["classes"] == found.classes
    assert cifar["images"]["label"].tolist() == labels.tolist()
    assert (catalogue.open_images(cifar["about"], cifar["images"]["image"].to_numpy(object), 32)[:] == pixels).all()


def test_labelled_images_without_the_target_are_refused_first(tmp_path):
    store = Store(tmp_path / "cache")
    labels = import_labelled(store, generated.labelled(tmp_path / "val", 1, 24))
    keys = {"own.pairs": f"pairs-{16 * '0'}", "own.test": labels, "own.reference": f"model-{16 * '0'}"}
    check_targets(store, CaseSettings().with_values(keys))
    with pytest.raises(
        BadInput, match=r"target of badnet: expected one of the classes of .*/val \(.*banana.*\), got 'honeycombed'"
    ):
        check_targets(store, CaseSettings().with_values(keys | {"attack.target": "honeycombed"}))
