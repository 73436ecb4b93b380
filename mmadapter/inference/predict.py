"""Answer a data set's questions with a model.

Answers are kept batch by batch, so that a killed evaluation goes on. Batches depend on the questions alone: neither an
interruption nor the number of processes changes a bit.
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

from mmadapter.config.settings import Scoring
from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import DEFAULT_RULE, predictions_frame
from mmadapter.evaluation.rules import RULES, Parsed
from mmadapter.inference.activations import Activations, stored_activations
from mmadapter.inference.generation import generate
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.journal import Journal, keep_answers, kept_answers, unfinished
from mmadapter.inference.likelihood import adaption_of, option_log_likelihoods
from mmadapter.inference.rows import length_batches, scored_row
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.instructions.template import response_text
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.prompt import text_answer
from mmadapter.storage.processes import from_first, gathered, in_step
from mmadapter.storage.progress import progress_bar

LETTER_TOKENS = 16
"""Most tokens generated for "The answer is (C)."."""


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

    Likelihood takes the option with the highest summed log-probability (the first of equals), and returns the
    probability of each, normalised over the options. Generation reads letters by the `strict` rule; an option's text
    must be written exactly as offered.

    Processes share the batches; the first one reads and writes `file`, and each returns all answers.

    Args:
        images: features of the data's images, if available; a text-only adapter needs none.
        file: a parquet file for the answers. Answers of the same model to the same questions are read from it. A
            journal
            beside it lets an interrupted call go on.
        store_activations: for likelihood, store the input of the first adapted layer on disk, or read it from there.
            Another
            adapter of as many layers, or another image, is then answered in a fraction of the time.
        title: title of the progress bar.

    Returns:
        One row a question in the data's order: pid, prediction, output, unparsed, probabilities, prompt_tokens,
        truncated (`evaluation.predictions.PREDICTION_DTYPES`).

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
        journal = Journal(unfinished(file), key)
        stored, rows = from_first(lambda: kept_answers(file, journal))
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
        from_first(lambda: keep_answers(file, frame, key))
    return frame


def _answers(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    stored: Activations | None,
    batch: list[Encoded],
    problems: list[Problem],
    scoring: Scoring,
) -> list[dict]:
    """Answer one batch, a row a question."""
    adaption = adaption_of(model, images, batch)
    if scoring == "likelihood":
        below = stored.of(batch) if stored is not None else None
        return [_most_likely(score) for score in option_log_likelihoods(model, adaption, batch, below)]
    with model.prompted(adaption):
        outputs = generate(model.llm, [question.prompt for question in batch], _answer_tokens(batch))
    return [_read(output, problem, model.form.answer) for output, problem in zip(outputs, problems, strict=True)]


def _key(
    model: MultimodalAdapter,
    questions: Sequence[Encoded],
    batches: Sequence[Sequence[int]],
    images: QuestionImages | None,
    scoring: str,
) -> str:
    """Hash everything that decides the answers: models, tokens, images, and which questions share a batch."""
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


def _most_likely(score: torch.Tensor) -> dict:
    return {"prediction": int(score.argmax()), "probabilities": score.softmax(dim=0).tolist()}


def _answer_tokens(batch: list[Encoded]) -> int:
    """Enough tokens for the longest option."""
    return max(LETTER_TOKENS, *(len(option) + 1 for question in batch for option in question.options))


def _read(output: str, problem: Problem, answer: str) -> dict:
    """Read a generated text: a letter by the strict rule, or an option's text."""
    if answer == "letter":
        parsed = RULES[DEFAULT_RULE](output, len(problem.choices), problem.pid)
    else:
        spell = response_text if answer == "response" else text_answer
        texts = [spell(choice).strip() for choice in problem.choices]
        said = output.strip()
        parsed = Parsed(texts.index(said)) if said in texts else Parsed(None, "not the text of an option")
    return {"prediction": parsed.prediction, "output": output, "unparsed": parsed.reason}
