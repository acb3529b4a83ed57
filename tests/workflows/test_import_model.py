"""Models from outside come in with the features they have in plain open_clip, and hostile files do not."""

import copy
import io
import pickle
import struct
import zipfile

import open_clip
import pytest
import torch
from open_clip import pretrained
from outside import PREPROCESS, RESNET, VIT, folder, of_open_clip, plain, same_features, wrapped
from safetensors.torch import save_file

from ubt import clip
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import file_digest
from ubt.workflows import import_model


@pytest.fixture(scope="module")
def vit():
    return plain(VIT)


@pytest.fixture(scope="module")
def quick():
    return plain(VIT | {"quick_gelu": True})


@pytest.mark.parametrize(
    "layout", ["safetensors", "state dict", "CleanCLIP", "open_clip", "OpenAI", "folder", "folder, weights alone"]
)
def test_every_layout_comes_in_with_its_features(layout, vit, quick, tmp_path):
    model = quick if layout in ("CleanCLIP", "OpenAI") else vit
    state = model.state_dict()
    if layout.startswith("folder"):
        source = folder(tmp_path / "own", model, VIT)
        if "alone" in layout:
            (source / models.CONFIG).unlink()
    elif layout == "safetensors":
        save_file(state, source := tmp_path / "own.safetensors")
    else:
        sizes = {
            "input_resolution": torch.tensor(32),
            "context_length": torch.tensor(16),
            "vocab_size": torch.tensor(49408),
        }
        made = {
            "state dict": state,
            "CleanCLIP": wrapped(model),
            "open_clip": of_open_clip(model),
            "OpenAI": state | sizes,
        }[layout]
        torch.save(made, source := tmp_path / "own.pt")
    ours, card = import_model.read_model(str(source))
    assert same_features(ours, model)
    assert bool(ours.config.get("quick_gelu")) is (model is quick)
    assert card["name"] == "own"
    assert card["state"] == "suspect"
    assert card["digest"] == models.weights_digest(ours)
    assert card["preprocessing"]["size"] == 32
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["architecture"].startswith("ViT 32 px, patch 16, 2 layers x 64, 1 heads")
    if layout == "folder":
        assert card["preprocessing"]["mean"] == PREPROCESS["mean"]
        assert card["assumed"] == []
    else:
        assert f"quick_gelu {str(model is quick).lower()}" in card["assumed"][0]
        assert "OpenAI's mean and std" in card["assumed"]


@pytest.mark.parametrize(
    "config", [RESNET, VIT | {"custom_text": True, "quick_gelu": True}], ids=["ResNet", "a text tower of its own"]
)
def test_other_towers_come_in_and_go_out(config, tmp_path):
    model = plain(config)
    torch.save(wrapped(model), tmp_path / "own.pt")
    ours, _ = import_model.read_model(str(tmp_path / "own.pt"), quick_gelu=bool(config.get("quick_gelu")))
    assert same_features(ours, model)
    models.save(ours, tmp_path / "out")
    again, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    assert same_features(ours, again.eval())
    assert same_features(models.load(tmp_path / "out"), model)


def test_shapes_of_the_stock_models_tell_which_they_are():
    for name in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-L-14", "ViT-H-14", "ViT-bigG-14", "RN50-quickgelu"):
        config = clip.architecture.named(name)
        shapes = {n: tuple(t.shape) for n, t in models.skeleton(config).state_dict().items()}
        guessed, _ = clip.architecture.guess(shapes, bool(config.get("quick_gelu")))
        assert {n: tuple(t.shape) for n, t in models.skeleton(guessed).state_dict().items()} == shapes
        for tower, heads in (("vision_cfg", "head_width"), ("text_cfg", "heads")):
            assert guessed[tower].get(heads, 64) == config[tower].get(heads, 64)


