"""`python -m ubt`: see `ubt.cli`."""

from ubt.cli import main

main()
