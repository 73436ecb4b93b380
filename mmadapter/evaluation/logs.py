"""Per-sample logs of other harnesses, as entries: what was asked, and what a system answered.

    lm-evaluation-harness   samples_*.jsonl (--log_samples): option likelihoods, or a generated text
    lmms-eval               *_samples_*.jsonl (--log_samples): a generated text; its prompt, not its document
    inspect_ai              .eval or .json, read by inspect_ai itself (extra `inspect`)
    VLMEvalKit              .tsv or .xlsx (extra `excel`) of questions with a prediction

`matching` finds the question that each entry answers.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmadapter.errors import UserError, require
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.storage.untrusted import MAX_BYTES, check_file, loading_errors, read_bytes, short

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

MAX_ARCHIVE = 1 << 30
"""A gigabyte in one log of inspect_ai, and what it unpacks to four of them: pictures are in it several times."""
MAX_ROWS, MAX_COLUMNS = 1 << 16, 64
"""Bounds of a table: one cell far out would make a spreadsheet of billions."""
PIECE = 4096
"""Bytes of a member that are asked for at a time: so many packed ones are unpacked at once, whatever they become."""
UNREAD_FIELDS = ("messages", "events", "store", "attachments")
"""Fields of a sample of inspect_ai that nothing here needs, and most of its size."""
CHOICE_SCORER = "choice"
"""The scorer of inspect_ai that reads the letter which its own solver asks for."""
SAMPLE_KEYS = frozenset({"doc_id", "filtered_resps"})
"""What tells a line of lm-evaluation-harness and lmms-eval from an answer of LLaVA."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One answer of a log."""

    where: str
    """The line, row or sample, for messages."""
    pid: str | None = None
    """The question's id, where the log has one."""
    row: int | None = None
    """The question's place in the split, or among its questions with a picture, where the log numbers them; from 0."""
    question: str | None = None
    options: tuple[str, ...] = ()
    hint: str | None = None
    """The question's texts, None and empty where the log lacks them."""
    prompt: str | None = None
    """What the model was told, where the log has that instead of the question."""
    target: int | None = None
    """Index of the right option among those of the log, where it says."""
    text: str | None = None
    """The generated answer."""
    chosen: int | None = None
    """Index of the chosen option among those of the log, by the likelihoods or as the harness read the text."""
    unparsed: str | None = None
    """Why the harness, which read the text, found no option."""
    probabilities: tuple[float, ...] | None = None
    """Probability of each option, from the likelihoods."""


def sample_entry(line: Mapping[str, Any], where: str) -> Entry:
    """Read a line of lm-evaluation-harness or lmms-eval.

    A generated text is taken as it was, not as a filter of the harness left it, unless several were generated.

    Raises:
        UserError: it is none.
    """
    doc = line.get("doc")
    doc = doc if isinstance(doc, dict) else {}
    answers = line.get("filtered_resps")
    if not isinstance(answers, list) or not answers:
        raise UserError(f"{where}: 'filtered_resps' is {short(answers)}, not a list of answers")
    options = _texts(doc.get("choices", doc.get("options", ())))
    answer = doc.get("answer")
    asked: dict[str, Any] = {
        **{name: _text(doc.get(name)) for name in ("pid", "question", "hint")},
        "where": where,
        "row": line["doc_id"] if type(line["doc_id"]) is int else None,
        "options": options,
        "prompt": _text(line.get("input")),
        "target": _index(answer if type(answer) is int else line.get("target"), options),
    }
    if all(isinstance(answer, list) and len(answer) == 2 for answer in answers):
        likelihoods = [_number(answer[0], where) for answer in answers]
        peak = max(likelihoods)
        if peak == -math.inf:
            raise UserError(f"{where}: every option has the likelihood 0")
        shares = [math.exp(each - peak) for each in likelihoods]
        found = tuple(share / sum(shares) for share in shares)
        return Entry(chosen=likelihoods.index(peak), probabilities=found, **asked)
    texts = [text for text in map(_single, (line.get("resps"), answers)) if isinstance(text, str)]
    if not texts:
        raise UserError(f"{where}: the answer is {short(_single(answers))}, neither a text nor likelihoods of options")
    return Entry(text=writable(texts[0]), **asked)


def inspect_entries(path: Path) -> list[Entry]:
    """Read a log of inspect_ai; samples that ended in an error have no answer.

    Raises:
        UserError: inspect_ai is not installed, or cannot read the file.
    """
    require("inspect_ai", extra="inspect", what=f"{path}: a log of inspect_ai")
    with loading_errors(str(path)), tempfile.TemporaryDirectory() as folder:
        from inspect_ai.log import read_eval_log

        log = read_eval_log(str(path if path.suffix == ".json" else _without_unread(path, Path(folder))))
    return [_inspect_entry(sample, path) for sample in log.samples or () if sample.error is None]


