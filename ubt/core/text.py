"""Text that may hold anything, as a page, a chart or a report shows it."""

import re
import unicodedata

MOST = 400
"""Characters of a text that are shown, unless it is said otherwise."""
_LINES = re.compile(r"[^\n\t]+")
_ODD = re.compile("[\ud800-\udfff]|[^\t\n\r -\ud7ff\ue000-\U0010ffff]")


def visible(text: object, most: int = MOST) -> str:
    """A text on one line: signs that steer a page or reorder the text around them as their codes, cut where it is long.

    >>> visible("a\u202eb\\nc"), visible("x" * 500, 10)
    ('a\\\\u202eb c', 'xxxxxxxxxx… (500 characters)')
    """
    whole = str(text)
    cut = whole if len(whole) <= most else whole[:most]
    said = _coded(re.sub(r"\s", " ", cut))
    return said if len(whole) <= most else f"{said}… ({len(whole):,} characters)"


def printable(text: object) -> str:
    r"""A text for a terminal or a log, whoever wrote the names in it: as `visible`, but whole and on its lines.

    >>> printable("a\x1b[2Jb\u202ec\nd\te")
    'a\\u001b[2Jb\\u202ec\nd\te'
    """
    return _LINES.sub(lambda part: _coded(part[0]), str(text))


def _coded(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(c):04x}" if _ODD.match(c) or unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") else c
        for c in text
    )


def percent(share: float | None) -> str:
    """
    >>> percent(0.9712), percent(None)
    ('97.1 %', 'undefined')
    """
    return "undefined" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """A time as roughly as an estimate is known.

    >>> [duration(s) for s in (3, 34, 58, 150, 8000, 260_000)]
    ['a few seconds', '30 s', '1 min', '2 min', '2 h 10 min', '3 days']
    """
    if seconds < 15:
        return "a few seconds"
    tens = 10 * round(seconds / 10)
    if tens < 60:
        return f"{tens} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"{round(hours / 24)} days" if hours >= 48 else f"{hours} h {minutes} min" if minutes else f"{hours} h"
