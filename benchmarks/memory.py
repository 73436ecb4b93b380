"""Peak memory of a training epoch, with each contender in its own process.

    python -m benchmarks.memory --size small --vocabulary 32000 --questions 64 --rounds 3

`beyond the model` is the peak minus the memory with the frozen weights loaded and PyTorch warm: adapter, optimiser,
activations, logits and the kernels' workspace. On a CPU it is resident memory (Linux only), on a GPU the memory given
out by PyTorch's allocator.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from benchmarks.measure import Quartiles, Table, publish, ratios
from benchmarks.workload import Settings, questions, real_tokens
from mmadapter.cli.options import program
from mmadapter.errors import UserError
from mmadapter.runs.provenance import CLEAR, resident

MIB = 2**20
PEER = "PEFT"


class Memory(NamedTuple):
    """Memory of one process in bytes."""

    model: int
    at_rest: int
    peak: int


def main(settings: Settings) -> None:
    """Publish the table."""
    from benchmarks.trainers import possible

    if not settings.device.startswith("cuda") and not CLEAR.exists():
        raise UserError("peak memory on a CPU is read from /proc, which only Linux has")
    asked, source = questions(settings)
    contenders = possible(settings)
    rounds = [{name: in_a_process(peak_memory, settings, name) for name in contenders} for _ in range(settings.rounds)]
    found = {name: [memories[name] for memories in rounds] for name in contenders}
    beyond = {name: [memory.peak - memory.at_rest for memory in memories] for name, memories in found.items()}
    rows = [
        {
            "contender": name,
            "model MiB": memories[0].model / MIB,
            "at rest MiB": Quartiles.of([memory.at_rest / MIB for memory in memories]),
            "beyond the model MiB": Quartiles.of([extra / MIB for extra in beyond[name]]),
            f"of {PEER}'s": ratios(beyond[name], beyond[PEER]),
        }
        for name, memories in found.items()
    ]
    longest = max(len(question.prompt) + len(question.target) for question in asked)
    workload = {
        "lengths": source,
        "questions": len(asked),
        "real tokens": real_tokens(asked),
        "longest": longest,
        "rounds": settings.rounds,
    }
    title = f"peak memory of training, {settings.size}, vocabulary {settings.vocabulary:,}, batch {settings.batch}"
    publish("memory", settings, workload, [Table(title, rows)])


def in_a_process(function: Callable, *arguments: object) -> object:
    """Return a function's result from a fresh interpreter that ends with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory(settings: Settings, name: str) -> Memory:
    """Measure one epoch of a contender in this process."""
    import torch

    from benchmarks.trainers import LEARNING_RATE, TRAINING
    from benchmarks.workload import backbone

    model = backbone(settings)
    asked, _ = questions(settings)
    warm = model.model.layers[0].mlp(torch.ones(8, model.config.hidden_size, dtype=model.dtype, device=model.device))
    torch.autograd.grad(warm.requires_grad_().square().sum(), warm)
    gc.collect()
    on_gpu = settings.device.startswith("cuda")
    if on_gpu:
        settings.synchronise()
        torch.cuda.reset_peak_memory_stats(settings.device)
        at_rest = torch.cuda.memory_allocated(settings.device)
    else:
        CLEAR.write_text("5")  # reset the peak
        at_rest = resident("VmRSS")
    TRAINING[name].build(settings, model, asked, LEARNING_RATE).epoch()
    peak = torch.cuda.max_memory_allocated(settings.device) if on_gpu else resident("VmHWM")
    return Memory(sum(weight.nbytes for weight in model.parameters()), at_rest, peak)


if __name__ == "__main__":
    program(main, Settings)
