"""Downloading ScienceQA from the Hugging Face hub, or telling how else to get it."""

from pathlib import Path

from mmadapter.errors import UserError, first_line
from mmadapter.scienceqa.parquet import parquet_files
from mmadapter.scienceqa.records import SPLITS

HUB_REPOSITORY = "derek-thomas/ScienceQA"

THREE_WAYS = f"""there are three ways to get ScienceQA:
  1. the hub's copy: with a network and without --data-dir, {HUB_REPOSITORY} (0.6 GB) is downloaded once
  2. the original: run tools/download.sh of https://github.com/lupantech/ScienceQA,
     then --data-dir ScienceQA/data/scienceqa
  3. a folder of your own: --data-dir DIR, with problems.json, pid_splits.json and images/, or with the hub's
     *.parquet files"""


def download_scienceqa() -> Path:
    """Return the hub cache's folder that holds all three splits, downloading them if they are not there yet.

    Raises:
        UserError: they are neither in the cache nor to be downloaded; the text tells the three ways to get ScienceQA.
    """
    from huggingface_hub import snapshot_download  # not needed for a folder of one's own
    from huggingface_hub.errors import LocalEntryNotFoundError

    for only_cached in (True, False):  # the cache first: with the tables in it, nothing waits for a network
        try:
            folder = snapshot_download(
                HUB_REPOSITORY, repo_type="dataset", allow_patterns=["data/*.parquet"], local_files_only=only_cached
            )
        except OSError as error:  # the hub client's own errors are OSErrors too
            if only_cached and isinstance(error, LocalEntryNotFoundError):
                continue
            raise UserError(f"ScienceQA could not be fetched ({first_line(error)})\n  {THREE_WAYS}") from error
        if set(parquet_files(Path(folder))) == set(SPLITS):
            return Path(folder)
    # Without a network the client returns whatever an interrupted download left.
    raise UserError(f"the hub's copy of ScienceQA is not complete\n  {THREE_WAYS}")
