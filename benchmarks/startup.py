"""How long the commands take to answer, the library to import, and a training to take its first step.

    python -m benchmarks.startup

Each is a fresh process; the files it reads are warm after the round that is not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Quartiles, Table, alternate, publish
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
class StartSettings:
    rounds: int = 7
    """How often each is timed."""
    seconds: float = 600
    """No further round is begun after so many."""
    output: Path | None = Path(__file__).parent / "results"
    """Folder of the result file."""


def main(settings: StartSettings) -> None:
    """The table."""
    spent = alternate(
        {name: lambda arguments=arguments: _run(arguments) for name, arguments in COMMANDS.items()},
        rounds=settings.rounds,
        seconds=settings.seconds,
    )
    rows = [{"what": name, "seconds": Quartiles.of(seconds)} for name, seconds in spent.items()]
    publish("startup", settings, {"rounds": len(spent["python"])}, [Table("start-up", rows)])


def _run(arguments: list[str]) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    program(main, StartSettings)
