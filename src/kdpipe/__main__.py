"""`python -m kdpipe`."""

import sys

from kdpipe.cli.main import main

sys.exit(main())
