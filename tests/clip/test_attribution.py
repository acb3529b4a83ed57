"""Relevance against its formula written out with autograd hooks, on real configurations with random weights; captions
of every kind.
"""

import functools
import threading

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from ubt.clip import attribution, models, words
from ubt.core.errors import BadInput
from ubt.data import model_input, scenes
from ubt.defenses.token_unlearning.mask import METHODS

CONFIGS = {"scenes": None, "ViT-B-32": None, "ViT-B-32-quickgelu": 3, "ViT-B-16": 3, "ViT-L-14": 3}
"""Real widths, heads, patches and sizes; and blocks a tower, as many as the configuration has where none are said: more
of the same say nothing more.
"""
CAPTIONS = ["a photo of a banana.", "an owl", "two red cars beside a long-haired dog, at night", "banana"]


@pytest.fixture(scope="module", params=CONFIGS)
def setting(request, reference):
    """A model, preprocessed images, token ids."""
    torch.manual_seed(0)
    config, layers = (
        None if request.param == "scenes" else open_clip.get_model_config(request.param),
        CONFIGS[request.param],
    )
    for tower in ("vision_cfg", "text_cfg") if layers else ():
        config[tower]["layers"] = layers
    model = open_clip.CLIP(**config).eval() if config else reference
    n = 1 if request.param == "ViT-L-14" else len(CAPTIONS)
    images = torch.randn(n, 3, *model.visual.image_size)
    return model, images, torch.from_numpy(model_input.tokenize(CAPTIONS[:n], model.context_length)).long()


