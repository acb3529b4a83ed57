"""Cells of cases and defences: a figure only where it is measured, else words."""

import pandas as pd
import pytest
from tiny import CPU, put, tiny

from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.cli.bench_runs.case import generate
from ubt.core.run import Compute
from ubt.reports.paper import compare

BRIEF = ("clean", "poisoned", "ubt", "ubt_published", "abl", "cleanclip")
FIGURES = [*compare.HEADS.values(), "training, s", "defence, s", "total, s"]


def cells(store: Store, *names: str, methods=BRIEF, here: Compute = CPU) -> pd.DataFrame:
    return compare.cells(store, [compare.subject(store, n, here) for n in names], methods).set_index(["case", "method"])


def test_what_is_measured_has_its_figures_and_what_is_not_has_words(full, tiny_case):
    name = tiny_case.name
    for stage, measures in (
        ("evaluate_cleanclip", {"ca": 88.0, "asr": 5.0, "ra": 70.0, "target_recall": 95.0}),
        ("kl_cleanclip", {"kl": 0.25}),
    ):
        put(full, tiny(), stage, measures)
    full.save_case(name, full.record(name).changed(errors={"evaluate_abl": {"state": "failed", "error": "no room"}}))
    frame = cells(full, name, methods=(*BRIEF, "roclip")).loc[name]
    measured = {"poisoned": "poisoned", "ubt": "purified", "ubt_published": "published", "clean": "clean"}
    for method, model in measured.items():
        assert frame.loc[method, ["CA", "ASR", "RA", "target recall"]].tolist() == [
            tiny_case.metrics[model][k] for k in ("ca", "asr", "ra", "target_recall")
        ]
    assert frame.loc["cleanclip", ["CA", "ASR", "KL", "defence, s"]].tolist() == [88, 5, 0.25, 2]
    assert set(frame["natural ASR"]) == {tiny_case.metrics["clean"]["asr"]}
    assert frame["state"].to_dict() == dict.fromkeys([*measured, "cleanclip"], "") | {
        "abl": "failed: no room",
        "roclip": "not run yet",
    }
    assert frame.loc[["abl", "roclip"], FIGURES].isna().all(axis=None)
    assert frame["possible"].to_dict()["clean"] is False
    assert not cells(full, name, methods=["retrain"])["possible"].any()


def test_a_case_that_was_never_run_and_one_that_failed_have_no_figures(tmp_path):
    store = Store(tmp_path)
    new, failed = (create(store, tiny(seed=n), CPU) for n in (1, 2))
    store.save_case(failed, store.record(failed).changed(state="failed", error="<b>why</b>"))
    frame = cells(store, new, failed)
    assert frame[[*FIGURES, "natural ASR"]].isna().all(axis=None)
    assert set(frame.loc[new, "state"]) == {"not run yet"}
    assert set(frame.loc[failed, "state"]) == {"failed: <b>why</b>"}


def test_a_case_of_earlier_settings_is_read_and_not_run(full, tiny_case):
    record = full.record(tiny_case.name)
    record.settings["unlearn"]["gone"] = 1
    full.save_case(tiny_case.name, record)
    old = compare.subject(full, tiny_case.name, CPU)
    frame = cells(full, tiny_case.name).loc[tiny_case.name]
    assert frame.loc["ubt", "ASR"] == tiny_case.metrics["purified"]["asr"]
    assert frame.loc["ubt", "state"] == compare.EARLIER
    assert frame.loc["cleanclip", "state"] == compare.OLD
    assert compare.work(full, [old], BRIEF) == ([], [])
    assert len(compare.observed(full, old, ["ubt"]))


def test_a_case_whose_stages_have_moved_on_says_so_and_can_be_run(full, tiny_case):
    record = full.record(tiny_case.name)
    for stage in ("unlearn", "evaluate_purified"):
        key = record.artefacts[stage]
        (full.root / "artefacts" / key).rename(full.root / "artefacts" / f"{stage}-before")
        record.artefacts[stage] = f"{stage}-before"
    full.save_case(tiny_case.name, record)
    frame = cells(full, tiny_case.name).loc[tiny_case.name]
    assert (frame.loc["ubt", "state"], frame.loc["ubt", "ASR"]) == (
        compare.EARLIER,
        tiny_case.metrics["purified"]["asr"],
    )
    assert frame.loc["cleanclip", "state"] == compare.WAITS["outdated"]
    assert frame.loc["poisoned", "state"] == ""


