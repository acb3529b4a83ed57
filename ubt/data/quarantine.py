"""Why a row or an image that was imported is not used, in words that an analyst can act on; and captions checked."""

import tomllib
import unicodedata
from pathlib import Path

from ubt.core.errors import UbtError

REASONS: dict[str, str] = tomllib.loads(Path(__file__).with_name("quarantine.toml").read_text(encoding="utf-8"))
"""What each reason means."""

LONGEST_CAPTION = 8000
LONGEST_NAME = 1000
LONGEST_ID = 200
TEXT_BYTES = 1 << 20
IMAGE_BYTES = 64 << 20
TOO_LONG = "\0too long"
"""Stands for a text that was too long to be read."""


class NotText(str):
    """What stands where a caption was expected and is none (an object, a number, `true`), written out."""


_REORDERS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class BrokenImage(UbtError):
    """One row that cannot be used: `reason` is one of `REASONS`, `detail` what came."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail

    def __reduce__(self):
        return type(self), (self.reason, self.detail)


def clean_text(value: str | bytes | None, longest: int = LONGEST_CAPTION) -> str:
    """A caption as one line: any blanks between words are one blank (open_clip's tokenizer takes them so), nothing else
    is changed.

    >>> clean_text(b"=1+1 <b>a\\n cat</b> ")
    '=1+1 <b>a cat</b>'

    Raises:
        BrokenImage: it is empty, too long, not UTF-8, or has control characters in it.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise BrokenImage("undecodable caption") from None
    if value == TOO_LONG:
        raise BrokenImage("caption too long")
    if isinstance(value, NotText):
        raise BrokenImage("caption not text", shown(value))
    text = (value or "").strip(" ")
    if not (text.isascii() and text.isprintable()):
        text = _unusual(text)
    if not text:
        raise BrokenImage("empty caption")
    if len(text) > longest:
        raise BrokenImage("caption too long", f"{len(text)} characters")
    return text


def _unusual(text: str) -> str:
    kinds = {c: unicodedata.category(c) for c in set(text)}
    if "Cs" in kinds.values():
        raise BrokenImage("undecodable caption")
    bad = [c for c, kind in kinds.items() if (kind == "Cc" and c not in "\t\n\r") or c in _REORDERS]
    if bad:
        raise BrokenImage("control characters", ", ".join(f"U+{ord(c):04X}" for c in sorted(bad)[:3]))
    return "" if all(kind in ("Cf", "Zs", "Cc") for kind in kinds.values()) else " ".join(text.split())


def usable(name: str | None, reason: str, longest: int) -> str:
    """`name` if it can stand in a table and an address.

    Raises:
        BrokenImage: `reason`.
    """
    if not name or len(name) > longest:
        raise BrokenImage(reason, "empty" if not name else f"{len(name)} characters")
    if not (name.isascii() and name.isprintable()) and any(
        c in _REORDERS or unicodedata.category(c) in ("Cc", "Cs") for c in name
    ):
        raise BrokenImage(reason)
    return name


def shown(text: str | bytes | None, longest: int = 120) -> str:
    """`text` cut and with what cannot be shown escaped, for the list of what was left out.

    >>> shown("a\\x00b\\udcff")
    'a\\\\x00b\\\\udcff'
    """
    if text is None or text == TOO_LONG:
        return ""
    text = text[: 4 * longest].decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    text = text if len(text) <= longest else text[: longest - 3] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
