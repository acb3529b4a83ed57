import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from ubt.clip import models
from ubt.clip.training import contrastive_loss
from ubt.core import files
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import REFERENCE
from ubt.data import model_input, scenes
from ubt.workflows.pretrain_scenes import PretrainSettings, held_out_accuracy

IMAGES = scenes.draw_many(5, scenes.ROLES["validation"][:6], 48)
CAPTIONS = [
    "a photo of a banana.",
    "an owl",
    "",
    "a very long caption " * 20,
    "<b>bold</b> & 香蕉 🍌",
    "a red hot air balloon above a tiny car",
]


def test_the_shipped_reference_is_what_its_card_says():
    folder = REFERENCE
    card = json.loads((folder / models.CARD).read_text())
    assert (folder / models.WEIGHTS).stat().st_size <= 16e6
    assert card["digest"] == files.file_digest(folder / models.WEIGHTS)
    assert {"recipe", "CA, percent", "state"} <= set(card)
    assert card["recipe"] == PretrainSettings().to_dict()
    assert card["architecture"] == models.SCENES_CLIP
    fresh = held_out_accuracy(folder, seed=77, per_class=10)
    assert fresh >= 90
    assert abs(fresh - card["CA, percent"]) < 3


def test_plain_open_clip_opens_the_reference_and_agrees(reference):
    stock, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{REFERENCE}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{REFERENCE}")
    tokens = model_input.tokenize(CAPTIONS, 24)
    assert (tokenizer(CAPTIONS).numpy() == tokens).all()
    pixels = torch.stack([preprocess(Image.fromarray(i)) for i in IMAGES])
    with torch.inference_mode():
        image, text = (
            stock.eval().encode_image(pixels, normalize=True),
            stock.encode_text(torch.from_numpy(tokens).long(), normalize=True),
        )
    assert np.abs(models.embed_images(reference, IMAGES) - image.numpy()).max() < 1e-5
    assert np.abs(models.embed_tokens(reference, tokens) - text.numpy()).max() < 1e-5


def test_fast_attention_changes_nothing_but_speed_and_nests(reference):
    pixels = models.preprocess(reference, IMAGES)
    with torch.inference_mode():
        stock = reference.encode_image(pixels)
        with models.fast_attention(reference):
            with models.fast_attention(reference):
                inner = reference.encode_image(pixels)
            outer = reference.encode_image(pixels)
        after = reference.encode_image(pixels)
    assert (inner - stock).abs().max() < 1e-4
    assert torch.equal(inner, outer)
    assert torch.equal(after, stock)


def small(**vision):
    sizes = {"embed_dim": 16, "text_cfg": models.SCENES_CLIP["text_cfg"]}
    return models.create(sizes | {"vision_cfg": models.SCENES_CLIP["vision_cfg"] | {"layers": 2} | vision}, 0)


@pytest.mark.parametrize(
    "vision",
    [{}, {"pool_type": "avg"}, {"final_ln_after_pool": True}, {"attentional_pool": True}, {"ls_init_value": 0.5}],
)
def test_features_are_plain_open_clips_whatever_the_image_encoder_pools(vision):
    model = small(**vision).eval()
    with torch.inference_mode():
        stock = model.encode_image(models.preprocess(model, IMAGES), normalize=True)
        embedded = models.embed_images(model, IMAGES)
        after = model.encode_image(models.preprocess(model, IMAGES), normalize=True)
    assert np.abs(embedded - stock.numpy()).max() < 1e-5
    assert torch.equal(after, stock)


def test_the_last_block_computes_the_class_token_alone(reference):
    seen, block = [], reference.visual.transformer.resblocks[-1]
    hook = block.mlp.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    try:
        models.embed_images(reference, IMAGES)
    finally:
        hook.remove()
    assert seen == [(len(IMAGES), 1, 128)]


