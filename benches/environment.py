"""What the PyTorch sides of the benchmarks share: an environment with torch, two threads, timing."""
import os
import pathlib
import statistics
import subprocess
import sys
import time

PACKAGES = ["torch==2.9.0", "torchvision==0.24.0", "numpy", "PyWavelets==1.9.0", "pytorch-wavelets==1.3.0", "setuptools<80"]
RUNS = 9


def ensure():
    """Restarts the script in its own environment if this Python has no torch; makes it first if need be (4 GB)."""
    try:
        import torch
    except ImportError:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "subband-torch"
        python = home / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
        os.execv(str(python), [str(python), *sys.argv])
    torch.set_num_threads(2)
    torch.manual_seed(1)


def report(case, shape, x, loss):
    """Median and minimum time of `loss()` and its gradient of x."""

    def run():
        x.grad = None
        loss().backward()

    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    print(case, "x".join(map(str, shape)), f"{statistics.median(times):.3f}", f"{min(times):.3f}", sep="\t", flush=True)


def report_memory(case, shape, leaves, loss):
    """As `report`, for several leaves, and the growth of the peak resident memory over that before the first run."""
    before = resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    times = []
    for _ in range(RUNS + 1):
        for leaf in leaves:
            leaf.grad = None
        start = time.perf_counter()
        loss().backward()
        times.append((time.perf_counter() - start) * 1e3)
    times = times[1:]
    memory = resident("VmHWM") - before
    print(case, shape, f"{statistics.median(times):.3f}", f"{min(times):.3f}", f"{memory:.0f}", sep="\t", flush=True)


def resident(field):
    """A field of /proc/self/status in MiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")
