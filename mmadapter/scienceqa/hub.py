"""Download ScienceQA from the Hugging Face hub, or explain how else to get it."""

from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.parquet import parquet_files
from mmadapter.scienceqa.records import SPLITS

HUB_REPOSITORY = "derek-thomas/ScienceQA"

THREE_WAYS = f"""there are three ways to get ScienceQA:
  1. the hub's copy: with a network and without --data-dir, {HUB_REPOSITORY} (0.6 GB) is fetched once
  2. the original: run tools/download.sh of https://github.com/lupantech/ScienceQA,
     then --data-dir ScienceQA/data/scienceqa
  3. a folder of your own: --data-dir DIR, with problems.json, pid_splits.json and images/, or with the hub's
     *.parquet files"""


def download_scienceqa() -> Path:
    """Return the folder in the hub client's cache with all three splits, downloading it if need be.

    Raises:
        UserError: it is neither in the cache nor to be had, with the three ways to get ScienceQA.
    """
    try:
        # The cache first: once the tables are there, a start needs no network and waits for none.
        folder = _snapshot(local_files_only=True)
        if folder is None:
            folder = _snapshot(local_files_only=False)
    except OSError as error:  # the hub's own errors are OSErrors too
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"ScienceQA could not be fetched ({reason})\n  {THREE_WAYS}") from error
    if folder is None:
        raise UserError(f"the hub's copy of ScienceQA is not complete\n  {THREE_WAYS}")
    return folder


def _snapshot(*, local_files_only: bool) -> Path | None:
    """The snapshot's folder, or None where the cache lacks a part."""
    from huggingface_hub import snapshot_download  # here: an own folder needs no hub client
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            HUB_REPOSITORY,
            repo_type="dataset",
            allow_patterns=["data/*.parquet"],
            local_files_only=local_files_only,
        )
    except LocalEntryNotFoundError:
        if local_files_only:
            return None
        raise
    # Without a network the client answers with whatever an interrupted download left.
    return Path(folder) if set(parquet_files(Path(folder))) == set(SPLITS) else None
