"""Files that were dropped on a page: their names, that they are kept once, and that they go when nobody needs them."""

import json
import os
import time

import pytest
from ingested import encoded, folder, packed

from ubt.cases.read_only import ReadOnlyStore
from ubt.cases.store import Store
from ubt.core import roots
from ubt.core.errors import BadInput, Forbidden
from ubt.workflows import jobs, uploads
from ubt.workflows.ingest import Wanted, import_wanted

ZIP = (".zip",)


@pytest.mark.parametrize(
    "said",
    [
        "../../x.zip",
        "/etc/x.zip",
        "C:\\a\\x.zip",
        "a/../../x.zip",
        "\0x.zip",
        "<b>x.zip",
        "{0..9}.zip",
        "~x.zip",
        "-x.zip",
    ]
    + ["é" * 300 + ".zip", "*.zip"],
)
def test_a_name_is_no_path_no_pattern_and_no_option(tmp_path, said):
    store = Store(tmp_path / "cache")
    path = uploads.keep(store, [(said, b"PK")], ZIP)
    assert path.parent.parent == uploads.folder(store)
    assert path.read_bytes() == b"PK"
    assert not set(path.name) & set("<>{}*?~\\/\0")
    assert not path.name.startswith((".", "-"))


def test_the_same_file_is_kept_once_and_another_beside_it(tmp_path):
    store = Store(tmp_path / "cache")
    first = uploads.keep(store, [("a.zip", b"1")], ZIP)
    assert uploads.keep(store, [("a.zip", b"1")], ZIP) == first
    other = uploads.keep(store, [("a.zip", b"2")], ZIP)
    assert (first.read_bytes(), other.read_bytes()) == (b"1", b"2")
    assert uploads.keep(store, [("card.json", b"{}"), ("w.pt", b"3")], (".pt",)).name == "w.pt"


@pytest.mark.parametrize("files", [[], [("a.exe", b"")], [("a.zip", b"1"), ("x/a.zip", b"2")]])
def test_what_cannot_be_taken_is_refused_in_words(tmp_path, files):
    with pytest.raises(BadInput, match=r"expected a file that ends in \.zip"):
        uploads.keep(Store(tmp_path / "cache"), files, ZIP)


def test_a_cache_that_can_only_be_read_takes_none(tmp_path):
    Store(tmp_path / "cache")
    with pytest.raises(Forbidden):
        uploads.keep(ReadOnlyStore(tmp_path / "cache"), [("a.zip", b"1")], ZIP)
    assert not (tmp_path / "cache" / "uploads").exists()


def test_a_dropped_zip_is_imported_though_no_folder_may_be_read_and_stays_while_pairs_are_read_from_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv(roots.ROOTS, "")
    store = Store(tmp_path / "cache")
    table = b"image,caption\na.png,one\n../b.png,out\n"
    made = packed(tmp_path / "made.zip", [("captions.csv", table), ("a.png", encoded(1))])
    path = uploads.keep(store, [("mine.zip", made.read_bytes())], ZIP)
    other = uploads.keep(store, [("other.zip", b"PK")], ZIP)
    key = import_wanted(store, Wanted("pairs", str(path)))
    assert store.imported(key)["pairs"]["caption"].tolist() == ["one"]
    assert store.prune() == 0
    for old in (path.parent, other.parent):
        os.utime(old, (time.time() - 200_000,) * 2)
    assert store.prune() == 2
    assert path.exists() and not other.exists()
    with pytest.raises(BadInput, match="expected a file or folder"):
        import_wanted(store, Wanted("pairs", str(folder(tmp_path / "elsewhere"))))


def test_where_something_imported_is_damaged_no_dropped_file_goes(tmp_path):
    store = Store(tmp_path / "cache")
    key = import_wanted(store, Wanted("pairs", str(folder(tmp_path / "p"))))
    (store.root / "artefacts" / key / "manifest.json").write_text("{")
    path = uploads.keep(store, [("a.zip", b"1")], ZIP)
    os.utime(path.parent, (0, 0))
    store.prune()
    assert path.exists()


def test_what_is_being_imported_stays_though_it_was_dropped_days_ago(tmp_path):
    store = Store(tmp_path / "cache")
    path = uploads.keep(store, [("a.pt", b"1")], (".pt",))
    os.utime(path.parent, (0, 0))
    wanted = Wanted("model", str(path), {"state": "clean"})
    said = store.scratch(jobs.import_lock(wanted)) / "wanted.json"
    said.write_text(json.dumps(vars(wanted)))
    with store.lock(jobs.import_lock(wanted)):
        assert set(jobs.being_imported(store)) == {jobs.import_lock(wanted)}
        store.prune()
        assert path.exists()
        said.write_text("[]")
        assert not jobs.being_imported(store)
    store.prune()
    assert not path.exists()


def test_an_import_that_begins_keeps_what_it_reads_for_another_day(tmp_path):
    store = Store(tmp_path / "cache")
    path = uploads.keep(store, [("a.pt", b"1")], (".pt",))
    other = uploads.keep(store, [("b.pt", b"2")], (".pt",))
    for dropped in (path, other):
        os.utime(dropped.parent, (0, 0))
    for source in (str(path), "", "hf-hub:a/b", "a\0b", str(path.parent.parent / ".." / "x"), str(path.parent.parent)):
        wanted = Wanted("model", source)
        with store.lock(jobs.import_lock(wanted)):  # so that no process begins
            assert not jobs.start_import(store, wanted)
    store.prune()
    assert path.exists() and not other.exists()
