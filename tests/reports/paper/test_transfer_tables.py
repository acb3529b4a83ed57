"""Tables VI, VII, IX and X: the paper's figures, the cases that measure them, and rows whose data set is absent."""

import pytest
from ingested import packed
from tiny import CPU, put

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.evaluation.stages import downstream_name
from ubt.reports.paper import FIGURES, TABLES
from ubt.reports.paper.transfer_tables import TARGETS


def reported(number: str, *labels: str) -> dict:
    return next(r.reported for r in TABLES[number].rows if r.labels == labels)


OWN = {
    name: f"{kind}-{16 * '0'}"
    for name, kind in (("own.pairs", "pairs"), ("own.test", "labelled"), ("own.reference", "model"))
}


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("UBT_DATA", raising=False)


def test_the_reported_figures_are_the_papers():
    assert reported("6", "CIFAR-100", "apple", "CleanCLIP") == {"ca": 62.15, "asr": 91.01}
    assert reported("6", "Food101", "pizza", "UBT, as published") == {"ca": 79.67, "asr": 0.01}
    assert reported("6", "Oxford-IIIT Pet", "beagle", "no defence") == {"ca": 79.34, "asr": 63.58}
    assert reported("7", "COCO", "RoCLIP") == {"ca": 48.44, "asr": 9.08}
    assert reported("7", "Flickr30K", "no defence") == {"ca": 77.5, "asr": 80.8}
    assert reported("9", "2,000", "270", "no defence") == {"ca": 62.72, "asr": 81.0}
    assert (
        reported("10", "1M", "20,000", "UBT, as published")
        == reported("10-rate", "1M", "20,000", "UBT, as published")
        == {"ca": 62.32, "asr": 0.46}
    )
    assert not reported("9", "750", "100", "clean reference (natural ASR)")


