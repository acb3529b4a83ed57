"""What carries a pair's similarity: relevance of caption tokens and of image patches.

`relevance` is the method of Chefer et al. (2021, "Generic Attention-model Explainability"), which the UBT paper takes
for Eq. 5, on any open_clip model with two plain transformers, a class token and an EOT. The scalar explained is the
pair's own logit (temperature included); per tower R = I and, block by block from the start layer on, R <- R + mean over
heads of max(0, G * A) R, with A the softmax attention and G the scalar's gradient by it. `leave_one_out` works for
every model, `input_gradient` for every model with an embedding of tokens; all three have one signature.

What comes out is comparable: text scores are zero outside a caption's own tokens and sum to 1 over them, image maps
span [0, 1].
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.run import Progress, silent

RELEVANCE, LEAVE_ONE_OUT, INPUT_GRADIENT = "relevance", "leave one out", "input gradient"


def unfit(model: torch.nn.Module) -> str:
    """Why `relevance` cannot explain this model; empty if it can."""
    visual, text = model.visual, getattr(model, "text", model)
    if not _plain(getattr(visual, "transformer", None)) or not hasattr(visual, "class_embedding"):
        return f"its image tower ({type(visual).__name__}) has no plain attention blocks with a class token"
    if visual.attn_pool is not None or visual.pool_type != "tok":
        return "its image tower does not read its feature at the class token"
    if not _plain(getattr(text, "transformer", None)) or _pooled(text) not in ("argmax", "eos"):
        return f"its text tower ({type(text).__name__}) has no plain attention blocks read at an EOT"
    if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
        return "its text tower has a mask of its own for each caption"
    return ""


def relevance(
    model: torch.nn.Module, images: torch.Tensor, tokens: torch.Tensor, start_layer: int = -1, batch: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention relevance of each pair's tokens and patches; a model that has none is explained by `leave_one_out`,
    with a warning.

    Args:
        images: preprocessed (n, 3, H, W). tokens: token ids (n, context).
        start_layer: the block of each tower from which relevance is propagated, counted from the front or, if negative,
            from the end; a tower with fewer blocks starts at its nearest. -1, the last block alone, is what was
            published.
        batch: pairs at once; bounds the memory, not the result.

    Returns:
        Text scores (n, context): R[EOT, token] over its sum; equal shares where that sum is 0. Image maps (n, rows,
        columns): R[CLS, patch] on the patch grid, min-max; 0 where all patches are equal. Both fp32, on the model's
        device.

    Raises:
        BadInput: shapes do not fit the model, or its weights are not fp32.
    """
    if why := unfit(model):
        warnings.warn(
            f"no attention relevance for this model, {why}; its tokens and patches are left out one at a time instead",
            stacklevel=2,
        )
        return leave_one_out(model, images, tokens, start_layer, batch)

    def explain(pixels, ids):
        image, text, image_attention, text_attention = explicit_forward(model, pixels, ids, start_layer)
        logit = (model.logit_scale.exp() * (image * text).sum(-1)).sum()
        gradients = torch.autograd.grad(logit, [*image_attention, *text_attention])
        n = len(image_attention)
        class_token = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
        patches = _propagated(image_attention, gradients[:n], class_token)[:, 1:]
        words = _propagated(text_attention, gradients[n:], _ends(model, ids))
        return F.pad(words, (0, ids.shape[1] - words.shape[1])), patches.unflatten(1, model.visual.grid_size)

    return _in_batches(model, images, tokens, batch, explain)


