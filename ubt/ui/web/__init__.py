"""What runs in the browser: style sheets and scripts, each a file of its own."""

import re
from functools import cache
from pathlib import Path


@cache
def text(name: str) -> str:
    """A file of this folder; a style sheet, which pages send many times, without its line breaks."""
    content = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", content).strip() if name.endswith(".css") else content


def component_css(name: str) -> str:
    """A style sheet for a component: with line breaks, without which Streamlit may take it for a path."""
    return text(name).replace("} ", "}\n")
