"""Weights from files that nobody vouches for: a state dict of plain tensors, or a clear refusal.

Safetensors hold no code. Of torch's files only the zip layout (PyTorch 1.6 or newer) is opened: what its pickle names
is looked at before torch reads it with `weights_only=True`, and records are uncompressed, so that no file grows in
memory beyond its own size.
"""

import contextlib
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ubt.core.errors import BadInput

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HEADER_LIMIT = 16 * 2**20
"""Largest header of a safetensors file, and pickle of a torch file, in bytes; a model of 5 billion parameters has 200
KB.
"""

_PLAIN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (Size|device)|torch\.serialization"
    r" _get_layout"
    r"|torch (Float|Half|BFloat16|Double|Long|Int|Short|Char|Byte|Bool)Storage|torch (float|int|uint)(8|16|32|64)|torch"
    r" (bfloat16|bool)"
)
_CODE = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask"}
"""What OpenAI's and older open_clip's state dicts hold beside weights."""


def ordinary_file(path: Path) -> Path:
    """The path, if it is a file in its own right with something in it.

    Raises:
        BadInput: it is a folder, a link, a device, empty, or not there.
    """
    try:
        if path.is_symlink():
            raise BadInput(f"{path}: expected a file, got a link; copy it (cp -L) or name the file it points to")
        if not path.is_file():
            raise BadInput(f"{path}: expected a file, {'got something else' if path.exists() else 'found none'}")
        if path.stat().st_size == 0:
            raise BadInput(f"{path}: expected a file with something in it, got an empty one; copy or download it again")
    except (OSError, ValueError) as e:
        raise BadInput(
            f"{str(path)[:200]!r}: expected the path of a file, got one that cannot be looked at ({e})"
        ) from None
    return path


def state_dict(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a weights file by open_clip's names, as they are stored, and what the file says beside them.

    Returns:
        The tensors, on the CPU; `layout` (what kind of file it is), `name` (of a training run), `wrapped` (named by
        DistributedDataParallel).

    Raises:
        BadInput: it is damaged, holds anything but tensors and plain values, or is no layout that is known.
    """
    ordinary_file(path)
    with path.open("rb") as f:
        magic = f.read(9)
    if magic[:4] == b"PK\x03\x04":
        found, about = _torch_file(path), {"layout": "a state dict"}
    elif path.suffix == ".safetensors" or magic[8:] == b"{":
        found, about = _safetensors(path, int.from_bytes(magic[:8], "little")), {"layout": "safetensors"}
    else:
        what = "a bare pickle, as PyTorch before 1.6 wrote" if magic[:1] == b"\x80" else "something else"
        raise BadInput(
            f"{path}: expected a safetensors file or a state dict that torch.save wrote, got {what}, which is not"
            " opened; save it anew, best as safetensors"
        )
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        run = found.get("name")
        about = {"layout": "a training checkpoint", "name": run[:200] if isinstance(run, str) else ""}
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(n, str) for n in found):
        raise BadInput(
            f"{path}: expected a state dict, or a training checkpoint with one under 'state_dict', got {_kinds(found)}"
        )
    plain = {re.sub(r"^((module|_orig_mod)\.)+", "", name): t for name, t in found.items()}
    if len(plain) < len(found):
        raise BadInput(f"{path}: expected every weight once, got some both with and without the prefix 'module.'")
    about["wrapped"] = any(name.startswith("module.") for name in found)
    about["openai"] = "input_resolution" in plain
    if any(n.startswith(("text_model.", "vision_model.")) for n in plain):
        raise BadInput(
            f"{path}: expected weights named as in open_clip or OpenAI's CLIP, got those of transformers' CLIPModel;"
            " convert them first"
        )
    found = {n: t for n, t in plain.items() if n not in _NOT_WEIGHTS}
    for name, tensor in found.items():
        _check_tensor(path, name, tensor)
    return found, about


def _kinds(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    return "an empty one" if not value else f"entries {', '.join(repr(n)[:40] for n in list(value)[:5])}"


def _check_tensor(path: Path, name: str, tensor: Any) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise BadInput(f"{path}: expected tensors alone, got a {type(tensor).__name__} under {name[:80]!r}")
    counter = name.endswith("num_batches_tracked")
    if tensor.dtype not in _FLOATS and not (counter and tensor.dtype == torch.int64):
        raise BadInput(
            f"{path}: expected weights in fp32, fp16, bf16 or fp64, got {tensor.dtype} for {name[:80]!r}; bring them"
            " before they were quantised"
        )
    if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BadInput(
            f"{path}: expected tensors with all their numbers in the file, got a sparse or an expanded one for"
            f" {name[:80]!r}"
        )


def _safetensors(path: Path, header: int) -> dict[str, torch.Tensor]:
    if header > min(HEADER_LIMIT, path.stat().st_size - 8):
        raise BadInput(
            f"{path}: expected a safetensors file, got one whose header claims {header:,} bytes; it is damaged or not"
            " what its name says"
        )
    try:
        with safe_open(path, "pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError) as e:
        raise BadInput(
            f"{path}: expected a safetensors file, got a damaged one ({str(e)[:200]}); copy or download it again"
        ) from None


@contextlib.contextmanager
def _refused(path: Path, what: str) -> Iterator[None]:
    """Whatever a reader says of a hostile file leaves as a refusal."""
    try:
        yield
    except BadInput:
        raise
    except Exception as e:
        reason = str(e).splitlines()[0][:200] if str(e) else type(e).__name__
        raise BadInput(
            f"{path}: expected {what}, got a damaged or a foreign one ({reason}); copy or download it again"
        ) from None


def _torch_file(path: Path) -> Any:
    with _refused(path, "a file that torch.save wrote"), zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if sum(r.file_size for r in records) > path.stat().st_size or any(
            r.compress_type != zipfile.ZIP_STORED for r in records
        ):
            raise BadInput(
                f"{path}: expected uncompressed records, as torch.save writes them, got compressed or overlapping ones"
                " (a zip bomb?)"
            )
        names = [r.filename for r in records]
        if any(re.search(r"(^|/)(code/|constants\.pkl$)", n) for n in names):
            raise BadInput(
                f"{path}: expected weights, got a TorchScript archive, which holds code and is not opened; bring"
                " OpenAI's own as ViT-B-32/openai, of others the state dict"
            )
        pickles = [r for r in records if r.filename.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].filename.split("/")[-1] != "data.pkl":
            raise BadInput(
                f"{path}: expected one record data.pkl, as torch.save writes it, got {len(pickles)}; give the file that"
                " torch.save wrote"
            )
        if pickles[0].file_size > HEADER_LIMIT:
            raise BadInput(
                f"{path}: expected at most {HEADER_LIMIT:,} bytes that describe the tensors, got"
                f" {pickles[0].file_size:,}"
            )
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0])):
            if opcode.name in _CODE or (opcode.name == "GLOBAL" and not _PLAIN.fullmatch(argument)):
                raise BadInput(
                    f"{path}: expected tensors and plain values alone, got a pickle that calls for"
                    f" {(argument or opcode.name)[:80]}, which could run code; it was not opened. Save the state dict"
                    " alone, best as safetensors"
                )
    with _refused(path, "a state dict"):
        return torch.load(path, map_location="cpu", weights_only=True)
