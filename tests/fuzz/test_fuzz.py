"""No reader answers any bytes with anything but a result or a `UserError`, in less than a second."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.reader import Reader
from tests.fuzz.readers import NAMES, readers

CORPUS = Path(__file__).parent / "corpus"
"""`corpus/READER/*`: files that broke a reader once; the name says how."""
CASES = sorted(CORPUS.glob("*/*"))
SECONDS = 5.0


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader by name, built once."""
    build, built = readers(tmp_path_factory.mktemp("fuzz")), {}

    def by_name(name: str) -> Reader:
        if name not in built:
            built[name] = build[name]()
        return built[name]

    return by_name


@pytest.mark.parametrize("name", NAMES)
def test_its_own_files_are_read(name, reader):
    for seed in reader(name).seeds:
        assert reader(name).check(seed) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_what_was_found_stays_fixed(case, reader):
    start = time.process_time()
    reader(case.parent.name).check(case.read_bytes())
    assert time.process_time() - start < SECONDS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_files_with_something_wrong_in_them(name, reader):
    one = reader(name)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(one.seeds), st.randoms(use_true_random=False))
    def holds(seed: bytes, rng: Random) -> None:
        one.check(mutated(seed, one.mutation, rng))

    holds()
