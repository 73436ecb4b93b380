"""A run killed at any moment, and resumed until it ends, is the run that was never killed, to the last bit."""

import json
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from eval.demo import write_demo
from mmadapter.storage.tensors import load_tensors
from tests.kill.process import kill_all, killed, lives_until, start, start_torchrun, start_two, written_since

STAGES = {
    "features": "cache/features/*/.lock",
    "training multimodal": "run/multimodal/log.jsonl",
    "training text": "run/text/log.jsonl",
    "answers multimodal": "run/multimodal/predictions-unfinished.jsonl",
    "answers text": "run/text/predictions-unfinished.jsonl",
    "ceiling": "run/ceiling-unfinished.jsonl",
}
"""The parts of a run, in their order, and the file by whose writing each begins."""
SIZES = {"train": 40, "val": 8, "test": 60}
SETTINGS = ("--epochs", "2", "--forward-tokens", "256")
"""Each batch of 8 goes through the model in several parts, whose gradients are summed up."""


class Reference:
    """The run that is not killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.began = folder, {}
        write_demo(folder / "data", sizes=SIZES)
        process = start(folder, "--dataset", "demo", "--data-dir", str(folder / "data"), *SETTINGS)
        while process.is_alive():
            for name, pattern in STAGES.items():
                if name not in self.began and any(written_since(path, 0) for path in folder.glob(pattern)):
                    self.began[name] = time.monotonic()
            time.sleep(0.0005)
        process.join()
        assert process.exitcode == 0
        self.ended = time.monotonic()

    def seconds(self, stage: str) -> float:
        """From its beginning to the next one's."""
        later = [*list(self.began.values())[list(self.began).index(stage) + 1 :], self.ended]
        return later[0] - self.began[stage]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Reference:
    return Reference(tmp_path_factory.mktemp("whole"))


class Kill(NamedTuple):
    """A process that did not come to its end."""

    stage: str
    in_epoch: bool
    """It left a checkpoint from the middle of an epoch."""


def killed_run(reference: Reference, folder: Path, stages: list[str], rng: random.Random) -> list[Kill]:
    """A run that is killed once in each stage, at a random moment of it; those kills that came in time."""
    shutil.copytree(reference.folder / "data", folder / "data")
    hits = []
    for stage in stages:
        process = resumed(folder)
        if killed(process, folder, STAGES[stage], rng.uniform(0, reference.seconds(stage))):
            hits.append(Kill(stage, in_epoch(folder)))
        else:
            assert process.exitcode == 0
    finish(folder)
    return hits


def resumed(folder: Path, **settings):
    """The next process of a run: its first one, while no configuration is written."""
    if (folder / "run" / "config.yaml").exists():
        return start(folder, "--resume", **settings)
    return start(folder, "--dataset", "demo", "--data-dir", str(folder / "data"), *SETTINGS, **settings)


def finish(folder: Path) -> None:
    process = resumed(folder)
    process.join()
    assert process.exitcode == 0


def contents(folder: Path) -> dict[str, object]:
    """Everything that a run left, without clock times and its own place."""
    found: dict[str, object] = {}
    for path in sorted((folder / "run").rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        elif path.name == "metrics.json":
            metrics = json.loads(path.read_text().replace(str(folder), ""))
            found[name] = metrics | {"epochs": [{**epoch, "seconds": 0} for epoch in metrics["epochs"]]}
        elif path.name == "checkpoint.safetensors":
            tensors, about = load_tensors(path)
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in tensors.items()} | about
        elif path.is_file() and path.name not in (".lock", "checkpoint.previous.safetensors"):
            found[name] = path.read_bytes().replace(str(folder).encode(), b"")
    return found


def features(folder: Path) -> dict[bytes, bytes]:
    """The feature store: by image, whichever shard it lies in."""
    rows: dict[bytes, bytes] = {}
    for path in folder.glob("cache/features/*/*.safetensors"):
        shard, _ = load_tensors(path)
        keys = [key.numpy().tobytes() for key in shard["keys"]]
        assert not rows.keys() & set(keys)  # no image was encoded twice
        rows |= zip(keys, (row.numpy().tobytes() for row in shard["features"]), strict=True)
    return rows


def check_same(folder: Path, reference: Reference) -> None:
    found, expected = contents(folder), contents(reference.folder)
    assert found.keys() == expected.keys()
    assert [name for name, content in expected.items() if found[name] != content] == []
    assert features(folder) == features(reference.folder)


def in_epoch(folder: Path) -> bool:
    """Whether the last checkpoint of any variant is from the middle of an epoch."""
    found = (load_tensors(path)[1] for path in folder.glob("run/*/checkpoint.safetensors"))
    return any(json.loads(about["progress"])["batch"] > 0 for about in found)


def test_three_kills(reference, tmp_path):
    rng = random.Random(0)
    assert killed_run(reference, tmp_path, ["features", "training multimodal", "answers text"], rng)
    check_same(tmp_path, reference)


