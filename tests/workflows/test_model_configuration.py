"""What a model's own configuration says is what is done; what nothing says is assumed aloud."""

import json
import os
import tracemalloc

import numpy as np
import open_clip
import pytest
import torch
from outside import PREPROCESS, VIT, as_openai_orders, folder, plain, same_features
from PIL import Image
from safetensors.torch import save_file

from ubt import clip
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import file_digest
from ubt.data import catalogue, model_input
from ubt.data.fit import Fit
from ubt.data.images import Images, decode
from ubt.data.user_roles import OwnSettings, open_taken
from ubt.workflows import import_model
from ubt.workflows.assumed import assumed


@pytest.fixture(scope="module")
def vit():
    return plain(VIT)


def vision(**changes):
    return VIT | {"vision_cfg": VIT["vision_cfg"] | changes}


def text(**changes):
    return VIT | {"text_cfg": VIT["text_cfg"] | changes}


ABSURD = {
    "width": (vision(width=10**9), "vision_cfg.width: expected a number from 1 to 8192"),
    "layers": (vision(layers=10**6), "vision_cfg.layers"),
    "blocks": (vision(layers=[10**6, 1, 1, 1]), "vision_cfg.layers"),
    "images": (vision(image_size=10**6), "image_size"),
    "patches": (vision(image_size=2048, patch_size=1), "1 to 4096 patches"),
    "vocabulary": (text(vocab_size=10**9), "stock CLIP tokenizer"),
    "context": (text(context_length=10**9), "context_length"),
    "embedding": (VIT | {"embed_dim": 2**62}, "embed_dim"),
    "not a number": (vision(width="768"), "width"),
    "NaN": (vision(mlp_ratio=float("nan")), "mlp_ratio"),
    "no heads": (text(heads=0), "heads"),
    "heads": (text(heads=3), "heads that divide"),
    "timm": (vision(timm_model_name="hf-hub:evil/model", timm_model_pretrained=True), "got timm's 'hf-hub:evil/model'"),
    "transformers": (text(hf_model_name="evil/model"), "got transformers' 'evil/model'"),
    "tokenizer": (text(hf_tokenizer_name="bert-base-uncased"), "with the stock CLIP tokenizer .49,408 tokens."),
    "tokenizer's settings": (text(tokenizer_kwargs={"trust_remote_code": True}), "with the stock CLIP tokenizer"),
    "captioner": (VIT | {"multimodal_cfg": {}}, "CoCa"),
    "what imports": (VIT | {"_target_": "os.system"}, "expected known settings alone, got '_target_'"),
    "what imports, deeper": (vision(norm_layer="os.system"), "got 'norm_layer'"),
    "arguments": (vision(act_kwargs={"device": "cuda"}), "got 'device'"),
    "a list": ([VIT], "model_cfg"),
    "no towers": ({"embed_dim": 3}, "model_cfg"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_configurations_are_refused_before_anything_is_read(name, tmp_path, monkeypatch):
    config, says = ABSURD[name]
    monkeypatch.setattr(clip.safe_load, "state_dict", lambda path: pytest.fail("the weights were read"))
    (tmp_path / models.CONFIG).write_text(json.dumps({"model_cfg": config}))
    (tmp_path / models.WEIGHTS).write_bytes(b"x")
    with pytest.raises(BadInput, match=says):
        import_model.read_model(str(tmp_path))
    if name not in ("a list", "no towers"):
        with pytest.raises(BadInput, match=says):
            models.create(config, 0)


def test_hostile_folders_are_refused(vit, tmp_path):
    own = folder(tmp_path / "own", vit, VIT)
    for content, says in (
        ("[" * 100_000, "none that can be read"),
        (
            '{"model_cfg": {"embed_dim": 3, "text_cfg": {}, "vision_cfg": ' + '{"a":' * 900 + "1" + "}" * 902,
            "too deeply",
        ),
        ("{" + " " * 2**21 + "}", "larger than 1 MB"),
        ("\udcff", "none that can be read"),
        (json.dumps({"model_cfg": VIT, "preprocess_cfg": {"std": [0, 1, 1]}}), "preprocess_cfg.std"),
        (json.dumps({"model_cfg": VIT, "preprocess_cfg": {"mean": ["a"] * 3}}), "preprocess_cfg.mean"),
        (json.dumps({"model_cfg": VIT, "preprocess_cfg": {"resize_mode": "os.system"}}), "preprocess_cfg.resize_mode"),
    ):
        (own / models.CONFIG).write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(BadInput, match=says):
            import_model.read_model(str(own))
    (own / models.CONFIG).write_text(json.dumps({"model_cfg": VIT}))
    (own / models.CARD).write_text(json.dumps({"digest": "0" * 64}))
    with pytest.raises(UbtError, match="of its card"):
        import_model.read_model(str(own))
    (own / models.CARD).unlink()
    (own / models.WEIGHTS).rename(own / "elsewhere")
    (own / models.WEIGHTS).symlink_to(own / "elsewhere")
    with pytest.raises(BadInput, match="got a link"):
        import_model.read_model(str(own))
    (own / models.WEIGHTS).unlink()
    with pytest.raises(BadInput, match="found 0"):
        import_model.read_model(str(own))
    (own / models.WEIGHTS).mkdir()
    with pytest.raises(BadInput, match="got something else"):
        import_model.read_model(str(own))


QUICK = VIT | {"quick_gelu": True}
OTHER = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}


def file_beside(path, model, config, preprocess, name):
    """A folder with a configuration, two files of weights, and the one that is meant."""
    folder(path, model, config, preprocess)
    (path / models.WEIGHTS).rename(path / "other.safetensors")
    if name.endswith(".safetensors"):
        save_file(model.state_dict(), path / name)
    else:
        torch.save(model.state_dict(), path / name)
    return path / name


@pytest.mark.parametrize("name", [models.WEIGHTS, "epoch_3.pt", "mine.safetensors", "pytorch_model.bin"])
def test_a_configuration_beside_a_file_says_what_the_file_is(name, tmp_path):
    quick = plain(QUICK)
    source = file_beside(tmp_path / "two", quick, QUICK, OTHER, name)
    ours, card = import_model.read_model(str(source))
    assert ours.config["quick_gelu"] is True
    assert same_features(ours, quick)
    assert {n: card["preprocessing"][n] for n in OTHER} == OTHER
    assert card["assumed"] == []
    with pytest.raises(BadInput, match=rf"--architecture: .*{models.CONFIG}.*without it"):
        import_model.read_model(str(source), architecture_name="ViT-B-32")


def test_a_configuration_of_another_model_is_named_with_what_to_do(vit, tmp_path):
    source = file_beside(tmp_path / "two", vit, VIT, OTHER, "own.pt")
    for config, says in (
        (VIT | {"embed_dim": 16}, r"\(64, 16\).*got \(64, 32\)"),
        (VIT | {"text_cfg": VIT["text_cfg"] | {"layers": 2}}, "got no transformer.resblocks.1"),
    ):
        (source.parent / models.CONFIG).write_text(json.dumps({"model_cfg": config}))
        with pytest.raises(BadInput, match=rf"(?s){says}.*{models.CONFIG} says that they are.*folder of their own"):
            import_model.read_model(str(source))
    (source.parent / models.CONFIG).write_text("{}")
    with pytest.raises(BadInput, match="none that can be read"):
        import_model.read_model(str(source))
    (source.parent / models.CONFIG).unlink()
    (source.parent / models.CONFIG).symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="got a link"):
        import_model.read_model(str(source))


