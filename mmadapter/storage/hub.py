"""Download files of a repository on the Hugging Face hub, unless the local cache has them; upload a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmadapter.errors import UserError, first_line
from mmadapter.storage.files import free_room
from mmadapter.storage.paths import ADAPTER_CONFIG
from mmadapter.storage.untrusted import read_json_object


def hub_folder(name: str, required: Sequence[str], weights: Sequence[Sequence[str]]) -> Path:
    """Return the local folder that holds a repository's `required` files and its weights.

    The cache comes first, without a request: a run that has everything does not wait for the network.

    Args:
        name: ORG/REPO, or ORG/REPO@REVISION, where the revision is a branch, a tag or a commit.
        required: file names.
        weights: alternative forms of the weights, best first, each a list of file names or patterns, the first of which
            names a single file; the first form that the repository has is used. Empty: no weights.

    Raises:
        UserError: no such repository, revision or file, a login is needed, no network, or too little room on the disk.
    """
    for local in (True, False):
        for form in weights or [[]]:
            folder = _snapshot(name, [*required, *form], local=local)
            if folder is None:
                break
            if _complete(folder, [*required, *form[:1]]):
                return folder
    wanted = ", ".join([*required, *filter(None, [" or ".join(form[0] for form in weights)])])
    raise UserError(f"{name}: the hub's repository has not all of: {wanted}")


def _snapshot(name: str, patterns: Sequence[str], *, local: bool) -> Path | None:
    """Return the snapshot's folder, or None if only the cache may be used (`local`) and lacks some of it."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, _, revision = name.partition("@")
    download: Callable[..., Any] = partial(
        snapshot_download, repo, revision=revision or None, allow_patterns=list(patterns)
    )
    try:
        if not local:
            cache = Path(constants.HF_HUB_CACHE)
            missing = sum(file.file_size for file in download(dry_run=True) if file.will_download)
            if missing > (free := free_room(cache)):
                raise UserError(
                    f"{name}: {missing / 1e9:.1f} GB to download, but {cache} has room for {free / 1e9:.1f} GB\n"
                    "  free some, or set HF_HOME to a folder on a larger disk"
                )
        return Path(download(local_files_only=local))
    except UserError:
        raise
    except Exception as error:  # the client's own errors derive from httpx's, OSError and ValueError
        if local and isinstance(error, LocalEntryNotFoundError):
            return None
        raise UserError(f"{name}: {_reason(error, repo, revision)}") from error


def _reason(error: Exception, repo: str, revision: str) -> str:
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    if isinstance(error, hub.DryRunError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the dry run's own error does not say the reason
    if isinstance(error, hub.GatedRepoError):
        return f"gated: accept its licence at {constants.ENDPOINT}/{repo}, then log in with `hf auth login`"
    if isinstance(error, hub.RepositoryNotFoundError):
        return "the hub has no such repository, or a private one\n  a private one needs `hf auth login`"
    if isinstance(error, hub.RevisionNotFoundError):
        return f"the hub has {repo}, but no revision {revision} of it"
    # The client's HTTP library, httpx or its successor, has no other error name in common.
    unreachable = any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
    if unreachable or isinstance(error, (hub.LocalEntryNotFoundError, ConnectionError)):
        return (
            "not in the hub's local cache, and the hub cannot be reached\n"
            "  with a network it is downloaded once; without, give a folder that holds the model"
        )
    return f"the hub does not give it: {first_line(error)}"


def _complete(folder: Path, names: Sequence[str]) -> bool:
    if not all((folder / name).is_file() for name in names):
        return False
    indices = [name for name in names if name.endswith(".index.json")]  # of weights in several files
    maps = [read_json_object(folder / index).get("weight_map") for index in indices]
    return all(isinstance(m, dict) and all((folder / str(shard)).is_file() for shard in m.values()) for m in maps)


def adapter_folder(name: str | Path, weights: Sequence[str]) -> Path:
    """Return an adapter's folder: an existing path as it is, or `hub_folder` of ORG/NAME.

    A repository has one of the files `weights`.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute() or str(name).count("/") != 1 or str(name).startswith((".", "~")):
        return path
    return hub_folder(str(name), [ADAPTER_CONFIG], [[file] for file in weights])


def push_folder(folder: Path, name: str, *, private: bool | None = None) -> str:
    """Upload a folder's files to ORG/NAME on the hub, and return the address of the commit.

    A repository that does not exist is created; `private` None stands for the organisation's default.

    Raises:
        UserError: no login, no right to write there, or no network.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        return api.upload_folder(repo_id=name, folder_path=folder, commit_message="An adapter of mmadapter").commit_url
    except Exception as error:  # the client's own errors derive from httpx's, OSError and ValueError
        reason = f"cannot be pushed to the hub: {first_line(error)}"
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403) or "token" in first_line(error):
            reason = "the hub does not let you write there\n  `hf auth login` logs in, with a token that may write"
        raise UserError(f"{name}: {reason}") from error
