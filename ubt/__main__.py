"""`python -m ubt`: see `ubt.cli.main`."""

from ubt.cli.main import main

if __name__ == "__main__":
    main()
