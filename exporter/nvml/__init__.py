"""The door to NVML: the only package that imports pynvml. Asks the driver; what it answers is exporter/reading.py.

Two answers mean "cannot say" and give None; "no permission" gives None and the call's name in `denied`; every
other refusal costs the reading of one card, never that of its neighbours. Nothing is guessed and nothing is 0 for
want of an answer.
"""

from exporter.nvml.calls import DriverChanged, NvmlError, NvmlMissing
from exporter.nvml.cards import Nvml, successors

__all__ = ["DriverChanged", "Nvml", "NvmlError", "NvmlMissing", "successors"]
