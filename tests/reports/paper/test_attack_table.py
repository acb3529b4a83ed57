"""Every attack: which cases its rows are, and what is read of them."""

import pytest
from tiny import CPU, put_results

from ubt.attacks import ATTACKS
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.reports import manifest
from ubt.reports.paper import TABLES, attack_table, cells
from ubt.reports.paper.attack_table import ARCHITECTURE, MODELS, NATURAL, OTHER, RETRIEVED, ROWS, STAGES

TABLE = TABLES["attacks"]
KEYS = {OTHER: "model-0123456789abcdef", ARCHITECTURE: "model-fedcba9876543210"}


def test_every_attack_has_a_row_and_lineages_have_one_seed():
    table = attack_table.replace(TABLE, models=KEYS)
    cases = table.cases(3)
    assert not [name for name in ROWS if "," in name], "--attacks is a list parted by commas"
    assert {ROWS[name].attack for name, _ in cases} == set(ATTACKS)
    count = {name: sum(title == name for title, _ in cases) for name in ROWS}
    assert {name for name, n in count.items() if n == 1} == {
        n for n, row in ROWS.items() if row.reference or row.scratch
    }
    assert len([name for name, n in count.items() if n == 3]) >= 12
    by_name = {name: case for name, case in cases if case.seed == 0}
    assert {case.own.other for case in by_name.values()} == {KEYS[OTHER]}
    assert by_name[f"badclip with a reference of {ARCHITECTURE}"].own.reference == KEYS[ARCHITECTURE]
    assert by_name["blended from scratch"].poison.start == "scratch"
    assert by_name["badclip"].attack.caption == "natural"
    assert by_name["badclip of another model"].badclip.patch == "other"
    assert {until for _, until in table.work(1)} == {None, "natural_other", "evaluate_retrain"} | {
        f"retrieval_{name}" for name in MODELS
    }
    assert list(table.narrowed(["semantic"], []).rows) == ["semantic"]
    with pytest.raises(BadInput, match="--attacks: this table has no 'nosuch'"):
        table.narrowed(["nosuch"], [])
    assert ROWS["badclip"].threat != ROWS["badnet"].threat
    assert ROWS["badnet from scratch"].threat == "data", "who trains, from whatever start, is not the attacker"


DETECTED = {"recall": 0.9, "auroc": None, "precision": 1.0, "flagged_precision": 0.5, "flagged_recall": 0.25}


def test_without_the_clean_models_it_has_the_rows_that_need_none_and_no_natural_asr_of_theirs():
    rows = {name for name, _ in TABLE.cases(1)}
    assert rows == {name for name, row in ROWS.items() if not row.reference}
    assert {until for _, until in TABLE.work(1)} == {None, "evaluate_retrain", *RETRIEVED}
    assert not any(case.own.other or case.own.reference for _, case in TABLE.cases(1))


def put(store: Store, settings: CaseSettings, asr: dict[str, float], answer: str) -> None:
    """Results as if they had been computed."""
    measured = {name: {"asr": asr[name], "ca": 90.0, "ra": 80.0, "target_recall": 70.0} for name in STAGES}
    results = {STAGES[name]: {"measures": m} for name, m in measured.items()}
    results |= {f"retrieval_{name}": {"measures": {"ca": 50.0}} for name in MODELS}
    found = {"score": 0.6, "displaced": 0.2, "apart": 2.0, "answer": answer, "by_thresholds": answer, "checks": []}
    results |= {"judge": {"detection": DETECTED}, "verdict": {"verdict": found}}
    for until in ("judge", *STAGES.values(), *RETRIEVED):
        put_results(store, settings, until, results)


def test_ours_is_judged_against_the_lowest_natural_asr(tmp_path):
    store = Store(tmp_path)
    table = attack_table.replace(TABLE.narrowed(["badclip", "badclip from scratch"], []), models=KEYS)
    asr = {"clean": 30.0, "other": 4.0, "oracle": 12.0, "poisoned": 99.0, "published": 9.0, "purified": 5.0}
    for name, settings in table.cases(2):
        if (name, settings.seed) != ("badclip", 1):
            put(store, settings, asr, "poisoned")
    frame = table.measured(store, CPU, 2).set_index("attack")
    done = frame.loc["badclip"]
    assert done["ASR, ours, over the lowest natural"] == 1.0
    assert [done[f"ASR, {said}"] for said in NATURAL.values()] == [30.0, 4.0, 12.0]
    assert (done["R@1, ours"], done["split recall"], done["AUROC in D_susp"]) == (50.0, 0.9, None)
    assert [done[f"said {said}, %"] for said in attack_table.ANSWERS] == [100.0, 0.0, 0.0]
    assert (done["seeds"], done["state"], done["captions"]) == (1, "1 to do", "natural")
    assert (frame.loc["badclip from scratch", "seeds"], frame.loc["badclip from scratch", "state"]) == (1, "")
    said = table.markdown(table.measured(store, CPU, 2))
    assert "| badclip | data, and a clean model to prepare the trigger on | natural | 30.00 | 4.00 | 12.00 |" in said
    assert "| 1 (1 to do) |" in said


