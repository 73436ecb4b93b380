"""Files of a repository on the Hugging Face hub: from the local cache if they are there, else downloaded."""

from collections.abc import Sequence
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.untrusted import read_json_object


def hub_folder(repo: str, required: Sequence[str], weights: Sequence[Sequence[str]]) -> Path:
    """The local folder that holds a repository's `required` files and its weights.

    The cache is asked first, without a request: a run that has everything does not wait for the network.

    Args:
        repo: ORG/REPO.
        required: file names.
        weights: alternative forms of the weights, best first, each a list of file names or patterns of which
            the first names a single file; the first form that the repository has is taken.

    Raises:
        UserError: no such repository or file, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for local in (True, False):
        for form in weights:
            try:
                folder = Path(snapshot_download(repo, allow_patterns=[*required, *form], local_files_only=local))
            except LocalEntryNotFoundError as error:
                if local:
                    break
                raise UserError(
                    f"{repo}: not in the hub's local cache, and the hub cannot be reached\n"
                    "  with a network it is downloaded once; without, give a folder that holds the model"
                ) from error
            except Exception as error:  # the client's own errors derive from requests', httpx's and ValueError
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise UserError(f"{repo}: the hub does not give it: {reason[0]}") from error
            if _complete(folder, [*required, form[0]]):
                return folder
    wanted = ", ".join([*required, " or ".join(form[0] for form in weights)])
    raise UserError(f"{repo}: the hub's repository has not all of: {wanted}")


def _complete(folder: Path, names: Sequence[str]) -> bool:
    if not all((folder / name).is_file() for name in names):
        return False
    indices = [folder / name for name in names if name.endswith(".index.json")]  # of weights in several files
    shards = [read_json_object(index).get("weight_map") for index in indices]
    return all(isinstance(of, dict) and all((folder / str(name)).is_file() for name in of.values()) for of in shards)
