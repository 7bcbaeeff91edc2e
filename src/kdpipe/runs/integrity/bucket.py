"""Results in an S3 bucket: finished runs are uploaded there, and merged from there.

Below the prefix of its address a bucket has `runs/NAME/record.json` (also ensembles, probes and
gauges), and the files that records list under their checksum, `files/SHA256`. They are uploaded
first and the record last, so what an interrupted upload has left is never read as a run.

One listing shows what is there; no object is looked up by itself. The small files (records,
registrations, decisions of searches, an archive) are mirrored in a local folder, which is a results
folder to everything else; the files of a run are downloaded once they are needed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

from kdpipe.errors import KdpipeError
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import FileInfo, compute_file_info
from kdpipe.runs.store import Store, lock_published_folder

SCHEME = "s3://"
FILES_FOLDER = "files"
STAGING_PREFIX = ".bucket-"  # of the folder in the results into which files are downloaded
N_TRANSFERS = 8  # at a time
CHUNK_SIZE = 8 << 20  # of a large file, whose chunks are transferred side by side

# By kind or alone: the files of a results folder that are mirrored.
_MIRRORED = re.compile(
    rf"(?P<kind>{'|'.join(records.RECORD_KINDS)})/[^/.][^/]*/{re.escape(run_folder.RECORD_FILE)}"
    r"|registrations/[^/.][^/]*|searches/[^/.][^/]*/round-\d+\.json|claims_rules_\d+\.json"
    rf"|copies\.json|{re.escape(records.ARCHIVE_FILE)}"
)


class _ObjectInfo(TypedDict):
    """What a listing says of an object, as far as it is used here."""

    size: int


class _FileSystem(Protocol):
    """A file system of fsspec, for which that package has no types."""

    def find(self, path: str, *, detail: bool) -> dict[str, _ObjectInfo]: ...
    def get_file(self, rpath: str, lpath: str, *, chunksize: int) -> None: ...
    def put_file(self, lpath: str, rpath: str, *, chunksize: int) -> None: ...


def is_url(text: str) -> bool:
    """Return whether a text is the address of a bucket, or of something else that is no path.

    Raises
    ------
    KdpipeError
        If it is an address, but not one of an S3 bucket.
    """
    scheme, separator, place = text.partition("://")
    if not separator or not scheme.isalnum():
        return False
    if scheme + separator != SCHEME or not place.strip("/"):
        raise KdpipeError(
            f"{text}: give a folder, or a bucket as s3://BUCKET or s3://BUCKET/PREFIX"
        )
    return True


@dataclass(frozen=True)
class Mirror(Store):
    """A local results folder with the small files of a bucket.

    Attributes
    ----------
    url : str
        Address of the bucket with its prefix.
    file_system : object
        The file system of fsspec through which it is reached.
    sizes : dict
        The size of each object by its key below the prefix.
    checksums : dict
        The SHA-256 of each mirrored file by its key, as it is in the bucket.
    """

    url: str = field(kw_only=True)
    file_system: _FileSystem = field(kw_only=True, compare=False)
    sizes: dict[str, int] = field(kw_only=True, compare=False)
    checksums: dict[str, str] = field(kw_only=True, compare=False, default_factory=dict[str, str])

    def find_object(self, folder: Path, name: str, info: FileInfo) -> str | None:
        """Return the key of a file that a record lists; None if the bucket lacks it.

        Parameters
        ----------
        folder : Path
            The folder of the result in the mirror.
        name : str
            The name that its record gives the file.
        info : FileInfo
            Its size and checksum.
        """
        plain_key = f"{folder.relative_to(self.root).as_posix()}/{name}"  # copied by another tool
        keys = (_make_key(info), plain_key)
        return next((key for key in keys if self.sizes.get(key) == info["bytes"]), None)

    def locate(self, folder: Path, name: str, info: FileInfo) -> str:
        """Return the address of a file that a record lists, whether or not it is there."""
        return f"{self.url}/{self.find_object(folder, name, info) or _make_key(info)}"

    def fetch(self, folder: Path, files: Mapping[str, FileInfo]) -> None:
        """Download files of a result into its folder; one that the bucket lacks is not there then.

        What an interrupted download has left whole is not downloaded again.

        Raises
        ------
        KdpipeError
            If the bucket cannot be read.
        """
        downloads: dict[str, Path] = {}
        for name, info in files.items():
            key, part = self.find_object(folder, name, info), self._part_path(info)
            if key is not None and not (part.exists() and compute_file_info(part) == info):
                downloads[key] = part
        self.download(downloads)
        for name, info in files.items():
            path, part = folder / name, self._part_path(info)
            # A record may list what no run has, `../x`: it is named as missing.
            if part.exists() and path.resolve().is_relative_to(folder.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                os.link(part, path)

    def download(self, paths: Mapping[str, Path]) -> None:
        """Download objects by key; one that was removed since the listing is left out."""

        def get(key: str, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self.file_system.get_file(self._remote_path(key), str(path), chunksize=CHUNK_SIZE)

        self._transfer(get, paths, "read")

    def upload(self, paths: Mapping[str, Path]) -> None:
        """Upload files by key, each of which is there as a whole or not at all.

        Raises
        ------
        KdpipeError
            If the bucket cannot be written to.
        """

        def put(key: str, path: Path) -> None:
            self.file_system.put_file(str(path), self._remote_path(key), chunksize=CHUNK_SIZE)

        self._transfer(put, paths, "written to")

    def find_missing_files(self, folder: Path, record: Mapping[str, Any]) -> dict[str, FileInfo]:
        """Return the files that a record lists and the bucket lacks, by name.

        Parameters
        ----------
        folder : Path
            The folder of the result in the mirror.
        record : mapping
            Its record.
        """
        files: dict[str, FileInfo] = record.get("files", {})
        return {
            name: info
            for name, info in files.items()
            if self.find_object(folder, name, info) is None
        }

    def upload_files(self, folder: Path, files: Mapping[str, FileInfo]) -> None:
        """Upload files of a local result under their checksums."""
        self.upload({_make_key(info): folder / name for name, info in files.items()})

    def upload_record(self, folder: Path, record: dict[str, Any]) -> None:
        """Upload the record of a result, after all its files; `folder` is that in the mirror."""
        records.publish_record(folder, record)
        path = folder / run_folder.RECORD_FILE
        self.upload({path.relative_to(self.root).as_posix(): path})

    def upload_changes(self) -> None:
        """Upload the files of the mirror that were changed and belong to no result."""
        changed: dict[str, Path] = {}
        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            match = _MIRRORED.fullmatch(key)
            if match and not match["kind"] and _hash_file(path) != self.checksums.get(key):
                changed[key] = path
        self.upload(changed)

    def _transfer(
        self,
        function: Callable[[str, Path], None],
        paths: Mapping[str, Path],
        action: str,
    ) -> None:
        with _explain_errors(self.url, action), ThreadPoolExecutor(N_TRANSFERS) as pool:
            list(pool.map(function, paths.keys(), paths.values()))

    def _part_path(self, info: FileInfo) -> Path:
        return self.root.parent / _make_key(info)

    def _remote_path(self, key: str) -> str:
        return f"{self.url.removeprefix(SCHEME)}/{key}"


@contextlib.contextmanager
def open_mirror(url: str, staging: Path) -> Generator[Mirror, None, None]:
    """List a bucket and mirror its small files.

    Parameters
    ----------
    url : str
        Its address, with a prefix or without.
    staging : Path
        A folder for the mirror and what is downloaded; it is removed in the end.

    Yields
    ------
    Mirror
        The mirror.

    Raises
    ------
    KdpipeError
        If s3fs is not installed, credentials are missing, there is no such bucket, or it cannot be
        read. Errors about files of the mirror name the bucket.
    """
    url = SCHEME + url.removeprefix(SCHEME).strip("/")
    file_system = _connect(url)
    with _explain_errors(url, "read"):
        listing = file_system.find(url, detail=True)
    prefix = url.removeprefix(SCHEME) + "/"
    sizes = {name.removeprefix(prefix): info["size"] for name, info in listing.items()}
    root = staging / "results"
    mirror = Mirror(root, url=url, file_system=file_system, sizes=sizes)
    with lock_published_folder(staging):
        try:
            shutil.rmtree(root, ignore_errors=True)  # of one that was killed
            root.mkdir(parents=True)
            paths = {key: root / key for key in sizes if _MIRRORED.fullmatch(key)}
            mirror.download(paths)
            mirror.checksums.update(
                (key, _hash_file(path)) for key, path in paths.items() if path.exists()
            )
            yield mirror
        except KdpipeError as error:
            raise type(error)(str(error).replace(str(root), url)) from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def get_staging_folder(url: str, target: Store) -> Path:
    """Return the folder in the results into which the files of a bucket are downloaded.

    It is the same whenever the bucket is merged, so what a killed process has left in it is used.
    """
    name = STAGING_PREFIX + hashlib.sha256(url.encode()).hexdigest()[:12]
    return target.root / name


def find_staging_folders(store: Store) -> list[Path]:
    """Return the folders that killed merges have left in the results."""
    return [path for path in sorted(store.root.glob(f"{STAGING_PREFIX}*")) if _is_left(path)]


def _is_left(folder: Path) -> bool:
    """Return whether a folder is one, and no process has locked it."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _connect(url: str) -> _FileSystem:
    """Return the file system of buckets; nothing is sent yet."""
    try:
        import s3fs  # noqa: F401  # pyright: ignore
    except ImportError as error:
        raise KdpipeError(
            f"{url}: buckets need s3fs, and {error.name} is not installed here: pip install "
            "'kdpipe[s3]', in a clone pip install -c requirements.lock -e '.[s3]'"
        ) from None
    import fsspec  # pyright: ignore

    with _explain_errors(url, "read"):
        file_system: object = fsspec.filesystem(  # pyright: ignore
            "s3", skip_instance_cache=True, use_listings_cache=False
        )
        return cast(_FileSystem, file_system)


