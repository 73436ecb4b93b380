"""Two processes on one machine against one: the same adapter, log and answers, also where each holds half a model."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from eval.demo import write_demo
from mmadapter.backbone.placement import check_processes, shard
from mmadapter.config.settings import InputFormat, RunConfig, Scoring
from mmadapter.errors import UserError
from mmadapter.inference import predict as predict_module
from mmadapter.inference.journal import unfinished
from mmadapter.model import MultimodalAdapter
from tests.processes import SCORINGS, UNEVEN, local_bytes, predict_all, predict_colours
from tests.tiny import tiny_lm, tiny_model
from tests.trained_runs import SIZES, write_backbones, write_colours
from tests.training.test_loop import trained

BROKEN = ("66", "89")
"""Of the test split of colours; they have a picture."""
LEFT = 5
"""Batches that one process leaves to two."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Iterator[Path]:
    """What both do: two processes in `two`, `sharded`, `gone-on`, one in `one`, `uneven`, `whole`.

    All on one thread each, for the number of threads decides the last bits."""
    folder, threads = tmp_path_factory.mktemp("processes"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMADAPTER_CACHE", str(folder / "cache"))
        trained(folder / "one")
        trained(folder / "uneven", recipe=UNEVEN, components=4)
        write_colours(folder / "data")
        for pid in BROKEN:
            (folder / "data" / "images" / "test" / pid / "image.png").write_bytes(b"no picture")
        llm, clip = map(str, write_backbones(folder))
        model = MultimodalAdapter.build(
            llm, clip, adapter_len=3, adapter_layers=2, scales=2, form=InputFormat(answer="text")
        )
        with torch.no_grad():
            model.adapter.gates.fill_(0.3)
        model.save_pretrained(folder / "adapter")
        for scoring in SCORINGS:
            batches = answered(folder, folder / "whole", scoring)
            answered(folder, folder / "gone-on", scoring, stop=batches - LEFT)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
        subprocess.run([*TORCHRUN, "-m", "tests.processes", folder], env=environment, check=True, timeout=250)
    yield folder
    torch.set_num_threads(threads)


def answered(folder: Path, into: Path, scoring: Scoring, stop: int | None = None) -> int:
    """Lets one process answer, up to a batch in whose midst it is interrupted. Returns how many batches were begun."""
    begun, answer = [], predict_module._answers

    def counting(*given):
        if len(begun) == stop:
            raise KeyboardInterrupt
        begun.append(1)
        return answer(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_module, "_answers", counting)
        with pytest.raises(KeyboardInterrupt) if stop is not None else nullcontext():
            predict_colours(folder, into, scoring)
    return len(begun)


def told(work: Path, rank: int) -> dict:
    """What one of both processes wrote down."""
    return json.loads((work / f"{rank}.json").read_text())


def check_same_training(ours: Path, theirs: Path) -> None:
    """Adam divides sums of another order: small gradients, of any sign, move a weight by as much as large ones."""
    first, second = (load_file(folder / "adapter.safetensors") for folder in (ours, theirs))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=2e-4)
    logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (ours, theirs)]
    assert len(logs[0]) == len(logs[1])
    for mine, other in zip(*logs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"seconds"}:
            torch.testing.assert_close(float(other[name] or 0), float(mine[name] or 0), rtol=1e-4, atol=1e-4)


def test_two_processes_train_the_adapter_of_one(work):
    check_same_training(work / "one", work / "two")


def test_a_sharded_model_trains_the_adapter_of_a_whole_one(work):
    """In its last step one of both processes has no problem."""
    check_same_training(work / "uneven", work / "sharded")


def test_each_process_holds_half_of_a_sharded_model(work):
    held = [told(work, rank)["bytes"] for rank in (0, 1)]
    whole = local_bytes(tiny_lm().model)
    vectors = sum(p.nbytes for p in tiny_lm().model.parameters() if p.ndim == 1)
    assert max(held) <= 0.51 * whole
    assert sum(held) >= whole + vectors  # an odd vocabulary is filled up


