"""Fetching, without a network: the hub client is replaced where it would ask one."""

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.scienceqa.download import HUB_REPOSITORY, THREE_WAYS


@pytest.fixture
def hub(monkeypatch):
    """Answers for the cache and for the network: a folder, or an exception; records the questions."""

    class Hub:
        cached = LocalEntryNotFoundError("not cached")
        network = LocalEntryNotFoundError("Got: ConnectError: no route\nlong advice")
        asked = ()

    def snapshot_download(repo_id, *, repo_type, allow_patterns, local_files_only):
        assert (repo_id, repo_type) == (HUB_REPOSITORY, "dataset")
        Hub.asked += ("cache" if local_files_only else "network",)
        answer = Hub.cached if local_files_only else Hub.network
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return Hub


@pytest.fixture
def tables(tmp_path, record, write_parquet):
    return write_parquet(tmp_path, {split: record(split=split) for split in ("train", "val", "test")})


def test_neither_network_nor_data_tells_the_three_ways(hub):
    with pytest.raises(UserError) as caught:
        load_dataset("scienceqa")
    message = str(caught.value)
    assert message.startswith("ScienceQA could not be fetched (Got: ConnectError: no route)\n")
    for way in (HUB_REPOSITORY, "tools/download.sh", "--data-dir DIR"):
        assert way in message
    assert THREE_WAYS in message


def test_the_cache_is_enough(hub, tables):
    hub.cached = tables
    assert len(load_dataset("scienceqa")) == 3
    assert hub.asked == ("cache",)


def test_the_network_completes_a_cache_that_is_not(hub, tables, tmp_path):
    hub.cached, hub.network = tmp_path / "interrupted", tables
    assert list(load_dataset("scienceqa").splits) == ["train", "val", "test"]
    assert hub.asked == ("cache", "network")


def test_an_interrupted_download_is_no_data_set(hub, tables):
    next((tables / "data").glob("test-*")).unlink()
    hub.cached = hub.network = tables  # the client's answer when the network is gone again
    with pytest.raises(UserError, match="not complete\n  there are three ways"):
        load_dataset("scienceqa")
