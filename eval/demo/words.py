"""The words from which the question families make their sentences: the lists of `words.json`."""

import json
from pathlib import Path

_LISTS = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))


def _kind_of(groups: dict[str, list[str]]) -> dict[str, str]:
    """Map every word of the groups to the name of its group."""
    return {word: kind for kind, words in groups.items() for word in words}


NAMES: list[str] = _LISTS["names"]
PLACES: list[str] = _LISTS["places"]
DAYS: list[str] = _LISTS["days"]
COLORS: dict[str, str] = _LISTS["colors"]
"""Name to the color that is drawn."""
ITEMS: list[str] = _LISTS["items"]
GOODS: list[str] = _LISTS["goods"]
SERVICES: list[str] = _LISTS["services"]
ROOMS: list[str] = _LISTS["rooms"]
TONES: dict[str, list[str]] = _LISTS["tones"]
ACTIONS: dict[str, list[str]] = _LISTS["actions"]
"""Verb to its past tense and an object."""
PHASES: list[str] = _LISTS["phases"]
CHANGED: list[str] = _LISTS["changed"]
MEASURED: list[str] = _LISTS["measured"]
MATTER, ANIMALS, SPEECH = (_kind_of(_LISTS[name]) for name in ("matter", "animals", "speech"))
"""Word to its kind."""
SYNONYMS: dict[str, str] = _LISTS["synonyms"]
ANTONYMS: dict[str, str] = _LISTS["antonyms"]
CAPITALS: dict[str, str] = _LISTS["capitals"]
