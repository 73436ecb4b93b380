"""Per-sample logs of other harnesses, as entries: what was asked, and what a system answered.

    lm-evaluation-harness   samples_*.jsonl (--log_samples): option likelihoods, or a generated text
    lmms-eval               samples_*.jsonl: a generated text
    inspect_ai              .eval or .json, read by inspect_ai itself (extra `inspect`)
    VLMEvalKit              .tsv or .xlsx (extra `excel`) of questions with a prediction

`matching` finds the question that each entry answers.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmadapter.errors import UserError, first_line, require
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.storage.untrusted import MAX_BYTES, read_bytes, short

SAMPLE_KEYS = frozenset({"doc_id", "filtered_resps"})
"""What tells a line of lm-evaluation-harness and lmms-eval from an answer of LLaVA."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One answer of a log."""

    where: str
    """The line, row or sample, for messages."""
    pid: str | None = None
    """The question's id, where the log has one."""
    question: str | None = None
    options: tuple[str, ...] = ()
    hint: str | None = None
    """The question's texts, None and empty where the log lacks them."""
    target: int | None = None
    """Index of the right option among those of the log, where it says."""
    text: str | None = None
    """The generated answer."""
    chosen: int | None = None
    """Index of the chosen option among those of the log, where likelihoods were compared."""
    probabilities: tuple[float, ...] | None = None
    """Probability of each option, from the likelihoods."""


def sample_entry(line: Mapping[str, Any], where: str) -> Entry:
    """Read a line of lm-evaluation-harness or lmms-eval.

    Raises:
        UserError: it is none.
    """
    doc = line.get("doc")
    doc = doc if isinstance(doc, dict) else {}
    answers = line.get("filtered_resps")
    if not isinstance(answers, list) or not answers:
        raise UserError(f"{where}: 'filtered_resps' is {short(answers)}, not a list of answers")
    options = _texts(doc.get("choices", doc.get("options", ())))
    texts: dict[str, Any] = {name: _text(doc.get(name)) for name in ("pid", "question", "hint")}
    target = _index(line.get("target", doc.get("answer")), options)
    if all(isinstance(answer, list) and len(answer) == 2 for answer in answers):
        likelihoods = [_number(answer[0], where) for answer in answers]
        peak = max(likelihoods)
        if peak == -math.inf:
            raise UserError(f"{where}: every option has the likelihood 0")
        shares = [math.exp(each - peak) for each in likelihoods]
        found = tuple(share / sum(shares) for share in shares)
        chosen = likelihoods.index(peak)
        return Entry(where=where, options=options, target=target, chosen=chosen, probabilities=found, **texts)
    answer = answers[0][0] if isinstance(answers[0], list) and answers[0] else answers[0]
    if not isinstance(answer, str):
        raise UserError(f"{where}: the answer is {short(answer)}, neither a text nor a likelihood for each option")
    return Entry(where=where, options=options, target=target, text=writable(answer), **texts)


def inspect_entries(path: Path) -> list[Entry]:
    """Read a log of inspect_ai.

    Raises:
        UserError: inspect_ai is not installed, or cannot read the file.
    """
    require("inspect_ai", extra="inspect", what=f"{path}: a log of inspect_ai")
    if path.suffix == ".eval":
        _check_archive(path)
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(str(path))
    except Exception as error:  # of any kind
        raise UserError(f"{path}: inspect_ai cannot read it: {first_line(error)[:200]}") from error
    entries = []
    for sample in log.samples or []:
        metadata = sample.metadata or {}
        asked = sample.input if isinstance(sample.input, str) else sample.input[-1].text
        options = tuple(sample.choices or ())
        target = sample.target if isinstance(sample.target, str) else sample.target[0]
        entries.append(
            Entry(
                where=f"{path}, sample {short(sample.id)}",
                pid=_text(metadata.get("pid")) or str(sample.id),
                question=_text(metadata.get("question")) or asked,
                options=options,
                hint=_text(metadata.get("hint")),
                target=_index(target, options),
                text=sample.output.completion if sample.output and not sample.error else "",
            )
        )
    return entries


def table_entries(path: Path) -> list[Entry]:
    """Read a result of VLMEvalKit: a row a question with its options in columns A, B, ..., and `prediction`.

    Raises:
        UserError: openpyxl is not installed for .xlsx, the file cannot be read, or lacks a column.
    """
    if path.suffix == ".xlsx":
        require("openpyxl", extra="excel", what=f"{path}: an Excel file")
        _check_archive(path)
    data = io.BytesIO(read_bytes(path, MAX_BYTES))
    try:
        read = pd.read_excel if path.suffix == ".xlsx" else pd.read_csv
        kind: dict[str, Any] = {} if path.suffix == ".xlsx" else {"sep": "\t"}
        table = read(data, dtype="string", keep_default_na=False, na_values=[""], **kind)
    except Exception as error:  # pandas, zipfile and openpyxl raise anything
        raise UserError(f"{path}: cannot be read as a table: {first_line(error)[:200]}") from error
    if lacking := [name for name in ("question", "A", "prediction") if name not in table]:
        raise UserError(f"{path}: no column {' and none '.join(lacking)}: not a result of VLMEvalKit")
    entries = []
    for number, row in enumerate(table.astype(object).where(table.notna(), None).to_dict("records"), start=2):
        options = tuple(row[letter] for letter in LETTERS if row.get(letter) is not None)
        entries.append(
            Entry(
                where=f"{path}, row {number}",
                question=row["question"],
                options=options,
                hint=row.get("hint") or "",
                target=_index(row.get("answer"), options),
                text=row["prediction"] or "",
            )
        )
    return entries


def _check_archive(path: Path) -> None:
    """Refuse an archive that is none, or that unpacks to more than the largest file that is read."""
    data = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable {path.suffix} file: {first_line(error)}") from error
    if size > 2 * MAX_BYTES:
        raise UserError(f"{path}: unpacks to {size >> 20:,} MB, at most {2 * MAX_BYTES >> 20} are read")


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which a generation may end in and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text(value: object) -> str | None:
    return writable(value) if isinstance(value, str) else None


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, (list, tuple)) and len(values) <= len(LETTERS) else ()


def _index(value: object, options: tuple[str, ...]) -> int | None:
    """Return the option that an index, a letter or its text stands for; None if it is none of them."""
    if type(value) is int:
        return value if 0 <= value < len(LETTERS) else None
    if not isinstance(value, str):
        return None
    value = value.strip()
    if len(value) == 1 and value in LETTERS:
        return LETTERS.index(value)
    if len(value) == 1 and value.isdecimal():
        return int(value)
    return options.index(value) if value in options else None


def _number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # the harnesses write numbers as texts
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: the likelihood {short(value)} is no number") from error
    if math.isnan(number) or number == math.inf:
        raise UserError(f"{where}: the likelihood is {number}")
    return number
