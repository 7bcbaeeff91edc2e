"""Where the workflow itself lies: the Snakefile with its rules, profiles, environment and studies.

In a clone they lie beside src/. A wheel carries them inside the package (pyproject.toml), so that
`pip install` alone is enough.
"""

from pathlib import Path

import kdpipe
from kdpipe.errors import KdpipeError

CARRIED = "carried"  # of the package: what a wheel has beside the code


def folder() -> Path:
    """The folder of the Snakefile. Raises KdpipeError where the package came without one."""
    package = Path(kdpipe.__file__).absolute().parent
    for place in (package / CARRIED, package.parents[1]):
        if (place / "Snakefile").is_file() and (place / "workflow").is_dir():
            return place
    raise KdpipeError(
        f"{package} came without its Snakefile: install kdpipe again, from a wheel or a clone"
    )