def test_a_training_that_is_asked_to_end_goes_on_where_it_was(reference, tmp_path):
    """SIGTERM, as a batch system sends it before it kills; at the second checkpoint, at the latest after an epoch."""
    shutil.copytree(reference.folder / "data", tmp_path / "data")
    shutil.copytree(reference.folder / "cache", tmp_path / "cache")
    process = resumed(tmp_path, rename=4, by=signal.SIGTERM)  # three settings, a checkpoint, the next one's predecessor
    process.join()
    assert process.exitcode == 1
    assert in_epoch(tmp_path)
    assert not (tmp_path / "run" / "multimodal" / "adapter.safetensors").exists()
    finish(tmp_path)
    check_same(tmp_path, reference)


def test_a_full_disk_is_told_and_costs_nothing(reference, tmp_path):
    """No file may grow beyond less than a checkpoint: the first one cannot be written. Then there is room again."""
    shutil.copytree(reference.folder / "data", tmp_path / "data")
    shutil.copytree(reference.folder / "cache", tmp_path / "cache")
    process = resumed(tmp_path, room=50_000)
    process.join()
    assert process.exitcode == 2
    file = tmp_path / "run" / "multimodal" / "checkpoint.safetensors"
    told = f"mmadapter-train: {file}: cannot be written: File too large\n  what was there before is kept\n"
    assert (tmp_path / "stderr").read_text() == told
    assert not list((tmp_path / "run").rglob("*.part"))
    finish(tmp_path)
    check_same(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_kills(reference, tmp_path):
    rng, hits, runs = random.Random(1), [], 0
    while len(hits) < 30:
        stages = sorted(rng.sample(list(STAGES), 3), key=list(STAGES).index)
        folder = tmp_path / str(runs)
        hits += killed_run(reference, folder, stages, rng)
        check_same(folder, reference)
        shutil.rmtree(folder)
        runs += 1
    print(f"{len(hits)} kills in {runs} runs:", Counter(hits))
    assert {kill.stage for kill in hits} == set(STAGES)
    assert any(kill.in_epoch for kill in hits)


class Together(NamedTuple):
    """The training by two processes that is not killed."""

    arguments: tuple[str, ...]
    contents: dict[str, object]


@pytest.fixture(scope="module")
def together(reference, tmp_path_factory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    arguments = ("--dataset", "demo", "--data-dir", str(reference.folder / "data"), *SETTINGS)
    shutil.copytree(reference.folder / "cache", folder / "cache")
    train_together(folder, *arguments)
    return Together(arguments, contents(folder))


def train_together(folder: Path, *arguments: str) -> None:
    for process in start_two(folder, *arguments):
        process.join()
        assert process.exitcode == 0


def check_same_together(folder: Path, together: Together) -> None:
    found = contents(folder)
    assert found.keys() == together.contents.keys()
    assert [name for name, content in together.contents.items() if found[name] != content] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_killed_while_they_train(reference, together, tmp_path):
    """One of both is killed at any moment of a training, the other one, which waits for it, too."""
    rng, kills, runs = random.Random(3), 0, 0
    while kills < 6:
        folder = tmp_path / str(runs)
        shutil.copytree(reference.folder / "cache", folder / "cache")
        for stage in ("training multimodal", "training text"):
            begun = (folder / "run" / "config.yaml").exists()
            processes = start_two(folder, *(("--resume",) if begun else together.arguments))
            victim = processes.pop(rng.randrange(2))
            (survivor,) = processes
            if killed(victim, folder, STAGES[stage], rng.uniform(0, reference.seconds(stage))):
                kills += 1
                survivor.kill()
            survivor.join()
        train_together(folder, "--resume")
        check_same_together(folder, together)
        runs += 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_whole_torchrun_job_killed_while_it_trains(reference, together, tmp_path):
    """The launcher and both of its processes, in any order, at any moment; resumed as the user would."""
    rng, kills, runs = random.Random(4), 0, 0
    while kills < 4:
        folder = tmp_path / str(runs)
        shutil.copytree(reference.folder / "cache", folder / "cache")
        for stage in ("training multimodal", "training text"):
            begun = (folder / "run" / "config.yaml").exists()
            job = start_torchrun(folder, *(("--resume",) if begun else together.arguments))
            if lives_until(lambda job=job: job.poll() is None, folder, STAGES[stage], rng.uniform(0, 2)):
                assert kill_all(job, rng.shuffle) == 3
                kills += 1
            else:
                assert job.returncode == 0
        assert start_torchrun(folder, "--resume").wait() == 0
        check_same_together(folder, together)
        runs += 1
    print(f"{kills} kills in {runs} jobs")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_the_renaming_of_files(reference, tmp_path):
    """Just before or just after a file takes its place: the moments at which an order of writes can be wrong."""
    rng, kills, runs = random.Random(2), 0, 0
    while kills < 12:
        folder = tmp_path / str(runs)
        shutil.copytree(reference.folder / "data", folder / "data")
        for _ in range(2):
            process = resumed(folder, rename=rng.randrange(40))
            process.join()
            kills += process.exitcode != 0
        finish(folder)
        check_same(folder, reference)
        shutil.rmtree(folder)
        runs += 1
    print(f"{kills} kills in {runs} runs")