def test_what_other_files_beside_weights_say(vit, tmp_path):
    """A card of these very weights is believed; what is not read is named."""
    save_file(vit.state_dict(), source := tmp_path / "own.safetensors")
    (tmp_path / "card.json").write_text(json.dumps({"digest": file_digest(source), "preprocessing": OTHER}))
    _, card = import_model.read_model(str(source))
    assert {n: card["preprocessing"][n] for n in OTHER} == OTHER
    assert "preprocessing as card.json beside it says" in card["assumed"]
    (tmp_path / "card.json").write_text(json.dumps({"digest": "0" * 64, "preprocessing": OTHER}))
    (tmp_path / "own.yaml").write_text("model: ViT")
    (tmp_path / "config.json").write_text("{}")
    _, card = import_model.read_model(str(source))
    assert card["preprocessing"]["interpolation"] == "bicubic"
    assert "what config.json, own.yaml beside it says of the model is not read" in card["assumed"]
    assert "OpenAI's mean and std" in card["assumed"]
    with (tmp_path / "card.json").open("wb") as f:
        os.truncate(f.fileno(), 2**30)
    tracemalloc.start()
    import_model.read_model(str(source))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    save_file(vit.state_dict(), tmp_path / models.WEIGHTS)
    with pytest.raises(UbtError, match="expected a card with a digest"):
        import_model.read_model(str(tmp_path / models.WEIGHTS))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(50, 50), (90, 41), (20, 33), (32, 32)])
