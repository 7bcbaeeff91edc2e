"""`python -m kdpipe`, and the command `kdpipe`."""

import sys


def main() -> int:
    """Run one command, without a traceback for Ctrl-C while its modules are imported."""
    try:
        from kdpipe.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("kdpipe: interrupted; nothing was started", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
