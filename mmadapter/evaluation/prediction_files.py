"""Reads files of predictions, ours and other people's, into one frame.

The formats: parquet and CSV with `pid` and `prediction` (an index or a letter; `output` if there is a text), as our
runs write them; ScienceQA's result file `{"results": {pid: index}, "outputs": {pid: text}}`, which LLaVA writes too,
with -1 for an answer that did not parse; LLaVA's answers, one JSON object a line with `question_id` and `text`; and the
logs of other harnesses (`logs`), whose entries are matched to the questions (`matching`).

Indices are scored as filed, texts by a named rule. A file that does not fit the questions is refused rather than
guessed at: a number that is silently over other questions is worse than none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import check_options, check_pids, some
from mmadapter.evaluation.logs import SAMPLE_KEYS, Entry, inspect_entries, sample_entry, table_entries, writable
from mmadapter.evaluation.matching import match
from mmadapter.evaluation.predictions import (
    AS_FILED,
    DEFAULT_RULE,
    LIKELIHOOD,
    PREDICTION_DTYPES,
    Predictions,
    predictions_frame,
)
from mmadapter.evaluation.rules import RULES, parse_outputs
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.storage.tables import read_table
from mmadapter.storage.untrusted import MAX_BYTES, parse_json, read_bytes, repeated_keys, short

MAX_INDEX = 1000
"""Bound on the index of an option: no question has so many, and a larger one may not fit into a frame."""


def read_predictions(
    path: Path,
    questions: pd.DataFrame,
    *,
    rule: str | None = None,
    name: str | None = None,
    partial: bool = False,
) -> Predictions:
    """Read the answers in a file to a split's questions.

    Args:
        path: the file, in a format of this module by its suffix: .json, .jsonl, .csv, .parquet, .eval, .tsv, .xlsx.
        questions: `frame.question_frame` of the split.
        rule: reads every text anew; by default indices are kept and texts are read by `strict`. A file without
            texts always keeps its indices.
        name: of the system; by default the file's, without its suffix.
        partial: accept a file that answers some of the questions only.

    Returns:
        The answers in the questions' order.

    Raises:
        UserError: the file cannot be read, has none of the formats, is for other questions, or has a prediction
            that is not an option; no such rule.
    """
    if rule is not None and rule not in RULES:
        raise UserError(f"no such rule: {rule!r}\n  rules: {', '.join(RULES)}")
    if path.suffix not in READERS:
        raise UserError(f"{path}: not a predictions file: its name must end in {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"{path}: no such predictions file")
    read = READERS[path.suffix](path)
    frame, turned, notes = match(read, questions, str(path)) if isinstance(read, list) else (read, {}, ())
    if partial and frame["pid"].isin(questions.index).all():
        questions = questions.loc[questions.index.isin(frame["pid"])]
    check_pids(pd.Index(frame["pid"]), questions.index, str(path))
    frame = frame.set_index("pid").loc[questions.index]
    check_options(frame["prediction"], questions["n_choices"], str(path))
    texts, n_choices = frame["output"], questions["n_choices"]
    used = rule if rule and texts.notna().any() else _rule_in_file(frame)
    if used in RULES:
        if missing := list(texts.index[texts.isna()]):
            raise UserError(f"{path}: {len(missing)} questions have no text to read by {used!r}: {some(missing)}")
        frame[["prediction", "unparsed"]] = parse_outputs(texts, n_choices, used)
        for pid, order in turned.items():  # a letter in a text is an option of the log's order
            if pd.notna(at := frame.at[pid, "prediction"]):
                frame.at[pid, "prediction"] = order[at]
    elif path.suffix == ".json" and texts.notna().all() and frame["unparsed"].isna().all():
        # the official script guesses what it cannot read: a text that neither rule can read was a guess
        frame["unparsed"] = parse_outputs(texts, n_choices, "llava")["unparsed"].where(
            parse_outputs(texts, n_choices, "mmcot")["unparsed"].notna()
        )
    return Predictions(name or path.stem, frame.reset_index(), used, str(path), notes)


def _rule_in_file(frame: pd.DataFrame) -> str:
    """Return the rule behind a file's predictions; texts without any are read by the default one."""
    if frame["output"].notna().any():
        read = frame["prediction"].notna() | frame["unparsed"].notna()
        return AS_FILED if read.any() else DEFAULT_RULE
    return LIKELIHOOD if frame["probabilities"].notna().any() else AS_FILED


