"""The gate to NVML: calls that raise our errors only, and what an answer of "cannot say" is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

T = TypeVar("T")

LIBRARY = "libnvidia-ml.so.1"

GARBLED = -1  # our own number, beside NVML's: an answer that is not utf-8
CANNOT_SAY = frozenset(
    {
        GARBLED,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
CLIENT_DEAD = frozenset(
    {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_UNKNOWN}
)
OUT = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND})
REMADE = frozenset({pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND})
MISSING = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: f"{LIBRARY} not found: give the pod NVIDIA's runtime class, or mount the "
    "driver's library and set LD_LIBRARY_PATH; a node without a card needs --simulate",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded on this node: load it, or keep the "
    "agent off nodes without a card",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to talk to the NVIDIA driver: run the agent privileged",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: f"{LIBRARY} is too old: driver 450 or newer is needed",
}


class NvmlError(Exception):
    """NVML refused. call: what we asked; code: NVML's number for why."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {text} ({code})")
        self.call = call
        self.code = code


class NvmlMissing(NvmlError):
    """There is no NVML to talk to on this node: the text says what is missing and what to do."""


class DriverChanged(Exception):
    """The driver was upgraded under us. Not an NvmlError, for trying again is useless: a process never gets rid of
    the library it has loaded, so it must exit and be started anew."""


def call(query: Callable[..., T], *args: Any) -> T:
    """The gate: whatever pynvml raises leaves as ours, for its own errors can be neither hashed nor compared."""
    try:
        return query(*args)
    except pynvml.NVMLError as error:
        raise refusal(query.__name__, error.value) from None
    except pynvml.NVMLLibraryMismatchError:
        raise refusal(query.__name__, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None
    except UnicodeDecodeError:
        raise NvmlError(query.__name__, GARBLED, "the answer is not utf-8") from None


def refusal(call: str, code: int) -> Exception:
    if code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return DriverChanged("the driver was upgraded under the agent: it must exit and be started anew")
    return NvmlError(call, code, str(pynvml.NVMLError(code)))


def ask(denied: set[str], query: Callable[..., T], *args: Any) -> T | None:
    """None: this device or driver cannot say, or we may not see it (then `denied` names the call)."""
    try:
        return call(query, *args)
    except NvmlError as error:
        if error.code == pynvml.NVML_ERROR_NO_PERMISSION:
            denied.add(error.call)
        elif error.code not in CANNOT_SAY:
            raise
        return None


def figure(denied: set[str], query: Callable[..., T], *args: Any) -> T | None:
    """As `ask`, for a sensor on which nothing else hangs: where it alone fails, it costs its figure and no card.

    Raises what tells of the card, of its instances or of the whole driver.
    """
    try:
        return ask(denied, query, *args)
    except NvmlError as error:
        if error.code in OUT | REMADE | CLIENT_DEAD - {pynvml.NVML_ERROR_UNKNOWN}:
            raise
        return None
