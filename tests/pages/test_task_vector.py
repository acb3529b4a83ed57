"""TBAR's alpha on *Unlearn*."""

import pandas as pd
from harness import page, slider, words
from tiny import CPU, put_results, tiny

from ubt.cases.keys import every_key
from ubt.defenses.tbar import ALONG


def test_alpha_is_a_slider_that_answers_from_what_was_measured(full, tiny_case):
    assert "TBAR has not been run on this case" in words(page("unlearn"))
    found = [1.0, 0.95, 0.6]
    tried = pd.DataFrame({"alpha": [0.0, 1.0, 2.0], "found": found, "chosen": [False, True, False]})
    measured = {"ca": [97.0, 96.0, 60.0], "asr": [90.0, 7.0, 1.0], "ra": [9.0, 80.0, 50.0]}
    frame = pd.DataFrame({"alpha": tried["alpha"]} | measured | {"target_recall": [90.0, 85.0, 20.0]})
    results = {"tbar": {"alphas": tried}, ALONG: {"along": frame}}
    put_results(full, tiny(), ALONG, results)
    record, made = full.record(tiny_case.name), every_key(tiny(), CPU)
    artefacts = record.artefacts | {stage: made[stage] for stage in ("clean", "tbar_task", *results)}
    full.save_case(tiny_case.name, record.changed(artefacts=artefacts))
    at = page("unlearn")

    def shown() -> list[str]:
        return [m.value for m in at.metric[-4:]]

    assert shown() == ["7.0", "96.0", "80.0", "85.0"]
    assert at.metric[-4].delta == "-83.0"
    assert "95.0 %, of M_bd 100.0 %. They chose alpha 1" in words(at)
    slider(at, "alpha").set_value(2.0).run()
    assert not at.exception
    assert shown() == ["1.0", "60.0", "50.0", "20.0"]
    assert at.query_params["alpha"] == "2"