def _result_file(path: Path) -> pd.DataFrame | list[Entry]:
    """Read a result file of ScienceQA or LLaVA, or a log of inspect_ai."""
    content = _unrepeated(parse_json(read_bytes(path, MAX_BYTES), str(path)), path)
    if isinstance(content, dict) and {"eval", "status", "samples"} <= content.keys():
        return inspect_entries(path)
    results = _unrepeated(content.get("results") if isinstance(content, dict) else None, path)
    if not isinstance(results, dict) or not results:
        raise UserError(f"{path}: not a result file: there is no object 'results' of pid to index in it")
    if odd := [pid for pid, index in results.items() if type(index) is not int or not -1 <= index < MAX_INDEX]:
        listed = some([f"{pid[:40]}: {short(results[pid])}" for pid in odd])
        raise UserError(f"{path}: {len(odd)} results are no index of an option: {listed}")
    outputs = _unrepeated(content.get("outputs"), path)
    if outputs:
        texts = outputs if isinstance(outputs, dict) else {}
        if missing := [pid for pid in results if not isinstance(texts.get(pid), str)]:
            raise UserError(f"{path}: {len(missing)} results have no text in 'outputs': {some(missing)}")
    return predictions_frame(
        list(map(writable, results)),
        prediction=[None if index == -1 else index for index in results.values()],
        output=[writable(outputs[pid]) for pid in results] if outputs else None,
        unparsed=["-1 in the file" if index == -1 else None for index in results.values()],
    )


def _lines_file(path: Path) -> pd.DataFrame | list[Entry]:
    """Read LLaVA's answers, or the samples of lm-evaluation-harness and lmms-eval."""
    pids, texts, entries = [], [], []
    filters: dict[Entry, object] = {}
    for number, line in enumerate(read_bytes(path, MAX_BYTES).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        answer = _unrepeated(parse_json(line, str(path), line=number), where)
        if isinstance(answer, dict) and answer.keys() >= SAMPLE_KEYS:
            entry = sample_entry(answer, where)
            used = answer.get("filter")
            if filters.setdefault(replace(entry, where=""), used) == used:  # each filter writes the same answer again
                entries.append(entry)
            continue
        if not isinstance(answer, dict) or "question_id" not in answer or not isinstance(answer.get("text"), str):
            raise UserError(f"{where}: an answer is an object with 'question_id' and 'text'")
        if type(answer["question_id"]) not in (str, int):
            raise UserError(f"{where}: question_id {short(answer['question_id'])} is no pid")
        pids.append(writable(str(answer["question_id"])))
        texts.append(writable(answer["text"]))
    if entries and pids:
        raise UserError(f"{path}: {len(entries)} lines are samples of a harness, {len(pids)} are answers of LLaVA")
    return entries or predictions_frame(pids, output=texts)


def _csv_file(path: Path) -> pd.DataFrame:
    data = io.BytesIO(read_bytes(path, MAX_BYTES))
    try:
        table = pd.read_csv(data, dtype="string", keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except (ValueError, OverflowError) as error:  # also pandas' own parser errors and wrong encodings
        raise UserError(f"{path}: not a readable CSV file: {error}") from error
    if "output" in table and table["output"].notna().any():
        table["output"] = table["output"].fillna("")  # an empty text is an empty cell
    return _from_table(table, path)


def _from_table(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if lacking := [column for column in ("pid", "prediction") if column not in table]:
        there = some(str(column)[:40] for column in table.columns)
        raise UserError(f"{path}: no column {' and none '.join(lacking)}; there are: {there or 'none'}")
    if nameless := int(table["pid"].isna().sum()):
        raise UserError(f"{path}: {nameless} rows have no pid")
    given = {column: list(table[column]) for column in PREDICTION_DTYPES if column in table}
    if path.suffix == ".csv":
        given.pop("probabilities", None)  # a list has no standard form in a CSV
        if "truncated" in given:
            given["truncated"] = [{"True": True, "False": False}.get(value, value) for value in given["truncated"]]
    try:
        given["prediction"] = [_index(value) for value in given["prediction"]]
        return predictions_frame(list(table["pid"].astype(str)), **given)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: {str(error)[:200]}") from error


def _index(value: object) -> int | None:
    """Return the index that an index or a letter stands for, None for an empty cell.

    Raises:
        ValueError: it is something else.
    """
    if pd.isna(value):
        return None
    text = str(value).strip()
    if len(text) == 1 and text in LETTERS:
        return LETTERS.index(text)
    if re.fullmatch(r"[0-9]{1,3}(\.0)?", text):  # a column with gaps is often written as floats
        return int(float(text))
    raise ValueError(f"the prediction {short(value)} is neither an index nor a letter A to E (empty: unparsed)")


def _unrepeated(parsed: Any, where: object) -> Any:
    """Return a parsed JSON value; an object that repeats a key is refused."""
    if double := repeated_keys(parsed):
        raise UserError(f"{where}: {len(double)} keys occur more than once: {some(map(short, double))}")
    return parsed


READERS: dict[str, Callable[[Path], pd.DataFrame | list[Entry]]] = {
    ".json": _result_file,
    ".jsonl": _lines_file,
    ".csv": _csv_file,
    ".eval": inspect_entries,
    ".tsv": table_entries,
    ".xlsx": table_entries,
    ".parquet": lambda path: _from_table(read_table(path, ["pid", *PREDICTION_DTYPES]), path),
}
"""Reader of each format, by the file's suffix; a log gives entries that are still to be matched."""
