"""Problems as a pandas frame."""

from operator import attrgetter

import pandas as pd

from mmadapter.scienceqa.problems import Dataset

DTYPES = {
    "split": "string",
    "subject": "string",
    "topic": "string",
    "category": "string",
    "skill": "string",
    "grade": "Int64",
    "task": "string",
    "question": "string",
    "choices": "object",
    "answer": "Int64",
    "hint": "string",
    "has_text": "boolean",
    "has_image": "bool",
    "n_choices": "Int64",
    "caption": "string",
    "lecture": "string",
    "solution": "string",
    "image": "string",
}
"""The columns in order. All but `has_image` can say <NA>; `choices` holds lists of texts."""


def problems_frame(dataset: Dataset) -> pd.DataFrame:
    """One row a problem, indexed by pid (string), in the data set's order; the unknown is <NA>.

    `answer` is the 0-based index into `choices`, `has_text` and `has_image` are the paper's TXT and IMG,
    `image` says where the picture is (file, or table and row), <NA> if there is none.
    """
    problems = list(dataset)
    columns = {}
    for name, dtype in DTYPES.items():
        values = [_DERIVED.get(name, attrgetter(name))(problem) for problem in problems]
        columns[name] = pd.Series(values, dtype=dtype).array
    return pd.DataFrame(columns, index=pd.Index([p.pid for p in problems], dtype="string", name="pid"))


_DERIVED = {
    "choices": lambda problem: list(problem.choices),
    "n_choices": lambda problem: len(problem.choices),
    "image": lambda problem: None if problem.image is None else problem.image.where,
}
"""Where a column is not simply the problem's attribute of that name."""
