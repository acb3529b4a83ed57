"""The main job: what the README promises, on a D that trains in a quarter of the time, and in the built-in case."""

from ubt.cases import demo
from ubt.cases.pipeline import Pipeline
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import compute


def check(m: dict) -> None:
    """Hold a case's measures to the promise; ASR after it to the natural one, give or take five test images."""
    assert m["clean"]["ca"] >= 90
    assert m["poisoned"]["asr"] >= 85
    assert m["poisoned"]["ca"] >= 87
    assert m["diagnosis"] == []
    assert m["split"]["recall"] >= 0.85
    assert m["select"]["auroc"] >= 0.99
    assert m["select"]["precision"] == 1
    assert m["verdict"]["answer"] == "poisoned"
    assert m["purified"]["asr"] <= m["clean"]["asr"] + 0.75
    assert m["purified"]["ca"] >= m["poisoned"]["ca"] - 2
    assert m["purified"]["target_recall"] >= m["poisoned"]["target_recall"] - 10


def test_a_case_separates_and_purifies(tmp_path):
    """At the default settings of every stage, on 2,500 pairs with 85 poisons in place of 10,000 with 200. Of seed 1: on
    this little D the split finds 94 % of its poisons, of seed 0 86 %, too near the promise for another processor.
    """
    settings = CaseSettings().with_values({"seed": 1, "test.per_class": 10, "data.pairs": 2500, "attack.rate": 0.034})
    case = Pipeline(Store(tmp_path), compute()).run(settings)
    check(Store(tmp_path).case(case.name).metrics)
    assert Store(tmp_path).case(case.name).metrics["split"]["recall"] >= 0.9
    words = case.artefacts["mask"]["words"]
    assert (words.sort_values("score").groupby("id").tail(1)["word"] == "banana").mean() >= 0.7


def test_the_built_in_case_is_of_the_default_settings_and_keeps_the_promise(tmp_path):
    record = Store(tmp_path).record(demo.MAIN)
    assert CaseSettings.from_dict(record.settings) == CaseSettings()
    check(record.metrics)
