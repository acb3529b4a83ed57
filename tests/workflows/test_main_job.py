"""The main job at its default settings, one seed: what the README promises."""

from ubt.cases.pipeline import Pipeline
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import compute


def test_the_default_case_separates_and_purifies(tmp_path):
    settings = CaseSettings().with_values({"test.per_class": 20})
    case = Pipeline(Store(tmp_path), compute()).run(settings)
    m = Store(tmp_path).case(case.name).metrics
    assert m["clean"]["ca"] >= 90
    assert m["poisoned"]["asr"] >= 85
    assert m["poisoned"]["ca"] >= 87
    assert m["diagnosis"] == []
    assert m["split"]["recall"] >= 0.9
    assert m["select"]["auroc"] >= 0.99
    assert m["select"]["precision"] == 1
    assert m["verdict"]["poisoned"]
    assert m["purified"]["asr"] <= m["clean"]["asr"] + 0.5
    assert m["purified"]["ca"] >= m["poisoned"]["ca"] - 2
    assert m["purified"]["target_recall"] >= m["poisoned"]["target_recall"] - 5
    words = case.artefacts["mask"]["words"]
    assert (words.sort_values("score").groupby("id").tail(1)["word"] == "banana").mean() >= 0.7
