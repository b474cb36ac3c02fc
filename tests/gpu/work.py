"""A process that keeps a real card busy as told: CUDA's driver API through ctypes, no toolkit and no framework.

Started by `Work`; reads orders from stdin, a JSON list a line, and answers each with what it really did:

    ["open"]            → {"pid": …}                     have a context on the card
    ["take", 2048]      → {}                             hold so many MiB more
    ["busy", 10, 0.5]   → {"from_ms", "until_ms", "busy_ms"}   run kernels for so many seconds, so much of the time
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
CUDA = "libcuda.so.1"
PERIOD_S = 0.13  # no divisor or multiple of the driver's 0.2 s between samples, which would always hit the same phase
KERNEL_NS_MAX = 20_000_000
BLOCKS, THREADS = 132, 256
SLEEP_WHILE_WAITING = 4  # CU_CTX_SCHED_BLOCKING_SYNC: else waiting for the card would burn a core

# Every thread of it spins for a number of nanoseconds on the card's own clock.
SPIN = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 for_ns) {
    .reg .u64 %r<5>;
    .reg .pred %p;
    ld.param.u64 %r1, [for_ns];
    mov.u64 %r2, %globaltimer;
LOOP:
    mov.u64 %r3, %globaltimer;
    sub.u64 %r4, %r3, %r2;
    setp.lt.u64 %p, %r4, %r1;
    @%p bra LOOP;
    ret;
}
"""


class Card:
    """The first card, as CUDA shows it."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL(CUDA)
        self._function = ctypes.c_void_p()

    def open(self) -> None:
        """Have a context. The process is listed by the driver from here on."""
        device, context, module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxSetFlags_v2", device, SLEEP_WHILE_WAITING)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)
        self._do("cuModuleLoadData", ctypes.byref(module), SPIN)
        self._do("cuModuleGetFunction", ctypes.byref(self._function), module, b"spin")

    def take(self, mib: int) -> None:
        """Hold so much more memory, to the end of the process."""
        self._do("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(mib << 20))

    def spin(self, nanoseconds: int) -> None:
        """Keep the whole card busy for so long, and wait for it."""
        value = ctypes.c_uint64(nanoseconds)
        arguments = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(value), ctypes.c_void_p))
        shape = [ctypes.c_uint(each) for each in (BLOCKS, 1, 1, THREADS, 1, 1, 0)]
        self._do("cuLaunchKernel", self._function, *shape, None, arguments, None)
        self._do("cuCtxSynchronize")

    def _do(self, function: str, *arguments: Any) -> None:
        code = getattr(self._cuda, function)(*arguments)
        if code:
            raise OSError(f"{function}: CUDA error {code}")


def busy(card: Card, seconds: float, share: float, period_s: float = PERIOD_S) -> dict[str, int]:
    """Run kernels for `share` of each period. busy_ms: of the time in which one ran, as the host sees it."""
    from_ns = time.time_ns()
    until_ns = from_ns + round(seconds * 1e9)
    busy_ns = 0
    while (begun_ns := time.time_ns()) < until_ns:
        left_ns = round(period_s * share * 1e9)
        while left_ns > 0:
            kernel_ns = min(left_ns, KERNEL_NS_MAX)
            launched_ns = time.time_ns()
            card.spin(kernel_ns)
            busy_ns += time.time_ns() - launched_ns
            left_ns -= kernel_ns
        time.sleep(max(0.0, period_s - (time.time_ns() - begun_ns) / 1e9) if share < 1 else 0)
    return {
        "from_ms": from_ns // 1_000_000,
        "until_ms": time.time_ns() // 1_000_000,
        "busy_ms": busy_ns // 1_000_000,
    }


def main() -> None:
    """Obey until stdin ends."""
    card = Card()
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answer: dict[str, int] = {}
        if order == "open":
            card.open()
            answer = {"pid": os.getpid()}
        elif order == "take":
            card.take(*arguments)
        else:
            answer = busy(card, *arguments)
        print(json.dumps(answer), flush=True)


class Work:
    """Such a process, seen from the one that gives orders. Killed on leaving."""

    def __init__(self, *before: str) -> None:
        """before: a command to run it by, such as `unshare --pid --fork`."""
        command = [*before, sys.executable, "-m", "tests.gpu.work"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def order(self, *what: object) -> None:
        """Give an order and go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, int]:
        """Wait for the next order's answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the work has ended with {self.process.wait()}"
        answered: dict[str, int] = json.loads(line)
        return answered

    def do(self, *what: object) -> dict[str, int]:
        """Give an order and wait until it is done."""
        self.order(*what)
        return self.answer()


if __name__ == "__main__":
    main()
