"""Coverage-guided fuzzing (atheris) of one reader of `readers.py`, or of all, a process each:

    python -m tests.fuzz.run problems.json --runs 100000
    python -m tests.fuzz.run all

An input is a file of the reader's format with something wrong in it (`mutate.py`), or any bytes that libFuzzer makes of
one that reached new code. It fails if anything but a result or a `UserError` comes out, if it takes more than a second
of processor time, or if the process, some 800 MB of it libraries, comes to more than 3 GB. What fails is written to
`tests/fuzz/corpus/READER/`, where `test_fuzz.py` replays it for ever, and the run goes on; only a crash of the
interpreter, too much memory or half an hour over one input ends it. At the end it prints one line of JSON a reader.
`pip install -e .[test,fuzz]`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

import atheris

from tests.fuzz.mutate import mutated
from tests.fuzz.reader import Reader
from tests.fuzz.readers import NAMES, readers

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.0
MEGABYTES = 3072
LONGEST_INPUT = 1 << 15
HANG = 1800
"""Seconds by the clock after which libFuzzer ends a run: many, for on a loaded machine most of them are others'."""


def fuzz(name: str, runs: int, seed: int) -> None:
    """Ends the process."""
    warnings.simplefilter("ignore")
    scratch = tempfile.TemporaryDirectory()
    with atheris.instrument_imports(include=["mmadapter"]):
        reader = readers(Path(scratch.name) / "readers")[name]()
        for content in reader.seeds:
            reader.check(content)
    loaded = _megabytes()
    corpus = CORPUS / name
    seeds = Path(scratch.name) / "seeds"
    seeds.mkdir()
    known = corpus.iterdir() if corpus.is_dir() else ()
    for number, content in enumerate([*reader.seeds, *(file.read_bytes() for file in known)]):
        (seeds / str(number)).write_bytes(content)
    found: dict[str, Path] = {}
    count, refused, slowest = 0, 0, 0.0

    def one(content: bytes) -> None:
        nonlocal count, refused, slowest
        kind, was_refused, taken = _tried(reader, content)
        if taken > SECONDS:  # a loaded machine counts its own pauses as ours: not twice
            taken = min(taken, _tried(reader, content)[2])
        count, refused, slowest = count + 1, refused + was_refused, max(slowest, taken)
        if kind is None and taken > SECONDS:
            kind = "slow"
        if kind is not None and kind not in found:
            corpus.mkdir(parents=True, exist_ok=True)
            found[kind] = corpus / f"{kind}-{hashlib.sha256(content).hexdigest()[:8]}"
            found[kind].write_bytes(content)
            print(f"{name}: {found[kind]}", file=sys.stderr, flush=True)
        if count == runs:
            _end(name, count, refused, slowest, loaded, found, scratch)

    def mutator(content: bytes, longest: int, number: int) -> bytes:
        rng = Random(number)
        if rng.random() < 0.4:
            return atheris.Mutate(content, longest)
        if rng.random() < 0.6 or not content:  # what has been changed often is refused by its first bytes
            content = rng.choice(reader.seeds)
        return mutated(content, reader.mutation, rng)[:longest]

    options = [
        f"-rss_limit_mb={MEGABYTES}",
        f"-timeout={HANG}",
        f"-report_slow_units={HANG}",
        f"-max_len={LONGEST_INPUT}",
        f"-seed={seed}",
    ]
    options += [f"-artifact_prefix={CORPUS.parent}/crash-{name}-", "-print_final_stats=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], one, custom_mutator=mutator)
    atheris.Fuzz()


def _tried(reader: Reader, content: bytes) -> tuple[str | None, bool, float]:
    """How it failed, whether it was refused, and the seconds of processor time."""
    start = time.process_time()
    try:
        kind, refused = None, reader.check(content) is not None
    except Exception as error:
        kind, refused = _kind(error), False
    return kind, refused, time.process_time() - start


def _kind(error: Exception) -> str:
    """Its type and the innermost place in our code."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "mmadapter" in frame.filename]
    place = f"{Path(ours[-1].filename).stem}-{ours[-1].name}" if ours else "harness"
    return f"{type(error).__name__}-{place}"


def _end(name, count, refused, slowest, loaded, found, scratch) -> None:
    summary = {
        "reader": name,
        "inputs": count,
        "refused": refused,
        "findings": len(found),
        "slowest_ms": round(1000 * slowest),
        "megabytes": _megabytes(),
        "megabytes_loaded": loaded,
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(summary), flush=True)
    scratch.cleanup()
    os._exit(0)  # libFuzzer would end it as a failure


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=("all", *NAMES))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.reader != "all":
        fuzz(args.reader, args.runs, args.seed)
    command = [sys.executable, "-m", "tests.fuzz.run", "--runs", str(args.runs), "--seed", str(args.seed)]
    return max(subprocess.run([*command, name]).returncode != 0 for name in NAMES)


if __name__ == "__main__":
    sys.exit(main())
