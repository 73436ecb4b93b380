"""The training of `test_loop`, in as many processes as torchrun starts."""

import sys
from pathlib import Path

import torch

from tests.training.test_loop import trained

if __name__ == "__main__":
    torch.set_num_threads(1)
    trained(Path(sys.argv[1]), resume=True)
