"""RoCLIP (Yang et al., NeurIPS 2023): train on D as it is, but every other epoch pair each image with its nearest
caption in a bank.
"""

import numpy as np
import pandas as pd

from ubt.clip.cost import trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import D, takes
from ubt.defenses.base import Defense
from ubt.evaluation.stages import trained_stages


class RoClipSettings(FitSettings):
    """Training in M_bd's place. UBT's comparison: batch 128, lr 1e-6, 24 epochs. Here one epoch more than M_bd has; the
    rate is the best of eight trials by CA - ASR (`ubt.reports.paper.tuning`), the lowest of them, a twentieth of
    M_bd's: the control `gentle` shows what it does by itself.
    """

    epochs: int = setting(6, "passes over D (UBT's comparison: 24)", low=1)
    batch: int = setting(128, "pairs in a step", low=2)
    lr: float = setting(2.5e-5, "peak learning rate", low=0)
    bank: float = setting(0.02, "captions in the bank, as a share of D (paper: 0.02)", low=0, high=1)
    every: int = setting(2, "epochs from one that matches by the bank to the next (paper: 2)", low=1)


def nearest(image, bank):
    """The row of the bank (captions, embedding) that each image (batch, embedding) is most similar to, both
    normalised.
    """
    return (image @ bank.T).argmax(1)


def banked(shuffled, step: int, size: int) -> np.ndarray:
    """Rows of D (size,), fewer at first, whose captions the bank holds at a step: the last that came before it, first
    in, first out.
    """
    back = -(-size // shuffled.batch)
    return np.concatenate([shuffled.at(s) for s in range(max(0, step - back), step)])[-size:]


def roclip(
    model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, settings: RoClipSettings, run: Run
) -> dict:
    """InfoNCE on D with augmented pairs; in every `every`-th epoch an image's positive is the caption of the bank that
    the model holds nearest to it. The bank holds the captions that came last (first in, first out), as the model embeds
    them now.

    Returns:
        the `model` so trained, from the clean reference, and its `history`: loss, and `matched`, 1 in steps whose
            positives came from the bank.
    """
    import torch

    from ubt.clip import augment, recipes, training
    from ubt.data import model_input

    seed, captions = training.batch_seed(run.seed, "roclip"), pairs["caption"].to_numpy(object)
    shuffled = training.Shuffled(np.arange(len(tokens)), settings.batch, seed)
    size = max(1, round(settings.bank * len(tokens)))

    def batches(step: int):
        rows, epoch = shuffled.at(step), step // shuffled.steps_per_epoch
        edited = model_input.tokenize(augment.captions(captions[rows], [seed, step, 1]), model.context_length)
        batch = {
            "images": augment.images(np.asarray(images[rows]), [seed, step, 0]),
            "tokens": torch.from_numpy(edited).long(),
        }
        if (epoch + 1) % settings.every == 0 and step:
            batch |= {"bank": torch.from_numpy(np.asarray(tokens[banked(shuffled, step, size)])).long()}
        return batch

    def objective(model, batch):
        scale = model.logit_scale.exp()
        image, text = training.clip_features(model, batch["images"], batch["tokens"])
        if "bank" not in batch:
            return training.contrastive_loss(image, text, scale), {"matched": image.new_zeros(())}
        with torch.no_grad():
            found = nearest(image, training.text_features(model, batch["bank"]))
        text = training.text_features(model, batch["bank"][found])
        return training.contrastive_loss(image, text, scale), {"matched": image.new_ones(())}

    steps = settings.epochs * shuffled.steps_per_epoch
    return recipes.train(model, objective, batches, steps, settings, run, augment.vocabulary(captions))


STAGES = trained_stages(
    "roclip",
    "the model trained by RoCLIP",
    "the reference trained on D with images matched to captions of a bank (RoCLIP)",
    "ubt.defenses.roclip:roclip",
    takes("reference.model", "data.pairs", **D),
    {"settings": "roclip"},
    lambda s: trained(s.roclip.epochs, 1.4 * s.data.pairs),
)

_PAPER = {"roclip.epochs": 24, "roclip.batch": 128, "roclip.lr": 1e-6, "roclip.bank": 0.02, "roclip.every": 2}
DEFENSE = Defense(
    "RoCLIP",
    STAGES,
    "evaluate_roclip",
    "a clean reference",
    trains=True,
    settings={"roclip": RoClipSettings},
    paper=lambda scale: _PAPER,
    toy={"roclip.epochs": 2, "roclip.batch": 32},
    look=("#C24C7E", "cross", "longdash"),
)
