"""Models from outside: found or downloaded, read as files that nobody vouches for, put into the store with a card that
says what they are.

Whatever was not told and could not be read off the weights is assumed, and the card says so.
"""

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ubt import __version__
from ubt.cases.artifact import Artefact
from ubt.cases.store import Store
from ubt.clip import architecture, models, safe_load
from ubt.core import roots
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import digest, file_digest, read_json
from ubt.core.run import Progress, silent
from ubt.data import model_input
from ubt.data.fit import STOCK

STATES = ("clean", "poisoned", "suspect", "purified")
KEY = "model-"
"""What the names of imported models' artefacts begin with."""
_HUB, _FOLDER = "hf-hub:", "local-dir:"
_UNREAD = "config.json preprocessor_config.json params.txt args.json config.yaml hparams.yaml".split()
"""What programs write a model's settings into, beside its weights."""
_OR_SAY = "say --quick-gelu or --no-quick-gelu if you know better"
_CODE = {
    "openai": (
        "OpenAI's code",
        f", as in OpenAI's and CleanCLIP's code, in whose order the names are (early open_clip's, too); {_OR_SAY}",
    ),
    "open_clip": ("open_clip's code", f", open_clip's default, whose code wrote these weights; {_OR_SAY}"),
    "": ("", f", open_clip's default, for nothing in the file says it; {_OR_SAY}"),
}
"""Whose code wrote weights: its name, and why their activation is what it is taken for."""
_OF_RUN = re.compile(r"(?:^|-)model_([\w.-]+?)-lr_")


@dataclass
class _Found:
    """Where weights are (`file`: under which name they came), and what is known about them; a `config` of None is to be
    guessed. `beside`: the file that says it.
    """

    name: str
    weights: Path
    file: str = ""
    config: dict[str, Any] | None = None
    preprocess: dict[str, Any] | None = None
    said: list[str] = field(default_factory=list)
    beside: Path | None = None


def read_model(
    source: str,
    progress: Progress = silent,
    architecture_name: str = "",
    quick_gelu: bool | None = None,
    state: str = "suspect",
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A model from outside and its card.

    Args:
        source: `NAME/TAG` or `NAME:TAG` of open_clip's pretrained models, `hf-hub:ORG/NAME`, a folder (`local-dir:` may
            stand before it) with weights, or a file: safetensors, or a state dict or training checkpoint of torch.save.
            An open_clip_config.json beside the weights says what they are.
        architecture_name: one of open_clip's model names, for weights that come without a configuration.
        quick_gelu: the activation, where neither a configuration nor an architecture says it.
        state: one of `STATES`, as the analyst says.

    Raises:
        BadInput: there is no such source, or it is refused: it would run code, is damaged, absurd, not a CLIP, or no
        weights that fit.
        UbtError: it could not be downloaded.
    """
    if state not in STATES:
        raise BadInput(f"state: expected one of {', '.join(STATES)}; got {state!r}")
    found = _locate(source, progress)
    if found.config is not None and architecture_name:
        raise BadInput(
            f"--architecture: {source} has a configuration of its own ({found.beside or models.CONFIG}), which says"
            " what it is; leave the option out, or put the weights into a folder without it"
        )
    tensors, said = safe_load.state_dict(found.weights)
    if found.config is None:
        found.config = _config(found, tensors, said, architecture_name, quick_gelu)
    elif quick_gelu is not None and quick_gelu != bool(found.config.get("quick_gelu")):
        found.config["quick_gelu"] = quick_gelu
        found.said.append(f"quick_gelu {str(quick_gelu).lower()}, against its configuration, as told")
    if found.preprocess is None:
        found.said.append("OpenAI's mean and std")
    model = models.assemble(found.config, found.preprocess, _fitting(found, tensors, progress))
    _check_reads(model, source)
    about = {
        "file": found.file or found.weights.name,
        "file_digest": file_digest(found.weights),
        "layout": said["layout"],
    } | _trained_on(found.weights.parent)
    return model, card(model, found.name, source, state, found.said, about)


def _check_reads(model: torch.nn.Module, source: str) -> None:
    """Raises:
    BadInput: the weights are finite, but what the model makes of images or captions is not, or is nothing.
    """
    side = model_input.image_size(model)
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    features = (
        models.embed_images(model, noise),
        models.embed_tokens(model, model_input.tokenize(["a", "a photo of a dog"], model_input.context_length(model))),
    )
    if not all(np.isfinite(f).all() and np.abs(np.linalg.norm(f, axis=1) - 1).max() < 0.01 for f in features):
        raise BadInput(
            f"{source}: expected a model that embeds images and captions, got one that makes zeros, infinity or NaN of"
            " them; its weights are no use"
        )


def _trained_on(folder: Path) -> dict[str, Any]:
    """What a model that `python -m ubt data reference` made says it was trained on: the name of the pairs, and their
    share.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UbtError):
        said = read_json(safe_load.ordinary_file(folder / models.CARD))["made_from"]
        pairs, share = str(said["pairs"]), float(said["share"])
        if re.fullmatch(r"pairs-[0-9a-f]{16}", pairs) and 0 < share <= 1:
            return {"trained_on": {"pairs": pairs, "share": share}}
    return {}


