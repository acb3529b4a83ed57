"""What may be read of the machine, tried by paths, links and patterns."""

import os

import pandas as pd
import pyarrow as pa
import pytest

from ubt.attacks.ssba import SsbaSettings
from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.roots import NotAllowed
from ubt.data import classification_sets, retrieval_sets
from ubt.data.catalogue import SourceOptions
from ubt.data.preview import look
from ubt.workflows.import_model import import_model


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder that may be read and one beside it that may not, each with a table of one pair."""
    for name in ("mine", "theirs"):
        folder = tmp_path / name
        folder.mkdir()
        pd.DataFrame({"image": ["a.png"], "caption": [f"the caption of {name}"]}).to_csv(folder / "pairs.csv")
        (folder / "a.png").touch()
    monkeypatch.setenv(roots.ROOTS, str(tmp_path / "mine"))
    return tmp_path / "mine", tmp_path / "theirs"


def refused(path, **options) -> str:
    with pytest.raises(NotAllowed) as e:
        look(path, SourceOptions.from_dict(options))
    return str(e.value)


def test_what_is_in_a_named_folder_is_read_and_nothing_else(places, monkeypatch):
    mine, theirs = places
    assert look(mine / "pairs.csv", SourceOptions()).rows["text"].tolist() == ["the caption of mine"]
    assert look(mine, SourceOptions()).rows["text"].tolist() == ["the caption of mine"]
    refused(theirs / "pairs.csv")
    monkeypatch.setenv(roots.ROOTS, f"{mine}{os.pathsep}{theirs}")
    assert look(theirs, SourceOptions()).rows["text"].tolist() == ["the caption of theirs"]
    monkeypatch.setenv(roots.ROOTS, "")
    assert "names no folder" in refused(mine)
    monkeypatch.delenv(roots.ROOTS)
    assert len(look(theirs, SourceOptions()).rows) == 1


@pytest.mark.parametrize(
    "way",
    [
        "{theirs}/{name}",
        "{mine}/../theirs/{name}",
        "{mine}/link/{name}",
        "{mine}/leaf-{name}",
        "{theirs}/*{name}",
        "{mine}/link/*{name}",
        "{mine}/{{link,x}}/{name}",
        "{mine}/{{x}}/../../theirs/{name}",
        "{mine}/{{x,y}}/../../theirs/*{name}",
        "{mine}/*/../../theirs/{name}",
    ],
)
def test_not_there_and_not_allowed_are_one_answer(places, way):
    mine, theirs = places
    (mine / "link").symlink_to(theirs)
    (mine / "leaf-pairs.csv").symlink_to(theirs / "pairs.csv")
    (mine / "leaf-nothing").symlink_to(theirs / "nothing")
    said = [
        refused(mine.parent / way.format(mine=mine, theirs=theirs, name=name)).replace(name, "NAME")
        for name in ("pairs.csv", "nothing")
    ]
    assert said[0] == said[1]
    assert str(mine) in said[0]


def test_a_table_in_a_named_folder_leads_no_further(places):
    mine, theirs = places
    refused(mine / "pairs.csv", folder=str(theirs))
    refused(mine / "pairs.csv", folder="../theirs")
    refused(mine / "pairs.csv", folder="../nowhere")
    (mine / "pairs.csv").unlink()
    (mine / "captions.csv").symlink_to(theirs / "pairs.csv")
    refused(mine)


def test_a_split_of_arrow_files_leads_no_further(places):
    mine, theirs = places
    (mine / "pairs.csv").unlink()
    for folder, name in ((mine / "train", "a"), (theirs, "b")):
        folder.mkdir(exist_ok=True)
        table = pa.table({"image": ["a.png"], "caption": [f"the caption of {name}"]})
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (mine / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (mine / "train" / "state.json").write_text("{}")
    assert look(mine, SourceOptions()).rows["text"].tolist() == ["the caption of a"]
    (mine / "train" / "b.arrow").symlink_to(theirs / "b.arrow")
    refused(mine)


def test_a_path_among_the_settings_is_one_answer_too(places):
    theirs = places[1]
    (theirs / "set.json").write_text("{}")
    for absent in (classification_sets.absent, retrieval_sets.absent):
        said = [absent(str(theirs / name)).replace(name, "NAME") for name in ("set.json", "nothing.json")]
        assert said[0] == said[1] != ""
        said = [absent("cifar10", root=str(theirs / name)) for name in ("", "nothing")]
        assert said[0] == said[1] != ""
    for name in ("", "nothing"):
        with pytest.raises(NotAllowed):
            SsbaSettings(encoder=str(theirs / name)).folder  # noqa: B018


def test_the_folder_of_data_sets_may_be_read(places, monkeypatch):
    theirs = places[1]
    monkeypatch.setenv(roots.ROOTS, "")
    monkeypatch.setenv(roots.DATA, str(theirs))
    assert look(theirs, SourceOptions()).rows["text"].tolist() == ["the caption of theirs"]
    assert classification_sets.folder_of_data() == theirs


def test_a_model_is_looked_for_where_files_may_be_read(places, store_at):
    mine, theirs = places
    for name in ("m.safetensors", "nothing.safetensors", "", "link/m.safetensors"):
        (theirs / "m.safetensors").write_bytes(b"x")
        with pytest.raises(NotAllowed):
            import_model(store_at, str(theirs / name))
    with pytest.raises(BadInput, match="open_clip's NAME/TAG"):
        import_model(store_at, os.path.relpath(theirs))
    (mine / "m.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"m\.safetensors"):
        import_model(store_at, str(mine / "m.safetensors"))


@pytest.fixture
def store_at(tmp_path):
    from ubt.cases.store import Store

    return Store(tmp_path / "cache")
