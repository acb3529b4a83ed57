"""open_clip models in and out: create, load safely, save, encode; and what makes training a small one fast.

A model on disk is a folder that plain open_clip opens: `open_clip.create_model_and_transforms("local-dir:FOLDER")`. In
memory it carries what it was made by: `config` (open_clip's model_cfg), `preprocess_cfg` (mean, std, size) and
`half_table` (how its vocabulary table is stored).
"""

import contextlib
import hashlib
import json
import math
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as in_bytes

from ubt.clip import architecture, distributed
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import file_digest, read_json
from ubt.core.run import Progress, silent
from ubt.data.model_input import context_length, cut_to_context, image_sides
from ubt.data.scenes import CONTEXT, SIZE

CONFIG, WEIGHTS, CARD = "open_clip_config.json", "open_clip_model.safetensors", "card.json"
VOCABULARY_TABLE = "token_embedding.weight"
READ = 32
"""Batches of images that are read at a time."""

SCENES_CLIP = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 3},
}
"""The small CLIP of the embedded default: ViT at 48 px with 8 px patches, stock tokenizer with a narrow vocabulary
table.
"""


def copied(model: torch.nn.Module) -> torch.nn.Module:
    """A model of the same weights, to be read while the first is trained."""
    other = create(model.config, 0, model.preprocess_cfg)
    other.load_state_dict(model.state_dict())
    other.half_table = model.half_table
    return other.eval()


def moved(model: torch.nn.Module, other: torch.nn.Module, share: float) -> torch.nn.Module:
    """A model that lies on the line through two of one architecture, `share` of the way from the first to the second:
    beyond either where it is below 0 or above 1. What batches were normalised by moves along, a variance not below 0.
    """
    found, ends = copied(model), {**dict(other.named_parameters()), **dict(other.named_buffers())}
    with torch.no_grad():
        for name, own in (*found.named_parameters(), *found.named_buffers()):
            start, end = own.float(), ends[name].to(own.device).float()
            if not own.is_floating_point():
                continue
            between = torch.where(start == end, start, start + share * (end - start))  # a mask is of infinities
            own.copy_(between.clamp(min=0) if name.endswith("running_var") else between)
    return found


def create(model_cfg: dict, seed: int, preprocess_cfg: dict | None = None) -> torch.nn.Module:
    """A freshly initialised open_clip model, its preprocessing OpenAI's if none is given.

    Raises:
        BadInput: open_clip's own parts with the stock tokenizer cannot make it.
    """
    model_cfg = architecture.check(model_cfg)
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        model = _build(model_cfg)
    return _finish(model, model_cfg, preprocess_cfg, half_table=True)


def _build(model_cfg: dict) -> torch.nn.Module:
    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    return kind(**{n: v for n, v in model_cfg.items() if n != "custom_text"})


def _finish(model: torch.nn.Module, model_cfg: dict, preprocess_cfg: dict | None, half_table: bool) -> torch.nn.Module:
    model.config, model.half_table = model_cfg, half_table
    model.preprocess_cfg = architecture.preprocessing(preprocess_cfg, image_sides(model)[0])
    return model.eval()


def skeleton(model_cfg: dict) -> torch.nn.Module:
    """The model of a checked configuration without memory for its weights."""
    with torch.device("meta"):
        return _build(model_cfg)


