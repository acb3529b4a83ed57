"""The command that lists every setting: `python -m ubt settings`."""

from ubt.reports.docs_tables import settings as table


def settings() -> None:
    """Every setting with its default and meaning, as a Markdown table (that of ubt/docs/reference.md)."""
    print("\n".join(table()))
