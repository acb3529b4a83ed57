"""Views beside a case: their names, that they are made once and kept as long as what they are made from, and their
job.
"""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from tiny import CPU

from ubt import pairs
from ubt.cases.record import CaseRecord
from ubt.cases.store import Store
from ubt.cli.bench_runs.case import generate
from ubt.clip import models
from ubt.core import locks
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Run
from ubt.evaluation.model_roles import ROLES
from ubt.pairs.neighbors import Approximate, IndexSettings
from ubt.pairs.projection import MapSettings
from ubt.workflows import derived, jobs

RUN = Run(compute=CPU)
OPTIONS = derived.index_options("joint", "overfit", IndexSettings(kind="ivf", lists=8, probes=8))


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("generated"))
    generate(store, 1000, width=16, images=False)
    return store


@pytest.fixture
def store(generated, tmp_path) -> Store:
    shutil.copytree(generated.root, tmp_path / "cache")
    return Store(tmp_path / "cache")


@pytest.fixture
def case(store) -> str:
    return store.names()[0]


@pytest.fixture
def job(monkeypatch):
    """`jobs.main` without what it does to the process that it takes for its own."""
    monkeypatch.setattr(os, "nice", lambda by: None)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda store, name, options=OPTIONS: jobs.main(str(store.root), "--view", name, "index", json.dumps(options))
    signal.signal(signal.SIGTERM, before)


def made(store: Store) -> set[str]:
    return {path.name for path in (store.root / "artefacts").iterdir() if path.name.split("-")[0] in derived.VERSION}


def left_over(store: Store, key: str) -> list[str]:
    """What is under the name of a view, its log and the stamp of its check aside."""
    found = (p for p in store.root.rglob("*") if key in p.name and p.suffix != ".log")
    return [str(p) for p in found if p.parent.name != "checked"]


def test_a_views_name_is_of_its_kind_its_options_and_what_it_is_made_from(store, case):
    record = store.record(case)
    more = record.changed(artefacts=record.artefacts | {"unlearn": "unlearn-0"})

    def changed(stage: str) -> CaseRecord:
        return more.changed(artefacts=more.artefacts | {stage: f"{stage}-other"})

    index = derived.index_options("joint", "overfit", IndexSettings())
    maps = derived.map_options(more, "joint", MapSettings(), ["poisoned", "overfit"])
    followed = derived.map_options(more, "joint", MapSettings(), ["overfit", "purified"])
    names = [
        derived.key(more, "index", derived.index_options(space, m, IndexSettings()))
        for space in ("image", "joint")
        for m in ("poisoned", "overfit")
    ]
    names += [derived.key(more, "index", derived.index_options("joint", "overfit", IndexSettings(seed=1)))]
    names += [
        derived.key(more, "map", derived.map_options(more, "joint", MapSettings(), m))
        for m in (["overfit"], ["overfit", "poisoned"], ["poisoned", "overfit"])
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("index-", "map-")) for name in names)
    for kind, options, sources in (
        ("index", index, {"score_overfit"}),
        ("map", maps, {"score_poisoned", "score_overfit", "split"}),
        ("map", followed, {"score_overfit", "unlearn", "data", "split"}),
    ):
        key = derived.key(more, kind, options)
        assert {stage for stage in more.artefacts if derived.key(changed(stage), kind, options) != key} == sources
        assert derived.key(CaseRecord.from_json(more.to_json()), kind, json.loads(json.dumps(options))) == key


def test_a_view_is_made_once_and_again_where_it_is_damaged(store, case, monkeypatch):
    record = store.record(case)
    first = derived.make(store, record, "index", OPTIONS, RUN)
    assert first.path.name == derived.key(record, "index", OPTIONS)
    assert first.manifest["made_from"] == [record.artefacts["score_overfit"]]
    with monkeypatch.context() as patch:
        patch.setattr(pairs.neighbors, "build", None)
        assert derived.make(store, record, "index", OPTIONS, RUN).path == first.path
    index = first["index"].copy()
    (first.path / "about.json").write_text("{")
    again = derived.make(store, record, "index", OPTIONS, RUN)
    assert again["about"]["pairs"] == 1000
    np.testing.assert_array_equal(again["index"], index)


@pytest.mark.parametrize("space", ["image", "caption", "joint"])
def test_an_index_is_of_the_space_it_was_asked_for(store, case, space):
    record = store.record(case)
    held = derived.embedding(store, record, "overfit")
    options = OPTIONS | {"space": space}
    found = derived.make(store, record, "index", options, RUN)
    rows = Approximate(found["index"], found["about"], held.parts(space)).search(held.rows(space, np.arange(50)), 5)[1]
    image, caption = (a[:50] @ a.T for a in (held.images, held.captions))
    similarity = {"image": image, "caption": caption, "joint": image + caption}[space]
    expected = np.argsort(-similarity, axis=1)[:, :5]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(rows, expected, strict=True)]) > 0.95


def test_which_embeddings_a_case_has(store, case):
    record = store.record(case)
    assert [m for m in ROLES if derived.embedded(store, record, m)] == ["overfit"]
    for model in ("poisoned", "purified"):
        with pytest.raises(UbtError, match="expected"):
            derived.embedding(store, record, model)
    with pytest.raises(BadInput, match="the purified model's embedding, but its stage unlearn was not run"):
        derived.embedding(store, record, "purified")