def card(
    model: torch.nn.Module,
    name: str,
    source: str,
    state: str,
    assumed: Sequence[str],
    made_from: dict[str, Any],
    weights: str = "",
    **more: Any,
) -> dict[str, Any]:
    """What a model is. `weights`: the digest of its weights file, where that is known."""
    stock = architecture.stock_name(model.config)
    return {
        "name": name,
        "state": state,
        "source": source,
        "architecture": (f"{stock}: " if stock else "") + architecture.summary(model.config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "preprocessing": model.preprocess_cfg,
        "digest": weights or models.weights_digest(model),
        "made_from": made_from,
        "assumed": list(assumed),
        "made_by": f"UBT Inspector {__version__}",
    } | more


def import_model(
    store: Store,
    source: str,
    architecture_name: str = "",
    state: str = "suspect",
    progress: Progress = silent,
    quick_gelu: bool | None = None,
) -> str:
    """Put a model from outside into the store, once; returns its artefact's name. See `read_model`."""
    started = time.monotonic()
    model, said = read_model(source, progress, architecture_name, quick_gelu, state)
    decided = [said["digest"], model.config, model.preprocess_cfg, state]
    if model_input.fit(model) != STOCK:
        decided.append("fitted")  # in earlier versions such a model's images were fitted in the stock way
    key = f"{KEY}{digest(decided)}"
    about = {"stage": "model", "brought": True, "seconds": round(time.monotonic() - started, 3)}
    store.put(key, {"model": model, "card": said}, about)
    return key


def opened(store: Store, key: str) -> Artefact:
    """An imported model's artefact, with the entries `model` and `card`.

    Raises:
        BadInput: there is none of this name.
    """
    found = store.find(key) if re.fullmatch(rf"{KEY}[0-9a-f]{{16}}", key) else None
    if found is None:
        raise BadInput(
            f"unknown model {key!r}; expected one of:"
            f" {', '.join(imported_models(store)) or 'none yet (python -m ubt models import SOURCE)'}"
        )
    return found


def imported_models(store: Store) -> dict[str, dict[str, Any]]:
    """The cards of the models in the store, by artefact name, the newest first."""
    return {key: artefact["card"] for key, artefact in store.all_imported("model").items()}


def forget(store: Store, key: str) -> int:
    """Delete an imported model that no case names; returns the bytes freed.

    Raises:
        BadInput: there is none of this name. UbtError: a case names it, or it is being written.
    """
    freed, using = (
        opened(store, key).bytes,
        [name for name, record in store.cases().items() if key in record.settings.get("own", {}).values()],
    )
    if using:
        raise UbtError(
            f"{key}: expected a model that no case names, but {', '.join(using)} does; delete the case first"
        )
    with store.lock(key, wait=0):
        store.drop(store.root / "artefacts" / key)
    return freed


def _locate(source: str, progress: Progress) -> _Found:
    if source.startswith(_HUB):
        return _from_hub(source, progress)
    path = Path(source.removeprefix(_FOLDER))
    if path.is_absolute() or path.suffix in safe_load.SUFFIXES or source.startswith(_FOLDER):
        roots.require(path)
    if not roots.allowed(path):
        return _from_open_clip(source, progress)
    try:
        if path.is_dir():
            return _from_folder(path)
        if path.is_symlink() or path.exists() or path.suffix in safe_load.SUFFIXES or source.startswith(_FOLDER):
            return _with_what_lies_beside(_Found(path.stem[:80], safe_load.ordinary_file(path)))
    except (OSError, ValueError):
        raise BadInput(f"{source[:80]!r}: expected the path of a file or folder, or a name; got neither") from None
    return _from_open_clip(source, progress)


def _from_folder(folder: Path) -> _Found:
    weights = folder / models.WEIGHTS
    if not (weights.exists() or weights.is_symlink()):
        there = sorted(p for p in folder.iterdir() if p.suffix in safe_load.SUFFIXES)
        if len(there) != 1:
            raise BadInput(
                f"{folder}: expected {models.WEIGHTS}, or one file of weights ({', '.join(safe_load.SUFFIXES)}), found"
                f" {len(there)}; name the file"
            )
        weights = there[0]
    return _with_what_lies_beside(_Found(folder.resolve().name[:80], safe_load.ordinary_file(weights)))


def _with_what_lies_beside(found: _Found) -> _Found:
    """What files in the weights' folder say of them: their configuration, and their card if it is of these very
    weights; others are named, for they are not read.
    """
    folder = found.weights.parent
    if (config := folder / models.CONFIG).exists() or config.is_symlink():
        found.config, found.preprocess = models.read_config(safe_load.ordinary_file(config))
        found.beside = config
        if found.weights.name == models.WEIGHTS:
            models.check_card(folder)
        return found
    card = folder / models.CARD
    if card.is_file():
        if found.weights.name == models.WEIGHTS:
            models.check_card(folder)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = read_json(safe_load.ordinary_file(card))
            if said["digest"] == file_digest(found.weights):
                found.preprocess, found.beside = dict(said["preprocessing"]), card
                found.said.append(f"preprocessing as {models.CARD} beside it says")
    of_its_name = [f"{found.weights.stem}{ending}" for ending in (".json", ".yaml", ".txt")]
    if unread := [n for n in dict.fromkeys(_UNREAD + of_its_name) if (folder / n).exists() and n != models.CARD]:
        found.said.append(f"what {', '.join(n[:80] for n in unread)} beside it says of the model is not read")
    return found


def _from_hub(source: str, progress: Progress) -> _Found:
    from open_clip import pretrained

    name = source.removeprefix(_HUB)
    if not re.fullmatch(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", name) or ".." in name:
        raise BadInput(f"{source[:80]!r}: expected hf-hub:ORGANISATION/NAME")
    config, preprocess = models.read_config(
        _downloaded(source, progress, 0, pretrained.download_pretrained_from_hf, name, filename=models.CONFIG)
    )
    weights = _downloaded(source, progress, 1, pretrained.download_pretrained_from_hf, name)
    return _Found(name, weights.resolve(), weights.name, config, preprocess)


def _from_open_clip(source: str, progress: Progress) -> _Found:
    from open_clip import pretrained

    name, parted, tag = source.partition(":") if ":" in source else source.partition("/")
    tags = pretrained.list_pretrained_tags_by_model(name)
    if not parted or not tags:
        raise BadInput(
            f"{source[:80]!r}: expected a file or folder that exists, hf-hub:ORGANISATION/NAME, or open_clip's NAME/TAG"
            " (as ViT-B-32/laion2b_s34b_b79k), got none of them"
        )
    if not pretrained.is_pretrained_cfg(name, tag):
        raise BadInput(f"{source[:80]!r}: unknown weights {tag[:40]!r} of {name}; expected one of: {', '.join(tags)}")
    config, about = architecture.named(name), pretrained.get_pretrained_cfg(name, tag)
    found = _Found(
        f"{name}/{tag}",
        Path(),
        "",
        config,
        architecture.preprocessing(
            {n: about[n] for n in (*architecture.OPENAI, "fill_color") if n in about},
            config["vision_cfg"].get("image_size", 224),
        ),
    )
    if bool(about.get("quick_gelu")) != bool(config.get("quick_gelu")):
        config["quick_gelu"] = bool(about.get("quick_gelu"))
        found.said.append(f"quick_gelu {str(config['quick_gelu']).lower()}, as these weights were trained")
    weights = _downloaded(source, progress, 1, pretrained.download_pretrained, about)
    found.weights, found.file = weights.resolve(), weights.name
    return found


def _downloaded(source: str, progress: Progress, done: int, download: Any, *arguments: Any, **named: Any) -> Path:
    """A file from open_clip's downloads; the cache holds it as a link to one without a suffix."""
    progress(done, 2, {})
    try:
        path = download(*arguments, **named)
    except Exception as e:
        said = (str(e).splitlines() or [type(e).__name__])[0][:200]
        raise UbtError(
            f"{source}: expected to download it, could not ({said}); look at the connection and the name, or bring a"
            " file or folder"
        ) from None
    if not path:
        raise UbtError(f"{source}: expected weights to download, open_clip knows none")
    progress(done + 1, 2, {})
    return Path(path)


def _config(found: _Found, tensors: dict, said: dict[str, Any], name: str, quick_gelu: bool | None) -> dict[str, Any]:
    """The architecture of weights that came without one: as told, as their training run is called, or read off their
    shapes.
    """
    run = _OF_RUN.search(said.get("name", ""))
    if name or (run and run[1] in architecture.stock()):
        config = architecture.named(name or run[1])
        if quick_gelu is not None:
            config["quick_gelu"] = quick_gelu
        why = f"{name}, as told" if name else f"{run[1]}, as its training run is called"
        quick = bool(config.get("quick_gelu"))
        told = quick_gelu is not None or not said["code"] or quick is (said["code"] == "openai")
        doubt = "" if told else f" by that name, although the names are in the order of {_CODE[said['code']][0]}"
        found.said.append(f"architecture {why}; quick_gelu {str(quick).lower()}{doubt}")
        return config
    why = ", as told"
    if quick_gelu is None:
        code = "openai" if said["openai"] else said["code"]
        quick_gelu, why = code == "openai", _CODE[code][1]
    config, assumed = architecture.guess({n: tuple(t.shape) for n, t in tensors.items()}, quick_gelu)
    found.said += [assumed[0] + why, *assumed[1:]]
    return config


def _advice(found: _Found) -> str:
    """What to do if weights are not those of the architecture that they were taken for."""
    if found.beside is not None and found.beside.name == models.CONFIG:
        return f". {found.beside} says that they are; if it is of another model, put them into a folder of their own"
    if any(said.startswith("architecture") for said in found.said):
        return "; name the right model with --architecture"
    return ""


def _fitting(found: _Found, tensors: dict[str, torch.Tensor], progress: Progress) -> dict[str, torch.Tensor]:
    """The weights by the configuration's names, in fp32 and in memory of their own.

    Raises:
        BadInput: some are missing, left over, of another shape, or not finite.
    """
    from open_clip.model import convert_to_custom_text_state_dict

    where, wanted = found.weights, models.skeleton(found.config).state_dict()
    if found.config.get("custom_text") and "positional_embedding" in tensors:
        tensors = convert_to_custom_text_state_dict(tensors)
    for name, like in wanted.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.zeros((), dtype=torch.int64))
        if name in ("logit_scale", "logit_bias") and name in tensors and tensors[name].numel() == like.numel():
            tensors[name] = tensors[name].reshape(like.shape)
    for kind, names in (("no", wanted.keys() - tensors.keys()), ("also", tensors.keys() - wanted.keys())):
        if names:
            some = ", ".join(n[:80] for n in sorted(names)[:3])
            raise BadInput(
                f"{where}: expected the weights of {architecture.summary(found.config)}; got {kind} {some}"
                f" ({len(names)} such){_advice(found)}"
            )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise BadInput(
                f"{where}: expected {tuple(wanted[name].shape)} for {name} in {architecture.summary(found.config)}, got"
                f" {tuple(tensor.shape)}{_advice(found)}"
            )
    own = {}
    for done, name in enumerate(wanted, 1):
        tensor = tensors.pop(name)
        own[name] = tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        if not torch.isfinite(own[name]).all():
            raise BadInput(
                f"{where}: expected finite weights, got NaN or infinity in {name}; the training that made them broke"
                " off or diverged"
            )
        progress(done, len(wanted), {})
    return own
