"""Start-up time: the commands' help, the library's import and a training's first step.

    python -m benchmarks.startup

Each is a fresh process, whose files are cached after the round that is not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

from benchmarks.measure import Quartiles, Table, Timing, publish
from mmadapter.cli.options import program

FIRST_STEP = """
import torch, mmadapter as mma
from mmadapter.inference.tokenising import Encoder
from mmadapter.scienceqa.problems import Problem
from mmadapter.inference.likelihood import adaption_of, answer_loss
model = mma.MultimodalAdapter.build("tiny-llama", None, adapter_layers=4, form=mma.InputFormat(answer="text"))
problem = Problem(pid="1", split="train", question="Which is larger?", choices=("a map", "a globe"), answer=1)
batch = Encoder(model.llm, model.form)([problem] * 8)
answer_loss(model, adaption_of(model, None, batch), batch).backward()
torch.optim.AdamW(model.adapter.parameters()).step()
"""

COMMANDS = {
    "python": ["-c", "pass"],
    "mmadapter-train --help": ["-c", "from mmadapter.cli.train import main; main(['--help'])"],
    "mmadapter-eval --help": ["-c", "from mmadapter.cli.eval import main; main(['--help'])"],
    "mmadapter-errors --help": ["-c", "from mmadapter.cli.errors import main; main(['--help'])"],
    "import mmadapter": ["-c", "import mmadapter"],
    "import torch": ["-c", "import torch"],
    "import LLaMA of transformers": ["-c", "from transformers import LlamaForCausalLM"],
    "import all for a training": ["-c", "import mmadapter.training.loop"],
    "first training step, tiny": ["-c", FIRST_STEP],
}


@dataclass(frozen=True, kw_only=True)
class StartSettings(Timing):
    rounds: int = 7
    seconds: float = 600


def main(settings: StartSettings) -> None:
    """Publish the table."""
    spent = settings.spent({name: partial(_run, arguments) for name, arguments in COMMANDS.items()})
    rows = [{"what": name, "seconds": Quartiles.of(seconds)} for name, seconds in spent.items()]
    publish("startup", settings, {"rounds": len(spent["python"])}, [Table("start-up", rows)])


def _run(arguments: list[str]) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    program(main, StartSettings)
