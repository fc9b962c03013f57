"""Examples in an object store: the same plan and the same batches as from a disk. Needs moto and its server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pyarrow import fs

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.feed import store
from memberlevel_spark.feed.fields import Fields
from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_row_groups
from memberlevel_spark.feed.readers import ReaderName, ReaderSettings
from tests.torch.made_examples import NUM_FEATURES, write_examples

pytestmark = pytest.mark.torch
BUCKET = "shop"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server on this machine; what finds it is the environment alone."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    store._store.cache_clear()
    fs.FileSystem.from_uri(f"s3://{BUCKET}?allow_bucket_creation=true")[0].create_dir(BUCKET)
    yield BUCKET
    store._store.cache_clear()
    server.stop()


def uploaded(paths: tuple[str, ...], bucket: str) -> tuple[str, ...]:
    """The same files in the bucket, named as Spark names them: percent-encoded, with its own scheme."""
    for path in paths:
        with store._store("s3", bucket).open_output_stream(f"{bucket}/split=train/a b {Path(path).name}") as file:
            file.write(Path(path).read_bytes())
    return tuple(f"s3a://{bucket}/split=train/a%20b%20{Path(path).name}" for path in paths)


def keys(paths: tuple[str, ...], reader: ReaderName) -> list[torch.Tensor]:
    plan = plan_feed(read_row_groups(paths), world_size=1, batch_rows=16, num_lanes=4)
    loader = FeedLoader(plan, 0, fields=Fields(NUM_FEATURES), seed=3, reader=ReaderSettings(reader))
    return [batch.row_key_B for batch in loader.epoch(1)]


@pytest.mark.parametrize("reader", ["petastorm", "pyarrow"])
def test_a_store_gives_the_batches_of_a_disk(tmp_path: Path, bucket: str, reader: ReaderName) -> None:
    paths = write_examples(tmp_path, [70, 33, 5], row_group_rows=16)
    local, remote = keys(paths, reader), keys(uploaded(paths, bucket), reader)
    assert len(local) == len(remote) > 1
    assert all(torch.equal(one, other) for one, other in zip(local, remote, strict=True))


def test_a_missing_object_is_named(bucket: str) -> None:
    with pytest.raises(ArtefactError, match=r"cannot be read: s3a://shop/gone\.parquet \("):
        read_row_groups([f"s3a://{bucket}/gone.parquet"])
