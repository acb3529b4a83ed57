"""Titles tell cases apart, whatever they are made of, and hold what hostile names say as text."""

import itertools
import json

from tiny import CPU, tiny

from ubt.cases.record import SCHEMA, BuiltIn, CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.titles import LONGEST_VALUE, complete, differing, flat, titles

BASE = CaseSettings.preset("demo")
PAIRS, MODEL = f"pairs-{1:016x}", f"model-{2:016x}"


def record(settings: CaseSettings, **more) -> CaseRecord:
    return CaseRecord(
        settings=settings.to_dict(), compute=CPU, artefacts={}, state="new", updated=1, schema_number=SCHEMA, **more
    )


def named(*cases: CaseSettings | CaseRecord, given: tuple[str, ...] = (), called=str) -> list[str]:
    """The titles of cases called c0, c1, ..., in this order."""
    records = {f"c{i}": c if isinstance(c, CaseRecord) else record(c) for i, c in enumerate(cases)}
    return list(titles(records, dict(zip(records, given, strict=False)), called).values())


def test_a_title_says_attack_rate_seed_and_what_is_not_the_default():
    joined = BASE.with_values({"attack.caption": "joined", "seed": 3})
    assert named(BASE, joined) == ["badnet 2 %, seed 0", "badnet 2 %, seed 3 · caption joined"]
    assert named(CaseSettings.preset("demo", "label_consistent")) == ["label_consistent 1.6 %, seed 0"]
    assert named(BASE.with_values({"attack.rate": 0.0})) == ["clean, seed 0"]
    several = BASE.with_values({"split.fraction": 0.04, "select.k": 20, "badnet.side": 1 / 12, "poison.epochs": 7})
    assert named(several) == ["badnet 2 %, seed 0 · side 0.0833, poison.epochs 7, …"]


def test_cases_that_would_share_a_title_say_in_what_they_differ():
    many = {"data.pairs": 4000, "poison.epochs": 7, "split.fraction": 0.04}
    two = BASE.with_values(many), BASE.with_values(many | {"unlearn.keep": 1.0})
    assert named(two[0])[0].endswith("data.pairs 4000, poison.epochs 7, …")
    first, second = named(*two)
    assert "unlearn.keep 8" in first and "unlearn.keep 1" in second
    close = [BASE.with_values({"badnet.side": side}) for side in (0.10001, 0.10002)]
    assert named(*close) == [f"badnet 2 %, seed 0 · side 0.1 · c{i}" for i in (0, 1)]


def test_of_many_cases_no_two_share_a_title():
    values = {
        "attack.rate": (0.0, 0.01),
        "attack.caption": ("template", "joined"),
        "split.fraction": (0.04, 0.06),
        "select.k": (0, 5, 20),
        "unlearn.keep": (1.0, 8.0),
        "poison.epochs": (5, 7),
    }
    cases = [BASE.with_values(dict(zip(values, each, strict=True))) for each in itertools.product(*values.values())]
    found = named(*cases, *cases)
    assert len(set(found)) == len(found) == 192


def test_own_titles_are_shown_and_stay_apart():
    assert named(BASE, tiny(), given=("mine", ""))[0] == "mine"
    assert named(BASE, tiny(), given=("mine", "mine")) == ["mine (c0)", "mine (c1)"]
    assert named(BASE, given=("a\u202eb",)) == ["a\\u202eb"]


def test_what_was_imported_is_named_and_hostile_names_are_text():
    audit = BASE.with_values({"own.pairs": PAIRS, "own.suspect": MODEL, "attack.caption": "joined"})
    called = {MODEL: "sus\u202epect\n" + "x" * 99, PAIRS: "<b>web</b>"}.get
    (title,) = named(audit, called=called)
    assert title.startswith("audit of sus\\u202epect ")
    assert "caption" not in title
    assert len(title) < 200
    lab = BASE.with_values({"own.pairs": PAIRS, "own.test": f"labelled-{3:016x}"})
    assert named(lab, called=called) == ["badnet 2 % on <b>web</b>, seed 0"]
    assert LONGEST_VALUE < 99


def test_what_cannot_be_read_or_is_shipped_has_a_name_of_its_own():
    built = record(BASE, built_in=BuiltIn(title="badnet", command="c", made="m", version="v"))
    broken = [CaseRecord.empty("damaged", "no"), CaseRecord.empty("outdated", "old", {"seed": 1})]
    odd = [record(BASE).changed(settings=s) for s in ({}, {"attack": 3}, {"data": {}, "attack": {"name": "x"}})]
    assert named(built, *broken, *odd, BASE) == [
        "built-in: badnet",
        "c1 (damaged)",
        "c2 (of an earlier version)",
        *(f"c{i} (damaged)" for i in (3, 4, 5)),
        "badnet 2 %, seed 0",
    ]


def test_settings_of_other_attacks_are_no_settings_of_a_case():
    settings = flat(BASE.to_dict())
    assert settings["badnet.side"] and "wanet.warp" not in settings
    other = flat(BASE.with_values({"wanet.warp": 3.0, "seed": 1, "split.fraction": 0.1}).to_dict())
    assert differing([settings, other]) == ["seed", "split.fraction"]
    blended = flat(BASE.with_values({"attack.name": "blended", "seed": 1}).to_dict())
    assert differing([settings, blended]) == ["seed", "attack.name"]


def test_a_setting_added_since_does_not_tell_a_case_from_one_of_today():
    today = CaseSettings().to_dict()
    before = json.loads(json.dumps(today))
    del before["poison"]["start"], before["own"]["other"], before["badclip"]
    assert differing([complete(before), complete(today)]) == []
    assert complete(before)["poison.start"] == "reference"
    changed = CaseSettings().with_values({"poison.start": "scratch"}).to_dict()
    assert differing([complete(before), complete(changed)]) == ["poison.start"]
    assert complete({}) == {}
