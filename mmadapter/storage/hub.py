"""Download files from the Hugging Face hub, and upload an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.storage.files import free_room
from mmadapter.storage.paths import ADAPTER_CONFIG
from mmadapter.storage.untrusted import read_json_object


def hub_folder(name: str, required: Sequence[str], weights: Sequence[Sequence[str]]) -> Path:
    """Return the local folder with a repository's `required` files and its weights.

    The cache is asked first, without a request: a run that has everything does not wait for the network.

    Args:
        name: ORG/REPO, or ORG/REPO@REVISION, a branch, a tag or a commit.
        required: file names.
        weights: alternative forms of the weights, best first, each a list of file names or patterns of which
            the first names a single file; the first form that the repository has is taken. None: no weights.

    Raises:
        UserError: no such repository, revision or file, a repository that asks for a login, no network, or too
            little room on the disk.
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
    """The snapshot's folder, or None where only the cache is asked and lacks a part."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, _, revision = name.partition("@")
    ask = partial(snapshot_download, repo, revision=revision or None, allow_patterns=list(patterns))
    try:
        if not local:
            _check_room(name, ask(dry_run=True), Path(constants.HF_HUB_CACHE))
        return Path(ask(local_files_only=local))
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
        error = error.__cause__  # it only says that there was one
    if isinstance(error, hub.GatedRepoError):
        page = f"{constants.ENDPOINT}/{repo}"
        return f"gated: accept its licence at {page}, then log in with `hf auth login`"
    if isinstance(error, hub.RepositoryNotFoundError):
        return "the hub has no such repository, or a private one\n  a private one needs `hf auth login`"
    if isinstance(error, hub.RevisionNotFoundError):
        return f"the hub has {repo}, but no revision {revision} of it"
    # A client of HTTP of its own, httpx or what came after, whose errors have no other name in common.
    unreachable = any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
    if unreachable or isinstance(error, (hub.LocalEntryNotFoundError, ConnectionError)):
        return (
            "not in the hub's local cache, and the hub cannot be reached\n"
            "  with a network it is downloaded once; without, give a folder that holds the model"
        )
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return f"the hub does not give it: {reason[0]}"


def _check_room(name: str, files: Sequence, cache: Path) -> None:
    """
    Args:
        files: of a dry run, with their sizes in bytes.

    Raises:
        UserError: the cache's disk has less room than what is left to download.
    """
    missing = sum(file.file_size for file in files if file.will_download)
    if missing > (free := free_room(cache)):
        raise UserError(
            f"{name}: {missing / 1e9:.1f} GB to download, but {cache} has room for {free / 1e9:.1f} GB\n"
            "  free some, or set HF_HOME to a folder on a larger disk"
        )


def _complete(folder: Path, names: Sequence[str]) -> bool:
    if not all((folder / name).is_file() for name in names):
        return False
    indices = [folder / name for name in names if name.endswith(".index.json")]  # of weights in several files
    shards = [read_json_object(index).get("weight_map") for index in indices]
    return all(isinstance(of, dict) and all((folder / str(name)).is_file() for name in of.values()) for of in shards)


def adapter_folder(name: str | Path, weights: Sequence[str]) -> Path:
    """Find an adapter's folder: a path, or the local copy of ORG/NAME on the hub where no such path exists.

    Args:
        weights: names of the weights' file, of which a repository has one.

    Raises:
        UserError: as `hub_folder`.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute() or str(name).count("/") != 1 or str(name).startswith((".", "~")):
        return path
    return hub_folder(str(name), [ADAPTER_CONFIG], [[file] for file in weights])


def push_folder(folder: Path, name: str, *, private: bool | None = None) -> str:
    """Upload a folder's files in one commit, creating the repository if need be.

    Args:
        name: ORG/NAME.
        private: of a new repository; None for what the organisation has as its default.

    Returns:
        The address of the commit.

    Raises:
        UserError: no login, no right to write there, or no network.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        return api.upload_folder(repo_id=name, folder_path=folder, commit_message="An adapter of mmadapter").commit_url
    except Exception as error:  # the client's own errors derive from httpx's, OSError and ValueError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"cannot be pushed to the hub: {lines[0]}"
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403) or "token" in lines[0]:
            reason = "the hub does not let you write there\n  `hf auth login` logs in, with a token that may write"
        raise UserError(f"{name}: {reason}") from error
