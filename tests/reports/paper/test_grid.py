"""Tables of our own, detectors and masking strategies: what a cell needs, what it measures, what is missing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tiny import CPU, put_results

from ubt.cases.keys import every_key
from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.defenses.poisoncam import STRATEGIES
from ubt.evaluation.localization import BOX
from ubt.reports.paper import TABLES

N = 40
POISONED = np.arange(N) % 4 == 0
IDS = [f"p{i}" for i in range(N)]


def given() -> dict[str, dict]:
    """An attack whose triggers, 4 by 4 pixels, stand at 8, 8, and its images."""
    manifest = pd.DataFrame(np.tile([8, 8, 4, 4], (POISONED.sum(), 1)), columns=BOX).assign(id=np.array(IDS)[POISONED])
    return {
        "attack": {"truth": pd.DataFrame({"id": IDS, "poisoned": POISONED}), "manifest": manifest},
        "data": {"images": np.zeros((N, 24, 24, 3), np.uint8)},
    }


def locate(hits: int) -> dict:
    """Patches of all images, 8 pixels wide; the first `hits` poisoned ones are found and come first."""
    rows = np.r_[np.flatnonzero(POISONED), np.flatnonzero(~POISONED)]
    place = np.where(np.arange(N) < hits, 8, 16)
    frame = pd.DataFrame(
        {"id": np.array(IDS)[rows], "row": rows, "y": place, "x": place, "side": 8, "rank": np.arange(1, N + 1)}
    )
    return {"candidates": frame.assign(changes=True, drop=0.1, flips=0.0), "windows": np.zeros((49, 2), int)}


def test_strategies_are_cases_that_differ_in_their_windows_alone():
    work = TABLES["poisoncam"].work(2)
    assert len(work) == 2 * 5 * 3
    assert {until for _, until in work} == {"poisoncam_locate"}
    names = [every_key(case, CPU) for case, _ in work if (case.seed, case.attack.name) == (0, "badnet")]
    assert len({n["poison"] for n in names}) == 1
    assert len({n["poisoncam_locate"] for n in names}) == 3
    assert [case.locate.strategy for case, _ in work[:3]] == list(STRATEGIES)


def test_what_is_measured_of_a_strategy_and_what_is_missing(tmp_path):
    store, table = Store(tmp_path), TABLES["poisoncam"].narrowed(["badnet"], ["full coverage", "random"])
    for seed, hits in enumerate((10, 5)):
        put_results(
            store,
            table.work_of(seed, "badnet", "full coverage")[0],
            "poisoncam_locate",
            given() | {"poisoncam_locate": locate(hits)},
            seconds=2.0,
        )
    name = create(store, table.work_of(0, "badnet", "random")[0], CPU)
    store.save_case(name, store.record(name).changed(state="failed"))
    full, random = (line for _, line in table.measured(store, CPU, 2).iterrows())
    assert (full["strategy"], full["seeds"], full["state"]) == ("full coverage", 2, "")
    assert (full["windows"], full["seconds"], full["poisoned images"]) == (49, 2, 10)
    assert full["IoU"] == pytest.approx((0.25 + 0.125) / 2)
    assert full["IoU spread"] == pytest.approx(0.125 / np.sqrt(2))
    assert full["highest IoU of such a window"] == pytest.approx(0.25)
    assert full["of the trigger inside, %"] == pytest.approx(75)
    assert full["poisoned among the top, %"] == 100
    assert (random["seeds"], random["state"]) == (0, "1 failed, 1 to do")
    assert pd.isna(random["IoU"])
    text = table.markdown(table.measured(store, CPU, 2))
    assert (
        "| badnet | full coverage | 49 / 49 | 2.0 / 2.0 | 10.0 / 10.0 | 100.0 / 100.0 | 10.0 / 10.0 | 0.25 / 0.12 |"
        " 0.25 / 0.25 | 100.0 / 50.0 | 2 |" in text
    )
    assert "| badnet | random | - | - | - | - | - | - | - | - | 0 (1 failed, 1 to do) |" in text
    assert [p.name for p in table.write(table.measured(store, CPU, 2), tmp_path / "out", "table-poisoncam")] == [
        "table-poisoncam.md",
        "table-poisoncam.csv",
    ]


def test_a_trigger_over_the_whole_image_gives_no_iou(tmp_path):
    store, table = Store(tmp_path), TABLES["poisoncam"].narrowed(["blended"], ["interval"])
    whole = given()
    whole["attack"]["manifest"] = whole["attack"]["manifest"].assign(top=0, left=0, height=24, width=24)
    put_results(
        store, table.work_of(0, "blended", "interval")[0], "poisoncam_locate", whole | {"poisoncam_locate": locate(10)}
    )
    (line,) = (line for _, line in table.measured(store, CPU, 1).iterrows())
    assert line["poisoned among the top, %"] == 100
    assert line[["IoU", "of the trigger inside, %"]].isna().all()


def test_what_is_measured_of_a_detector(tmp_path):
    store, table = Store(tmp_path), TABLES["detectors"].narrowed(["sig"], ["poisoncam"])
    score = np.random.default_rng(0).random(N) + 0.3 * POISONED
    (work,) = table.work(1)
    put_results(
        store, *work, given() | {"detect_poisoncam": {"scores": pd.DataFrame({"id": IDS, "score": score})}}, seconds=2.0
    )
    (line,) = (line for _, line in table.measured(store, CPU, 1).iterrows())
    assert line["AUROC"] == pytest.approx(100 * roc_auc_score(POISONED, score))
    assert line["seconds"] == 2 * 3
    assert "recall at &#124;D_susp&#124; |" in table.markdown(table.measured(store, CPU, 1))


@pytest.mark.parametrize("name", ["detectors", "poisoncam"])
def test_what_a_table_does_not_have_is_refused(name):
    with pytest.raises(BadInput, match="this table has no 'nosuch'; expected some of"):
        TABLES[name].narrowed([], ["nosuch"])
