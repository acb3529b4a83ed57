"""The code that a page offers for a notebook gives what the page shows: it is run, and compared with the export."""

import io
import shlex
import zipfile

import numpy as np
import pandas as pd
import pytest
from harness import page
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from ubt.cli.bench_runs.case import generate
from ubt.cli.main import app
from ubt.pairs import image_dataset, query
from ubt.ui import pair_export, pairs, python_code, server, tuning
from ubt.ui.view import opened

SELECTED = "similarity_overfit > 0.5 and suspicious"


def offered(at: AppTest) -> str:
    """The page's code; pages have others, for models."""
    (code,) = (block.value for block in at.code if "open_case" in block.value)
    return code


def run(code: str) -> dict:
    names: dict = {}
    exec(compile(code, "notebook", "exec"), names)
    return names


def shown(at: AppTest, text: str, moved: dict, truth: bool = True) -> pd.DataFrame:
    """What *Export* on the same page saves."""
    view = opened(at.session_state["case"])
    table = pairs.table(view) if truth else pairs.table(view).without_truth
    rows = np.arange(len(table)) if not text else pair_rows(table, text)
    stands = tuning.stands(view, table, moved)
    made = pair_export.exported(view, table, text, rows, "parquet", {}, stands)
    with zipfile.ZipFile(io.BytesIO(made)) as z:
        return pd.read_parquet(io.BytesIO(z.read("pairs.parquet")))


def pair_rows(table, text: str) -> np.ndarray:
    return np.flatnonzero(query.parse(text, table).rows(table))


def same(of_code: pd.DataFrame, of_page: pd.DataFrame) -> None:
    assert len(of_page) > 0
    assert set(of_code) == set(of_page)
    of_code = of_code.reset_index(drop=True)[list(of_page)]
    pd.testing.assert_frame_equal(of_code, of_page, check_dtype=False)


@pytest.mark.parametrize("name", ["separation", "neighbours", "map", "review", "tokens"])
def test_every_page_with_a_selection_offers_code_for_it(mapped, name):
    at = page(name, select=SELECTED)
    made = run(offered(at))
    of_page = shown(at, SELECTED, {}, truth=name != "review")
    same(made["pairs"], of_page)
    assert len(made["images"]) == min(python_code.SHOWN, len(of_page))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "poisoned and not flagged",
        'caption contains "a" and not (caption contains \'"\' or caption contains "\\\\")',
        "map_joint_overfit inside (-99 -99, 99 -99, 99 99)",
        "cluster in (0, 1) or label is not missing",
    ],
)
def test_whatever_is_selected_is_quoted_as_it_is(mapped, text):
    at = page("map", **({"select": text} if text else {}))
    same(run(offered(at))["pairs"], shown(at, text, {}))


def test_sliders_that_were_moved_are_in_it_and_those_that_were_not_are_as_run(mapped):
    at = page("separation", select=SELECTED, fraction="20", k="9")
    code, view = offered(at), opened(at.session_state["case"])
    moved = {"fraction": 20.0, "k": 9}
    same(run(code)["pairs"], shown(at, SELECTED, moved))
    at.switch_page("pages/map.py").run()
    assert "tuned(fraction=0.2, k=9)" in offered(at)
    same(run(offered(at))["pairs"], shown(at, SELECTED, moved))
    run_with = {"fraction": 100 * view.settings.split.fraction, "k": view.settings.k, "threshold": 0.25}
    assert "tuned(threshold=0.25)" in python_code.code(view, pairs.table(view), "", run_with)


def test_where_the_truth_is_hidden_the_code_has_none(mapped):
    at = page("separation", select=SELECTED)
    at.toggle(key="reveal").set_value(False).run()
    assert "truth=True" not in offered(at)
    same(run(offered(at))["pairs"], shown(at, SELECTED, {}, truth=False))


def test_an_audit_has_code_too_and_whoever_shares_the_app_sees_no_folder(audited, monkeypatch):
    at = page("separation", select="suspicious")
    same(run(offered(at))["pairs"], shown(at, "suspicious", {}))
    assert str(audited.root) in offered(at)
    monkeypatch.setattr(server, "shared", lambda: True)
    at.run()
    assert str(audited.root) not in offered(at)
    same(run(offered(at))["pairs"], shown(at, "suspicious", {}))


