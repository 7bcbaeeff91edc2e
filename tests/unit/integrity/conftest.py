"""A finished study, and a bucket."""

from helpers.bucket_server import s3, server  # noqa: F401
from helpers.finished_results import archive, say, store  # noqa: F401
