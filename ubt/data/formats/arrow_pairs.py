"""Pairs in Arrow files: a folder that Hugging Face `datasets` saved."""

from ubt.core.errors import BadInput
from ubt.data.formats.base import Format, Listing, ReadOptions, Source
from ubt.data.formats.parquet_pairs import Table, from_columns


def from_dataset(here: Listing, options: ReadOptions) -> Source | None:
    """A folder with a folder of Arrow files for each split, of which `train` is read.

    Raises:
        BadInput: it has several splits and none of them is called `train`.
    """
    if not (here.path / "dataset_dict.json").is_file():
        return None
    splits = [name for name in here.folders if (here.path / name / "state.json").is_file()]
    if "train" not in splits and len(splits) != 1:
        raise BadInput(
            f"{here.path}: expected one split or one called train, got {', '.join(splits) or 'none'}; name a split's"
            " folder"
        )
    split = Listing(here.path / ("train" if "train" in splits else splits[0]))
    if not (files := split.of(ARROW.endings)):
        raise BadInput(f"{split.path}: expected the .arrow files of a split, got none of them; save the data set again")
    return ARROW.open(files, options)


ARROW = Format(
    "a folder that Hugging Face `datasets` saved",
    (
        "`.arrow`, a folder that Hugging Face `datasets` saved",
        "as parquet, mapped; of several splits `train`",
        "`a.arrow::17`",
    ),
    endings=(".arrow",),
    shards=True,
    certain=True,
    files=from_columns,
    folder=from_dataset,
    readers={"arrow": Table},
)