def test_a_query_of_a_million_words_is_not_offered_as_code(full, monkeypatch):
    monkeypatch.setattr(python_code, "LONGEST", 10)
    at = page("separation", select=SELECTED)
    assert not [block for block in at.code if "open_case" in block.value]
    assert "too long to copy" in " ".join(c.value for c in at.caption)


def test_the_export_with_images_is_a_data_set_of_what_is_selected(full, tmp_path, monkeypatch):
    at = page("separation", select=SELECTED)
    view = opened(at.session_state["case"])
    table, stands = pairs.table(view), tuning.stands(view, pairs.table(view), {})
    rows = pair_rows(table, SELECTED)
    made = pair_export.exported(view, table, SELECTED, rows, pair_export.IMAGES, {}, stands)
    with zipfile.ZipFile(io.BytesIO(made)) as z:
        frame = pd.read_parquet(io.BytesIO(z.read(image_dataset.FILE)))
        card = z.read(image_dataset.CARD).decode()
    assert frame["id"].tolist() == table.ids(rows)
    assert all(image["bytes"].startswith(b"\x89PNG") for image in frame["image"])
    assert SELECTED in card
    assert at.get("download_button")[-1].proto.disabled is False
    monkeypatch.setattr(pair_export, "MOST", 1)
    at.run()
    (offered,) = (block.value for block in at.code if block.language == "bash")
    asked = shlex.split(offered.replace("FOLDER", str(tmp_path / "out")))
    assert asked[:3] == ["python", "-m", "ubt"]
    done = CliRunner().invoke(app, [*asked[3:], "--cache", str(full.root)])
    assert done.exit_code == 0, done.output
    written = pd.read_parquet(tmp_path / "out" / image_dataset.FILE)
    assert written["id"].tolist() == table.ids(rows)
    assert "poisoned" in written
    at.toggle(key="reveal").set_value(False).run()
    assert "--truth" not in next(block.value for block in at.code if block.language == "bash")


@pytest.mark.parametrize("name", ["overview", "unlearn"])
def test_pages_without_a_selection_have_code_for_their_figures(full, tiny_case, name):
    made = run(offered(page(name)))
    expected = tiny_case.artefacts["evaluate_purified"]["measures"]
    assert made["measures"]["asr"].loc["purified, ours"] == expected["asr"]
    if name == "overview":
        assert made["verdict"] == tiny_case.artefacts["verdict"]["verdict"]
    else:
        assert sum(p.numel() for p in made["purified"].parameters()) > 0


def test_an_audit_s_overview_has_code_too(audited, tiny_audit):
    made = run(offered(page("overview")))
    assert made["verdict"] == tiny_audit[1].artefacts["verdict"]["verdict"]
    assert made["measures"]["pull"].notna().any()


def test_the_defences_code_gives_the_table_of_the_page(full, tiny_case):
    at = page("compare")
    (code,) = (block.value for block in at.code if "compare.cells" in block.value)
    shown = next(d.value for d in at.dataframe if "defence" in d.value)
    figures = run(code)["figures"]
    assert figures["defence"].tolist() == shown["defence"].tolist()
    pd.testing.assert_series_equal(figures["ASR"], shown["ASR"], check_index=False)


def test_the_cases_code_gives_settings_and_figures_of_those_chosen(full, tiny_case):
    other = generate(full, 1000, width=16)
    made = run(offered(page("cases", compare=f"{tiny_case.name},{other}")))
    assert made["settings"].index.tolist() == [tiny_case.name, other]
    assert made["settings"]["data.pairs"].tolist() == [600, 1000]
    assert {name for name, _ in made["measures"].index} == {tiny_case.name}


def test_the_flagged_pairs_are_one_click_from_the_overview(full, tiny_case, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        pair_export.controls, "download", lambda title, made, *rest, **more: saved.__setitem__(title, made)
    )
    page("overview", k="9")
    with zipfile.ZipFile(io.BytesIO(saved["Flagged pairs (CSV)"]())) as z:
        frame = pd.read_csv(io.BytesIO(z.read("pairs.csv")))
    table = pairs.table(opened(tiny_case.name))
    assert frame["id"].tolist() == table.ids(np.flatnonzero(table.flagged)) != []
    assert "topk_tuned" in frame


def test_cases_that_nobody_measured_have_code_that_runs(full):
    names = [generate(full, 1000, width=16, seed=seed) for seed in (1, 2)]
    made = run(offered(page("cases", compare=",".join(names))))
    assert made["settings"].index.tolist() == names
    assert made["measures"].empty
