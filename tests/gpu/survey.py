"""Asks a real card what exporter/nvml does not: what it can do, how its figures move, what a call costs.

    $ python -m tests.gpu.survey static|windows|processes > OUT.json

static     every capability query, with its return code where refused; changes no setting
windows    the driver's per-process samples beside work of known shape, for 40 s
processes  the pids that the driver lists to this process, and its own pid namespaces: to be run as other users
           (`setpriv`), in a pid namespace of its own (`unshare --pid --fork --mount-proc`), beside an MPS server

What tests use of the answers is in tests/exporter/data/h100_survey.json and h200_survey.json.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml as nv

from tests.gpu.work import Work

CALLS_TIMED = 200
WINDOWS_US = 41_000_000
ALL_LINKS = 0xFFFFFFFF  # as a field's scope
# Asked of the card by `nvmlDeviceGet…` without more arguments.
STILL = [
    "Name",
    "Brand",
    "Architecture",
    "Serial",
    "PciInfo",
    "MinorNumber",
    "Index",
    "MigMode",
    "MaxMigDeviceCount",
    "UtilizationRates",
    "PowerUsage",
    "TotalEnergyConsumption",
    "MemoryInfo",
    "AccountingMode",
    "AccountingBufferSize",
    "AccountingPids",
    "ComputeMode",
    "PersistenceMode",
    "EccMode",
    "RemappedRows",
    "CurrentClocksEventReasons",
    "SupportedEventTypes",
    "GpuInstanceId",
    "ComputeInstanceId",
    "Attributes_v2",
    "NumGpuCores",
    "BoardId",
    "VirtualizationMode",
    "HostVgpuMode",
    "IsMigDeviceHandle",
    "ComputeRunningProcesses_v3",
    "GraphicsRunningProcesses_v3",
    "MPSComputeRunningProcesses_v3",
    "MemoryBusWidth",
    "EnforcedPowerLimit",
    "MultiGpuBoard",
    "GpuFabricInfo",
]


def said(query: Callable[..., Any], *arguments: Any) -> Any:
    """The answer as JSON has it; a refusal as {"refused": its name}."""
    try:
        return plain(query(*arguments))
    except nv.NVMLError as error:
        return {"refused": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - a survey goes on
        return {"raised": f"{type(error).__name__}: {error}"}


def plain(value: Any) -> Any:
    if isinstance(value, ctypes.Structure):
        return {name[0]: plain(getattr(value, name[0])) for name in value._fields_}
    if isinstance(value, ctypes.Array):
        return [plain(each) for each in value][:16]
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float | str | None):
        return value
    return {name: plain(each) for name, each in vars(value).items()} if hasattr(value, "__dict__") else str(value)


def static(card: Any) -> dict[str, Any]:
    """Everything that stands still."""
    found = {
        name: said(getattr(nv, f"nvmlDeviceGet{name}", None) or (lambda _: "no such name"), card) for name in STILL
    }
    found["driver"] = said(nv.nvmlSystemGetDriverVersion)
    found["nvml"] = said(nv.nvmlSystemGetNVMLVersion)
    found["cuda"] = said(nv.nvmlSystemGetCudaDriverVersion_v2)
    found["MemoryInfo_v2"] = said(nv.nvmlDeviceGetMemoryInfo, card, nv.nvmlMemory_v2)
    found["TemperatureV"] = said(nv.nvmlDeviceGetTemperatureV, card, 0)
    found["Temperature"] = said(nv.nvmlDeviceGetTemperature, card, 0)
    found["MigDeviceHandleByIndex"] = [said(nv.nvmlDeviceGetMigDeviceHandleByIndex, card, slot) for slot in range(8)]
    found["DetailList"] = [said(nv.nvmlDeviceGetRunningProcessDetailList, card, 0x1000018, mode) for mode in range(3)]
    found["ProcessUtilization"] = said(nv.nvmlDeviceGetProcessUtilization, card, 0)
    found["ProcessesUtilizationInfo"] = said(nv.nvmlDeviceGetProcessesUtilizationInfo, card, 0)
    found["profiles"] = {profile: _profile(card, profile) for profile in range(nv.NVML_GPU_INSTANCE_PROFILE_COUNT)}
    found["fields"] = said(_fields, card)
    found["ecc"] = [said(nv.nvmlDeviceGetTotalEccErrors, card, kind, 0) for kind in (0, 1)]
    found["events"] = _events(card)
    found["gpm"] = _gpm(card)
    found["us_a_call"] = _latencies(card)
    found["energy_steps"] = _energy_steps(card)
    return found


def _fields(card: Any) -> list[list[int]]:
    """Energy, power, ECC, remaps, PCIe and others of the card; NVLink of all links."""
    ids = [83, 185, 186, 191, 3, 4, 5, 6, 142, 143, 144, 145, 197, 198, 269, 270, 271, 308]
    values = nv.nvmlDeviceGetFieldValues(card, [*ids, *((field, ALL_LINKS) for field in (138, 139))])
    return [[each.fieldId, each.scopeId, each.nvmlReturn, each.valueType, each.value.ullVal] for each in values]


def _profile(card: Any, profile: int) -> Any:
    info = said(nv.nvmlDeviceGetGpuInstanceProfileInfo, card, profile, 2)
    if isinstance(info, dict) and "sliceCount" in info:
        info["left"] = said(nv.nvmlDeviceGetGpuInstanceRemainingCapacity, card, info["id"])
    return info


def _events(card: Any) -> dict[str, Any]:
    try:
        events = nv.nvmlEventSetCreate()
    except nv.NVMLError as error:
        return {"create": str(error)}
    found = {"xid": said(nv.nvmlDeviceRegisterEvents, card, nv.nvmlEventTypeXidCriticalError, events)}
    found["us_a_wait_of_0"] = _latency(lambda: nv.nvmlEventSetWait_v2(events, 0))
    began = time.monotonic()
    found["wait"] = said(nv.nvmlEventSetWait_v2, events, 300)
    found["waited_s"] = round(time.monotonic() - began, 3)
    found["freed"] = said(nv.nvmlEventSetFree, events)
    return found


def _gpm(card: Any) -> dict[str, Any]:
    found = {"support": said(nv.nvmlGpmQueryDeviceSupport, card)}
    found["streaming"] = said(nv.nvmlGpmQueryIfStreamingEnabled, card)
    try:
        first, second = nv.nvmlGpmSampleAlloc(), nv.nvmlGpmSampleAlloc()
        nv.nvmlGpmSampleGet(card, first)
        time.sleep(1)
        nv.nvmlGpmSampleGet(card, second)
        wanted = [1, 2, 3, 5, 10, 20, 21]
        metrics = nv.c_nvmlGpmMetricsGet_t()
        metrics.version, metrics.numMetrics = nv.NVML_GPM_METRICS_GET_VERSION, len(wanted)
        metrics.sample1, metrics.sample2 = first, second
        for position, metric in enumerate(wanted):
            metrics.metrics[position].metricId = metric
        nv.nvmlGpmMetricsGet(metrics)
        found["metrics"] = {
            each: [metrics.metrics[n].nvmlReturn, metrics.metrics[n].value] for n, each in enumerate(wanted)
        }
    except nv.NVMLError as error:
        found["metrics"] = str(error)
    return found


def _latencies(card: Any) -> dict[str, list[float]]:
    queries: dict[str, Callable[[], Any]] = {
        "GetCount": nv.nvmlDeviceGetCount,
        "MigMode": lambda: nv.nvmlDeviceGetMigMode(card),
        "MaxMigDeviceCount": lambda: nv.nvmlDeviceGetMaxMigDeviceCount(card),
        "MemoryInfo_v2": lambda: nv.nvmlDeviceGetMemoryInfo(card, nv.nvmlMemory_v2),
        "PowerUsage": lambda: nv.nvmlDeviceGetPowerUsage(card),
        "UtilizationRates": lambda: nv.nvmlDeviceGetUtilizationRates(card),
        "TotalEnergyConsumption": lambda: nv.nvmlDeviceGetTotalEnergyConsumption(card),
        "TemperatureV": lambda: nv.nvmlDeviceGetTemperatureV(card, 0),
        "ComputeRunningProcesses": lambda: nv.nvmlDeviceGetComputeRunningProcesses_v3(card),
        "ProcessUtilization": lambda: said(nv.nvmlDeviceGetProcessUtilization, card, _now_us() - 1_000_000),
        "FieldValues": lambda: nv.nvmlDeviceGetFieldValues(card, [3, 4, 5, 6, 142, 143, 144, 145]),
        "ClocksEventReasons": lambda: nv.nvmlDeviceGetCurrentClocksEventReasons(card),
        "PersistenceMode": lambda: nv.nvmlDeviceGetPersistenceMode(card),
        "EnforcedPowerLimit": lambda: nv.nvmlDeviceGetEnforcedPowerLimit(card),
        "ClockInfo": lambda: nv.nvmlDeviceGetClockInfo(card, nv.NVML_CLOCK_SM),
        "AccountingMode": lambda: nv.nvmlDeviceGetAccountingMode(card),
    }
    return {name: _latency(query) for name, query in queries.items()}


def _latency(query: Callable[[], Any]) -> list[float]:
    """Median, 99th percentile and most, in µs."""
    took = []
    for _ in range(CALLS_TIMED):
        began = time.perf_counter()
        said(query)
        took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    return [round(each, 1) for each in (statistics.median(took), took[CALLS_TIMED * 99 // 100], took[-1])]


def _energy_steps(card: Any) -> list[list[int]]:
    """When the energy counter moved within a second, and by how much (µs, mJ)."""
    steps: list[list[int]] = []
    last = nv.nvmlDeviceGetTotalEnergyConsumption(card)
    until_us = _now_us() + 1_000_000
    while (now_us := _now_us()) < until_us:
        energy = nv.nvmlDeviceGetTotalEnergyConsumption(card)
        if energy != last:
            steps.append([now_us, energy - last])
            last = energy
    return [[now_us - steps[0][0], step] for now_us, step in steps][:60] if steps else []


def windows(card: Any) -> dict[str, Any]:
    """What each way of asking for per-process samples says, five times a second, beside what was really done."""
    looks: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    with Work() as first, Work() as second:
        pids = [first.do("open")["pid"], second.do("open")["pid"]]
        began_us = last_us = _now_us()
        plan = [
            (1, 0, (6.0, 0.25)),
            (9, 0, (12.0, 0.4)),
            (9, 1, (12.0, 0.2, 0.31)),
            (23, 0, (6.0, 1)),
            (23, 1, (6.0, 1)),
        ]
        plan += [(31, 1, (5.0, 0.5)), (38, 1, (0.3, 1))]
        while (at_us := _now_us() - began_us) < WINDOWS_US:
            for each in [each for each in plan if each[0] * 1_000_000 <= at_us]:
                plan.remove(each)
                (first, second)[each[1]].order("busy", *each[2])
                done.append({"pid": pids[each[1]], "order": each[2], "at_us": at_us})
            look: dict[str, Any] = {"at_us": at_us, "busy": said(nv.nvmlDeviceGetUtilizationRates, card)["gpu"]}
            look["last"] = _samples(card, last_us, began_us)
            look["info"] = _samples(card, last_us, began_us, nv.nvmlDeviceGetProcessesUtilizationInfo)
            last_us = max([last_us, *(each[1] + began_us for each in look["last"] if isinstance(each, list))])
            look["all"] = _samples(card, 0, began_us)
            looks.append(look)
            time.sleep(0.2)
        for work, count in ((first, 3), (second, 4)):
            done += [{"pid": pids[work is second], "did": work.answer()} for _ in range(count)]
    return {"pids": pids, "began_us": began_us, "looks": looks, "done": done}


def _samples(
    card: Any, since_us: int, began_us: int, query: Callable[..., Any] = nv.nvmlDeviceGetProcessUtilization
) -> list[Any]:
    answer = said(query, card, since_us)
    if isinstance(answer, dict):
        return list(answer.values())
    return [[each["pid"], each["timeStamp"] - began_us, each["smUtil"], each["memUtil"]] for each in answer]


def processes(card: Any) -> dict[str, Any]:
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "self": os.getpid(),
        "uid": os.getuid(),
        "status": [line for line in status if line.startswith(("NSpid", "CapEff"))],
        "listed": said(nv.nvmlDeviceGetComputeRunningProcesses_v3, card),
        "sampled": said(nv.nvmlDeviceGetProcessUtilization, card, 0),
    }


def _now_us() -> int:
    return time.time_ns() // 1000


def main(what: str) -> None:
    nv.nvmlInit()
    card = nv.nvmlDeviceGetHandleByIndex(0)
    found = {"static": static, "windows": windows, "processes": processes}[what](card)
    nv.nvmlShutdown()
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main(sys.argv[1])