def test_images_are_fitted_as_open_clip_fits_them(interpolation, mode, size, tmp_path):
    preprocess = PREPROCESS | {"interpolation": interpolation, "resize_mode": mode, "fill_color": 200}
    cfg = clip.architecture.preprocessing(preprocess, 32)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    image.save(tmp_path / "a.png")
    transform = open_clip.image_transform(32, is_train=False, **{n: v for n, v in preprocess.items()})
    mean, std = (np.array(preprocess[n])[:, None, None] for n in ("mean", "std"))
    wanted = np.rint((transform(image).numpy() * std + mean) * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(decode((tmp_path / "a.png").read_bytes(), 32, Fit.of(cfg)), wanted)


def test_tensors_are_fitted_as_images_are(vit):
    picture = np.kron(np.random.default_rng(2).integers(0, 256, (6, 4, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    for mode in ("shortest", "longest", "squash"):
        preprocess = OTHER | {"resize_mode": mode, "fill_color": 9}
        ours = models.assemble(VIT, preprocess, vit.state_dict())
        got = models.preprocess(ours, picture[None])[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
        wanted = np.asarray(Fit("bilinear", mode, 9)(Image.fromarray(picture), 32), np.float64)
        assert np.abs(got - wanted).max() <= 2


def test_what_a_preprocessing_says_that_is_not_done_is_refused():
    for said, says in (
        ({"mode": "L"}, "preprocess_cfg.mode: expected RGB"),
        ({"fill_color": 999}, "preprocess_cfg.fill_color: expected a number"),
        ({"interpolation": "nearest"}, "preprocess_cfg.interpolation"),
        ({"sharpen": True}, "got 'sharpen'"),
    ):
        with pytest.raises(BadInput, match=says):
            clip.architecture.preprocessing(said, 32)
    assert clip.architecture.preprocessing({"size": [32, 32], "mode": "RGB"}, 32) == clip.architecture.OPENAI | {
        "size": 32
    }


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
@pytest.mark.parametrize("code", ["openai", "open_clip"])
def test_the_activation_does_not_hang_on_a_prefix(prefix, code, vit, tmp_path):
    state = as_openai_orders(vit.state_dict()) if code == "openai" else vit.state_dict()
    torch.save({"state_dict": {f"{prefix}{n}": t for n, t in state.items()}}, source := tmp_path / "own.pt")
    ours, card = import_model.read_model(str(source))
    assert bool(ours.config.get("quick_gelu")) is (code == "openai")
    said = card["assumed"][0]
    assert f"quick_gelu {str(code == 'openai').lower()}" in said
    assert ("OpenAI's and CleanCLIP's code" if code == "openai" else "--quick-gelu or --no-quick-gelu") in said


def test_where_nothing_says_the_activation_it_is_open_clips_and_said(vit, tmp_path):
    half = {n: t.half() if t.ndim > 1 else t for n, t in vit.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    torch.save(dict(sorted(vit.state_dict().items())), tmp_path / "sorted.pt")
    for source in ("half.safetensors", "sorted.pt"):
        _, card = import_model.read_model(str(tmp_path / source))
        assert "quick_gelu false, open_clip's default, for nothing in the file says it" in card["assumed"][0]
    _, card = import_model.read_model(str(tmp_path / "sorted.pt"), quick_gelu=True)
    assert card["assumed"][0] == "quick_gelu true, as told"


def test_a_name_that_says_another_activation_than_the_weights_is_doubted(vit, tmp_path, monkeypatch):
    monkeypatch.setattr(clip.architecture, "named", lambda name: json.loads(json.dumps(VIT)))
    torch.save(as_openai_orders(vit.state_dict()), source := tmp_path / "own.pt")
    _, card = import_model.read_model(str(source), architecture_name="ViT-B-32")
    assert "quick_gelu false by that name, although the names are in the order of OpenAI's code" in card["assumed"][0]
    _, card = import_model.read_model(str(source), architecture_name="ViT-B-32", quick_gelu=True)
    assert "although" not in card["assumed"][0]


@pytest.mark.parametrize("others", [("loss.weight",), ("ema.visual.proj", "step"), ("optimizer", "ema.x", "z")])
def test_weights_among_others_are_advised_what_helps(others, vit, tmp_path):
    made = {f"model.{n}": t for n, t in vit.state_dict().items()} | {n: torch.ones(2) for n in others}
    torch.save(made, source := tmp_path / "own.pt")
    with pytest.raises(BadInput, match=r"under the prefix 'model.'.*save the CLIP's own state dict") as refused:
        import_model.read_model(str(source))
    assert "--architecture" not in str(refused.value)
    torch.save({"encoder.weight": torch.ones(2)}, source)
    with pytest.raises(BadInput, match=r"among 1 names .'encoder.weight'.; import the whole state dict") as refused:
        import_model.read_model(str(source))
    assert "--architecture" not in str(refused.value)


def test_a_model_comes_in_where_temporary_files_have_no_room(vit, tmp_path, monkeypatch):
    """Nothing is written but in the cache: the folder of temporary files cannot even be made."""
    monkeypatch.setenv("TMPDIR", "/nosuch")
    monkeypatch.setattr("tempfile.tempdir", "/nosuch")
    key = import_model.import_model(Store(tmp_path / "cache"), str(folder(tmp_path / "own", vit, VIT)))
    assert key.startswith("model-")


def test_a_damaged_import_is_replaced_by_importing_it_again(vit, tmp_path):
    store, source = Store(tmp_path / "cache"), folder(tmp_path / "own", vit, VIT)
    key = import_model.import_model(store, str(source))
    weights = store.find(key).path / "model" / models.WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UbtError, match=r"import it again .python -m ubt data, python -m ubt models."):
        store.find(key)["model"]
    assert import_model.import_model(store, str(source)) == key
    assert same_features(store.find(key)["model"], vit)


def test_what_was_assumed_of_a_cases_models_is_said_with_its_results(vit, tmp_path):
    store = Store(tmp_path / "cache")
    save_file(vit.state_dict(), tmp_path / "own.safetensors")
    suspect = import_model.import_model(store, str(tmp_path / "own.safetensors"))
    clean = import_model.import_model(store, str(folder(tmp_path / "own", plain(VIT, 1), VIT, OTHER)), state="clean")
    said = assumed(store, OwnSettings(pairs="pairs-" + "0" * 16, suspect=suspect, reference=clean))
    assert "OpenAI's mean and std" in said["the model audited"]
    assert said["the clean reference"] == [
        "images resized as the model audited's configuration says (bicubic, shortest), although its own says bilinear,"
        " squash"
    ]
    assert list(assumed(store, OwnSettings(reference=suspect))) == ["the clean reference"]
    assert assumed(store, OwnSettings(reference=clean)) == {}
    assert model_input.fit(store.find(clean)["model"]) == Fit("bilinear", "squash")


def test_the_images_of_a_case_are_fitted_as_its_model_says(vit, tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (2, 40, 70, 3), np.uint8)
    for n, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    (tmp_path / "pairs.csv").write_text("filepath,title\n0.png,a cat\n1.png,a dog\n")
    read = catalogue.read(tmp_path / "pairs.csv")
    model = models.assemble(VIT, OTHER, vit.state_dict())
    images = open_taken(read["pairs"].assign(mark=0), read["about"], model)
    wanted = np.stack([np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in noise])
    np.testing.assert_array_equal(images[:], wanted)
    np.testing.assert_array_equal(images.only(np.array([1]))[:], wanted[1:])
    images.save(tmp_path / "kept")
    np.testing.assert_array_equal(Images.load(tmp_path / "kept")[:], wanted)