@pytest.mark.parametrize("scoring", SCORINGS)
def test_a_sharded_model_gives_the_answers_of_a_whole_one(work, scoring, tmp_path):
    whole = tiny_model(prompt_std=0.3)
    model = MultimodalAdapter.from_pretrained(work / "sharded", llm=whole.llm, tower=whole.tower)
    predict_all(model, tmp_path)
    name = f"{scoring}.parquet"
    assert (work / "sharded" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_head_that_is_the_words_is_shared_with_them(work):
    assert [told(work, rank)["tied"] for rank in (0, 1)] == [True, True]


@pytest.mark.parametrize("scoring", SCORINGS)
def test_two_processes_go_on_with_the_answers_of_one(work, scoring):
    """An odd number of batches was left; two of the pictures are broken, and their questions left out."""
    file = work / "gone-on" / f"{scoring}.parquet"
    assert file.read_bytes() == (work / "whole" / file.name).read_bytes()
    pids = pd.read_parquet(file)["pid"]
    assert len(pids) == len(set(pids)) == SIZES["test"] - len(BROKEN)
    assert not set(pids) & set(BROKEN)
    assert not unfinished(file).exists()


def test_no_batch_is_asked_twice_but_one_for_company(work):
    each = (LEFT + 1) // 2
    assert [told(work, rank)["asked"] for rank in (0, 1)] == [len(SCORINGS) * each] * 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sharded_run_from_its_command_to_its_table(tmp_path, monkeypatch):
    """The bits of the same run by two processes that hold the whole model each; then both are asked something new."""
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    write_demo(tmp_path / "data", sizes={"train": 40, "val": 8, "test": 30})
    settings = ["--dataset", "demo", "--data-dir", tmp_path / "data", "--epochs", "1", "--quiet", "--output-dir"]
    for name, flags in (("sharded", ["--shard"]), ("whole", [])):
        run = printed([*TORCHRUN, *script("mmadapter-train"), *settings, tmp_path / name, *flags])
        assert run.count(f"Run: {tmp_path / name}") == 1
    asked = ["--split", "val", "--scoring", "generate", "--format", "json", "--controls", "--quiet"]
    tables = [
        json.loads(printed([*program, tmp_path / name, *asked]))
        for name, program in (
            ("sharded", [*TORCHRUN, *script("mmadapter-eval")]),
            ("whole", script("mmadapter-eval")[1:]),
        )
    ]
    for table in tables:
        for system in table["systems"]:
            del system["source"]
    assert tables[0] == tables[1]
    for file in ("adapter.safetensors", "predictions.parquet", "predictions-val-generate.parquet", "attention.json"):
        for variant in ("multimodal", "text"):
            own, other = (tmp_path / name / variant / file for name in ("sharded", "whole"))
            assert own.read_bytes() == other.read_bytes()


def script(command: str) -> list[str | Path]:
    """A command, as torchrun takes one that is no Python file."""
    return ["--no-python", Path(sys.executable).with_name(command)]


def printed(command: list[str | Path]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_mistake_in_a_group_ends_each_process_with_its_code(tmp_path):
    """Its threads would abort the interpreter's own end, now and then."""
    script = tmp_path / "wrong.py"
    script.write_text(
        "import sys\n"
        "from accelerate import PartialState\n"
        "from mmadapter.cli.common import run_command\n"
        "from mmadapter.errors import UserError\n"
        "from mmadapter.storage.processes import gathered\n"
        "def body():\n"
        "    PartialState(cpu=True)\n"
        "    gathered([1])\n"
        "    raise UserError('wrong')\n"
        "sys.exit(run_command('test', body))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run([*TORCHRUN, script], env=environment, capture_output=True, text=True)
    assert "test: wrong" in done.stderr
    assert "terminate called" not in done.stderr
    codes = set(re.findall(r"exitcode *: (-?\d+)", done.stderr))
    assert codes <= {"2", "-15"}  # torchrun may stop the other process first
    assert "2" in codes


def test_one_process_cannot_share_a_model():
    with pytest.raises(UserError, match=r"--shard: there is only one process, .*\n.* torchrun"):
        shard(tiny_lm(), torch.device("cpu"))


def test_accelerate_is_not_told_to_shard(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="leave out --use_fsdp; see --shard"):
        check_processes(sharded=False)


@pytest.mark.parametrize("other", [{"compile": True}, {"store_activations": True}, {"quantise": "4bit"}])
def test_what_needs_a_whole_model(other):
    with pytest.raises(UserError, match="--shard: does not go with --" + next(iter(other)).replace("_", "-")):
        RunConfig(shard=True, **other)
