"""`ubt.open_case`: a case by name in a notebook."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from harness import ROOT
from typer.testing import CliRunner

import ubt
from ubt.cases import demo
from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.core.errors import BadInput
from ubt.evaluation.model_roles import ROLES
from ubt.pairs import query
from ubt.pairs.annotations import Review
from ubt.ui import pairs, tuning
from ubt.ui.view import opened
from ubt.workflows.open_case import open_case

LIBRARIES = "torch pandas numpy pyarrow streamlit open_clip"


def held(root) -> dict:
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(root.rglob("*"))}


@pytest.fixture
def case(mapped):
    return open_case(*mapped.names(), cache=mapped.root)


def test_the_package_alone_imports_no_library_and_offers_it():
    look = f"import ubt, sys; print([m for m in {LIBRARIES!r}.split() if m in sys.modules], 'open_case' in dir(ubt))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert done.stdout.strip() == "[] True", done.stderr
    assert ubt.open_case is open_case
    with pytest.raises(AttributeError, match="no attribute 'opencase'"):
        _ = ubt.opencase


def test_its_pairs_are_those_of_the_pages_the_truth_apart(case, mapped, monkeypatch):
    monkeypatch.setenv("UBT_CACHE", str(mapped.root))
    Review(mapped.root / "cases" / case.name / "review.sqlite").label(["scene-0-1000000003"], "clean", "me", "a hat")
    of_pages, frame = pairs.table(opened(case.name)), case.pairs(truth=True)
    assert [n for n in frame if n != "image"] == list(of_pages)
    assert "map_joint_poisoned_x" in frame
    for name in of_pages:
        expected = of_pages.frame(np.arange(len(of_pages)), [name])[name]
        assert expected.equals(frame[name]), name
    assert (frame["label"][3], frame["note"][3]) == ("clean", "a hat")
    assert case.labels["id"].tolist() == ["scene-0-1000000003"]
    assert set(frame) - set(case.pairs()) == {"poisoned"}
    assert frame["image"][3] == "scene:0:1000000003"
    assert case.similarities["similarity_overfit"].equals(frame["similarity_overfit"])


def test_a_query_and_other_thresholds_choose_what_the_pages_choose(case, mapped, monkeypatch):
    monkeypatch.setenv("UBT_CACHE", str(mapped.root))
    view = opened(case.name)
    table, text = pairs.table(view), "suspicious and similarity_overfit > 0.2 and not poisoned"
    chosen = case.select(text, truth=True)
    assert 0 < len(chosen) < len(table)
    assert chosen.index.tolist() == np.flatnonzero(query.parse(text, table).rows(table)).tolist()
    with pytest.raises(BadInput, match="poisoned"):
        case.select(text)
    moved = {"fraction": 20.0, "threshold": 0.1, "k": 9}
    of_page = tuning.columns(view, table, tuning.stands(view, table, moved))
    tuned = case.tuned(0.2, 0.1, 9)
    assert {n: tuned[n].tolist() for n in tuned} == {n: values.tolist() for n, (values, _) in of_page.items()}
    as_run, stands = case.tuned(), tuning.stands(view, table, {})
    assert as_run["suspicious_tuned"].tolist() == table.suspicious.tolist()
    assert as_run["topk_tuned"].tolist() == table.topk.tolist()
    assert as_run["flagged_tuned"].sum() == (table.suspicious & (table.similarity_overfit >= stands.threshold)).sum()


def test_models_features_images_figures_and_artefacts_come_by_name(case, mapped):
    assert [case.model(name).training for name in ROLES] == [False] * len(ROLES)
    before, after = case.model("reference").state_dict(), case.model("poisoned").state_dict()
    assert any((before[k] != after[k]).any() for k in before)
    features = case.embeddings("poisoned")
    cosine = (features.images[:9] * features.captions[:9]).sum(1)
    assert np.allclose(cosine, case.pairs()["similarity_poisoned"][:9], atol=1e-5)
    ids = case.pairs()["id"][[7, 2]]
    assert np.array_equal(case.images(ids), case.artefact("data", "images")[[7, 2]])
    store, measures = Store(mapped.root), case.measures
    told = store.open(store.record(case.name).artefacts["evaluate_poisoned"])["measures"]
    assert measures.loc["poisoned (M_bd)", ["asr", "asr_low", "asr_high"]].tolist() == [
        told["asr"],
        *told["intervals"]["asr"],
    ]
    assert case.truth["poisoned"].tolist() == case.pairs(truth=True)["poisoned"].tolist()
    assert case.settings.data.pairs == 600
    verdict = store.open(store.record(case.name).artefacts["verdict"])["verdict"]
    assert case.artefact("verdict", "verdict") == verdict
    assert f"<case {case.name}: done" in repr(case)


def test_an_audit_has_no_truth_and_its_images_have_places(audited):
    case = open_case(*audited.names(), cache=audited.root)
    frame = case.pairs(truth=True)
    assert "poisoned" not in frame
    taken = audited.open(audited.record(case.name).artefacts["take"])["pairs"]
    assert frame["image"].tolist() == taken["image"].tolist()
    with pytest.raises(BadInput, match="expected a lab case, whose poisons are known, got an audit"):
        _ = case.truth
    assert "pull" in case.measures.columns
    assert "imported model" in case.measures.index
    assert not case.model("poisoned").training


@pytest.mark.parametrize(
    "asked, said",
    [
        (lambda c: c.model("clean"), "expected one of reference, poisoned, overfit, purified, published; got 'clean'"),
        (lambda c: c.images(["scene-0-1000000000", "x"]), r"expected ids of its pairs.*got 'x'"),
        (lambda c: c.artefact("nothing", "x"), r"expected one of its finished stages .*data.*run the case up to it"),
        (lambda c: c.artefact("data", "x"), "expected one of pairs, images, tokens of the stage data, got 'x'"),
        (lambda c: c.artefact("data", "../x"), "of the stage data"),
        (lambda c: c.embeddings("x"), "expected one of reference"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(case, asked, said):
    with pytest.raises(BadInput, match=said):
        asked(case)


def test_an_unknown_case_names_those_that_there_are(full, tmp_path, monkeypatch):
    with pytest.raises(BadInput) as e:
        open_case("nothing", full.root)
    assert all(name in str(e.value) for name in [*full.names(), demo.MAIN])
    with pytest.raises(BadInput, match=f"no cache folder .*: {demo.MAIN}"):
        open_case("../x", tmp_path / "none")
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    assert open_case(*full.names()).name in full.names()


def test_a_built_in_case_opens_without_a_cache_and_leaves_none(tmp_path):
    case = open_case(demo.MAIN, tmp_path / "none")
    chosen = case.select("flagged and not topk")
    assert len(chosen) > 10
    assert case.images(chosen["id"][:2]).shape == (2, 48, 48, 3)
    assert case.measures.loc["purified, ours", "asr"] < 5
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_to_the_case(mapped):
    case, before = open_case(*mapped.names(), cache=mapped.root), held(mapped.root)
    case.pairs(), case.select("topk"), case.tuned(0.1), case.model("overfit"), case.embeddings("purified")
    _ = case.truth, case.measures, case.labels, case.images(case.pairs()["id"][:3])
    assert held(mapped.root) == before


@pytest.mark.parametrize("document", ["README.md", "ubt/docs/reference.md"])
def test_the_documents_code_runs_as_it_stands(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UBT_CACHE", raising=False)
    blocks = re.findall(r"```python\n(import ubt\n.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "open_case" in block)
    names: dict = {}
    exec(code, names)
    assert names["images"].shape == (24, 48, 48, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending, read", {".csv": pd.read_csv, ".parquet": pd.read_parquet}.items())
def test_the_command_writes_what_a_query_selects(full, tmp_path, ending, read):
    (name,), file = full.names(), tmp_path / f"found{ending}"
    asked = ["cases", "export", name, "--out", str(file), "--cache", str(full.root)]
    done = CliRunner().invoke(app, [*asked, "--select", "topk", "--truth"])
    assert done.exit_code == 0, done.output
    chosen = open_case(name, full.root).select("topk", truth=True)
    assert f"{len(chosen)} pairs written" in done.output
    found = read(file)
    assert list(found) == list(chosen)
    assert found[["id", "image", "poisoned"]].to_numpy().tolist() == chosen[["id", "image", "poisoned"]].values.tolist()
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert len(read(file)) == 600
    assert "poisoned" not in read(file)


def test_an_export_that_cannot_be_written_says_what_would_do(full, tmp_path):
    case = open_case(*full.names(), cache=full.root)
    with pytest.raises(
        BadInput, match=r"ends in \.csv, \.jsonl, \.parquet, or a folder's without an ending; got .*xlsx"
    ):
        case.export(tmp_path / "a.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a place that can be written"):
        case.export(tmp_path / "file" / "a.csv", "topk")
    assert case.export(tmp_path / "a.jsonl", "topk") == len((tmp_path / "a.jsonl").read_text().splitlines())


def test_an_export_overwrites_its_own_folder_and_no_other(full, tmp_path, monkeypatch):
    case = open_case(*full.names(), cache=full.root)
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    for name in ("README.md", "train.parquet"):
        (here / name).write_text("mine")
    for out in (".", here):
        with pytest.raises(BadInput, match="expected a new or empty folder, or one of an earlier export, got"):
            case.export(out, "topk")
    assert {p.name: p.read_text() for p in here.iterdir()} == {"README.md": "mine", "train.parquet": "mine"}
    (here / "new").mkdir()
    chosen = case.export("new", "topk")
    assert case.export("new") == len(pd.read_parquet("new/train.parquet")) > chosen