def test_a_named_architecture_has_to_fit(vit, tmp_path):
    save_file(vit.state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(BadInput, match=r"ViT 224 px, patch 32.*got no transformer.resblocks.1"):
        import_model.read_model(str(tmp_path / "own.safetensors"), architecture_name="ViT-B-32")
    with pytest.raises(BadInput, match="unknown architecture 'nosuch'"):
        import_model.read_model(str(tmp_path / "own.safetensors"), architecture_name="nosuch")
    with pytest.raises(BadInput, match=r"ViT-B-16-SigLIP: vision_cfg: expected a tower of open_clip's own"):
        import_model.read_model(str(tmp_path / "own.safetensors"), architecture_name="ViT-B-16-SigLIP")


def test_pretrained_names_are_downloaded_and_read_here(vit, tmp_path, monkeypatch):
    """The download stands in for the internet; the name, the preprocessing and the activation are open_clip's."""
    save_file(vit.state_dict(), tmp_path / "0123abc")
    (tmp_path / "open_clip_model.safetensors").symlink_to(tmp_path / "0123abc")
    asked = []
    monkeypatch.setattr(
        pretrained,
        "download_pretrained",
        lambda cfg: asked.append(cfg) or str(tmp_path / "open_clip_model.safetensors"),
    )
    monkeypatch.setattr(clip.architecture, "named", lambda name: copy.deepcopy(VIT))
    for source in ("ViT-B-32/openai", "ViT-B-32:openai"):
        ours, card = import_model.read_model(source)
        assert asked.pop()["quick_gelu"] is True
        assert ours.config["quick_gelu"] is True
        assert card["assumed"] == ["quick_gelu true, as these weights were trained"]
        assert card["name"] == "ViT-B-32/openai"
    with pytest.raises(BadInput, match=r"unknown weights 'nosuch' of ViT-B-32; expected one of: openai"):
        import_model.read_model("ViT-B-32/nosuch")
    monkeypatch.setattr(
        pretrained, "download_pretrained", lambda cfg: (_ for _ in ()).throw(OSError("no route to host"))
    )
    with pytest.raises(UbtError, match=r"could not .no route to host"):
        import_model.read_model("ViT-B-32/openai")


def test_hub_repositories_are_downloaded_and_read_here(vit, tmp_path, monkeypatch):
    own, asked = folder(tmp_path / "own", vit, VIT), []

    def download(name, filename=None):
        asked.append((name, filename))
        return str(own / (filename or models.WEIGHTS))

    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", download)
    ours, card = import_model.read_model("hf-hub:org/name.v1")
    assert asked == [("org/name.v1", models.CONFIG), ("org/name.v1", None)]
    assert card["preprocessing"]["std"] == PREPROCESS["std"]
    assert same_features(ours, vit)


def test_imported_once_by_its_weights_and_kept_until_it_is_forgotten(vit, tmp_path):
    store, own = Store(tmp_path / "cache"), folder(tmp_path / "own", vit, VIT)
    key = import_model.import_model(store, str(own))
    assert key.startswith("model-")
    save_file({n: t.to(torch.float64) for n, t in vit.state_dict().items()}, own / models.WEIGHTS)
    assert import_model.import_model(store, f"local-dir:{own}") == key
    assert import_model.import_model(store, str(own), state="clean") != key
    artefact = store.find(key)
    assert artefact["card"]["digest"] == file_digest(artefact.path / "model" / models.WEIGHTS)
    assert same_features(artefact["model"], vit)
    stock, _, _ = open_clip.create_model_and_transforms(f"local-dir:{artefact.path / 'model'}")
    assert all(torch.equal(a, b) for a, b in zip(stock.state_dict().values(), vit.state_dict().values(), strict=True))
    store.prune()
    assert set(import_model.imported_models(store)) >= {key}
    assert import_model.forget(store, key) > 1e6
    with pytest.raises(BadInput, match="unknown model"):
        import_model.opened(store, key)
    with pytest.raises(BadInput, match="unknown model"):
        import_model.opened(store, "model-../../etc")


class Runs:
    def __reduce__(self):
        return eval, ("open('/tmp/ubt-was-here', 'w')",)


def archive(path, replace):
    """The zip that torch.save wrote, with some records replaced (None: left out) or added."""
    with zipfile.ZipFile(path) as z:
        records = {i.filename: z.read(i) for i in z.infolist()}
    root = next(iter(records)).split("/")[0]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", replace.pop("compression", zipfile.ZIP_STORED)) as z:
        for name, content in (records | {f"{root}/{n}": c for n, c in replace.items()}).items():
            if content is not None:
                z.writestr(name, content)
    return out.getvalue()


def saved(value) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def edited(path, value, **replace) -> bytes:
    path.write_bytes(saved(value))
    return archive(path, {n.replace("__", "."): c for n, c in replace.items()})


def pickled_with(path, old, new) -> bytes:
    path.write_bytes(saved({"a": torch.zeros(3)}))
    with zipfile.ZipFile(path) as z:
        content = z.read(next(n for n in z.namelist() if n.endswith("data.pkl")))
    assert old in content
    return archive(path, {"data.pkl": content.replace(old, new)})


def tensors(vit, **changes) -> dict:
    return {n: t for n, t in (vit.state_dict() | changes).items() if t is not None}


LONG = b"\x8a\x05" + (10**10).to_bytes(5, "little")
PAST = b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,39999999996]}}'
HOSTILE = {
    "a pickle that runs code": (".pt", lambda v, p: saved({"state_dict": Runs()}), "calls for __builtin__ eval"),
    "code beside weights": (
        ".bin",
        lambda v, p: saved({"state_dict": v.state_dict(), "args": Runs()}),
        "could run code",
    ),
    "an allocation by name": (
        ".pt",
        lambda v, p: edited(p, {}, data__pkl=b"\x80\x02c__builtin__\nbytearray\n" + LONG + b"\x85R."),
        "could run code",
    ),
    "code by a later protocol": (
        ".pt",
        lambda v, p: edited(p, {}, data__pkl=pickle.dumps(Runs(), 4)),
        "could run code",
    ),
    "a bare pickle": (".pt", lambda v, p: pickle.dumps({"a": Runs()}, 2), "a bare pickle"),
    "a pickle called safetensors": (".safetensors", lambda v, p: pickle.dumps(Runs()), "header claims"),
    "a torch file called safetensors": (".safetensors", lambda v, p: saved(Runs()), "could run code"),
    "TorchScript": (
        ".pt",
        lambda v, p: edited(p, {}, **{"code/__torch__.py": b"import os", "constants.pkl": b"."}),
        "TorchScript",
    ),
    "a zip bomb": (
        ".pt",
        lambda v, p: edited(p, {}, **{"data/0": b"\0" * 10**7}, compression=zipfile.ZIP_DEFLATED),
        "zip bomb",
    ),
    "a zip of something else": (".pt", lambda v, p: edited(p, {}, data__pkl=None), "one record data.pkl"),
    "a truncated torch file": (
        ".pth",
        lambda v, p: saved({"a": torch.zeros(1000)})[:2000],
        "a damaged or a foreign one",
    ),
    "a storage larger than its record": (
        ".pt",
        lambda v, p: pickled_with(p, b"K\x03t", LONG + b"t"),
        "bytes of numbers are described for its record",
    ),
    "a tensor larger than its storage": (
        ".pt",
        lambda v, p: pickled_with(p, b"K\x03\x85", LONG + b"\x85"),
        "does not fit in its 3 numbers",
    ),
    "an expanded tensor": (".pt", lambda v, p: saved({"a": torch.zeros(1).expand(10**10)}), "an expanded one"),
    "a sparse tensor": (".pt", lambda v, p: saved({"a": torch.zeros(3, 3).to_sparse()}), "could run code"),
    "a huge header": (
        ".safetensors",
        lambda v, p: struct.pack("<Q", 10**12) + b"{}",
        "header claims 1,000,000,000,000 bytes",
    ),
    "a header past the end": (".safetensors", lambda v, p: struct.pack("<Q", 10**4) + b"{}", "header claims"),
    "a header that is no JSON": (
        ".safetensors",
        lambda v, p: struct.pack("<Q", 4) + b"[[[[",
        "a damaged or a foreign one",
    ),
    "numbers past the end": (".safetensors", lambda v, p: struct.pack("<Q", len(PAST)) + PAST, "damaged"),
    "an empty file": (".safetensors", lambda v, p: b"", "an empty one"),
    "three bytes": (".safetensors", lambda v, p: b"abc", "header claims"),
    "text": (".pt", lambda v, p: b"<html>not found</html>", "something else"),
    "a number": (".pt", lambda v, p: saved(3), "got a int"),
    "no weights": (".pt", lambda v, p: saved({"epoch": 1, "model": {}}), "tensors alone, got a int under 'epoch'"),
    "an empty state dict": (".pt", lambda v, p: saved({"state_dict": {}}), "an empty one"),
    "weights in int8": (
        ".pt",
        lambda v, p: saved(tensors(v, **{"visual.proj": torch.zeros(64, 32, dtype=torch.int8)})),
        "torch.int8 for 'visual.proj'",
    ),
    "complex weights": (".pt", lambda v, p: saved({"a": torch.zeros(3, dtype=torch.complex64)}), "could run code"),
    "NaN": (
        ".pt",
        lambda v, p: saved(tensors(v, **{"visual.proj": torch.full((64, 32), torch.nan)})),
        "NaN or infinity in visual.proj",
    ),
    "infinity": (
        ".pt",
        lambda v, p: saved(tensors(v, logit_scale=torch.tensor(torch.inf))),
        "NaN or infinity in logit_scale",
    ),
    "a wrong shape": (
        ".pt",
        lambda v, p: saved(tensors(v, **{"visual.ln_post.weight": torch.zeros(63)})),
        "for visual.ln_post.weight",
    ),
    "a missing weight": (".pt", lambda v, p: saved(tensors(v, **{"ln_final.bias": None})), "got no ln_final.bias"),
    "a weight too many": (".pt", lambda v, p: saved(tensors(v, **{"<b>more</b>": torch.zeros(3)})), "got also <b>more"),
    "half a model": (
        ".pt",
        lambda v, p: saved({n: t for n, t in v.state_dict().items() if n.startswith("visual")}),
        "weights of an open_clip CLIP",
    ),
    "transformers' names": (
        ".pt",
        lambda v, p: saved({"text_model.embeddings.position_ids": torch.zeros(1)}),
        "transformers' CLIPModel",
    ),
    "too many layers": (
        ".pt",
        lambda v, p: saved(
            tensors(v, **{f"visual.transformer.resblocks.{n}.x": torch.zeros(1) for n in range(2, 400)})
        ),
        "layers: expected a number",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, vit, tmp_path):
    suffix, make, says = HOSTILE[name]
    path = tmp_path / f"own{suffix}"
    content = make(vit, tmp_path / "base")
    path.write_bytes(content)
    with pytest.raises(BadInput, match=says) as refused:
        import_model.read_model(str(path))
    assert str(path) in str(refused.value) or "layers" in says or "open_clip CLIP" in says
    assert len(str(refused.value)) < 1200


@pytest.mark.parametrize(
    "source",
    [
        "",
        "nosuch",
        "/nosuch/own.pt",
        "local-dir:/nosuch",
        "hf-hub:../../etc",
        "hf-hub:a/b/c",
        "hf-hub:a",
        "ViT-B-32/../../etc",
        "../ViT-B-32/openai",
        "x\0y.pt",
        "a" * 5000,
        "a" * 5000 + ".pt",
        "/dev/null",
        "ViT-B-32",
    ],
)
def test_names_that_lead_nowhere_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", lambda *a, **k: pytest.fail("it was looked up"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="expected"):
        import_model.read_model(source)
