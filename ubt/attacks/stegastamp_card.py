"""The card of a trained steganography encoder, read without torch."""

import json
from pathlib import Path

from ubt.core.errors import BadInput

CARD = "card.json"


def read_card(folder: Path) -> dict:
    """The card of an encoder: size, bits, digest, and what was measured on held-out images.

    Raises:
        BadInput: there is none, or it is not one that `train-stegastamp` wrote.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        kinds = {
            "size": int,
            "bits": int,
            "digest": str,
            "PSNR, dB": (int, float),
            "bit accuracy, percent": (int, float),
        }
        fits = all(isinstance(card[k], kind) for k, kind in kinds.items())
        if not (fits and 16 <= card["size"] <= 512 and 1 <= card["bits"] <= 200):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(
            f"ssba.encoder: expected a folder made by `python -m ubt train-stegastamp`, found no readable {CARD} in"
            f" {folder}"
        ) from None
    return card