def chefer_with_hooks(model, images, tokens, monkeypatch) -> tuple[list, list]:
    """Each pair alone through the stock towers, head by head, gradients caught by hooks: [A], [dS/dA] of every block,
    image tower first.
    """
    kept, caught = [], {}

    def slow(self, query, key, value, need_weights=False, attn_mask=None):
        parts = F.linear(query[0], self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        outs, weights = [], []
        for q, k, v in zip(*(p.chunk(self.num_heads, -1) for p in parts), strict=True):
            z = torch.einsum("id,jd->ij", q, k) * q.shape[-1] ** -0.5
            a = torch.softmax(z if attn_mask is None else z + attn_mask, -1)
            a.register_hook(functools.partial(caught.__setitem__, (len(kept), len(weights))))
            weights.append(a)
            outs.append(a @ v)
        kept.append(weights)
        return F.linear(torch.cat(outs, -1), self.out_proj.weight, self.out_proj.bias)[None], None

    with monkeypatch.context() as m:
        m.setattr(torch.nn.MultiheadAttention, "forward", slow)
        image, text = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
        (model.logit_scale.exp() * (image @ text.T)).sum().backward()
    gradients = [torch.stack([caught[i, h] for h in range(len(heads))]) for i, heads in enumerate(kept)]
    model.zero_grad(set_to_none=True)
    return [torch.stack(heads).detach() for heads in kept], gradients


def rolled_out(attention, gradients, start) -> torch.Tensor:
    r = torch.eye(attention[0].shape[-1])
    for a, g in list(zip(attention, gradients, strict=True))[start:]:
        r = r + torch.relu(g * a).mean(0) @ r
    return r


def test_stock_and_explicit_forward_agree(setting):
    model, images, tokens = setting
    image, text, seen, said = attribution.explicit_forward(model, images, tokens, 0)
    with torch.no_grad():
        assert (image - model.encode_image(images, normalize=True)).abs().max() <= 1e-5
        assert (text - model.encode_text(tokens, normalize=True)).abs().max() <= 1e-5
    assert len(seen) == len(model.visual.transformer.resblocks)
    assert all(torch.allclose(a.sum(-1), torch.ones(()), atol=1e-5) for a in (*seen, *said))


def test_relevance_is_the_formula(setting, monkeypatch):
    model, images, tokens = setting
    layers = len(model.visual.transformer.resblocks)
    starts = {"last": -1, "middle": layers // 2 - layers, "first": -layers}
    some = len(images) if layers < 12 else 1
    got = {name: attribution.relevance(model, images[:some], tokens[:some], start) for name, start in starts.items()}
    for i in range(some):
        attention, gradients = chefer_with_hooks(model, images[i : i + 1], tokens[i : i + 1], monkeypatch)
        end = int(tokens[i].argmax())
        for name, start in starts.items():
            image = rolled_out(attention[:layers], gradients[:layers], layers + start)[0, 1:]
            image = (image - image.min()) / (image.max() - image.min())
            blocks = len(attention) - layers
            text = rolled_out(attention[layers:], gradients[layers:], max(0, blocks + start))[end, 1:end]
            text = text / text.sum() if text.sum() > 0 else torch.full((end - 1,), 1 / (end - 1))
            said, seen = got[name]
            assert (seen[i].flatten() - image).abs().max() <= 1e-5, name
            assert (said[i, 1:end] - text).abs().max() <= 1e-5, name
            assert said[i, 0] == 0
            assert not said[i, end:].any()


@pytest.mark.parametrize("method", attribution.METHODS)
def test_scales_and_batches(reference, method):
    pairs = scenes.load_pairs(0, "pairs", 9, 48)
    images, tokens = (
        models.preprocess(reference, pairs.images),
        torch.from_numpy(model_input.tokenize(pairs.captions, 24)),
    )
    explain = attribution.METHODS[method]
    said, seen = explain(reference, images, tokens, batch=4)
    assert said.shape == (9, 24)
    assert seen.shape == (9, 6, 6)
    assert torch.allclose(said.sum(1), torch.ones(9), atol=1e-5)
    assert (said >= 0).all()
    assert torch.equal(seen.amin((1, 2)), torch.zeros(9))
    assert torch.allclose(seen.amax((1, 2)), torch.ones(9))
    for i in range(9):
        one_said, one_seen = explain(reference, images[i : i + 1], tokens[i : i + 1])
        assert (one_said[0] - said[i]).abs().max() <= 1e-5
        assert (one_seen[0] - seen[i]).abs().max() <= 1e-4
    through = attribution.attribute(reference, pairs.images, tokens.numpy(), method, batch=5)
    assert np.abs(through[0] - said.numpy()).max() <= 1e-5
    assert np.abs(through[1] - seen.numpy()).max() <= 1e-4


def test_leaving_out_is_what_the_similarity_loses(reference):
    pairs = scenes.load_pairs(0, "pairs", 1, 48)
    images, tokens = (
        models.preprocess(reference, pairs.images),
        torch.from_numpy(model_input.tokenize(pairs.captions, 24)).long(),
    )
    said, seen = attribution.leave_one_out(reference, images, tokens)
    image, row = models.encode_image(reference, images)[0].detach(), tokens[0].tolist()
    whole, lost = float(image @ models.encode_text(reference, tokens)[0].detach()), []
    for i in range(1, row.index(49407)):
        without = torch.tensor([[*row[:i], *row[i + 1 :], 0]])
        lost.append(max(0.0, whole - float(image @ models.encode_text(reference, without)[0].detach())))
    assert np.abs(said[0, 1 : len(lost) + 1].numpy() - np.array(lost) / sum(lost)).max() <= 1e-4
    lost, text = [], models.encode_text(reference, tokens)[0].detach()
    for patch in range(36):
        painted = images.clone()
        painted[:, :, patch // 6 * 8 : patch // 6 * 8 + 8, patch % 6 * 8 : patch % 6 * 8 + 8] = 0
        lost.append(max(0.0, whole - float(models.encode_image(reference, painted)[0].detach() @ text)))
    lost = (np.array(lost) - min(lost)) / (max(lost) - min(lost))
    assert np.abs(seen[0].flatten().numpy() - lost).max() <= 1e-3


def resnet() -> open_clip.CLIP:
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    return open_clip.CLIP(64, vision, {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2})


def siglip() -> open_clip.CustomTextCLIP:
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"}
    text = {
        "context_length": 16,
        "vocab_size": 500,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "pool_type": "last",
        "no_causal_mask": True,
    }
    return open_clip.CustomTextCLIP(64, vision, text, init_logit_bias=-10)


@pytest.mark.parametrize(("make", "why", "grid"), [(resnet, "ModifiedResNet", (2, 2)), (siglip, "TimmModel", (10, 10))])
def test_other_towers_leave_tokens_out_and_say_so(make, why, grid):
    torch.manual_seed(0)
    model = make().eval()
    assert why in attribution.unfit(model)
    if make is resnet:
        tokens = torch.from_numpy(model_input.tokenize(CAPTIONS[:2], 24))
        own = [list(range(1, int(row.argmax()))) for row in tokens]
    else:
        tokens = torch.tensor([[7, 8, 9] + [1] * 13, [5] * 15 + [1]])
        own = [[0, 1, 2], list(range(15))]
    with pytest.warns(UserWarning, match="left out one at a time"):
        said, seen = attribution.relevance(
            model, torch.randn(2, 3, *model.visual.image_size) if make is siglip else torch.randn(2, 3, 64, 64), tokens
        )
    assert seen.shape == (2, *grid)
    assert torch.allclose(said.sum(1), torch.ones(2), atol=1e-5)
    for row, mine in zip(said, own, strict=True):
        assert not row[[i for i in range(len(row)) if i not in mine]].any()
    assert not attribution.unfit(models.create(models.SCENES_CLIP, 0))


def test_a_tower_read_at_an_eos_id_with_and_without_a_start():
    """CLIP's own ids, and mT5's, whose captions begin with a word and whose EOS is 1."""
    torch.manual_seed(0)
    text = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, "pool_type": "eos"}
    vision = {"image_size": (32, 64), "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
    for eos, rows, own in (
        (49407, [[49406, 5, 6, 49407, 0, 0, 0, 0], [49406, 9, 49407, 0, 0, 0, 0, 0]], [[1, 2], [1]]),
        (1, [[259, 300, 1, 0, 0, 0, 0, 0], [200, 1, 0, 0, 0, 0, 0, 0]], [[0, 1], [0]]),
        (2, [[0, 259, 300, 2, 1, 1, 1, 1], [0, 200, 2, 1, 1, 1, 1, 1]], [[1, 2], [1]]),
    ):
        model = open_clip.CLIP(32, vision, text | {"eos_id": eos}).eval()
        tokens, images = torch.tensor(rows), torch.randn(2, 3, 32, 64)
        said, seen = attribution.relevance(model, images, tokens)
        assert seen.shape == (2, 2, 4)
        for row, mine in zip(said, own, strict=True):
            assert row.nonzero().flatten().tolist() == mine
            assert row.sum() == pytest.approx(1)
        image, features, *_ = attribution.explicit_forward(model, images, tokens)
        assert (features - model.encode_text(tokens, normalize=True)).abs().max() <= 1e-5
        assert (image - model.encode_image(images, normalize=True)).abs().max() <= 1e-5


def test_the_model_and_the_callers_mode_are_left_as_they_were(reference):
    model = models.create(models.SCENES_CLIP, 0).train().requires_grad_(False)
    model.visual.eval()
    images, tokens = torch.randn(2, 3, 48, 48), torch.from_numpy(model_input.tokenize(CAPTIONS[:2], 24))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        said, _ = attribution.relevance(model, images, tokens)
    assert said.dtype == torch.float32
    assert model.training
    assert not model.visual.training
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert torch.equal(said, attribution.relevance(model, images, tokens)[0])


def test_two_threads_on_one_model_do_not_disturb_each_other(reference):
    pairs = scenes.load_pairs(0, "pairs", 8, 48)
    images, tokens = (
        models.preprocess(reference, pairs.images),
        torch.from_numpy(model_input.tokenize(pairs.captions, 24)),
    )
    expected, got = attribution.relevance(reference, images, tokens), {}

    def work(n: int) -> None:
        got[n] = [attribution.relevance(reference, images, tokens, batch=3 + n) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(torch.allclose(said, expected[0], atol=1e-5) for results in got.values() for said, _ in results)
    assert sum(map(len, got.values())) == 12


def test_wrong_shapes_are_refused_with_a_reason(reference):
    images, tokens = torch.randn(1, 3, 48, 48), torch.from_numpy(model_input.tokenize(["a"], 24))
    for bad_images, bad_tokens, says in (
        (images[:, :1], tokens, "preprocessed images"),
        (images, tokens.repeat(2, 1), "as many rows"),
        (torch.randn(1, 3, 64, 64), tokens, "images of .* pixels"),
        (images, tokens[:, :10], "24 token ids"),
    ):
        with pytest.raises(BadInput, match=says):
            attribution.relevance(reference, bad_images, bad_tokens)
    for wrong, says in ((images.masked_fill(images > 1, float("nan")), "NaN"), (images, "at least 1")):
        with pytest.raises(BadInput, match=says):
            attribution.relevance(reference, wrong, tokens, batch=64 if says == "NaN" else 0)
    with torch.inference_mode():
        made = models.create(models.SCENES_CLIP, 0)
    with pytest.raises(BadInput, match="inference mode"):
        attribution.relevance(made, images, tokens)
    with pytest.raises(BadInput, match="fp32"):
        attribution.relevance(models.create(models.SCENES_CLIP, 0).half(), images, tokens)


def test_no_pairs_give_no_scores(reference):
    said, seen = attribution.relevance(reference, torch.zeros(0, 3, 48, 48), torch.zeros(0, 24, dtype=torch.long))
    assert (said.shape, seen.shape) == ((0, 24), (0, 6, 6))


ODD = [
    "banana",
    "!!! ...",
    "",
    "🍌 🍌",
    "<b>x</b> <script>alert(1)</script>",
    "一根香蕉的照片 香蕉",
    "word " * 200,
    "a <end_of_text> b",
    "don't",
    "a\x00b\ufffd",
]


@pytest.mark.parametrize("caption", ODD)
@pytest.mark.parametrize("method", attribution.METHODS)
def test_odd_captions(reference, caption, method):
    row = model_input.tokenize([caption], 24)
    by_token, maps = attribution.attribute(reference, np.zeros((1, 48, 48, 3), np.uint8), row, method)
    found = words.split(caption, 24)
    score = words.scores(found, by_token[0])
    kept = words.kept(score, 0.1)
    assert np.isfinite(by_token).all()
    assert np.isfinite(maps).all()
    if row[0].argmax() > 1:
        assert by_token.sum() == pytest.approx(1, abs=1e-5)
        assert score.sum() == pytest.approx(1)
        assert kept.any()
        again = words.masked_ids(row[0], by_token[0], 0.1)
        assert (again[0], again.max()) == (49406, 49407)
        assert again.argmax() > 1
        assert words.decode(again)
    lost = {"word": 178, "a <e": 2, "一根香蕉": 1}
    assert sum(w.cut for w in found) == next((n for start, n in lost.items() if caption.startswith(start)), 0)


def test_words_are_the_tokenizers_pieces():
    """Every piece belongs to one word or to punctuation, and encoding a word alone gives its pieces."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    for caption in [
        *(scenes.describe(0, i) for i in range(60)),
        "Don't! A&amp;B's 5.50$ (co-operation) naïve 香蕉...🍌",
        *ODD[:7],
    ]:
        row = model_input.tokenize([caption], 77)[0]
        columns = [c for w in words.split(caption, 77) for c in w.columns]
        assert len(columns) == len(set(columns))
        for w in words.split(caption, 77):
            if not w.cut:
                assert [int(row[c]) for c in w.columns] == tokenizer.encode(w.text)


def test_words_beyond_an_early_end_are_not_kept():
    found = words.split("<end_of_text> banana", 24)
    score = words.scores(found, np.zeros(24))
    assert not words.kept(score, 0.1).any()
    table = pd.DataFrame({"id": ["a", "a", "b"], "score": [0.0, 0.0, 1.0]})
    assert words.surviving(table, 0.1).tolist() == [False, False, True]


def test_the_settings_know_every_method():
    assert tuple(attribution.METHODS) == METHODS


def test_word_scores_leave_punctuation_out():
    found = words.split("a banana.", 24)
    by_token = np.zeros(24)
    by_token[1:4] = 0.1, 0.4, 0.5
    assert words.scores(found, by_token).tolist() == pytest.approx([0.2, 0.8])
    nothing = np.zeros(24)
    nothing[3] = 1
    assert words.scores(found, nothing).tolist() == [0.5, 0.5]


def test_image_masks_are_bilinear_and_spread_over_the_whole_scale(reference):
    maps = np.zeros((1, 6, 6), np.float32)
    maps[0, 5, 5], maps[0, 0, 0] = 1, 0.4
    up = attribution.upsample(maps, 48, 48)
    assert (up.min(), up.max()) == (0, 1)
    expected = F.interpolate(torch.from_numpy(maps)[None], (48, 48), mode="bilinear")[0]
    assert np.allclose(up, (expected - expected.min()) / (expected.max() - expected.min()), atol=1e-6)
    image = np.full((1, 48, 48, 3), 7, np.uint8)
    painted = attribution.masked_images(reference, image, maps, 0.3)
    assert (painted[0, 44:, 44:] == 7).all()
    assert (painted[0, :2, :2] == 7).all()
    assert abs(float(models.preprocess(reference, painted)[0, :, 24, 24].abs().max())) < 0.01
    other = torch.nn.Linear(1, 1)
    other.preprocess_cfg = {"mean": [1.0, 0.0, 0.5]}
    assert attribution.masked_images(other, image, maps, 0.3)[0, 24, 24].tolist() == [255, 0, 128]
    assert attribution.image_masks(maps, 48, 48, 1.0).sum() > 0
    assert attribution.image_masks(np.zeros((1, 6, 6)), 48, 48, 0.3).all()
