"""The questions of `tests/evaluation`, asked under other conditions."""

from tests.evaluation.conftest import asked, data  # noqa: F401 (fixtures)