def leave_one_out(
    model: torch.nn.Module, images: torch.Tensor, tokens: torch.Tensor, start_layer: int = -1, batch: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the similarity loses without a token (those after it move up) or a patch (filled with the mean colour):
    max(0, loss). As `relevance` otherwise; `start_layer` has no meaning here. Takes one forward pass a token and a
    patch.
    """

    @torch.no_grad()
    def explain(pixels, ids):
        image, text = model.encode_image(pixels, normalize=True), model.encode_text(ids, normalize=True)
        whole, own = (image * text).sum(-1), _own(model, ids)
        text_relevance = torch.zeros(ids.shape, device=ids.device)
        pair, at = own.nonzero(as_tuple=True)
        for part in torch.arange(len(pair), device=ids.device).split(batch) if len(pair) else ():
            rows = torch.cat([ids[pair[part]], ids[pair[part], -1:]], 1)
            kept = torch.arange(rows.shape[1], device=ids.device) != at[part, None]
            shortened = rows[kept].view(len(part), ids.shape[1])
            without = (image[pair[part]] * model.encode_text(shortened, normalize=True)).sum(-1)
            text_relevance[pair[part], at[part]] = (whole[pair[part]] - without).clamp_min(0)
        rows, columns = grid = _grid(model, pixels)
        image_relevance = torch.zeros((len(ids), *grid), device=ids.device)
        patch = torch.arange(rows * columns, device=ids.device).view(1, 1, *grid).float()
        where = F.interpolate(patch, pixels.shape[-2:], mode="nearest")
        for p in range(rows * columns):
            without = (model.encode_image(pixels.masked_fill(where == p, 0.0), normalize=True) * text).sum(-1)
            image_relevance[:, p // columns, p % columns] = (whole - without).clamp_min(0)
        return text_relevance, image_relevance

    return _in_batches(model, images, tokens, batch, explain)


def input_gradient(
    model: torch.nn.Module, images: torch.Tensor, tokens: torch.Tensor, start_layer: int = -1, batch: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Norm of the logit's gradient by a token's embedding (n, context), and by the pixels of a patch, their root mean
    square (n, rows, columns). As `relevance` otherwise; `start_layer` has no meaning here. Not for two threads on one
    model at once.

    Raises:
        BadInput: the text tower has no embedding of tokens.
    """
    table = getattr(getattr(model, "text", model), "token_embedding", None)
    if table is None:
        raise BadInput(
            "input gradient: expected a text tower with an embedding of tokens, got one without; take leave one out"
        )

    def explain(pixels, ids):
        embedded = []

        def keep(module, arguments, output):
            embedded.append(output.detach().requires_grad_())
            return embedded[-1]

        pixels = pixels.detach().requires_grad_()
        hook = table.register_forward_hook(keep)
        try:
            text = model.encode_text(ids, normalize=True)
        finally:
            hook.remove()
        logit = model.logit_scale.exp() * (model.encode_image(pixels, normalize=True) * text).sum()
        by_pixel, by_token = torch.autograd.grad(logit, [pixels, embedded[-1]])
        return (
            by_token.norm(dim=-1) * _own(model, ids),
            F.adaptive_avg_pool2d(by_pixel.square().sum(1), _grid(model, pixels)).sqrt(),
        )

    return _in_batches(model, images, tokens, batch, explain)


METHODS: dict[str, Callable] = {RELEVANCE: relevance, LEAVE_ONE_OUT: leave_one_out, INPUT_GRADIENT: input_gradient}
"""`method(model, images, tokens, start_layer, batch)` -> text scores, image maps."""


def attribute(
    model: torch.nn.Module,
    images: np.ndarray,
    tokens: np.ndarray,
    method: str = RELEVANCE,
    start_layer: int = -1,
    rows: np.ndarray | None = None,
    progress: Progress = silent,
    batch: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and maps of pairs as a case holds them, by any method: uint8 images (n, H, W, 3), which may lie on disk,
    and token ids (n, context); of the pairs `rows`, in that order, or of all. Only a batch is read at a time.

    Returns:
        Text scores (pairs, context) and image maps (pairs, rows, columns), fp32. No warning where another method had to
        be taken.
    """
    explain = leave_one_out if method == RELEVANCE and unfit(model) else METHODS[method]
    rows = np.arange(len(tokens)) if rows is None else rows
    results = None
    for start in range(0, max(1, len(rows)), batch):
        some = rows[start : start + batch]
        made = explain(
            model, models.preprocess(model, images[some]), torch.from_numpy(np.array(tokens[some])), start_layer, batch
        )
        if results is None:
            results = tuple(np.empty((len(rows), *m.shape[1:]), np.float32) for m in made)
        for whole, m in zip(results, made, strict=True):
            whole[start : start + batch] = m.cpu().numpy()
        progress(min(start + batch, len(rows)), len(rows), {})
    return results


def upsample(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Image maps (n, rows, columns) at pixel size, bilinear, min-max: (n, height, width) in [0, 1]."""
    maps = torch.from_numpy(np.array(maps))[:, None]
    return _span(F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)[:, 0]).numpy()


def image_masks(maps: np.ndarray, height: int, width: int, threshold: float) -> np.ndarray:
    """Which pixels (n, height, width) of maps (n, rows, columns) lie above the threshold once brought to pixel size;
    the highest of an image where none does.
    """
    return above(upsample(maps, height, width), threshold)


def above(heat: np.ndarray, threshold: float) -> np.ndarray:
    """The same of maps (n, height, width) that are at pixel size."""
    highest = heat.max((1, 2), keepdims=True, initial=0)
    return (heat > threshold) | ((highest <= threshold) & (heat >= highest))


def masked_images(model: torch.nn.Module, images: np.ndarray, maps: np.ndarray, threshold: float) -> np.ndarray:
    """uint8 images (n, H, W, 3) with what does not carry the similarity painted over in the model's mean colour, which
    its preprocessing takes to zero.
    """
    colour = np.rint(255 * np.array(models.normalisation(model)["mean"])).astype(np.uint8)
    return np.where(image_masks(maps, *images.shape[1:3], threshold)[..., None], images, colour)


def explicit_forward(
    model: torch.nn.Module, images: torch.Tensor, tokens: torch.Tensor, start_layer: int = -1
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """The forward pass that `relevance` explains, for models that are not `unfit`: normalised image and text features
    (n, embedding), and each tower's softmax attention (n, heads, length, length) from the start layer on, as part of
    the graph.
    """
    image, image_attention = _image(model.visual, images, start_layer)
    text, text_attention = _text(model, tokens, start_layer)
    return image, text, image_attention, text_attention


def _plain(transformer: torch.nn.Module | None) -> bool:
    blocks = getattr(transformer, "resblocks", ())
    return len(blocks) > 0 and all(models.is_plain(b) for b in blocks)


def _pooled(text: torch.nn.Module) -> str:
    return getattr(text, "text_pool_type", None) or getattr(text, "pool_type", "")


def _ends(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Where each caption's EOT is."""
    text = getattr(model, "text", model)
    if _pooled(text) == "eos":
        return (ids == getattr(text, "text_eos_id", getattr(text, "eos_id", None))).int().argmax(-1)
    return ids.argmax(-1)


def _own(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Which ids (n, context) are a caption's own: between SOT and EOT. For other tokenizers those before the run of
    equal ids (end and padding) that closes the row, a special id at the start included; the last column never counts.
    """
    at = torch.arange(ids.shape[1], device=ids.device)
    if _pooled(text := getattr(model, "text", model)) in ("argmax", "eos"):
        end = _ends(model, ids)[:, None]
        begun = _pooled(text) == "eos" and ids[:, :1] > ids.gather(
            1, end
        )  # mT5, which has no SOT: its specials come before its words
        return ((at > 0) | begun) & (at < end)
    return (ids != ids[:, -1:]).int().flip(1).cummax(1).values.flip(1).bool()


def _grid(model: torch.nn.Module, pixels: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of patches; cells of 32 px for towers that have none."""
    visual = model.visual
    embed = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    grid = getattr(visual, "grid_size", None) or getattr(embed, "grid_size", None)
    return tuple(grid) if grid else tuple(max(1, side // 32) for side in pixels.shape[-2:])


def _through(
    blocks: torch.nn.ModuleList, x: torch.Tensor, mask: torch.Tensor | None, start: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    start, kept = max(0, start + len(blocks)) if start < 0 else min(start, len(blocks) - 1), []
    for i, block in enumerate(blocks):
        if i == start:
            x = x.detach().requires_grad_()  # so that the attention has a gradient whether or not the weights do
        with torch.set_grad_enabled(i >= start):
            attended, weights = models.attention(block.attn, block.ln_1(x), mask)
            x = x + block.ls_1(attended)
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        if i >= start:
            kept.append(weights)
    return x, kept


def _image(visual: torch.nn.Module, pixels: torch.Tensor, start: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad():
        x = visual._embeds(pixels)
    x, kept = _through(visual.transformer.resblocks, x, None, start)
    return F.normalize(visual._pool(x)[0] @ visual.proj, dim=-1), kept


def _text(model: torch.nn.Module, ids: torch.Tensor, start: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    text = getattr(model, "text", model)
    ends, mask = _ends(model, ids), text.attn_mask
    if mask is not None:
        n = int(ends.max()) + 1
        ids, mask = ids[:, :n], mask[:n, :n]
    with torch.no_grad():
        x = text.token_embedding(ids) + text.positional_embedding[: ids.shape[1]]
    x, kept = _through(text.transformer.resblocks, x, mask, start)
    x = text.ln_final(x)[torch.arange(len(x), device=x.device), ends]
    x = text.text_projection(x) if isinstance(text.text_projection, torch.nn.Linear) else x @ text.text_projection
    return F.normalize(x, dim=-1), kept


def _propagated(attention: list[torch.Tensor], gradients: tuple[torch.Tensor, ...], read: torch.Tensor) -> torch.Tensor:
    """Row `read` of R (n, length) of each pair, its own entry included: e (I + A_last) ... (I + A_start), from the
    left.
    """
    row = F.one_hot(read, attention[0].shape[-1]).to(attention[0].dtype)[:, None]
    for a, g in zip(reversed(attention), reversed(gradients), strict=True):
        row = row + row @ (g * a.detach()).clamp_min(0).mean(1)
    return row[:, 0]


def _shares(scores: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Scores over the caption's own tokens, summing to 1; equal shares where all are 0."""
    scores = scores * own
    scores = torch.where(scores.sum(-1, keepdim=True) > 0, scores, own.to(scores.dtype))
    return scores / scores.sum(-1, keepdim=True).clamp_min(1e-30)


def _span(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-30)


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """fp32, no dropout, a graph whatever the caller's mode."""
    training = [m for m in model.modules() if m.training]
    for m in training:
        m.training = False
    device = next(model.parameters()).device.type
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for m in training:
            m.training = True


def _in_batches(
    model, images: torch.Tensor, tokens: torch.Tensor, batch: int, explain: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run `explain` over the pairs, a batch at a time, and bring its scores to their scales."""
    weights, images, tokens = next(model.parameters()), torch.as_tensor(images), torch.as_tensor(tokens)
    if images.ndim != 4 or images.shape[1] != 3 or tokens.ndim != 2 or len(images) != len(tokens):
        raise BadInput(
            "expected preprocessed images (n, 3, H, W) and as many rows of token ids (n, context), got"
            f" {tuple(images.shape)} and {tuple(tokens.shape)}; see ubt.clip.models.preprocess and"
            " ubt.data.model_input.tokenize"
        )
    if weights.dtype != torch.float32 or weights.is_inference():
        made = "weights made in inference mode" if weights.is_inference() else weights.dtype
        raise BadInput(
            f"expected a model with fp32 weights that gradients can pass, got {made}; load it outside inference mode,"
            " call model.float()"
        )
    if batch < 1 or not torch.isfinite(images).all():
        raise BadInput(
            f"expected a batch of at least 1 and images without NaN or infinity, got batch {batch}; prepare them with"
            " ubt.clip.models.preprocess"
        )
    size, context = getattr(model.visual, "image_size", None), getattr(model, "context_length", None)
    if size and tuple(images.shape[-2:]) != (tuple(size) if isinstance(size, (tuple, list)) else (size, size)):
        raise BadInput(
            f"expected images of {size} pixels, which this model takes, got {tuple(images.shape[-2:])}; resize them"
            " first"
        )
    if context and tokens.shape[1] != context:
        raise BadInput(
            f"expected {context} token ids a caption, which this model takes, got {tokens.shape[1]}; tokenize for this"
            " context length"
        )
    with _evaluating(model):
        text_relevance = torch.zeros(tokens.shape, device=weights.device)
        image_relevance = torch.zeros((len(images), *_grid(model, images)), device=weights.device)
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            ids = tokens[rows].to(weights.device, torch.long, copy=True)
            text, maps = explain(images[rows].to(weights.device, torch.float32, copy=True), ids)
            text_relevance[rows], image_relevance[rows] = _shares(text.detach(), _own(model, ids)), _span(maps.detach())
    return text_relevance, image_relevance
