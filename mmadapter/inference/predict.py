"""A model's answers to the questions of a data set.

Answers are kept batch by batch, and batches depend on the questions alone: an interrupted evaluation goes on to the
same answers, bit for bit. Any number of processes can share the batches, and another number can go on with them.
"""

from __future__ import annotations

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
from mmadapter.inference.journal import Journal
from mmadapter.inference.likelihood import adaption_of, option_log_likelihoods
from mmadapter.inference.rows import length_batches, scored_row
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.instructions.template import response_text
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.prompt import text_answer
from mmadapter.storage.keys import content_key
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

    Likelihood takes the option with the highest summed log-probability, the first of equal ones, and gives each
    option's probability, normalised over the options. Generation reads letters by the `strict` rule, and option texts
    only if they are written exactly as the option is.

    Processes share the batches. The first one reads and writes `file`, and each returns all answers.

    Args:
        images: features of the data's images, if they are computed already; a text-only adapter needs none.
        file: a parquet file that keeps the answers; those of the same model to the same questions are read from it.
            Until all are there, answered batches are kept beside it, and an interrupted call goes on after them.
        store_activations: for likelihood, keep the hidden states that enter the first adapted layer on disk: another
            adapter of as many layers, or other images, then take a fraction of the time.
        title: of the progress bar.

    Returns:
        One row a question in the data's order: pid, prediction, output, unparsed, probabilities, prompt_tokens,
        truncated (`evaluation.predictions.PREDICTION_DTYPES`).

    Raises:
        UserError: likelihood scoring of instructions, a broken image, a question too long for the model, or a `file`
            that cannot be written.
    """
    if model.form.answer == "response" and scoring != "generate":
        raise UserError("an instruction has no options to choose among: its scoring is generate")
    if images is None and model.tower is not None:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    first = PartialState(cpu=model.llm.model.device.type == "cpu").is_main_process
    problems = list(data)
    questions = Encoder(model.llm, model.form)(problems)
    batches = length_batches(questions)
    journal = Journal(file, _key(model, questions, batches, images, scoring)) if file is not None and first else None
    finished, rows = from_first(lambda: journal.read() if journal else (None, {}))
    if finished is not None:
        return finished
    left = [indices for indices in batches if indices[0] not in rows]
    stored = None
    if store_activations and scoring == "likelihood" and model.first_adapted > 0:
        stored = stored_activations(model, {q.pid: scored_row(q) for q in questions}, quiet=quiet)
    with torch.no_grad(), progress_bar(title, len(questions), quiet=quiet) as update:
        for indices, counts in in_step(left):
            batch = [questions[index] for index in indices]
            answers = _answers(model, images, stored, batch, [problems[index] for index in indices], scoring)
            for answered in gathered([dict(zip(indices, answers, strict=True))] if counts else []):
                if journal:
                    journal.add(answered)
                rows |= answered
            update(len(rows))
    columns = ("prediction", "output", "unparsed", "probabilities")
    frame = predictions_frame(
        [question.pid for question in questions],
        **{name: [rows[index].get(name) for index in range(len(questions))] for name in columns},
        prompt_tokens=[len(question.prompt) for question in questions],
        truncated=[question.truncated for question in questions],
    )
    from_first(lambda: journal.finish(frame) if journal else None)
    return frame


def _answers(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    stored: Activations | None,
    batch: list[Encoded],
    problems: list[Problem],
    scoring: Scoring,
) -> list[dict]:
    """Answer one batch: the columns of each question's row."""
    adaption = adaption_of(model, images, batch)
    if scoring == "likelihood":
        scores = option_log_likelihoods(model, adaption, batch, stored.of(batch) if stored else None)
        return [{"prediction": int(s.argmax()), "probabilities": s.softmax(dim=0).tolist()} for s in scores]
    longest = max(len(option) for question in batch for option in question.options)
    with model.prompted(adaption):
        outputs = generate(model.llm, [question.prompt for question in batch], max(LETTER_TOKENS, longest + 1))
    return [_read(output, problem, model.form.answer) for output, problem in zip(outputs, problems, strict=True)]


def _read(output: str, problem: Problem, answer: str) -> dict:
    """Read a generated text: a letter by the default rule, or an option's text."""
    if answer == "letter":
        parsed = RULES[DEFAULT_RULE](output, len(problem.choices), problem.pid)
    else:
        spell = response_text if answer == "response" else text_answer
        texts, text = [spell(choice).strip() for choice in problem.choices], output.strip()
        parsed = Parsed(texts.index(text)) if text in texts else Parsed(None, "not the text of an option")
    return {"prediction": parsed.prediction, "output": output, "unparsed": parsed.reason}


def _key(
    model: MultimodalAdapter,
    questions: Sequence[Encoded],
    batches: Sequence[Sequence[int]],
    images: QuestionImages | None,
    scoring: str,
) -> str:
    """Hash everything that decides the answers: models, tokens, images, and which questions share a batch."""
    llm = model.llm.model
    weights = model.adapter.state_dict()
    tensors = [*weights.values()]
    if images is not None and not model.adapter.text_only:
        tensors += images.of([question.pid for question in questions])
    settings = [model.identity, str(llm.dtype), llm.device.type, asdict(model.form), scoring, list(batches)]
    settings += [[question.pid, question.prompt, question.options] for question in questions]
    return content_key([settings, list(weights)], tensors)
