"""Pairs with their images, as a data set that Hugging Face `datasets` opens: a parquet file whose column `image` it
decodes, and a card. No part of that library is needed to write it.

`datasets.load_dataset(FOLDER)` opens the folder, `datasets.load_dataset("parquet", data_files=FILE)` the file alone;
and the app reads both back, since the images are in the file.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from ubt.core.errors import UbtError
from ubt.pairs.export import as_table

FILE, CARD = "train.parquet", "README.md"
"""The names in the folder; the first says which split the pairs are."""
GROUP = 100
"""Pairs whose images are in memory at a time, and in a row group, which readers unpack whole."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}}).encode()}
_HEAD = f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {FILE}
---
# Pairs of a case of UBT Inspector

Each row is an image and its caption, with what is known about the pair; `image_path` says where the image came from.

```json
"""


def write(sink: Path | IO[bytes], frame: pd.DataFrame, images: Any, rows: np.ndarray) -> None:
    """Write pairs as parquet, each image as PNG, null where it can no longer be read.

    Args:
        frame: m pairs, in order; its index is left out, and a column `image`, where images came from, is called
            `image_path`. images: those of D, uint8 RGB (n, H, W, 3), an array or what is read by rows. rows: where in
            them the pairs' images are (m,).
    """
    table = as_table(frame.rename(columns={"image": "image_path"}))
    schema = pa.schema([pa.field("image", IMAGE), *table.schema], FEATURES)
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, len(frame), GROUP):
            part = table.slice(start, GROUP)
            column = pa.array(_encoded(images, rows[start : start + GROUP]), IMAGE)
            writer.write_table(pa.table([column, *part.columns], schema=schema))


def _encoded(images: Any, rows: np.ndarray) -> list[dict[str, Any] | None]:
    try:
        return [{"bytes": _png(pixels), "path": None} for pixels in images[rows]]
    except UbtError:
        return [_tried(images, row) for row in rows.tolist()]


def _tried(images: Any, row: int) -> dict[str, Any] | None:
    with contextlib.suppress(UbtError):
        return {"bytes": _png(images[row]), "path": None}
    return None


def card(about: dict) -> bytes:
    """The data set's card: what it is, and `about` (what came from where) as JSON, none of which is Markdown."""
    said = json.dumps(about, indent=1, default=str).replace("`", "\\u0060")
    return f"{_HEAD}{said}\n```\n".encode()


def is_ours(folder: Path) -> bool:
    """Whether a folder holds such a data set, by its card."""
    with contextlib.suppress(OSError), (folder / CARD).open("rb") as f:
        return f.read(len(_HEAD.encode())) == _HEAD.encode()
    return False


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
