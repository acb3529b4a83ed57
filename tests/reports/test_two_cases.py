"""What two cases differ in, in words and figures."""

from ubt.cases.titles import flat
from ubt.reports import two_cases


def test_only_settings_that_differ_are_told_and_what_one_lacks():
    a = flat({"seed": 0, "split": {"fraction": 0.04, "more": 1}, "select": {"confirmed": ""}})
    b = flat({"seed": 0, "split": {"fraction": 0.06}, "select": {"confirmed": "x\ny"}})
    assert two_cases.settings(a, b) == [
        ("split.fraction", "0.04", "0.06"),
        ("split.more", "1", "-"),
        ("select.confirmed", "", "(2)"),
    ]
    assert two_cases.settings(a, a) == []


def test_figures_stand_side_by_side_with_the_difference(tiny_case):
    one = tiny_case.metrics
    other = one | {"purified": one["purified"] | {"asr": one["purified"]["asr"] + 1.5}, "seconds": {"data": 7.0}}
    rows = {row[0]: row[1:] for row in two_cases.figures(one, other)}
    asr = one["purified"]["asr"]
    assert rows["ASR, purified, ours, %"] == (f"{asr:.2f}", f"{asr + 1.5:.2f}", "+1.50")
    assert rows["CA, poisoned (M_bd), %"][2] == "0"
    assert rows["verdict"][:2] == ("poisoned", "poisoned")
    assert rows["computed for, s"][1] == "7"
    assert "natural ASR, %" in rows and "CA, clean reference, %" not in rows


def test_what_neither_has_is_not_told_and_what_one_has_stands_alone(tiny_case):
    assert two_cases.figures({}, {}) == []
    alone = {"verdict": tiny_case.metrics["verdict"]}
    rows = two_cases.figures({}, alone)
    assert [row[0] for row in rows] == ["verdict", "score of the verdict"]
    assert all(row[1] == "-" and row[3] == "" for row in rows)
