"""The one place that opens example files: on a local or mounted disk, or in an object store that pyarrow knows.

In: an absolute local path, a ``file:`` URI, or a URI such as ``s3://bucket/key`` (``s3a:`` and ``s3n:`` as Spark names
it, ``gs:``, ``abfs:``, ``hdfs:``). Out: an open Arrow file. Keys and endpoints come from the environment, as each
store's own tools read them (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...); none are ever in a path or an error.
"""

from functools import lru_cache
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from memberlevel_spark.errors import ConfigError

# Spark's names of a store that pyarrow calls by another one.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "abfss": "abfs"}


def open_file(path_or_uri: str) -> pa.NativeFile:
    """Open a file for reading at any position.

    Raises:
        OSError: it is missing or cannot be read.
        ConfigError: a relative path, or a store that pyarrow does not know.
    """
    if is_local(path_or_uri):
        return pa.OSFile(local_path(path_or_uri), "rb")
    parts = urlsplit(path_or_uri)
    return _store(_SCHEMES.get(parts.scheme, parts.scheme), parts.netloc).open_input_file(_key(path_or_uri))


def is_local(path_or_uri: str) -> bool:
    """Whether a path is on a local or mounted disk."""
    return path_or_uri.startswith("file:") or "://" not in path_or_uri


def local_path(path_or_uri: str) -> str:
    """Turn ``file:`` URIs, as Spark lists them, into local paths; leave absolute paths as they are.

    Raises:
        ConfigError: a relative path.
    """
    path = unquote(urlsplit(path_or_uri).path) if path_or_uri.startswith("file:") else path_or_uri
    if not path.startswith("/"):
        raise ConfigError(f"not an absolute path: {path_or_uri}. Give absolute paths, or URIs with a scheme.")
    return path


def _key(uri: str) -> str:
    """Bucket and key of a URI; Spark lists it percent-encoded."""
    parts = urlsplit(uri)
    return f"{parts.netloc}{unquote(parts.path)}"


@lru_cache
def _store(scheme: str, bucket: str) -> fs.FileSystem:
    try:
        store, _ = fs.FileSystem.from_uri(f"{scheme}://{bucket}")
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the store of the examples cannot be opened: {scheme}://{bucket} ({reason}). Set its endpoint, region and"
            " keys in the environment of every process, or mount it as a folder."
        ) from None
    return store