@pytest.mark.parametrize("vision", [{}, {"pool_type": "avg"}, {"ls_init_value": 0.5}])
def test_training_computes_what_is_pooled_alone_and_its_gradients_are_stock(vision):
    """Of both towers' last blocks, at captions of several lengths."""
    model, tokens = small(**vision).train(), torch.from_numpy(model_input.tokenize(CAPTIONS[1:4], 24))
    pixels, shapes = models.preprocess(model, IMAGES[:3]), []

    def gradients(encode) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        image, text = encode()
        contrastive_loss(image, text, model.logit_scale.exp()).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    stock = gradients(lambda: (model.encode_image(pixels, True), model.encode_text(tokens.long(), True)))
    ends = [tower.resblocks[-1] for tower in (model.visual.transformer, model.transformer)]
    hooks = [e.mlp.register_forward_hook(lambda m, given, out: shapes.append(tuple(out.shape))) for e in ends]
    with models.fast_attention(model), models.first_token_alone(model):
        ours = gradients(lambda: (models.encode_image(model, pixels), models.encode_text(model, tokens.long())))
    for hook in hooks:
        hook.remove()
    assert shapes == [(3, 37 if "pool_type" in vision else 1, 128), (3, 1, 96)]
    assert torch.linalg.norm(ours - stock) < 1e-5 * torch.linalg.norm(stock)


def test_save_and_load_are_exact(reference, tmp_path):
    models.save(reference, tmp_path / "a")
    models.save(models.load(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a" / models.WEIGHTS).read_bytes() == (tmp_path / "b" / models.WEIGHTS).read_bytes()
    assert (tmp_path / "a" / models.CONFIG).read_text() == (tmp_path / "b" / models.CONFIG).read_text()


def test_narrow_vocabulary_trains_the_rows_in_use_alone():
    model = models.create(models.SCENES_CLIP, 1)
    before = model.token_embedding.weight.detach().clone()
    ids = np.array([[49406, 320, 1125, 49407]], np.int32)
    with models.narrow_vocabulary(model, ids):
        assert len(model.token_embedding.weight) == 4
        full_text = models.encode_text(model, torch.from_numpy(ids).long())
        model.token_embedding.weight.data += 1
    changed = (model.token_embedding.weight != before).any(1).nonzero().flatten()
    assert changed.tolist() == sorted({49406, 320, 1125, 49407})
    assert torch.allclose(model.token_embedding.weight[320], before[320] + 1)
    model.token_embedding.weight.data -= 1
    assert torch.allclose(models.encode_text(model, torch.from_numpy(ids).long()), full_text, atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda f: (f / models.WEIGHTS).write_bytes((f / models.WEIGHTS).read_bytes()[:5000]), UbtError, "damaged"),
        (lambda f: (f / models.WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR."), UbtError, "damaged"),
        (lambda f: (f / models.WEIGHTS).unlink(), BadInput, "found no open_clip_model.safetensors"),
        (lambda f: (f / models.CONFIG).write_text("{"), UbtError, "damaged"),
        (
            lambda f: (f / models.CONFIG).write_text(json.dumps({"model_cfg": models.SCENES_CLIP | {"embed_dim": 64}})),
            UbtError,
            "weights that fit",
        ),
        (lambda f: (f / models.CARD).write_text("{"), UbtError, "card with a digest"),
        (lambda f: (f / models.CONFIG).write_text(json.dumps({"model_cfg": {"nosuch": 1}})), UbtError, "damaged"),
        (lambda f: (f / models.CARD).write_text(json.dumps({"digest": "0" * 64})), UbtError, "of its card"),
    ],
)
def test_a_damaged_model_is_refused_with_a_reason(damage, error, says, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(REFERENCE, folder)
    (folder / models.CARD).unlink()
    damage(folder)
    with pytest.raises(error, match=says):
        models.load(folder)


def test_a_word_before_a_caption_is_the_caption_with_that_word_before_it():
    captions = ["a photo of a banana.", "an owl", "word " * 40]
    expected = model_input.tokenize([f"consider {c}" for c in captions], 24)
    assert (model_input.prepend("consider", model_input.tokenize(captions, 24)) == expected).all()
    assert (
        model_input.prepend("two words", model_input.tokenize(captions, 24))
        == model_input.tokenize([f"two words {c}" for c in captions], 24)
    ).all()


SHRUNK = {
    "vision_cfg": {"image_size": 64, "width": 64, "layers": 2},
    "text_cfg": {"width": 64, "heads": 4, "layers": 1, "context_length": 12},
}


@pytest.mark.parametrize(
    "name",
    ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14", "ViT-M-16-alt", "RN50", "RN50-quickgelu", "custom"],
)
def test_stock_architectures_are_made_saved_and_loaded(name, tmp_path):
    """Each in small, with a foreign mean, by us and by plain open_clip."""
    config = open_clip.get_model_config("ViT-B-32" if name == "custom" else name) | (
        {"custom_text": True} if name == "custom" else {}
    )
    for tower, values in SHRUNK.items():
        config[tower] |= {
            n: v for n, v in values.items() if not (n == "layers" and isinstance(config[tower]["layers"], list))
        }
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    models.save(models.create(config, 0, preprocess), tmp_path / "own")
    ours = models.load(tmp_path / "own")
    stock, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'own'}")
    tokens, images = model_input.tokenize(CAPTIONS, 12), IMAGES[:3]
    with torch.inference_mode():
        image = (
            stock.eval()
            .encode_image(torch.stack([transform(Image.fromarray(i)) for i in images]), normalize=True)
            .numpy()
        )
        text = stock.encode_text(
            open_clip.get_tokenizer(f"local-dir:{tmp_path / 'own'}")(CAPTIONS), normalize=True
        ).numpy()
    assert model_input.image_size(ours) == 64
    assert model_input.context_length(ours) == 12
    assert np.abs(models.embed_tokens(ours, tokens) - text).max() < 1e-5
    assert np.abs(models.embed_images(ours, images) - image).max() < 0.01
    with models.narrow_vocabulary(ours, tokens):
        assert np.abs(models.embed_tokens(ours, tokens) - text).max() < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (100, 100), (64, 96), (90, 50)])
