"""What a case on imported data lacks is known before anything runs."""

from ingested import folder
from tiny import CPU, tiny

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.workflows.ingest import Wanted, import_labelled, import_wanted
from ubt.workflows.lacking import lacking

LABELS = b"image,label\n" + b"".join(b"images/%d.png,%s\n" % (i, (b"cat", b"banana")[i % 2]) for i in range(6))


def imported(store: Store, path, **changes) -> CaseSettings:
    """A lab case on 40 imported pairs and 6 labelled images."""
    rows = [(f"images/{i}.png", f"a thing {i}") for i in range(40)]
    pairs = import_wanted(store, Wanted("pairs", str(folder(path / "pairs", rows, images=40))))
    labels = import_labelled(store, folder(path / "labels", table=LABELS, images=6))
    return tiny(own__pairs=pairs, own__test=labels, select__k=2, data__pairs=40, **changes)


def test_a_defence_with_clean_pairs_needs_pairs_beyond_d(tmp_path):
    store = Store(tmp_path / "cache")
    case = imported(store, tmp_path)
    assert lacking(store, case, CPU, "evaluate_purified") == ""
    assert "clean pairs beyond the 40 of D" in lacking(store, case, CPU, "evaluate_cleanclip")
    assert lacking(store, case.with_values({"data.pairs": 36}), CPU, "evaluate_cleanclip") == ""
    spared = case.with_values({"data.pairs": 36, "own.spare": 0.5})
    assert "clean pairs" in lacking(store, spared, CPU, "evaluate_cleanclip")
    assert lacking(store, tiny(), CPU, "evaluate_cleanclip") == ""


def test_a_defence_with_labels_needs_images_beyond_the_test_set(tmp_path):
    store = Store(tmp_path / "cache")
    case = imported(store, tmp_path, test__per_class=3)
    assert "labelled images beyond" in lacking(store, case, CPU, "evaluate_supervised")
    assert lacking(store, case.with_values({"test.per_class": 2}), CPU, "evaluate_supervised") == ""
    gone = case.with_values({"own.pairs": "pairs-0123456789abcdef"})
    assert "import it again" in lacking(store, gone, CPU, "evaluate_cleanclip")
