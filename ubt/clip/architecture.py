"""What an open_clip configuration may say here, and what the shapes of weights say of a model that came without one.

A configuration may come from anybody: only towers of open_clip's own are built (no timm, no transformers, nothing that
is looked up by a name), of sizes that exist, with the stock tokenizer of 49,408 tokens.
"""

import copy
import functools
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ubt.core.errors import BadInput
from ubt.data.fit import RESIZING

VOCABULARY = 49408
OPENAI = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""OpenAI's preprocessing, which most CLIP models share."""

_ALLOWED = tomllib.loads(Path(__file__).with_name("architecture.toml").read_text(encoding="utf-8"))
_NEEDED = "width layers embed_dim image_size patch_size context_length heads head_width".split()
MOST_PATCHES = 4096


def check(config: Any) -> dict[str, Any]:
    """A copy of an open_clip `model_cfg` that is safe to build.

    Raises:
        BadInput: it is no such configuration, its sizes are absurd, or it needs what is not built here.
    """
    if (
        not isinstance(config, dict)
        or not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg"))
        or "embed_dim" not in config
    ):
        raise BadInput(
            "model_cfg: expected open_clip's model_cfg with embed_dim, vision_cfg and text_cfg, got something else"
        )
    config = copy.deepcopy(config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    _refuse_what_is_not_built(config)
    for part, prefix in ((vision, "timm_"), (text, "hf_")):
        for name in [n for n in part if str(n).startswith(prefix)]:
            del part[name]
    if (
        isinstance(vision.get("image_size"), list)
        and len(vision["image_size"]) == 2
        and vision["image_size"][0] == vision["image_size"][1]
    ):
        vision["image_size"] = vision["image_size"][0]
    layers = vision.get("layers")
    resnet = isinstance(layers, list)
    if resnet:
        if len(layers) != 4 or not all(type(n) is int and 1 <= n <= 64 for n in layers):
            raise BadInput(f"vision_cfg.layers: expected a number, or four of them for a ResNet, got {_repr(layers)}")
        vision = {n: v for n, v in vision.items() if n not in ("layers", "patch_size")}
    _check("model_cfg", {n: v for n, v in config.items() if n not in ("vision_cfg", "text_cfg")}, _ALLOWED["model_cfg"])
    _check("vision_cfg", vision, _ALLOWED["shared"] | _ALLOWED["vision_cfg"])
    _check("text_cfg", text, _ALLOWED["shared"] | _ALLOWED["text_cfg"])
    _check_sizes(vision, text, resnet)
    return config


def _refuse_what_is_not_built(config: dict[str, Any]) -> None:
    """Refuse towers of other libraries and tokenizers other than the stock one; takes the latter's empty settings
    out of `config`.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "multimodal_cfg" in config:
        raise BadInput("model_cfg: expected a model with an image and a text tower alone, got a captioner (CoCa)")
    if vision.get("timm_model_name"):
        raise BadInput(
            "vision_cfg: expected a tower of open_clip's own (ViT or ResNet), got timm's"
            f" {_repr(vision['timm_model_name'])}, which is not built here"
        )
    if text.get("hf_model_name"):
        raise BadInput(
            f"text_cfg: expected open_clip's own text tower, got transformers' {_repr(text['hf_model_name'])}, which is"
            " not built here"
        )
    for name in ("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode"):
        if text.pop(name, None):
            raise BadInput(
                f"text_cfg.{name}: expected a model with the stock CLIP tokenizer ({VOCABULARY:,} tokens), got one with"
                " a tokenizer of its own"
            )
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        raise BadInput(
            f"text_cfg.vocab_size: expected the stock CLIP tokenizer's {VOCABULARY:,}, got {_repr(text['vocab_size'])}"
        )


def _check_sizes(vision: dict[str, Any], text: dict[str, Any], resnet: bool) -> None:
    """Refuse sizes that do not go together. A ResNet's last stage is 32 times as wide as its first, and as coarse."""
    width, heads = vision.get("width", 768), vision.get("head_width", 64)
    last = width * 32 if resnet else width
    if last % heads or last < heads:
        raise BadInput(f"vision_cfg: expected a head_width that divides the width, got {heads} and {width}")
    if text.get("width", 512) % text.get("heads", 8):
        raise BadInput(
            f"text_cfg: expected heads that divide the width, got {text.get('heads', 8)} and {text.get('width', 512)}"
        )
    size, patch = vision.get("image_size", 224), 32 if resnet else vision.get("patch_size", 16)
    if not 1 <= (size // patch) ** 2 <= MOST_PATCHES:
        raise BadInput(
            f"vision_cfg: expected 1 to {MOST_PATCHES} patches an image, got {size} px in patches of {patch}"
        )


def _check(where: str, values: dict, allowed: dict[str, Any]) -> None:
    for name, value in values.items():
        if name not in allowed:
            raise BadInput(
                f"{where}: expected known settings alone, got {_repr(name)}; known are: {', '.join(allowed)}"
            )
        rule = allowed[name]
        if value is None and name not in _NEEDED:
            continue
        if isinstance(rule, dict):
            if not isinstance(value, dict):
                raise BadInput(f"{where}.{name}: expected settings, got {_repr(value)}")
            _check(f"{where}.{name}", value, rule)
        elif not isinstance(rule[0], (int, float)) or isinstance(rule[0], bool):
            if type(value) is not type(rule[0]) or value not in rule:
                raise BadInput(f"{where}.{name}: expected {' or '.join(map(str, rule))}, got {_repr(value)}")
        elif (
            type(value) not in ((int,) if isinstance(rule[0], int) else (int, float)) or not rule[0] <= value <= rule[1]
        ):
            raise BadInput(f"{where}.{name}: expected a number from {rule[0]} to {rule[1]}, got {_repr(value)}")


def _repr(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) < 60 else text[:57] + "…"


def preprocessing(given: Any, size: int) -> dict[str, Any]:
    """A complete open_clip `preprocess_cfg` for a model that takes images of `size` pixels; what is not given is
    OpenAI's.

    Raises:
        BadInput: it holds something else than mean, std and ways to resize, in open_clip's words.
    """
    if not isinstance(given, (dict, type(None))):
        raise BadInput(f"preprocess_cfg: expected open_clip's preprocess_cfg, got {_repr(given)}")
    cfg = OPENAI | {n: v for n, v in (given or {}).items() if n in OPENAI and v is not None}
    for name, low in (("mean", -10.0), ("std", 1e-4)):
        value = list(cfg[name]) if isinstance(cfg[name], (list, tuple)) else [cfg[name]] * 3
        if len(value) != 3 or not all(type(v) in (int, float) and low <= v <= 10 for v in value):
            raise BadInput(f"preprocess_cfg.{name}: expected three numbers from {low} to 10, got {_repr(cfg[name])}")
        cfg[name] = value
    if cfg["interpolation"] == "random":
        cfg["interpolation"] = "bicubic"
    more = {n: v for n, v in (given or {}).items() if n not in (*OPENAI, "size")}
    _check("preprocess_cfg", more | {n: cfg[n] for n in RESIZING}, _ALLOWED["preprocess_cfg"] | RESIZING)
    return cfg | ({"fill_color": more["fill_color"]} if more.get("fill_color") else {}) | {"size": size}


def _sizes(config: dict[str, Any]) -> tuple:
    vision, text = config["vision_cfg"], config["text_cfg"]
    layers = vision["layers"]
    patch = 32 if isinstance(layers, list) else vision["patch_size"]
    where = vision["image_size"], patch, vision["width"], tuple(layers) if isinstance(layers, list) else layers
    return (*where, config["embed_dim"], text["context_length"], text["width"], text["layers"])


@functools.cache
def stock() -> dict[str, dict[str, Any]]:
    """open_clip's own configurations that can be built here, by name."""
    import open_clip

    found = {}
    for name in open_clip.list_models():
        try:
            found[name] = check(open_clip.get_model_config(name))
        except BadInput:
            continue
    return found


def named(name: str) -> dict[str, Any]:
    """One of open_clip's own configurations.

    Raises:
        BadInput: there is none, or it cannot be built here (and why).
    """
    import open_clip

    if name not in open_clip.list_models():
        raise BadInput(f"unknown architecture {_repr(name)}; expected one of: {', '.join(stock())}")
    try:
        return check(open_clip.get_model_config(name))
    except BadInput as e:
        raise BadInput(f"architecture {name}: {e}") from None


def _some(names: Iterable[str]) -> str:
    return ", ".join(repr(n[:80]) for n in list(names)[:3])


def _refuse_prefixed(shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse a CLIP's weights that stand under a prefix with others beside them; no other option would help there."""
    found = (re.fullmatch(r"(.+\.)(?:text\.)?token_embedding\.weight", n) for n in shapes)
    prefixes = {m[1] for m in found if m and m[1] != "text."}
    if len(prefixes) == 1 and any(not n.startswith(prefix := next(iter(prefixes))) for n in shapes):
        others = [n for n in shapes if not n.startswith(prefix)]
        raise BadInput(
            f"expected the weights of one CLIP, found them under the prefix {prefix[:80]!r}, and {len(others):,} others"
            f" ({_some(others)}); save the CLIP's own state dict and import that"
        )


def _layers(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    found = {int(m[1]) for name in shapes if (m := re.match(rf"{re.escape(prefix)}\.(\d{{1,4}})\.", name))}
    if found != set(range(len(found))) or not found:
        raise KeyError(f"{prefix}.0")
    return len(found)


def guess(shapes: dict[str, tuple[int, ...]], quick_gelu: bool) -> tuple[dict[str, Any], list[str]]:
    """The configuration that weights of these names and shapes belong to, and what had to be assumed.

    Heads leave no trace in the shapes: they are those of open_clip's model of these sizes, else a head for every 64
    channels.

    Raises:
        BadInput: the weights are not an open_clip CLIP's, or heads cannot be told.
    """
    _refuse_prefixed(shapes)
    text = "text." if "text.token_embedding.weight" in shapes else ""
    try:
        (_, t_width), (context, _) = shapes[f"{text}token_embedding.weight"], shapes[f"{text}positional_embedding"]
        if "visual.layer1.0.conv1.weight" in shapes:
            positions, deep = shapes["visual.attnpool.positional_embedding"]
            layers = [_layers(shapes, f"visual.layer{n}") for n in (1, 2, 3, 4)]
            vision = {
                "image_size": math.isqrt(positions - 1) * 32,
                "layers": layers,
                "width": deep // 32,
                "patch_size": None,
            }
            embed = shapes["visual.attnpool.c_proj.weight"][0]
        else:
            width, _, patch, _ = shapes["visual.conv1.weight"]
            positions = shapes["visual.positional_embedding"][0]
            hidden = shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
            vision = {
                "image_size": math.isqrt(positions - 1) * patch,
                "layers": _layers(shapes, "visual.transformer.resblocks"),
                "width": width,
            }
            vision |= {"patch_size": patch} | ({"mlp_ratio": (hidden + 0.25) / width} if hidden != 4 * width else {})
            embed = shapes["visual.proj"][1]
        own = {"context_length": context, "vocab_size": shapes[f"{text}token_embedding.weight"][0], "width": t_width}
        own["layers"] = _layers(shapes, f"{text}transformer.resblocks")
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as e:
        raise BadInput(
            f"expected the weights of an open_clip CLIP (ViT or ResNet), found no {e} among {len(shapes):,} names"
            f" ({_some(shapes)}); import the whole state dict of such a model"
        ) from None
    config = {"embed_dim": embed, "vision_cfg": vision, "text_cfg": own} | ({"quick_gelu": True} if quick_gelu else {})
    if text:
        config["custom_text"] = True
    if "logit_bias" in shapes:
        config["init_logit_bias"] = 0.0
    assumed = [f"quick_gelu {str(quick_gelu).lower()}"]
    alike = {n: c for n, c in stock().items() if _sizes(c) == _sizes(config)}
    heads = {(c["vision_cfg"].get("head_width", 64), c["text_cfg"]["heads"]) for c in alike.values()}
    if len(heads) == 1:
        head, own["heads"] = heads.pop()
        assumed.append(f"heads as in open_clip's {next(iter(alike))}")
    else:
        head, own["heads"] = 64, max(1, t_width // 64)
        assumed.append("a head for every 64 channels")
        if vision["width"] * (32 if isinstance(vision["layers"], list) else 1) % 64 or t_width % 64:
            raise BadInput(
                f"expected widths that heads of 64 channels divide, got {vision['width']} and {t_width}; weights do not"
                " tell their heads: name the model with --architecture, or put its open_clip_config.json beside them"
            )
    if head != 64:
        vision["head_width"] = head
    return check(config), assumed


def stock_name(config: dict[str, Any]) -> str:
    """The name of open_clip's own configuration that builds the same, or nothing."""
    return next((name for name, c in stock().items() if _full(c) == _full(config)), "")


def _full(config: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    vision, text = asdict(CLIPVisionCfg(**config["vision_cfg"])), asdict(CLIPTextCfg(**config["text_cfg"]))
    if isinstance(vision["layers"], list):
        vision["patch_size"] = None
    return {"quick_gelu": False, "custom_text": False} | config | {"vision_cfg": vision, "text_cfg": text}


def summary(config: dict[str, Any]) -> str:
    """A configuration in a line.

    >>> vision = {"image_size": 48, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32}
    >>> text = {"context_length": 24, "width": 96, "heads": 3, "layers": 3}
    >>> summary({"embed_dim": 128, "vision_cfg": vision, "text_cfg": text})
    'ViT 48 px, patch 8, 4 layers x 128, 4 heads; text 24 tokens, 3 layers x 96, 3 heads; embedding 128'
    """
    full = _full(config)
    v, t = full["vision_cfg"], full["text_cfg"]
    if isinstance(v["layers"], list):
        image = f"ResNet {v['image_size']} px, blocks {'-'.join(map(str, v['layers']))}, width {v['width']}"
    else:
        image = (
            f"ViT {v['image_size']} px, patch {v['patch_size']}, {v['layers']} layers x {v['width']},"
            f" {v['width'] // v['head_width']} heads"
        )
    own = f"text {t['context_length']} tokens, {t['layers']} layers x {t['width']}, {t['heads']} heads"
    return "; ".join([image, own, f"embedding {full['embed_dim']}", *(["QuickGELU"] if full["quick_gelu"] else [])])
