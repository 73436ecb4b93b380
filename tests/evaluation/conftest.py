import pytest

from mmadapter.evaluation.frame import question_frame
from tests.evaluation.questions import questions


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """All splits of the small ScienceQA."""
    return questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="session")
def asked(data):
    """The frame of its test questions."""
    return question_frame(data["test"])
