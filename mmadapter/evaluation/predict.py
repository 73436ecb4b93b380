"""A model's answers to a data set's questions: the one place of evaluation that runs a model.

What is answered is kept, batch by batch, so that a killed evaluation goes on where it was. Batches depend on the
questions alone: the answers are those of an evaluation that was not killed, to the last bit. Nor does it matter how
many processes share the batches, and the same file goes on with more or fewer of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState

from mmadapter.activations import Activations, stored_activations
from mmadapter.config import Scoring
from mmadapter.encoding import Encoded, Encoder
from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import COLUMNS, DEFAULT_RULE, predictions_frame
from mmadapter.evaluation.rules import RULES, Parsed
from mmadapter.features import QuestionImages, question_images
from mmadapter.files import told_write_errors, write_text, write_whole
from mmadapter.generation import generate
from mmadapter.instructions.template import response_text
from mmadapter.model import MultimodalAdapter
from mmadapter.processes import gathered, in_step, of_first
from mmadapter.progress import progress_bar
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.prompt import text_answer
from mmadapter.scoring import adaption_of, length_batches, option_log_likelihoods, scored_row

LETTER_TOKENS = 16
"""Generated at most for "The answer is (C)."."""

KEY = "answers_of"
"""In the attributes of a stored frame: hash of what decides the answers."""


def predict(
    model: MultimodalAdapter,
    data: Dataset,
    *,
    scoring: Scoring = "likelihood",
    images: QuestionImages | None = None,
    file: Path | None = None,
    store_activations: bool = False,
    title: str = "answering",
    quiet: bool = False,
) -> pd.DataFrame:
    """Answer every question of `data`, by likelihood or by greedy generation.

    Likelihood takes the option with the highest summed log-probability (at equality the first) and gives the
    probability of each, normalised over the options. Generation reads letters by the `strict` rule, and option
    texts only where they are written as the option is.

    Processes share the batches; the first one reads and writes `file`, and each returns all answers.

    Args:
        images: features of the data's images, if they are at hand; a text-only adapter needs none.
        file: a parquet file for the answers. Those of the same model to the same questions are read from it; until all
            are there, the batches that are answered lie beside it, and an interrupted call goes on after them.
        store_activations: for likelihood, keep on disk what enters the first adapted layer, or read it from there: the
            questions are answered again by another adapter of as many layers, or with other images, in a fraction of
            the time.
        title: of the progress bar.

    Returns:
        One row a question in the data's order: pid, prediction, output, unparsed, probabilities, prompt_tokens,
        truncated (`evaluation.predictions.COLUMNS`).

    Raises:
        UserError: likelihood for instructions, a broken image, a question too long for the model, or `file` cannot be
            written.
    """
    if model.form.answer == "response" and scoring != "generate":
        raise UserError("an instruction has no options to choose among: its scoring is generate")
    if images is None and model.tower is not None:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    first = PartialState(cpu=model.llm.model.device.type == "cpu").is_main_process
    problems = list(data)
    questions = Encoder(model.llm, model.form)(problems)
    batches = length_batches(questions)
    rows: dict[int, dict] = {}
    if file is not None:
        key = _key(model, questions, batches, images, scoring) if first else ""
        journal = _Journal(unfinished(file), key)
        stored, rows = of_first(lambda: _kept(file, journal))
        if stored is not None:
            return stored
    left = [indices for indices in batches if indices[0] not in rows]
    stored_below = None
    if store_activations and scoring == "likelihood" and model.first_adapted > 0:
        read = {question.pid: scored_row(question) for question in questions}
        stored_below = stored_activations(model, read, quiet=quiet)
    with torch.no_grad(), progress_bar(title, len(questions), quiet=quiet) as update:
        for indices, counts in in_step(left):
            asked = [questions[at] for at in indices], [problems[at] for at in indices]
            answers = _answers(model, images, stored_below, *asked, scoring)
            for answered in gathered([dict(zip(indices, answers, strict=True))] if counts else []):
                if file is not None and first:
                    journal.add(answered)
                rows |= answered
            update(len(rows))
    ordered = [rows[index] for index in range(len(questions))]
    frame = predictions_frame(
        [question.pid for question in questions],
        prediction=[row["prediction"] for row in ordered],
        output=[row.get("output") for row in ordered],
        unparsed=[row.get("unparsed") for row in ordered],
        probabilities=[row.get("probabilities") for row in ordered],
        prompt_tokens=[len(question.prompt) for question in questions],
        truncated=[question.truncated for question in questions],
    )
    if file is not None:
        of_first(lambda: _keep(file, frame, key))
    return frame


def _answers(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    stored: Activations | None,
    batch: list[Encoded],
    problems: list[Problem],
    scoring: Scoring,
) -> list[dict]:
    """Of one batch, a row a question."""
    adaption = adaption_of(model, images, batch)
    if scoring == "likelihood":
        below = stored.of(batch) if stored is not None else None
        return [_most_likely(score) for score in option_log_likelihoods(model, adaption, batch, below)]
    with model.prompted(adaption):
        outputs = generate(model.llm, [question.prompt for question in batch], _answer_tokens(batch))
    return [_read(output, problem, model.form.answer) for output, problem in zip(outputs, problems, strict=True)]


def unfinished(file: Path) -> Path:
    """Where the answers lie until all of them can be written to `file`."""
    return file.with_name(f"{file.stem}-unfinished.jsonl")


def _key(
    model: MultimodalAdapter,
    questions: Sequence[Encoded],
    batches: Sequence[Sequence[int]],
    images: QuestionImages | None,
    scoring: str,
) -> str:
    """Hash of what decides the answers: the models, the tokens, the images, and which of them share a batch."""
    llm = model.llm.model
    told = [model.identity, str(llm.dtype), llm.device.type, asdict(model.form), scoring, list(batches)]
    digest = hashlib.sha256(json.dumps(told).encode())
    for question in questions:
        digest.update(json.dumps([question.pid, question.prompt, question.options]).encode())
    for name, tensor in sorted(model.adapter.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    if images is not None and not model.adapter.text_only:
        features, has_image = images.of([question.pid for question in questions])
        digest.update(features.numpy())
        digest.update(has_image.numpy())
    return digest.hexdigest()


def _kept(file: Path, journal: _Journal) -> tuple[pd.DataFrame | None, dict[int, dict]]:
    """All answers, or those of an evaluation that did not end."""
    if (stored := _stored(file, journal.key)) is not None:
        unfinished(file).unlink(missing_ok=True)  # killed after its last answer
        return stored, {}
    return None, journal.read()


def _keep(file: Path, frame: pd.DataFrame, key: str) -> None:
    frame.attrs[KEY] = key
    write_whole(file, frame.to_parquet)
    unfinished(file).unlink()


def _stored(file: Path, key: str) -> pd.DataFrame | None:
    """The answers in a file, if they are these; those of another model, and a damaged file, are none."""
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError):  # pyarrow's errors of a damaged file among them
        return None
    if frame.attrs.get(KEY) != key:
        return None
    frame["probabilities"] = [None if found is None else found.tolist() for found in frame["probabilities"]]
    return frame.astype(COLUMNS)


class _Journal:
    """Answered batches, a JSON object a line: `{index: answer}`; the first line says whose answers they are."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self.key = path, key

    def read(self) -> dict[int, dict]:
        """By index; what another model or other questions left there is thrown away.

        Raises:
            UserError: it is damaged.
        """
        rows: dict[int, dict] = {}
        kept = head = json.dumps({KEY: self.key}) + "\n"
        if self._path.exists():
            lines = self._path.read_bytes().splitlines(keepends=True)
            for line in lines[1:] if lines[:1] == [head.encode()] else ():
                if not line.endswith(b"\n"):  # killed while it was written
                    break
                try:
                    rows |= {int(index): row for index, row in json.loads(line).items()}
                except (ValueError, AttributeError) as error:
                    raise UserError(f"{self._path}: damaged ({error})\n  delete it: all is asked again") from error
                kept += line.decode()
        write_text(self._path, kept)
        return rows

    def add(self, rows: dict[int, dict]) -> None:
        """Keep a batch."""
        with told_write_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")


def _most_likely(score: torch.Tensor) -> dict:
    return {"prediction": int(score.argmax()), "probabilities": score.softmax(dim=0).tolist()}


def _answer_tokens(batch: list[Encoded]) -> int:
    """Enough for the longest option."""
    return max(LETTER_TOKENS, *(len(option) + 1 for question in batch for option in question.options))


def _read(output: str, problem: Problem, answer: str) -> dict:
    """What a generated text says: a letter by the strict rule, or an option's text."""
    if answer == "letter":
        parsed = RULES[DEFAULT_RULE](output, len(problem.choices), problem.pid)
    else:
        spell = response_text if answer == "response" else text_answer
        texts = [spell(choice).strip() for choice in problem.choices]
        said = output.strip()
        parsed = Parsed(texts.index(said)) if said in texts else Parsed(None, "not the text of an option")
    return {"prediction": parsed.prediction, "output": output, "unparsed": parsed.reason}
