"""Models as others make them: plain open_clip's, in the layouts in which their files come."""

import copy
import json

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from ubt.clip import models
from ubt.data import model_input

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
RESNET = VIT | {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}
CAPTIONS = ["a photo of a banana.", "two dogs", "consider a ship at sea"]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def plain(config, seed=0) -> torch.nn.Module:
    """A model of plain open_clip with weights that are nowhere zero."""
    config = copy.deepcopy(config)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    torch.manual_seed(seed)
    model = kind(**config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return model


def folder(path, model, config, preprocess=PREPROCESS):
    path.mkdir()
    (path / models.CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), path / models.WEIGHTS)
    return path


def same_features(ours, model):
    size, tokens = model_input.image_size(ours), model_input.tokenize(CAPTIONS, 16)
    pixels = models.preprocess(ours, np.repeat(np.repeat(IMAGES, size // 32, 1), size // 32, 2))
    with torch.inference_mode():
        for got, wanted in (
            (models.encode_image(ours, pixels), model.encode_image(pixels, normalize=True)),
            (
                torch.from_numpy(models.embed_tokens(ours, tokens)),
                model.encode_text(torch.from_numpy(tokens).long(), normalize=True),
            ),
        ):
            assert (got - wanted).abs().max() <= 1e-5
    return True


def as_openai_orders(state):
    """A state dict in the order of OpenAI's code, where a block makes its attention before the norm in front of it."""
    towers = dict.fromkeys(n.split(".resblocks.")[0] for n in state if ".resblocks." in n)
    ordered = [n for n in state if ".resblocks." not in n]
    for tower in towers:
        own = [n for n in state if n.startswith(f"{tower}.resblocks.")]
        ordered += sorted(own, key=lambda n: (n.split(".resblocks.")[1].split(".")[0], ".attn." not in n))
    return {n: state[n] for n in ordered}


def wrapped(model):
    return {
        "epoch": 3,
        "name": "default",
        "state_dict": {f"module.{n}": t for n, t in as_openai_orders(model.state_dict()).items()},
        "optimizer": {"state": {}},
    }


def of_open_clip(model):
    return {
        "epoch": 3,
        "name": "2026_01_01-model_nosuch-lr_0.001-b_64",
        "state_dict": model.state_dict(),
        "optimizer": {"param_groups": [{"lr": 1e-5}]},
    }