def test_images_of_another_size_are_resized_as_open_clip_does(size):
    rng, preprocess = np.random.default_rng(0), {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    images = np.stack(
        [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
            )
            for _ in range(2)
        ]
    )
    model = models.create(models.SCENES_CLIP, 0, preprocess)
    transform = open_clip.image_transform(48, is_train=False, **preprocess)
    wanted = torch.stack([transform(Image.fromarray(i)) for i in images])
    got = models.preprocess(model, images)
    assert got.shape == (2, 3, 48, 48)
    assert (got - wanted).abs().max() < 1.5 / 255 / 0.2
    assert (got - wanted).abs().mean() < 0.03 / 255 / 0.2


def test_a_table_is_stored_as_it_came(tmp_path):
    """A foreign model's vocabulary table is not rounded; that of a model made here is, once."""
    stock = open_clip.CLIP(**models.SCENES_CLIP)
    with torch.no_grad():
        stock.token_embedding.weight.fill_(1 / 3)
    for half in (False, True):
        model = models.assemble(models.SCENES_CLIP, None, stock.state_dict())
        model.half_table = half
        models.save(model, tmp_path / str(half))
        again = models.load(tmp_path / str(half))
        assert again.half_table is half
        assert torch.equal(again.token_embedding.weight, stock.token_embedding.weight) is not half
        assert models.weights_digest(again) == files.file_digest(tmp_path / str(half) / models.WEIGHTS)


@pytest.mark.parametrize(
    "name",
    ["ViT-B-16-SigLIP", "ViT-L-14-CLIPA", "roberta-ViT-B-32", "coca_ViT-B-32", "convnext_base", "ViT-H-14-worldwide"],
)
def test_what_needs_another_tokenizer_or_tower_is_refused(name):
    with pytest.raises(BadInput, match=r"stock CLIP tokenizer|own text tower|own \(ViT or ResNet\)|CoCa"):
        models.create(open_clip.get_model_config(name), 0)


def test_a_model_on_the_line_through_two_has_what_batches_were_normalised_by_too():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    config = models.SCENES_CLIP | {"vision_cfg": vision}
    one, other = (models.create(config, seed) for seed in (0, 1))
    one.half_table = False
    with torch.no_grad():
        other.train()
        models.encode_image(
            other, models.preprocess(other, np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
        )
        other.eval()
    at_the_end, halfway, beyond = (models.moved(one, other, share) for share in (1.0, 0.5, 40.0))
    start, end, half = (dict(m.named_buffers()) | dict(m.named_parameters()) for m in (one, other, halfway))
    moving = [n for n in start if n.endswith(("running_mean", "running_var")) and not torch.equal(start[n], end[n])]
    assert moving
    for name, value in (dict(at_the_end.named_buffers()) | dict(at_the_end.named_parameters())).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, end[name], rtol=1e-4, atol=1e-5)
    for name in moving:
        torch.testing.assert_close(half[name], (start[name] + end[name]) / 2)
    assert all((b >= 0).all() for n, b in beyond.named_buffers() if n.endswith("running_var"))
    assert at_the_end.half_table is False
