"""`python -m kdpipe`, and the command `kdpipe`."""

import sys


def main() -> int:
    """Run one command; Ctrl-C while its modules are still being imported is no traceback."""
    try:
        from kdpipe.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("kdpipe: interrupted; nothing was begun", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
