"""The command that lists every setting: `python -m ubt settings`."""

from ubt.cases.settings import CaseSettings


def settings() -> None:
    """Every setting with its default and meaning, as a Markdown table (that of ubt/docs/reference.md)."""
    print("\n".join(settings_table()))


def settings_table() -> list[str]:
    """The rows of the table of settings."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, (f, value) in CaseSettings().described().items():
        choices = f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
        rows.append(f"| `{name}` | {value} | {f.metadata['help']}{choices} |")
    return rows
