"""`python -m ubt`: see `ubt.cli`."""

from ubt.cli import main

if __name__ == "__main__":
    main()
