"""The command line: one verb for each thing a person or a rule asks for.

check, plan, status, report, archive and prune take study files; prepare, train, score and probe are
what the rules call, and can be typed by hand. A mistake of the user is one message and exit code 2.
"""

import errno
import sys

from kdpipe.cli.parser import parser
from kdpipe.errors import KdpipeError

# Of the machine, not bugs: no space, no permission.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 a mistake of the user, 75 interrupted)."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KdpipeError as error:
        print(f"kdpipe: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of `kdpipe plan | head` has gone
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DENIED:
            raise
        print(f"kdpipe: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
