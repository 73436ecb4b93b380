"""The questions of `tests/evaluation`, for what is stored of them."""

from tests.evaluation.conftest import asked, data  # noqa: F401 (fixtures)