@contextlib.contextmanager
def _explain_errors(url: str, action: str) -> Generator[None, None, None]:
    """Raise what fsspec, botocore and aiohttp raise as a KdpipeError."""
    from aiohttp import ClientError
    from botocore import exceptions, parsers  # pyright: ignore

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise KdpipeError(
            f"{url}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE to a profile of ~/.aws/credentials"
        ) from None
    except FileNotFoundError as error:
        bucket = url.removeprefix(SCHEME).partition("/")[0]
        raise KdpipeError(
            f"{url}: there is no bucket {bucket} ({_first_line(error)}): create it first, or set "
            "AWS_ENDPOINT_URL if it is not one of Amazon's"
        ) from None
    except PermissionError as error:
        raise KdpipeError(
            f"{url} cannot be {action} ({_first_line(error)}): check the credentials, and what "
            "they allow in this bucket"
        ) from None
    except (
        OSError,
        ValueError,
        ClientError,
        exceptions.BotoCoreError,
        exceptions.HTTPClientError,
        parsers.ResponseParserError,
    ) as error:
        raise KdpipeError(
            f"{url} cannot be {action} ({_first_line(error)}): try again; what was done is not "
            "done again"
        ) from None


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _make_key(info: FileInfo) -> str:
    return f"{FILES_FOLDER}/{info['sha256']}"


def _hash_file(path: Path) -> str:
    return compute_file_info(path)["sha256"]
