"""Weights from files that nobody vouches for: a state dict of plain tensors, or a clear refusal.

Safetensors hold no code. Of torch's files only the zip layout (PyTorch 1.6 or newer) is opened, by a reader that calls
nothing (`ubt.clip.torch_file`); records are uncompressed, so that no file grows in memory beyond its own size.
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ubt.clip.torch_file import CallsForCode, Stored, TorchFile, Unread
from ubt.core.errors import BadInput

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HEADER_LIMIT, MOST_TENSORS = 4 * 2**20, 20_000
"""Largest header of a safetensors file in bytes, and most tensors of a file; a model of 5 billion parameters has 200 KB
and 1,300.
"""

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
        The tensors, on the CPU; `layout` (what kind of file it is), `name` (of a training run), `openai` (it says so),
        `code` (whose code wrote it by the order of its names, `openai` or `open_clip`; empty where that does not tell).

    Raises:
        BadInput: it is damaged, holds anything but tensors and plain values, or is no layout that is known.
    """
    ordinary_file(path)
    with path.open("rb") as f:
        magic = f.read(9)
    if magic[:4] == b"PK\x03\x04":
        with _refused(path, "a file that torch.save wrote"), TorchFile(path) as file:
            named, about = _weights(path, file.value, "a state dict")
            _check_numbers(path, named)
            return file.tensors(named), about
    if path.suffix == ".safetensors" or magic[8:] == b"{":
        return _weights(path, _safetensors(path, int.from_bytes(magic[:8], "little")), "safetensors")
    what = "a bare pickle, as PyTorch before 1.6 wrote" if magic[:1] == b"\x80" else "something else"
    raise BadInput(
        f"{path}: expected a safetensors file or a state dict that torch.save wrote, got {what}, which is not"
        " opened; save it anew, best as safetensors"
    )


def _weights(path: Path, found: Any, layout: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors among what a file holds, by open_clip's names, and what it says beside them; see `state_dict`."""
    about: dict[str, Any] = {"layout": layout}
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        run = found.get("name")
        about = {"layout": "a training checkpoint", "name": run[:200] if isinstance(run, str) else ""}
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(n, str) for n in found):
        raise BadInput(
            f"{path}: expected a state dict, or a training checkpoint with one under 'state_dict', got {_kinds(found)}"
        )
    _check_count(path, found)
    prefix = _prefix(list(found))
    plain = {re.sub(r"^((module|_orig_mod)\.)+", "", n.removeprefix(prefix)): t for n, t in found.items()}
    if len(plain) < len(found):
        raise BadInput(f"{path}: expected every weight once, got some both with and without the prefix 'module.'")
    if prefix:
        about["layout"] += f", every name under {prefix[:80]!r}"
    about["openai"] = "input_resolution" in plain
    about["code"] = "" if layout == "safetensors" else _written_by(list(plain))
    if any(n.startswith(("text_model.", "vision_model.")) for n in plain):
        raise BadInput(
            f"{path}: expected weights named as in open_clip or OpenAI's CLIP, got those of transformers' CLIPModel;"
            " convert them first"
        )
    named = {n: t for n, t in plain.items() if n not in _NOT_WEIGHTS}
    for name, tensor in named.items():
        _check_tensor(path, name, tensor)
    return named, about


def _prefix(names: Sequence[str]) -> str:
    """What a training framework put before every name, up to the dot before `visual`; nothing where they differ."""
    one = next((n for n in names if ".visual." in n), "")
    prefix = one[: one.find(".visual.") + 1]
    return prefix if all(n.startswith(prefix) for n in names) else ""


def _written_by(names: Sequence[str]) -> str:
    """Whose code wrote a state dict: its names are in the order in which a block makes its parts, the attention first
    in OpenAI's CLIP (and CleanCLIP's copy), after its norm in open_clip's. Sorted names tell nothing.
    """
    at = {re.sub(r"^.*resblocks\.0\.", "", n): i for i, n in enumerate(names) if ".resblocks.0." in f".{n}"}
    attention, norm = at.get("attn.in_proj_weight"), at.get("ln_1.weight")
    if attention is None or norm is None or list(names) == sorted(names):
        return ""
    return "openai" if attention < norm else "open_clip"


def _kinds(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    return "an empty one" if not value else f"entries {', '.join(repr(n)[:40] for n in list(value)[:5])}"


def _check_tensor(path: Path, name: str, tensor: Any) -> None:
    if not isinstance(tensor, (torch.Tensor, Stored)):
        what = tensor.kind if isinstance(tensor, Unread) else type(tensor).__name__
        raise BadInput(f"{path}: expected tensors alone, got a {what} under {name[:80]!r}; save the state dict alone")
    counter = name.endswith("num_batches_tracked")
    if tensor.dtype not in _FLOATS and not (counter and tensor.dtype == torch.int64):
        raise BadInput(
            f"{path}: expected weights in fp32, fp16, bf16 or fp64, got {tensor.dtype} for {name[:80]!r}; import them"
            " as they were before they were quantised"
        )


def _check_numbers(path: Path, named: dict[str, Stored]) -> None:
    """Every tensor has numbers of its own, so that weights take no more memory than the file has bytes."""
    for name, tensor in named.items():
        if not tensor.inside:
            raise ValueError(
                f"{name[:80]!r} of shape {tensor.shape} does not fit in its {tensor.storage.count:,} numbers"
            )
        if tensor.bytes > tensor.storage.bytes:
            raise BadInput(
                f"{path}: expected tensors with all their numbers in the file, got an expanded one for {name[:80]!r};"
                " save it as it is (tensor.contiguous())"
            )
    there = sum(s.bytes for s in {t.storage.key: t.storage for t in named.values()}.values())
    if (wanted := sum(t.bytes for t in named.values())) > there:
        raise BadInput(
            f"{path}: expected tensors with numbers of their own, got {wanted:,} bytes of them in {there:,}; save the"
            " weights anew, best as safetensors"
        )


def _safetensors(path: Path, header: int) -> dict[str, torch.Tensor]:
    if header > min(HEADER_LIMIT, path.stat().st_size - 8):
        raise BadInput(
            f"{path}: expected a safetensors file, got one whose header claims {header:,} bytes; it is damaged or not"
            " what its name says"
        )
    with _refused(path, "a safetensors file"), safe_open(path, "pt") as f:
        names = list(f.keys())
        _check_count(path, names)
        return {name: f.get_tensor(name) for name in names}


def _check_count(path: Path, names: Collection[str]) -> None:
    if len(names) > MOST_TENSORS:
        raise BadInput(f"{path}: expected at most {MOST_TENSORS:,} tensors, got {len(names):,}; no CLIP has so many")


@contextlib.contextmanager
def _refused(path: Path, what: str) -> Iterator[None]:
    """Whatever a reader says of a hostile file leaves as a refusal."""
    try:
        yield
    except BadInput:
        raise
    except CallsForCode as e:
        raise BadInput(
            f"{path}: expected tensors and plain values alone, got a pickle that calls for {e}, which could run code;"
            " it was not opened. Save the state dict alone, best as safetensors"
        ) from None
    except Exception as e:
        reason = str(e).splitlines()[0][:200] if str(e) else type(e).__name__
        raise BadInput(
            f"{path}: expected {what}, got a damaged or a foreign one ({reason}); copy or download it again"
        ) from None
