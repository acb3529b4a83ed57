"""`python -m ubt`: see `ubt.cli.main`."""

import sys

from ubt.core import limits


def main() -> None:
    """Run the command line; where there is too little memory even to load it, say so."""
    try:
        from ubt.cli.main import main as run
    except (ImportError, MemoryError, OSError) as e:
        if not (said := limits.ran_out(e)):
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
