"""Provenance of a measurement: its date, the class of the machine, the versions and the commit; and peak memory."""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("mmadapter", "torch", "transformers", "accelerate", "peft", "litgpt", "open_clip_torch", "numpy")
CLEAR = Path("/proc/self/clear_refs")
"""Linux resets `VmHWM` when 5 is written here."""


def provenance(device: str = "cpu") -> dict[str, object]:
    """Return when, on which machine, with which versions and from which commit something is measured."""
    return {
        "date": date.today().isoformat(),
        "machine": _machine(device),
        "versions": _versions(),
        "commit": git("rev-parse", "--short", "HEAD"),
    }


def git(*arguments: str) -> str | None:
    """Return git's answer about this clone, or None without git or outside a clone."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def resident(field: str) -> int:
    """Return bytes of this process on Linux: `VmRSS` now, `VmHWM` at the peak."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


def _machine(device: str) -> dict[str, str | int | float | None]:
    """What the numbers depend on; neither the machine's name nor its address."""
    import torch

    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    processor = found[1].strip() if found else platform.processor() or platform.machine()
    cores = psutil.cpu_count()
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "class": _slug(gpu) if gpu else f"{cores}-core-{_slug(processor)}",
        "processor": processor,
        "logical cores": cores,
        "threads": torch.get_num_threads(),
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "GPU": gpu,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load before": round(psutil.getloadavg()[0], 2) if hasattr(psutil, "getloadavg") else None,
    }


def _versions() -> dict[str, str]:
    """Versions of the packages that do the work; one that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _slug(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|\b(cpu|processor|nvidia|with|\d+-core)\b", " ", name.lower()))
    return "-".join(words[:3])