def assemble(model_cfg: dict, preprocess_cfg: dict | None, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The model of a checked configuration with these weights, in fp32 and evaluation mode.

    Raises:
        UbtError: the weights do not fit.
    """
    model = skeleton(model_cfg)
    try:
        model.load_state_dict(
            {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()}, assign=True
        )
    except RuntimeError as e:
        raise UbtError(
            f"expected weights that fit {CONFIG}, got others: {str(e).splitlines()[-1].strip()[:300]}"
        ) from None
    text = text_tower(model)
    if getattr(text, "attn_mask", None) is not None:
        text.register_buffer(
            "attn_mask", torch.full((model.context_length,) * 2, float("-inf")).triu_(1), persistent=False
        )
    for p in model.parameters():
        p.requires_grad_(True)
    half = any(v.dtype == torch.float16 for k, v in state.items() if k.endswith(VOCABULARY_TABLE))
    return _finish(model, model_cfg, preprocess_cfg, half)


def stored(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What is written of a model: fp32; the vocabulary table in fp16 if the model was made here or came so."""
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return {k: v.half() if k.endswith(VOCABULARY_TABLE) and model.half_table else v for k, v in weights.items()}


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of the weights file that `save` would write; made in memory, for the folder of temporary files may be
    small.
    """
    return hashlib.sha256(in_bytes(stored(model))).hexdigest()


def save(model: torch.nn.Module, folder: Path) -> None:
    """Write `model` as a folder that open_clip opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(
        json.dumps({"model_cfg": model.config, "preprocess_cfg": model.preprocess_cfg}, indent=1)
    )
    save_file(stored(model), folder / WEIGHTS)


def load(folder: Path, device: str = "cpu") -> torch.nn.Module:
    """The model in `folder`, in fp32 and evaluation mode. Nothing is unpickled.

    Raises:
        BadInput: the folder or a file is missing.
        UbtError: a file is damaged, or its weights do not fit its configuration or its card's digest.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BadInput(f"{folder}: expected a model folder with {CONFIG} and {WEIGHTS}, found no {name}")
    check_card(folder)
    try:
        model_cfg, preprocess_cfg = read_config(folder / CONFIG)
        state = load_file(folder / WEIGHTS)
    except (BadInput, SafetensorError, OSError) as e:
        raise UbtError(
            f"{folder}: expected a readable {CONFIG} and {WEIGHTS}, got a damaged one ({e}); make or install the model"
            " again"
        ) from None
    try:
        return assemble(model_cfg, preprocess_cfg, state).to(device)
    except UbtError as e:
        raise UbtError(f"{folder}: {e}") from None


def check_card(folder: Path) -> None:
    """Where a model's folder has a card, its weights must be those the card is about.

    Raises:
        UbtError: they are not, or the card is damaged.
    """
    if not (folder / CARD).is_file():
        return
    try:
        expected = read_json(folder / CARD)["digest"]
        got = file_digest(folder / WEIGHTS)
        reason = (
            f"expected the digest {expected[:16]}… of its card, got {got[:16]}…; the file was changed or damaged,"
            " install or make it again"
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise UbtError(
            f"{folder / CARD}: expected a card with a digest, got a damaged one; make or install the model again"
        ) from None
    if got != expected:
        raise UbtError(f"{folder / WEIGHTS}: {reason}")


def read_config(path: Path) -> tuple[dict, dict]:
    """The checked `model_cfg` and `preprocess_cfg` of an open_clip_config.json.

    Raises:
        BadInput: it is damaged, or describes what is not built here.
    """
    try:
        read = read_json(path)
        given = read["model_cfg"], read.get("preprocess_cfg")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadInput(
            f"{path}: expected open_clip's configuration with a model_cfg, got none that can be read ({str(e)[:200]})"
        ) from None
    model_cfg = architecture.check(given[0])
    return model_cfg, architecture.preprocessing(given[1], model_cfg["vision_cfg"].get("image_size", 224))


def text_tower(model: torch.nn.Module) -> torch.nn.Module:
    """What holds the text tower's parts: the model itself, or its `text`."""
    return getattr(model, "text", model)


def normalisation(model: torch.nn.Module) -> dict:
    """How a model's input is prepared: `mean` and `std` by channel (of 0 to 1), `interpolation`, `resize_mode`;
    OpenAI's where the model does not say.
    """
    return getattr(model, "preprocess_cfg", architecture.OPENAI)


def preprocess(model: torch.nn.Module, images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 RGB images (batch, H, W, 3) to the model's normalised input (batch, 3, H, W), on its device. Images of
    another size than the model's are resized as open_clip does (antialiased) and as the model's configuration says.
    """
    device, own = next(model.parameters()).device, normalisation(model)
    x = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
    x, sides = x.to(device), image_sides(model)
    mean, std = (torch.tensor(own[k], device=device) * 255 for k in ("mean", "std"))
    x = x.permute(0, 3, 1, 2).contiguous().float()
    if sides and tuple(x.shape[2:]) != sides:
        x = _resize(x, sides, own)
    return (x - mean[:, None, None]).div_(std[:, None, None])


def _resize(x: torch.Tensor, sides: tuple[int, int], own: dict[str, Any]) -> torch.Tensor:
    """Images (batch, 3, H, W) of 0 to 255 to `sides`, along and then down, in whole numbers after each as 8-bit images
    have them; as `ubt.data.fit.Fit` does with image files.
    """
    ratios, mode = (sides[0] / x.shape[2], sides[1] / x.shape[3]), own.get("resize_mode", "shortest")
    if mode == "squash":
        size = list(sides)
    else:
        scale = min(ratios) if mode == "longest" else max(ratios)
        size = [max(1, round(n * scale)) for n in x.shape[2:]]
        size = size if mode == "longest" else [max(side, n) for side, n in zip(sides, size, strict=True)]
    for step in ((x.shape[2], size[1]), size):
        x = F.interpolate(x, step, mode=own["interpolation"], antialias=True).round().clamp(0, 255)
    if mode == "longest":
        (top, left), fill = ((side - n) // 2 for side, n in zip(sides, size, strict=True)), own.get("fill_color", 0)
        return F.pad(x, (left, sides[1] - size[1] - left, top, sides[0] - size[0] - top), value=float(fill))
    top, left = ((n - side) // 2 for n, side in zip(size, sides, strict=True))
    return x[:, :, top : top + sides[0], left : left + sides[1]]


def encode_text(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Normalised caption features (batch, embedding). Columns after the batch's last EOT are not computed, and in the
    last block none but EOT: the text tower is causal and reads its feature at EOT, so the result is the same.
    """
    if (
        getattr(model, "text_pool_type", None) != "argmax"
        or model.attn_mask is None
        or not isinstance(model.text_projection, torch.Tensor)
    ):
        return model.encode_text(tokens, normalize=True)
    at = tokens.argmax(-1)
    n = int(at.max()) + 1
    tokens, mask, blocks = tokens[:, :n], model.attn_mask[:n, :n], model.transformer.resblocks
    x = model.token_embedding(tokens) + model.positional_embedding[:n]
    if is_plain(blocks[-1]) and model.transformer.batch_first:
        for block in blocks[:-1]:
            x = block(x, attn_mask=mask)
        x = model.ln_final(_alone(blocks[-1], x, at, mask)[:, 0])
    else:
        x = model.ln_final(model.transformer(x, attn_mask=mask))[torch.arange(len(x), device=x.device), at]
    return F.normalize(x @ model.text_projection, dim=-1)


def encode_image(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised image features (batch, embedding) of preprocessed images (batch, 3, H, W)."""
    return model.encode_image(pixels, normalize=True)


@torch.inference_mode()
def embed_images(
    model: torch.nn.Module, images: np.ndarray, batch: int = 64, progress: Progress = silent, precision: str = "fp32"
) -> np.ndarray:
    """Normalised features (n, embedding), fp32, of uint8 images (n, H, W, 3), on the model's device, read by `READ`
    batches and encoded by one. On a CPU batches that stay in its cache are a third faster than larger ones. `precision`
    bf16: encoded under autocast, for what a third digit does not change.
    """
    distributed.begin()
    out, step = np.zeros((len(images), _embedding(model)), np.float32), READ * batch
    own = distributed.part(range(0, len(images), batch))
    device = next(model.parameters()).device.type
    low = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
    with fast_attention(model), first_token_alone(model), low:
        for start in own[::READ]:
            block = images[start : min(start + step, own[-1] + batch)]
            for i in range(0, len(block), batch):
                some = encode_image(model, preprocess(model, block[i : i + batch]))
                out[start + i : start + i + batch] = some.float().cpu().numpy()
            progress(min(len(images), (start + step - own[0]) * distributed.size()), len(images), {})
    return distributed.total(out)


@torch.inference_mode()
def embed_tokens(model: torch.nn.Module, tokens: np.ndarray, batch: int = 512) -> np.ndarray:
    """Normalised features (n, embedding), fp32, of token ids (n, context). A caption that occurs often is encoded once,
    captions of like length together."""
    device = next(model.parameters()).device
    tokens, same = np.unique(cut_to_context(tokens, context_length(model)), axis=0, return_inverse=True)
    order = np.argsort(tokens.argmax(-1), kind="stable")
    distributed.begin()
    out = np.zeros((len(tokens), _embedding(model)), np.float32)
    with fast_attention(model):
        for i in distributed.part(range(0, len(tokens), batch)):
            rows = order[i : i + batch]
            out[rows] = encode_text(model, torch.from_numpy(tokens[rows]).long().to(device)).cpu().numpy()
    return distributed.total(out)[same.reshape(-1)]


def _embedding(model: torch.nn.Module) -> int:
    text = text_tower(model)
    if isinstance(text.text_projection, torch.nn.Linear):
        return text.text_projection.out_features
    return len(text.ln_final.weight) if text.text_projection is None else text.text_projection.shape[1]


class _RowsInUse(torch.nn.Module):
    """A vocabulary table cut down to some rows; takes the same token ids as the full one. While training only these
    rows may occur; in evaluation others are read from the full table.
    """

    def __init__(self, table: torch.Tensor, ids: torch.Tensor):
        super().__init__()
        self.weight = torch.nn.Parameter(table.detach()[ids].clone())
        where = torch.full((len(table),), -1, dtype=torch.long, device=table.device)
        where[ids] = torch.arange(len(ids), device=table.device)
        self.register_buffer("where", where, persistent=False)
        self.full = (table.detach(),)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        where = self.where[ids]
        if self.training:
            return F.embedding(where, self.weight)
        return torch.where(
            (where >= 0).unsqueeze(-1), F.embedding(where.clamp_min(0), self.weight), F.embedding(ids, self.full[0])
        )


@contextlib.contextmanager
def narrow_vocabulary(model: torch.nn.Module, ids: np.ndarray) -> Iterator[None]:
    """While inside, only the vocabulary rows `ids` (m,) exist and are trained; on leaving they are written back into
    the table.

    The full table of a small model is most of its weights, and its dense gradient a large share of every step.
    """
    text = text_tower(model)
    table = text.token_embedding
    used = torch.as_tensor(np.unique(ids), dtype=torch.long, device=table.weight.device)
    text.token_embedding = _RowsInUse(table.weight, used)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[used] = text.token_embedding.weight
        text.token_embedding = table


def attention(
    a: torch.nn.MultiheadAttention, x: torch.Tensor, attn_mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Self-attention of x (batch, length, width) as plain matrix products: its output, and the softmax weights (batch,
    heads, length, length), which are part of the graph as those of the stock module are not.
    """
    (batch, length, width), heads = x.shape, a.num_heads
    qkv = F.linear(x, a.in_proj_weight, a.in_proj_bias).view(batch, length, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = (q / math.sqrt(width // heads)) @ k.transpose(-1, -2)
    if attn_mask is not None:
        scores = scores + attn_mask.to(scores.dtype)
    weights = scores.softmax(-1)
    out = (weights @ v).transpose(1, 2).reshape(batch, length, width)
    return F.linear(out, a.out_proj.weight, a.out_proj.bias), weights


def _fast(self, q_x, k_x=None, v_x=None, attn_mask=None):
    return attention(self.attn, q_x, attn_mask)[0]


def is_plain(block: torch.nn.Module) -> bool:
    """Whether a block is open_clip's ordinary one, whose attention `attention` computes."""
    return (
        isinstance(block, ResidualAttentionBlock) and not hasattr(block, "ln_1_kv") and block.attn._qkv_same_embed_dim
    )


def fast_attention(model: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
    """On a CPU, replace the blocks' fused attention by plain matrix products while inside: for the short sequences here
    its backward is several times faster, above all in bf16. Values agree with the stock forward to rounding.
    """
    return _instead(model.modules() if next(model.parameters()).device.type == "cpu" else (), "attention", _fast)


def first_token_alone(model: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
    """While inside, the image encoder's last block computes its class token alone where nothing else of it is read:
    nearly a whole block less, of which a small model has four. Values and gradients agree to rounding.
    """
    encoder = getattr(model, "visual", None)
    pooled = getattr(encoder, "pool_type", None) == "tok" and encoder.attn_pool is None and not encoder.output_tokens
    last = encoder.transformer.resblocks[-1:] if pooled and encoder.transformer.batch_first else ()
    return _instead(last, "forward", _first_token)


@contextlib.contextmanager
def _instead(blocks: Iterable[torch.nn.Module], name: str, method: Callable) -> Iterator[None]:
    """While inside, the ordinary ones of some blocks have another method of that name, unless they have one already."""
    replaced = [b for b in blocks if is_plain(b) and name not in vars(b)]
    for b in replaced:
        setattr(b, name, types.MethodType(method, b))
    try:
        yield
    finally:
        for b in replaced:
            delattr(b, name)


def _first_token(self, q_x, k_x=None, v_x=None, attn_mask=None):
    return _alone(self, q_x)


def _alone(
    block: torch.nn.Module, x: torch.Tensor, at: torch.Tensor | None = None, attn_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """What an ordinary block makes of x (batch, length, width) at one place each, `at` (batch,), or at the first:
    (batch, 1, width).
    """
    (batch, length, width), a, y = x.shape, block.attn, block.ln_1(x)
    rows = torch.arange(batch, device=x.device)
    here = (lambda z: z[:, :1]) if at is None else (lambda z: z[rows, at][:, None])
    each = a.num_heads, width // a.num_heads
    q = F.linear(here(y), a.in_proj_weight[:width], a.in_proj_bias[:width]).view(batch, 1, *each).transpose(1, 2)
    kv = F.linear(y, a.in_proj_weight[width:], a.in_proj_bias[width:]).view(batch, length, 2, *each)
    k, v = kv.permute(2, 0, 3, 1, 4)
    scores = (q / math.sqrt(each[1])) @ k.transpose(-1, -2)
    if attn_mask is not None and at is not None:
        scores = scores + attn_mask[at][:, None, None].to(scores.dtype)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, 1, width)
    x = here(x) + block.ls_1(F.linear(out, a.out_proj.weight, a.out_proj.bias))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