def test_cells_measured_elsewhere_are_taken_and_not_measured_again(tmp_path, monkeypatch):
    here, asr = Store(tmp_path / "here"), dict.fromkeys(STAGES, 10.0) | {"purified": 1.5}
    table = attack_table.replace(TABLE.narrowed(["badnet", "semantic"], []), models=KEYS)
    for name, settings in table.cases(2):
        if (name, settings.seed) != ("semantic", 1):
            put(here, settings, asr, "poisoned")
    each = table.cells(here, CPU, 2)
    assert [(row.attack, row.seed) for row in each.itertuples()] == [("badnet", 0), ("semantic", 0), ("badnet", 1)]
    assert each["ASR, ours"].tolist() == [1.5, 1.5, 1.5]
    file = tmp_path / "cells.csv"
    file.write_text(each.to_csv(index=False))

    elsewhere = Store(tmp_path / "elsewhere")
    trained, here_now = [], "model-00000000deadbeef"
    monkeypatch.setattr(attack_table, "clean_model", lambda store, kind, where: trained.append(kind) or here_now)
    again = TABLE.narrowed(["badnet", "semantic"], []).knowing(cells.read(file))
    assert again.prepared(elsewhere, CPU, 1).missing(CPU, 1) == [] and trained == []
    there = again.prepared(elsewhere, CPU, 2)
    assert trained == [OTHER], "one cell is not known"
    assert {(case.seed, case.semantic, case.own.other) for case, _ in there.missing(CPU, 2)} == {
        (1, ROWS["semantic"].case(1, {}).semantic, here_now)
    }
    assert there.measured(elsewhere, CPU, 2).equals(table.measured(here, CPU, 2))
    assert there.cells(elsewhere, CPU, 2)["made"].tolist() == each["made"].tolist()


def test_a_cell_of_other_settings_is_another(tmp_path):
    store, asr = Store(tmp_path), dict.fromkeys(STAGES, 10.0)
    one, other = (attack_table.replace(TABLE.narrowed([name], []), models=KEYS) for name in ("badnet", "joined"))
    put(store, one.cases(1)[0][1], asr, "poisoned")
    each = one.cells(store, CPU, 1)
    assert one.knowing(each).missing(CPU, 1) == []
    assert other.knowing(each).missing(CPU, 1) == other.work(1), "its captions are others"
    assert len(one.knowing(each).missing(CPU, 2)) == len(one.work(1)), "seed 1 is not known"
    with pytest.raises(BadInput, match="keeps its cells"):
        TABLES["verdict"].knowing(each)


def test_what_is_no_csv_of_cells_is_refused(tmp_path):
    (tmp_path / "cells.csv").write_text("attack,seed\nbadnet,0\n")
    with pytest.raises(BadInput, match="without the column 'cell'"):
        cells.read(tmp_path / "cells.csv")
    with pytest.raises(BadInput, match="none that can be read"):
        cells.read(tmp_path / "nosuch.csv")


def test_the_rows_of_the_documents_table_that_have_all_their_cells_are_made_of_them():
    file = manifest.folder() / "cells-attacks.csv"
    if not file.exists():
        pytest.skip("the table of attacks in the documents was made without cells")
    said = attack_table.pd.read_csv(manifest.folder() / "table-attacks.csv")
    made = attack_table.replace(TABLE, models=KEYS).summed(cells.read(file), {}).set_index("attack")
    said = said[[made.loc[row.attack, "seeds"] == row.seeds for row in said.itertuples(index=False)]]
    figures = [column for column in said if column.endswith(" spread") or column in attack_table.MEASURES.values()]
    attack_table.pd.testing.assert_frame_equal(
        said.set_index("attack")[figures].astype(float),
        made.loc[said["attack"], figures].astype(float),
        check_names=False,
    )