def test_sizes_and_numbers_of_poisons():
    def cases(sheet) -> set:
        return {(c.data.pairs, c.attack.poisons(c.data.pairs)) for c, _ in sheet.work(1)}

    assert cases(TABLES["9"]) == {(10_000, n) for n in (100, 130, 200, 270, 400, 600)}
    assert cases(TABLES["10"]) == {(n, 200) for n in (5_000, 10_000, 15_000, 20_000)}
    assert cases(TABLES["10-rate"]) == {(n, n // 50) for n in (5_000, 10_000, 15_000, 20_000)}
    for figure, table in (("6", "10-rate"), ("7", "9")):
        assert {c for c, _ in FIGURES[figure].work(0)} == {c for c, _ in TABLES[table].work(1)}
    default = CaseSettings.preset("demo")
    assert all(default in {c for c, _ in TABLES[n].work(1)} for n in ("7", "9", "10", "10-rate"))


def test_every_set_has_a_target_of_its_own_and_absent_ones_say_what_to_put_where(tmp_path):
    six = TABLES["6"]
    assert {r.labels[1] for r in six.rows} == set(TARGETS.values())
    assert {(c.attack.target, c.downstream.set) for c, _ in six.work(1)} == {("car", "scenes")}
    frame = (
        six.varied({"downstream.root": str(tmp_path)})
        .measured(Store(tmp_path / "cache"), CPU, 1)
        .set_index(["data set", "method"])
    )
    assert frame.loc[("scenes", "UBT, ours"), "state"] == "1 to do"
    cifar = frame.loc[("CIFAR-10", "no defence")]
    assert f"expected {tmp_path}/cifar-10-batches-py/test_batch" in cifar["state"]
    assert (cifar["seeds"], cifar["reported ASR"]) == (0, 99.87)
    assert "target of badnet" in frame.loc[("DTD", "no defence"), "state"]  # no scene has a texture for a target
    text = TABLES["7"].markdown(TABLES["7"].measured(Store(tmp_path / "cache"), CPU, 1))
    assert "| COCO | UBT, as published | 49.36 | 0.06 |" in text
    assert text.count("put into coco/ in it: Karpathy's dataset_coco.json") == 1
    assert text.count("0 (as above)") == 2 * 5


def imported_as(path, classes: list[str]) -> None:
    """A zip of labelled images, an image a class, that nobody decodes."""
    rows = "".join(f"{i}.png,{name}\n" for i, name in enumerate(classes))
    packed(path, [("labels.csv", f"image,label\n{rows}".encode()), *((f"{i}.png", b"?") for i in range(len(classes)))])


def test_a_set_that_is_there_is_measured(tmp_path):
    imported_as(tmp_path / "cifar10.zip", ["airplane", *(f"class {i}" for i in range(9))])
    cases = {c.downstream.set for c, _ in TABLES["6"].varied({"downstream.root": str(tmp_path)}).work(1)}
    assert cases == {"scenes", "cifar10"}


def test_a_set_that_is_named_has_the_table_to_itself(tmp_path):
    imported_as(tmp_path / "own.zip", ["banana", "tree frog"])
    changes = {
        "own.pairs": OWN["own.pairs"],
        "own.test": OWN["own.test"],
        "downstream.set": str(tmp_path / "own.zip"),
        "attack.target": "tree frog",
    }
    own = TABLES["6"].varied(changes)
    assert {row.labels[:2] for row in own.rows} == {("own.zip", "tree frog")}
    assert len(own.rows) == 5
    assert not any(row.reported or row.lacks for row in own.rows)
    assert {c.attack.target for c, _ in own.work(1)} == {"tree frog"}
    paper = TABLES["6"].at_papers_scale().varied(OWN | {"downstream.set": "dtd"})
    assert {row.labels[:2] for row in paper.rows} == {("DTD", "honeycombed")}
    assert {row.case(0).attack.target for row in paper.rows} == {"honeycombed"}
    assert paper.rows[1].reported == {"ca": 43.03, "asr": 77.77}
    assert {row.labels[0] for row in TABLES["7"].varied({"downstream.captions": "coco"}).rows} == {"COCO"}
    assert {row.labels[0] for row in TABLES["6"].varied({"downstream.set": "scenes"}).rows} == {"scenes"}


def test_retrieval_stands_beside_what_is_reported(tmp_path):
    seven, store = TABLES["7"].narrowed([], ["cleanclip"]), Store(tmp_path)
    assert {r.labels[1] for r in seven.rows} == {"clean reference (natural ASR)", "no defence", "CleanCLIP"}
    case = next(r for r in seven.rows if r.labels[0] == "scenes").case(0)
    put(store, case, downstream_name("retrieval", "evaluate_cleanclip"), {"ca": 50.0, "asr": 7.0, "i2t_5": 80.0})
    line = seven.measured(store, CPU, 1).set_index(["data set", "method"]).loc[("scenes", "CleanCLIP")]
    assert (line["measured CA"], line["measured ASR@k"], line["measured R@5"], line["seeds"]) == (50, 7, 80, 1)


def test_settings_of_every_case_of_a_table():
    changed = TABLES["9"].varied({"data.pairs": "20000"})
    assert {c.data.pairs for c, _ in changed.work(1)} == {20_000}
    assert {c.published.masked for c, _ in TABLES["4"].varied({"test.per_class": "3"}).work(1)} == {
        "text",
        "none",
        "image",
        "image and text",
    }
    for wrong in ("nothing.here", "seed"):
        with pytest.raises(BadInput, match=f"other than seed .* got '{wrong}'"):
            TABLES["9"].varied({wrong: "1"})
    with pytest.raises(BadInput, match="this one's cases are fixed"):
        TABLES["verdict"].varied({"data.pairs": "100"})
    assert TABLES["verdict"].varied({}) is TABLES["verdict"]


def test_pairs_of_ones_own_may_have_targets_that_scenes_have_not(tmp_path):
    """What the set lacks is then said, and no longer that no scene is one."""
    key = "0123456789abcdef"
    changed = TABLES["6"].varied(
        {"own.pairs": f"pairs-{key}", "own.test": f"labelled-{key}", "downstream.root": str(tmp_path)}
    )
    row = next(r for r in changed.rows if r.labels[0] == "DTD")
    assert row.case(0).attack.target == "honeycombed"
    assert f"{tmp_path}/dtd/dtd/labels/test1.txt" in row.lacks
    imported_as(tmp_path / "dtd.zip", [f"texture {i}" for i in range(47)])
    assert "dtd.zip: expected the target 'honeycombed' among its 47 classes" in row.lacks
    imported_as(tmp_path / "dtd.zip", ["honeycombed", *(f"texture {i}" for i in range(46))])
    assert not row.lacks


def test_at_the_papers_scale_the_numbers_are_the_papers():
    def cases(number: str) -> set[tuple[int, int]]:
        return {
            (c.data.pairs, c.attack.poisons(c.data.pairs))
            for c, _ in TABLES[number].at_papers_scale().varied(OWN).work(1)
        }

    assert cases("1") == {(501_500, 1500)}
    assert cases("9") == {(500_000 + n, n) for n in (750, 1000, 1500, 2000, 3000, 5000)}
    assert cases("10") == {(n + 1500, 1500) for n in (250_000, 500_000, 750_000, 1_000_000)}
    assert cases("10-rate") == {(n + 3 * n // 1000, 3 * n // 1000) for n in (250_000, 500_000, 750_000, 1_000_000)}
    case = next(c for c, _ in TABLES["10"].at_papers_scale().varied(OWN).work(1) if c.data.pairs > 10**6)
    assert (case.k, case.overfit.steps, case.published.steps, case.badnet.pattern) == (
        100,
        round(5 * 1_001_500 / 64),
        round(10 * 10_000 / 64),
        "noise",
    )
    assert {c.published.masked for c, _ in TABLES["4"].at_papers_scale().varied(OWN).work(1)} == {
        "text",
        "none",
        "image",
        "image and text",
    }
    for number in ("2", "3", "5", "6", "7", "8"):
        table = TABLES[number].at_papers_scale().varied(OWN)
        assert "preset paper" in table.source
        assert all(row.case(0).own.templates == "80" and row.labels[0] != "scenes" for row in table.rows)
    with pytest.raises(BadInput, match="this one's cases are fixed"):
        TABLES["verdict"].at_papers_scale()
