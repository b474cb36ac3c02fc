"""The fake driver's state file, as ctypes: the mirror of fake_nvml.h, whose comments explain the fields."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_uint32, c_uint64

MAGIC = 0x464B4E564D4C3031
GPUS, SLOTS, PROCESSES, RULES, EVENTS, NAME = 16, 8, 64, 16, 4096, 96
NO_ID = ANY = 0xFFFFFFFF


class Process(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint32),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
        ("listed", c_uint32),
        ("sampled", c_uint32),
        ("sm_percent", c_uint32),
        ("memory_bytes", c_uint64),
        ("sample_us", c_uint64),
        ("peak_bytes", c_uint64),
        ("started_us", c_uint64),
    ]


class Slot(ctypes.Structure):
    _fields_ = [
        ("uuid", c_char * NAME),
        ("name", c_char * NAME),
        ("present", c_uint32),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
        ("gpu_instance_slices", c_uint32),
        ("compute_instance_slices", c_uint32),
        ("multiprocessors", c_uint32),
        ("placement_start", c_uint32),
        ("unused_placement", c_uint32),
        ("memory_mib", c_uint64),
        ("used_bytes", c_uint64),
        ("gpm_ticks", c_uint64),
        ("gpm_busy_ticks", c_uint64),
    ]


class Health(ctypes.Structure):
    _fields_ = [
        ("ecc_errors", c_uint64 * 4),
        ("clocks_reasons", c_uint64),
        ("nvlink_kib", c_uint64 * 2),
        ("remaps", c_uint32 * 4),
        ("pcie_kib_s", c_uint32 * 2),
        ("has_ecc", c_uint32),
        ("has_nvlink", c_uint32),
        ("persistence", c_uint32),
        ("power_limit_mw", c_uint32),
        ("sm_mhz", c_uint32),
        ("memory_mhz", c_uint32),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("gpu", c_uint32),
        ("epoch", c_uint32),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
        ("type", c_uint64),
        ("data", c_uint64),
    ]


class Gpu(ctypes.Structure):
    _fields_ = [
        ("uuid", c_char * NAME),
        ("name", c_char * NAME),
        ("lost", c_uint32),
        ("mig_capable", c_uint32),
        ("mig_current", c_uint32),
        ("mig_pending", c_uint32),
        ("mig_slots", c_uint32),
        ("mig_generation", c_uint32),
        ("minor", c_uint32),
        ("unused_minor", c_uint32),
        ("busy_percent", c_uint32),
        ("temperature_celsius", c_uint32),
        ("total_bytes", c_uint64),
        ("reserved_bytes", c_uint64),
        ("used_bytes", c_uint64),
        ("energy_mj", c_uint64),
        ("energy_ns", c_uint64),
        ("power_mw", c_uint32),
        ("process_count", c_uint32),
        ("slots", Slot * SLOTS),
        ("processes", Process * PROCESSES),
        ("health", Health),
        ("epoch", c_uint32),
        ("gpm", c_uint32),
        ("accounting", c_uint32),
        ("unused", c_uint32),
    ]


class Rule(ctypes.Structure):
    _fields_ = [
        ("function", c_char * NAME),
        ("gpu", c_uint32),
        ("times", c_uint32),
        ("code", c_int32),
        ("remake_mig", c_uint32),
        ("delay_us", c_uint32),
        ("skip", c_uint32),
    ]


class State(ctypes.Structure):
    _fields_ = [
        ("magic", c_uint64),
        ("bytes", c_uint64),
        ("sequence", c_uint32),
        ("init_code", c_uint32),
        ("unprivileged", c_uint32),
        ("delay_us", c_uint32),
        ("gpu_count", c_uint32),
        ("calls", c_uint32),
        ("driver_version", c_char * 80),
        ("rules", Rule * RULES),
        ("gpus", Gpu * GPUS),
        ("event_count", c_uint32),
        ("clients", c_uint32),
        ("events", Event * EVENTS),
        ("gpm_samples", c_uint32),
        ("relented", c_uint32),
    ]


def check_sizes(library: ctypes.CDLL) -> None:
    """Raise AssertionError where this mirror and the C side differ: a test of the wrong bytes would say anything."""
    for name, struct in (("state", State), ("gpu", Gpu), ("slot", Slot), ("process", Process), ("rule", Rule)):
        bytes_of = getattr(library, f"fake_nvml_{name}_bytes")
        bytes_of.restype = ctypes.c_ulong
        assert bytes_of() == ctypes.sizeof(struct), name
