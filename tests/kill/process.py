"""A training command as a process of its own that starts at once: forked from a server that has imported it all."""

import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mmadapter.cli.train", "mmadapter.experiment.run", "open_clip", "torchvision"])


def start(
    folder: Path,
    *arguments: str,
    rename: int | None = None,
    by: signal.Signals = signal.SIGKILL,
    room: int | None = None,
    environment: dict[str, str] | None = None,
) -> ForkServerProcess:
    """`mmadapter-train` with everything in `folder`: `data/`, `cache/`, `run/`.

    Args:
        rename: the process kills itself at this renaming of a file (from 0): just before an even one, just after an
            odd one.
        by: the signal that it sends itself there.
        room: bytes that a file may have, as if the disk were full then; what the process says stands in `stderr`.
        environment: further variables.
    """
    process = CONTEXT.Process(target=_train, args=(folder, arguments, rename, by, room, environment or {}))
    process.start()
    return process


def start_two(folder: Path, *arguments: str) -> list[ForkServerProcess]:
    """Two processes that train together, as torchrun would start them; the first one writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "1"}
    ranks = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    return [start(folder, *arguments, environment=rank) for rank in ranks]


def start_torchrun(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A job as users start it: torchrun, and the two processes that it starts, each in a session of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    command += [str(Path(sys.executable).with_name("mmadapter-train")), "--output-dir", str(folder / "run"), "--quiet"]
    environment = {"MMADAPTER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen([*command, *arguments], env=os.environ | environment)


def kill_all(job: subprocess.Popen[bytes], order: Callable[[list[psutil.Process]], object]) -> int:
    """Kills a job and all that it started, one after the other as `order` sorts them. Returns how many they were."""
    processes = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    order(processes)
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)
    job.wait()
    return len(processes)


def _train(
    folder: Path,
    arguments: tuple[str, ...],
    rename: int | None,
    by: signal.Signals,
    room: int | None,
    environment: dict[str, str],
) -> None:
    import torch

    from mmadapter.cli.train import main

    os.environ |= {"MMADAPTER_CACHE": str(folder / "cache"), **environment}
    torch.set_num_threads(1)
    if room is not None:
        sys.stderr = (folder / "stderr").open("w")
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    if rename is not None:
        os.replace = _killing(os.replace, rename, by)
    sys.exit(main(["--output-dir", str(folder / "run"), "--quiet", *arguments]))


def _killing(replace: Callable[..., None], last: int, by: signal.Signals) -> Callable[..., None]:
    count = 0

    def replacing(*arguments: object) -> None:
        nonlocal count
        if count == last and last % 2 == 0:
            os.kill(os.getpid(), by)
        replace(*arguments)
        if count == last:
            os.kill(os.getpid(), by)
        count += 1

    return replacing


def written_since(path: Path, then: int) -> bool:
    """Whether a file was written after a time (nanoseconds since the epoch)."""
    try:
        return path.stat().st_mtime_ns > then
    except FileNotFoundError:
        return False


def killed(process: ForkServerProcess, folder: Path, pattern: str, seconds: float) -> bool:
    """Kills a process some seconds after it began to write one of its files. Returns whether it still lived."""
    if lives_until(process.is_alive, folder, pattern, seconds):
        process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def lives_until(is_alive: Callable[[], bool], folder: Path, pattern: str, seconds: float) -> bool:
    """Waits for the moment some seconds after a process began to write one of its files; or for its end."""
    began, due = time.time_ns(), None
    while is_alive():
        if due is None and any(written_since(path, began) for path in folder.glob(pattern)):
            due = time.monotonic() + seconds
        if due is not None and time.monotonic() >= due:
            return True
        time.sleep(0.0005)
    return False
