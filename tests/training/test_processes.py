"""Two processes on one machine against one: the same batches, the same adapter, the same log."""

import json
import os
import subprocess
import sys

import torch
from safetensors.torch import load_file

from tests.training.test_loop import trained

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def test_two_processes_train_the_adapter_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    trained(one)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    subprocess.run([*TORCHRUN, "-m", "tests.training.processes", two], env=environment, check=True, timeout=200)

    ours, theirs = (load_file(folder / "adapter.safetensors") for folder in (one, two))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=2e-4)  # Adam divides sums of another order
    logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (one, two)]
    assert len(logs[0]) == len(logs[1])
    for mine, other in zip(*logs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"seconds"}:
            torch.testing.assert_close(float(other[name] or 0), float(mine[name] or 0), rtol=1e-4, atol=1e-4)