def test_what_was_brought_or_made_elsewhere_is_not_run_here(full, tiny_case):
    given = generate(full, 1000, width=16)
    assert set(cells(full, given)["state"]) == {compare.GIVEN}
    elsewhere = compare.subject(full, tiny_case.name, Compute("cuda", "bf16"))
    frame = cells(full, tiny_case.name, here=Compute("cuda", "bf16")).loc[tiny_case.name]
    assert frame.loc["ubt", "ASR"] == tiny_case.metrics["purified"]["asr"]
    assert "cannot be run here" in frame.loc["cleanclip", "state"]
    assert compare.work(full, [elsewhere, compare.subject(full, given, CPU)], BRIEF) == ([], [])


def test_work_is_every_cell_and_with_the_oracle_its_divergences(full, tiny_case):
    case = compare.subject(full, tiny_case.name, Compute("cpu", "bf16"))
    work, places = compare.work(full, [case], ("clean", "ubt"))
    assert [until for _, until in work] == ["evaluate_clean", "evaluate_purified"]
    assert {settings.name(where) for (settings, _), where in zip(work, places, strict=True)} == {tiny_case.name}
    work, _ = compare.work(full, [case], ("clean", "ubt", "retrain"))
    assert [until for _, until in work] == ["evaluate_clean", "evaluate_purified", "evaluate_retrain", "kl_purified"]


def test_means_are_over_the_cases_that_are_measured():
    nothing = dict.fromkeys((*FIGURES, compare.NATURAL))
    rows = [
        {
            "case": c,
            "method": m,
            "defence": m.upper(),
            "needs": "",
            **nothing,
            "CA": ca,
            "ASR": asr,
            "KL": kl,
            "state": "" if ca else "not run",
        }
        for c, m, ca, asr, kl in (
            ("a", "ubt", 90, 1, 0.5),
            ("b", "ubt", 80, 3, None),
            ("a", "abl", None, None, None),
            ("b", "abl", 70, 9, None),
            ("a", "roclip", None, None, None),
            ("b", "roclip", None, None, None),
        )
    ]
    rows.append(rows[0] | {"case": "c", "CA": 10, "state": compare.EARLIER})
    found = compare.means(pd.DataFrame(rows).astype(dict.fromkeys(FIGURES, float))).set_index("method")
    assert found.loc["ubt", ["CA", "ASR", "KL", "cases"]].tolist() == [85, 2, 0.5, "2 of 3"]
    assert found.loc["abl", ["CA", "cases"]].tolist() == [70, "1 of 3"]
    assert found.loc["roclip", "cases"] == "0 of 3"
    assert pd.isna(found.loc["roclip", "CA"])


def test_what_was_seen_in_training_and_the_seconds_of_the_stages(full, tiny_case):
    case = compare.subject(full, tiny_case.name, CPU)
    seen = compare.observed(full, case, BRIEF)
    assert set(seen["method"]) == {"poisoned", "ubt", "ubt_published"}
    own = seen[seen["method"] == "ubt"]
    kept = tiny_case.artefacts["unlearn"]["observed"]
    assert own["asr"].tolist() == kept["asr"].tolist()
    assert own["share"].tolist() == pytest.approx((100 * kept["step"] / kept["step"].max()).tolist())
    took, frame = compare.stages(full, case, BRIEF), cells(full, tiny_case.name).loc[tiny_case.name]
    trained = took[took["part"] == "training"]
    assert list(zip(trained["method"], trained["stage"], strict=True)) == [
        (m, "poison") for m in ("poisoned", "ubt", "ubt_published")
    ]
    for method, seconds in took.groupby("method")["seconds"].sum().items():
        assert seconds == pytest.approx(frame.loc[method, "total, s"])
    assert compare.observed(full, case, ["abl"]).empty
    assert compare.stages(full, case, ["abl"]).empty