def test_the_purified_models_embedding_is_what_it_embeds(tiny_store, tiny_case):
    made = tiny_case.artefacts
    found = derived.embedding(tiny_store, tiny_store.record(tiny_case.name), "purified")
    model = models.load(made["unlearn"].path / "model")
    some = slice(40, 60)
    np.testing.assert_allclose(found.images[some], models.embed_images(model, made["data"]["images"][some]), atol=1e-5)
    np.testing.assert_allclose(
        found.captions[some], models.embed_tokens(model, made["data"]["tokens"][some]), atol=1e-5
    )
    assert len(found.images) == 600
    assert np.abs(found.images[some] - made["score_poisoned"]["image_features"][some]).max() > 1e-3


def test_a_view_is_kept_as_long_as_a_case_has_what_it_is_made_from(store, case):
    record = store.record(case)
    key = derived.make(store, record, "index", OPTIONS, RUN).path.name
    store.save_case("shares-it", record)
    store.save_case(
        "another-model", record.changed(artefacts=record.artefacts | {"score_overfit": "score_overfit-other"})
    )
    store.prune()
    assert made(store) == {key}
    store.delete(case)
    assert made(store) == {key}
    size = sum(p.stat().st_size for p in (store.root / "artefacts" / key).iterdir())
    assert store.delete("shares-it") >= size
    assert made(store) == set()
    assert (store.root / "artefacts" / record.artefacts["data"]).is_dir()


def test_a_job_makes_the_view_and_tells_how_it_gets_on(store, case, job, monkeypatch):
    key = derived.key(store.record(case), "index", OPTIONS)
    told, held = [], []
    real = pairs.neighbors.build

    def build(parts, settings, run):
        held.append((store.held(key), locks.is_held(locks.turn("cpu")), jobs.view_progress(store, key).kind))
        run.progress(1, 4, {})
        told.append(jobs.view_progress(store, key))
        return real(parts, settings, run)

    monkeypatch.setattr(pairs.neighbors, "build", build)
    assert job(store, case) == 0
    assert held == [(True, True, "waits")]
    assert [(e.kind, e.done, e.total) for e in told] == [("progress", 1, 4)]
    assert made(store) == {key}
    assert not store.held(key)
    assert jobs.view_progress(store, key).kind == "starts"
    assert left_over(store, key) == [str(store.root / "artefacts" / key)]
    assert job(store, case) == 0
    assert len(told) == 1
    assert jobs.start_view(store, case, "index", OPTIONS)


@pytest.mark.parametrize("moment", ["while it waits", "while it computes"])
def test_a_cancelled_view_leaves_nothing_and_can_be_made_later(store, case, job, monkeypatch, moment):
    key = derived.key(store.record(case), "index", OPTIONS)
    if moment == "while it waits":
        held = threading.Event()

        def until(done) -> None:
            deadline = time.monotonic() + 60
            while not done() and time.monotonic() < deadline:
                time.sleep(0.02)

        def cancel() -> None:
            with locks.hold(locks.turn("cpu")):
                held.set()
                until(lambda: jobs.view_progress(store, key).kind == "waits")
                jobs.cancel(store, key)
                until(lambda: not store.held(key))

        monkeypatch.setattr(pairs.neighbors, "build", None)
        other = threading.Thread(target=cancel)
        other.start()
        held.wait()
        assert job(store, case) == 0
        other.join()
    else:
        real = pairs.neighbors.build
        monkeypatch.setattr(pairs.neighbors, "build", lambda *given: jobs.cancel(store, key) and real(*given))
        assert job(store, case) == 0
    assert made(store) == set()
    assert left_over(store, key) == []
    assert not store.held(key)
    assert not locks.is_held(locks.turn("cpu"))
    monkeypatch.undo()
    monkeypatch.setattr(os, "nice", lambda by: None)
    assert job(store, case) == 0
    assert made(store) == {key}


def test_what_a_view_lacks_is_said(store, case, job, capsys):
    options = derived.index_options("joint", "poisoned", IndexSettings())
    key = derived.key(store.record(case), "index", options)
    assert job(store, case, options) == 1
    assert "expected one of the entries similarity, got 'image_features'" in capsys.readouterr().err
    assert left_over(store, key) == []
    assert jobs.failure(store, key) == ""
    try:
        jobs.start_view(store, case, "index", options)
    except (
        UbtError
    ) as e:  # it ended before it was seen to hold its lock; else it has begun, and says later what it lacks
        assert "expected one of the entries similarity" in str(e)
    ends = time.monotonic() + 60
    while not jobs.failure(store, key) and time.monotonic() < ends:
        time.sleep(0.05)
    assert "expected one of the entries similarity, got 'image_features'" in jobs.failure(store, key)
    assert "Traceback" not in (store.root / "work" / f"{key}.log").read_text()
    with pytest.raises(BadInput, match="may have been deleted"):
        jobs.start_view(store, "badnet-0-00000000", "index", options)
    assert job(store, "badnet-0-00000000", options) == 1