def _inspect_entry(sample: EvalSample, path: Path) -> Entry:
    metadata, filed = sample.metadata or {}, (sample.scores or {}).get(CHOICE_SCORER)
    told = sample.input if isinstance(sample.input, str) else "\n".join(message.text for message in sample.input)
    options = tuple(sample.choices or ())
    target = [sample.target] if isinstance(sample.target, str) else sample.target
    letter = filed.answer if filed else None
    chosen = LETTERS.index(letter) if letter in tuple(LETTERS) else None
    return Entry(
        where=f"{path}, sample {short(sample.id)}",
        pid=_text(metadata.get("pid")) or str(sample.id),
        row=sample.id - 1 if isinstance(sample.id, int) else None,  # inspect_ai numbers what has no id from 1
        question=_text(metadata.get("question")),
        options=options,
        hint=_text(metadata.get("hint")),
        prompt=writable(told),
        target=_index(target[0], options) if len(target) == 1 else None,
        text=writable(sample.output.completion),
        chosen=chosen,
        unparsed="no letter for inspect_ai's scorer" if filed and chosen is None else None,
    )


def _without_unread(path: Path, folder: Path) -> Path:
    """Copy a log of inspect_ai into a folder, without the `UNREAD_FIELDS` of its samples.

    inspect_ai unpacks all that an archive holds. `zipfile`, which reads here, stops at the sizes that the
    archive declares, if it is asked for a little at a time.

    Raises:
        UserError: the log is larger than the bounds.
    """
    copy, kept = folder / "log.eval", 0
    with _archive(path, MAX_ARCHIVE) as archive, zipfile.ZipFile(copy, "w") as copied:
        for member in archive.infolist():
            if member.file_size > MAX_BYTES:
                raise UserError(f"{path}: {short(member.filename)} unpacks to {member.file_size:,} bytes")
            with archive.open(member) as stream:
                content = b"".join(iter(partial(stream.read, PIECE), b""))
            if member.filename.startswith("samples/"):
                sample = json.loads(content)
                if isinstance(sample, dict):
                    sample = {name: value for name, value in sample.items() if name not in UNREAD_FIELDS}
                content = json.dumps(sample).encode()
            kept += len(content)
            if kept > 2 * MAX_BYTES:
                raise UserError(f"{path}: its samples hold more than {2 * MAX_BYTES >> 20} MB")
            copied.writestr(member.filename, content)
    return copy


def table_entries(path: Path) -> list[Entry]:
    """Read a result of VLMEvalKit: a row a question with its options in columns A, B, ..., and `prediction`.

    Raises:
        UserError: openpyxl is not installed for .xlsx, the file cannot be read, or lacks a column.
    """
    if path.suffix == ".xlsx":
        require("openpyxl", extra="excel", what=f"{path}: an Excel file")
    with loading_errors(str(path)):
        rows = list(islice((_excel_rows if path.suffix == ".xlsx" else _tsv_rows)(path), MAX_ROWS + 2))
    if len(rows) > MAX_ROWS + 1:
        raise UserError(f"{path}: has more than the {MAX_ROWS:,} rows that are read")
    header, *answers = rows or [()]
    if lacking := [name for name in ("question", "A", "prediction") if name not in header]:
        raise UserError(f"{path}: no column {' and none '.join(lacking)}: not a result of VLMEvalKit")
    entries = []
    for number, cells in enumerate(answers, start=2):
        row = dict(zip(header, cells, strict=False))
        if not any(row.values()):
            continue
        options = tuple(option for letter in LETTERS if (option := row.get(letter)) is not None)
        index = row.get("index")
        entries.append(
            Entry(
                where=f"{path}, row {number}",
                pid=index,
                row=int(index) if index and len(index) < 9 and index.isdecimal() else None,
                question=row.get("question") or "",
                options=options,
                hint=(row.get("hint") or "") if "hint" in header else None,
                target=_index(row.get("answer"), options),
                text=row.get("prediction") or "",
            )
        )
    return entries


def _tsv_rows(path: Path) -> Iterator[tuple[str | None, ...]]:
    data = io.BytesIO(read_bytes(path, MAX_BYTES))
    table = pd.read_csv(data, sep="\t", dtype=object, keep_default_na=False, na_values=[""], nrows=MAX_ROWS + 1)
    yield tuple(table.columns)
    yield from table.where(table.notna(), None).itertuples(index=False, name=None)


def _excel_rows(path: Path) -> Iterator[tuple[str | None, ...]]:
    import openpyxl

    with _archive(path, MAX_BYTES):
        pass  # its size is checked
    sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
    sheet.reset_dimensions()  # they are only claimed
    size = 0
    for row in sheet.iter_rows(max_col=MAX_COLUMNS, values_only=True):
        cells = tuple(None if value is None else writable(str(value)) for value in row)
        size += sum(map(len, filter(None, cells)))
        if size > MAX_BYTES:
            raise UserError(f"{path}: holds more than {MAX_BYTES >> 20} MB of text")
        yield cells


def _archive(path: Path, at_most: int) -> zipfile.ZipFile:
    """Open an archive of at most so many bytes, four times as many when unpacked."""
    check_file(path, at_most)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable {path.suffix} file: {error}") from error
    if (size := sum(member.file_size for member in archive.infolist())) > 4 * at_most:
        raise UserError(f"{path}: unpacks to {size >> 20:,} MB, at most {4 * at_most >> 20:,} are read")
    return archive


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which a generation may end in and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text(value: object) -> str | None:
    return writable(value) if isinstance(value, str) else None


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, (list, tuple)) and len(values) <= len(LETTERS) else ()


def _single(value: object) -> object:
    """Return what lists of one hold."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


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
