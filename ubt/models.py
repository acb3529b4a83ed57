"""open_clip models in and out: create, load safely, save, encode; and what makes training a small one fast.

A model on disk is a folder that plain open_clip opens: `open_clip.create_model_and_transforms("local-dir:FOLDER")`.
"""

import contextlib
import functools
import json
import math
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ubt.config import BadInput, UbtError, file_digest
from ubt.data.scenes import SIZE

CONFIG, WEIGHTS, CARD = "open_clip_config.json", "open_clip_model.safetensors", "card.json"
VOCABULARY_TABLE = "token_embedding.weight"

SCENES_CLIP = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 3},
}
"""The small CLIP of the embedded default: ViT at 48 px with 8 px patches, stock tokenizer with a narrow vocabulary table."""

SCENES_CONTEXT: int = SCENES_CLIP["text_cfg"]["context_length"]


def create(model_cfg: dict, seed: int) -> torch.nn.Module:
    """A freshly initialised open_clip model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        model = open_clip.CLIP(**model_cfg)
    return _finish(model, model_cfg)


def _finish(model: torch.nn.Module, model_cfg: dict) -> torch.nn.Module:
    model.config = model_cfg
    return model.eval()


def save(model: torch.nn.Module, folder: Path) -> None:
    """Write `model` as a folder that open_clip opens. The vocabulary table is stored in fp16, all else in fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model.config, "preprocess_cfg": preprocess}, indent=1))
    state = {k: v.detach().cpu().contiguous().to(torch.float16 if k == VOCABULARY_TABLE else v.dtype) for k, v in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)


