"""Durability is measured beside the case, for each defence, and says how many poisons were left."""

import pandas as pd
import pytest
from tiny import CPU, put_results

from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.defenses import DEFENSES
from ubt.reports.paper import TABLES
from ubt.reports.paper.defense_tables import case

TABLE = TABLES["durability"]


def put(store: Store, stage: str, **measures: float) -> None:
    """A stage's results, and those of all that lead to it, as if they had been computed: 3 poisons, one of them not
    suspicious.
    """
    made = {
        "attack": {"truth": pd.DataFrame({"poisoned": [True, True, True, False, False]})},
        "split": {"split": pd.DataFrame({"suspicious": [True, True, False, True, False]})},
        stage: {"measures": measures},
    }
    put_results(store, case(0), stage, made)


def test_every_defence_is_trained_on_in_both_ways():
    part = TABLE.narrowed(["badnet"], [])
    assert {row.labels[1] for row in part.rows} == {
        "clean reference (natural ASR)",
        "no defence",
        *(d.title for d in DEFENSES.values()),
    }
    wanted = {until for _, until in part.work(1)}
    assert wanted >= {
        f"evaluate_again_{kind}_{name}"
        for kind in ("clean", "left")
        for name in ("clean", "poisoned", "purified", "abl", "retrain")
    }
    assert None in wanted
    assert {c.name(CPU) for c, _ in part.work(1)} == {case(0).name(CPU)}
    assert [row.labels[1] for row in TABLE.narrowed(["sig"], ["roclip"]).rows] == [
        "clean reference (natural ASR)",
        "no defence",
        "RoCLIP",
    ]
    with pytest.raises(BadInput, match="no 'nosuch'"):
        TABLE.narrowed([], ["nosuch"])


def test_before_and_after_and_what_was_left(tmp_path):
    store, part = Store(tmp_path), TABLE.narrowed(["badnet"], ["cleanclip"])
    create(store, case(0), CPU)
    put(store, "evaluate_cleanclip", ca=90.0, asr=1.0)
    put(store, "evaluate_again_clean_cleanclip", ca=91.0, asr=2.0)
    assert part.measured(store, CPU, 1).set_index("method")["seeds"]["CleanCLIP"] == 0
    put(store, "evaluate_again_left_cleanclip", ca=92.0, asr=30.0)
    frame = part.measured(store, CPU, 1)
    row = frame.set_index("method").loc["CleanCLIP"]
    assert row[["before ASR", "after clean pairs ASR", "after D_normal ASR", "after D_normal CA"]].tolist() == [
        1,
        2,
        30,
        92,
    ]
    assert row["poisons in D_normal"] == 1
    assert frame["state"].tolist().count("") == 1
    said = part.markdown(frame)
    assert "| badnet | CleanCLIP | 1.0 | 90.00 | 1.00 | 91.00 | 2.00 | 92.00 | 30.00 | 1 |" in said
    assert "| badnet | no defence | - |" in said
