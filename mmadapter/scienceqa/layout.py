"""ScienceQA as its authors store it (lupantech/ScienceQA):

    problems.json                       pid -> 14 fields
    pid_splits.json                     split -> pids: train, val, test and selections from them
    captions.json                       optional: {"captions": {pid: text}}
    images/<split>/<pid>/image.png      the question's picture, where its field `image` names one
    images/<split>/<pid>/choice_0.png   pictures that are the options (their problems have `image` null)

Pictures are found, not opened: an `ImageFile` is read when its bytes are needed. Nothing outside the folder is ever
read, whatever names or links it contains.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import (
    MAX_IMAGE_BYTES,
    MAX_NAME,
    SPLITS,
    BrokenProblem,
    BrokenProblems,
    Fields,
    OnError,
    checked_name,
    problem_from_fields,
)
from mmadapter.storage.untrusted import read_bytes, read_json_object, repeated_keys, short


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture in a file of its own."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        """Return the encoded image; a UserError if it cannot be read or exceeds MAX_IMAGE_BYTES."""
        return read_bytes(self.path, MAX_IMAGE_BYTES)


def read_layout(folder: Path, *, on_error: OnError = "stop") -> Dataset:
    """Read the problems of one folder, in the order of `problems.json`, and its splits, in the file's order.

    Raises:
        UserError: a file is missing or unreadable; with `on_error="stop"` also the first broken problem.
    """
    broken = BrokenProblems(on_error)
    problems_file = folder / "problems.json"
    raw_problems = read_json_object(problems_file)
    splits = read_splits(folder / "pid_splits.json", broken)
    split_of = {pid: split for split in SPLITS for pid in splits.get(split, ())}
    listed_in: dict[str, list[str]] = {}
    for name, pids in splits.items():
        for pid in pids:
            listed_in.setdefault(pid, []).append(name)
    captions, pictures = _captions(folder), _Pictures(folder)
    problems: dict[str, Problem] = {}
    repeated_pids = set(repeated_keys(raw_problems))
    for pid, raw in raw_problems.items():
        with broken.caught(pid, listed_in.get(pid)):
            where = f"{problems_file}: pid {checked_name(pid, f'{problems_file}: pid')}"
            if pid in repeated_pids:
                raise BrokenProblem(where, "occurs more than once")
            if not isinstance(raw, dict):
                raise BrokenProblem(where, "must be an object with the problem's fields")
            fields = Fields(raw, where)
            for field in repeated_keys(raw):
                raise fields.broken(field, "occurs more than once")
            problems[pid] = _problem(fields, pid, split_of, captions, pictures)
    for name, pids in splits.items():
        for pid in pids:
            with broken.caught(pid, [name]):
                if pid not in raw_problems:
                    raise BrokenProblem(f"{folder / 'pid_splits.json'}: {name}: pid {pid}", "no such problem")
    known = {name: tuple(pid for pid in pids if pid in problems) for name, pids in splits.items()}
    return Dataset(folder.name, problems, known, tuple(broken.skipped))


def read_splits(file: Path, broken: BrokenProblems) -> dict[str, tuple[str, ...]]:
    """Read the lists of `pid_splits.json`.

    A pid that occurs twice in a list, or in two of SPLITS, is broken; if broken problems are skipped, its first place
    counts.
    """
    splits: dict[str, tuple[str, ...]] = {}
    raw_splits = read_json_object(file)
    for name in repeated_keys(raw_splits):
        raise UserError(f"{file}: {checked_name(name, str(file))}: the list occurs more than once")
    split_of: dict[str, str] = {}
    for name, pids in raw_splits.items():
        checked_name(name, str(file))
        if not isinstance(pids, list) or not all(isinstance(pid, str) for pid in pids):
            raise UserError(f"{file}: {name}: must be a list of pids, each a text")
        kept: dict[str, None] = {}
        for pid in pids:
            with broken.caught(pid, [name]):
                if checked_name(pid, f"{file}: {name}: pid") in kept:
                    raise BrokenProblem(f"{file}: {name}: pid {pid}", "occurs more than once")
                if name in SPLITS and split_of.setdefault(pid, name) != name:
                    raise BrokenProblem(f"{file}: {name}: pid {pid}", f"is in {split_of[pid]} too")
                kept[pid] = None
        splits[name] = tuple(kept)
    return splits


def _problem(fields: Fields, pid: str, split_of: Mapping[str, str], captions: Fields, pictures: "_Pictures") -> Problem:
    split = fields.split()
    if split_of.get(pid) != split:
        listed = f"lists it under {split_of[pid]}" if pid in split_of else "does not list it"
        raise fields.broken("split", f"is {split}, but pid_splits.json {listed}")
    image, choice_images = pictures.find(fields, split, pid)
    caption = captions.text_if_given(f"pid {pid}")
    return problem_from_fields(fields, pid=pid, split=split, image=image, choice_images=choice_images, caption=caption)


def _captions(folder: Path) -> Fields:
    """Read the captions as fields `pid <pid>`. The published file covers all of ScienceQA, not only these pids."""
    file = folder / "captions.json"
    captions = read_json_object(file).get("captions") if file.exists() else {}
    if not isinstance(captions, dict):
        raise UserError(f'{file}: must hold {{"captions": {{pid: text}}}}')
    for pid in repeated_keys(captions):
        raise UserError(f"{file}: pid {short(pid)}: occurs more than once")
    return Fields({f"pid {pid}": caption for pid, caption in captions.items()}, str(file))


class _Pictures:
    """The picture files below `images/`, found by one listing of each folder instead of a look-up for each file."""

    def __init__(self, folder: Path):
        self._root, self._images = folder.resolve(), folder / "images"
        self._folders: dict[str, dict[str, os.DirEntry[str]]] = {}
        for split in SPLITS:
            directory = self._images / split
            if directory.is_dir():
                if not self._inside(directory):
                    raise UserError(f"{directory}: leads out of {folder}; copy the pictures into it")
                with os.scandir(directory) as entries:
                    self._folders[split] = {entry.name: entry for entry in entries if entry.is_dir()}

    def find(self, fields: Fields, split: str, pid: str) -> tuple[ImageFile | None, tuple[ImageFile, ...]]:
        """Return the problem's own picture, and its options' pictures in the order of their numbers."""
        files = self._listing(split, pid)
        folder = self._images / split / pid
        choice_images = tuple(
            ImageFile(folder / name)
            for name, entry in sorted(files.items())
            if re.fullmatch(r"choice_\d\.png", name) and self._is_safe_file(entry)
        )
        name = fields.text_or_unknown("image")
        if name is None:
            return None, choice_images
        if name in ("", ".", "..") or len(name) > MAX_NAME or "/" in name or "\\" in name:
            raise fields.broken("image", f"is {short(name)}, must be a plain file name such as image.png, or null")
        if name not in files:
            raise fields.broken("image", f"there is no file {folder / name}")
        if not self._is_safe_file(files[name]):
            raise fields.broken("image", f"{folder / name} is not a file inside the data folder")
        return ImageFile(folder / name), choice_images

    def _listing(self, split: str, pid: str) -> dict[str, os.DirEntry[str]]:
        folder = self._folders.get(split, {}).get(pid)
        if folder is None or (folder.is_symlink() and not self._inside(folder)):
            return {}
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}

    def _is_safe_file(self, entry: os.DirEntry[str]) -> bool:
        return entry.is_file() and (not entry.is_symlink() or self._inside(entry))

    def _inside(self, path: os.PathLike[str]) -> bool:
        return Path(path).resolve().is_relative_to(self._root)