def load(folder: Path, device: str = "cpu") -> torch.nn.Module:
    """The model in `folder`, in fp32 and evaluation mode. Nothing is unpickled.

    Raises:
        BadInput: the folder or a file is missing.
        UbtError: a file is damaged, or its weights do not fit its configuration or its card's digest.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BadInput(f"{folder}: expected a model folder with {CONFIG} and {WEIGHTS}, found no {name}")
    if (folder / CARD).is_file():
        try:
            expected, got = json.loads((folder / CARD).read_text())["digest"], file_digest(folder / WEIGHTS)
        except (ValueError, KeyError, TypeError):
            raise UbtError(f"{folder / CARD}: expected a card with a digest, got a damaged one; make or install the model again") from None
        if got != expected:
            raise UbtError(
                f"{folder / WEIGHTS}: expected the digest {expected[:16]}… of its card, got {got[:16]}…; the file was changed or damaged, "
                "install or make it again"
            )
    try:
        model_cfg = json.loads((folder / CONFIG).read_text())["model_cfg"]
        state = load_file(folder / WEIGHTS)
        with torch.device("meta"):
            model = open_clip.CLIP(**model_cfg)
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError, OSError) as e:
        raise UbtError(f"{folder}: expected a readable {CONFIG} and {WEIGHTS}, got a damaged one ({e}); make or install the model again") from None
    try:
        model.load_state_dict({k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    except RuntimeError as e:
        raise UbtError(f"{folder}: expected weights that fit {CONFIG}, got others: {str(e).splitlines()[-1].strip()}") from None
    if getattr(model, "attn_mask", None) is not None:
        model.register_buffer("attn_mask", torch.full((model.context_length,) * 2, float("-inf")).triu_(1), persistent=False)
    for p in model.parameters():
        p.requires_grad_(True)
    return _finish(model, model_cfg).to(device)


def preprocess(images: np.ndarray | torch.Tensor, device: str = "cpu") -> torch.Tensor:
    """uint8 RGB images (batch, H, W, 3) at the model's own size to its normalised input (batch, 3, H, W)."""
    x = torch.from_numpy(np.array(images)) if isinstance(images, np.ndarray) else images
    x = x.to(device)
    mean, std = (torch.tensor(v, device=device) * 255 for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    return ((x.float() - mean) / std).permute(0, 3, 1, 2).contiguous()


@functools.cache
def tokenizer() -> open_clip.tokenizer.SimpleTokenizer:
    """The stock tokenizer."""
    return open_clip.tokenizer.SimpleTokenizer()


def tokenize(captions: list[str], context_length: int) -> np.ndarray:
    """Token ids (captions, context_length), int32, by the stock tokenizer; longer captions are cut, EOT kept."""
    return tokenizer()(captions, context_length).numpy().astype(np.int32)


def prepend(word: str, tokens: np.ndarray) -> np.ndarray:
    """Token ids (..., context) of captions with a word before them; what no longer fits is cut, EOT kept."""
    own = tokenizer().encode(word)
    longer = np.concatenate([tokens[..., :1], np.broadcast_to(np.array(own, tokens.dtype), (*tokens.shape[:-1], len(own))), tokens[..., 1:]], -1)
    cut = longer[..., : tokens.shape[-1]].copy()
    ends = tokens.max(-1)
    lost = ~(cut == ends[..., None]).any(-1)
    cut[lost, -1] = ends[lost]
    return cut


def encode_text(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Normalised caption features (batch, embedding). Columns after the batch's last EOT are not computed: the text tower
    is causal and reads its feature at EOT, so the result is the same."""
    if getattr(model, "text_pool_type", None) != "argmax" or model.attn_mask is None:
        return model.encode_text(tokens, normalize=True)
    n = int(tokens.argmax(-1).max()) + 1
    tokens = tokens[:, :n]
    x = model.token_embedding(tokens) + model.positional_embedding[:n]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:n, :n]))
    x = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)] @ model.text_projection
    return F.normalize(x, dim=-1)


def encode_image(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised image features (batch, embedding) of preprocessed images (batch, 3, H, W)."""
    return model.encode_image(pixels, normalize=True)


@torch.inference_mode()
def embed_images(model: torch.nn.Module, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """Normalised features (n, embedding), fp32, of uint8 images (n, H, W, 3), in the model's device and fp32. On a CPU batches that stay in
    its cache are a third faster than larger ones."""
    device = next(model.parameters()).device
    with fast_attention(model):
        return np.concatenate([encode_image(model, preprocess(images[i : i + batch], device)).cpu().numpy() for i in range(0, len(images), batch)])


@torch.inference_mode()
def embed_tokens(model: torch.nn.Module, tokens: np.ndarray, batch: int = 512) -> np.ndarray:
    """Normalised features (n, embedding), fp32, of token ids (n, context). A caption that occurs often is encoded once,
    captions of like length together."""
    device = next(model.parameters()).device
    tokens, same = np.unique(tokens, axis=0, return_inverse=True)
    order = np.argsort(tokens.argmax(-1), kind="stable")
    out = np.empty((len(tokens), model.text_projection.shape[1]), np.float32)
    with fast_attention(model):
        for i in range(0, len(tokens), batch):
            rows = order[i : i + batch]
            out[rows] = encode_text(model, torch.from_numpy(tokens[rows]).long().to(device)).cpu().numpy()
    return out[same.reshape(-1)]


class _RowsInUse(torch.nn.Module):
    """A vocabulary table cut down to some rows; takes the same token ids as the full one. While training only these rows may
    occur; in evaluation others are read from the full table."""

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
        return torch.where((where >= 0).unsqueeze(-1), F.embedding(where.clamp_min(0), self.weight), F.embedding(ids, self.full[0]))


@contextlib.contextmanager
def narrow_vocabulary(model: torch.nn.Module, ids: np.ndarray) -> Iterator[None]:
    """While inside, only the vocabulary rows `ids` exist and are trained; on leaving they are written back into the table.

    The full table of a small model is most of its weights, and its dense gradient a large share of every step.
    """
    table = model.token_embedding
    used = torch.as_tensor(np.unique(ids), dtype=torch.long, device=table.weight.device)
    model.token_embedding = _RowsInUse(table.weight, used)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[used] = model.token_embedding.weight
        model.token_embedding = table


def attention(a: torch.nn.MultiheadAttention, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Self-attention of x (batch, length, width) as plain matrix products: its output, and the softmax weights (batch, heads,
    length, length), which are part of the graph as those of the stock module are not."""
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
    return isinstance(block, ResidualAttentionBlock) and not hasattr(block, "ln_1_kv") and block.attn._qkv_same_embed_dim


@contextlib.contextmanager
def fast_attention(model: torch.nn.Module) -> Iterator[None]:
    """On a CPU, replace the blocks' fused attention by plain matrix products while inside: for the short sequences here its
    backward is several times faster, above all in bf16. Values agree with the stock forward to rounding."""
    blocks = []
    if next(model.parameters()).device.type == "cpu":
        blocks = [m for m in model.modules() if is_plain(m) and "attention" not in vars(m)]
    for b in blocks:
        b.attention = types.MethodType(_fast, b)
    try:
        yield
    finally:
        for b in blocks:
            del b.attention
