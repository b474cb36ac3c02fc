/*
 * A libnvidia-ml.so.1 for tests: NVML's ABI over a state file that the test changes while we run.
 *
 * It is the written form of what we believe about the driver, not a proof of it. Built by fake.py against the
 * real nvml.h. Options: -DPROCESS_RECORD_BYTES=32 (drivers 535.43 to 535.86 had such records), and a linker's
 * version script that hides symbols, as an old driver does.
 */
#define _GNU_SOURCE
#include "fake_nvml_core.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#ifndef PROCESS_RECORD_BYTES
#define PROCESS_RECORD_BYTES 24
#endif

_Static_assert(sizeof(nvmlProcessInfo_v2_t) == 24, "process record");
_Static_assert(PROCESS_RECORD_BYTES >= 24 && PROCESS_RECORD_BYTES <= 64, "process record");
_Static_assert(sizeof(nvmlProcessUtilizationSample_t) == 32, "process sample");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "memory");
_Static_assert(sizeof(nvmlDeviceAttributes_t) == 40, "attributes");

/* ---- the library itself ---- */

const char *nvmlErrorString(nvmlReturn_t result) {
    static char text[40];
    snprintf(text, sizeof(text), "fake error %d", (int)result);
    return text;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    BEGIN(FAKE_ANY);
    return say(state->driver_version, version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    BEGIN(FAKE_ANY);
    return say("13.580.95.05", version, length);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    BEGIN(FAKE_ANY);
    *version = 13000;
    return NVML_SUCCESS;
}

/* ---- cards ---- */

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    BEGIN(FAKE_ANY);
    *count = state->gpu_count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *handle) {
    BEGIN(index);
    if (index >= state->gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    if (state->gpus[index].lost) return NVML_ERROR_GPU_IS_LOST;
    *handle = handle_of(index, -1, 0);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *handle) {
    BEGIN(FAKE_ANY);
    for (unsigned i = 0; i < state->gpu_count; i++) {
        FakeGpu *gpu = &state->gpus[i];
        int slot = -1;
        if (strcmp(gpu->uuid, uuid) != 0) {
            for (slot = FAKE_SLOTS - 1; slot >= 0; slot--)
                if (gpu->mig_current && gpu->slots[slot].present && !strcmp(gpu->slots[slot].uuid, uuid)) break;
            if (slot < 0) continue;
        }
        if (gpu->lost) return NVML_ERROR_GPU_IS_LOST;
        *handle = handle_of(i, slot, gpu->mig_generation);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *uuid, unsigned int length) {
    BEGIN_DEVICE(handle);
    return say(device.slot < 0 ? device.gpu.uuid : device.gpu.slots[device.slot].uuid, uuid, length);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *name, unsigned int length) {
    BEGIN_DEVICE(handle);
    return say(device.slot < 0 ? device.gpu.name : device.gpu.slots[device.slot].name, name, length);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned int *index) {
    BEGIN_DEVICE(handle);
    *index = device.slot < 0 ? device.index : (unsigned)device.slot;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t handle, unsigned int *minor) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *minor = device.gpu.minor;
    return NVML_SUCCESS;
}

/* Bytes in use without the driver's own, and all bytes, of a card or of an instance. */
static void memory_of(const Device *device, uint64_t *used, uint64_t *reserved, uint64_t *total) {
    if (device->slot < 0) {
        *used = device->gpu.used_bytes;
        *reserved = device->gpu.reserved_bytes;
        *total = device->gpu.total_bytes;
    } else {
        *used = device->gpu.slots[device->slot].used_bytes;
        *reserved = 0;
        *total = device->gpu.slots[device->slot].memory_mib << 20;
    }
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory) {
    BEGIN_DEVICE(handle);
    AGGREGATE;
    uint64_t used, reserved, total;
    memory_of(&device, &used, &reserved, &total);
    memory->total = total;
    memory->used = used + reserved; /* as version 1 does */
    memory->free = total - used - reserved;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory) {
    BEGIN_DEVICE(handle);
    AGGREGATE;
    if (memory->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    uint64_t used, reserved, total;
    memory_of(&device, &used, &reserved, &total);
    memory->total = total;
    memory->reserved = reserved;
    memory->used = used;
    memory->free = total - used - reserved;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *utilization) {
    BEGIN_DEVICE(handle);
    if (device.gpu.mig_current) return NVML_ERROR_NOT_SUPPORTED;
    utilization->gpu = device.gpu.busy_percent;
    utilization->memory = device.gpu.busy_percent / 2;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned int *power) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *power = device.gpu.power_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t handle, unsigned long long *energy) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
    *energy = device.gpu.energy_mj + (now_ns - device.gpu.energy_ns) / 1000000ULL * device.gpu.power_mw / 1000;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, nvmlTemperatureSensors_t sensor, unsigned int *celsius) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (sensor != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = device.gpu.temperature_celsius;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_t *temperature) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (temperature->version != nvmlTemperature_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    temperature->temperature = (int)device.gpu.temperature_celsius;
    return NVML_SUCCESS;
}

/* ---- processes ---- */

static int in_device(const Device *device, const FakeProcess *process) {
    if (device->slot < 0) return 1;
    const FakeSlot *slot = &device->gpu.slots[device->slot];
    return process->gpu_instance == slot->gpu_instance && process->compute_instance == slot->compute_instance;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count, nvmlProcessInfo_t *to) {
    BEGIN_DEVICE(handle);
    AGGREGATE;
    unsigned room = *count, found = 0;
    for (unsigned i = 0; i < device.gpu.process_count; i++)
        found += device.gpu.processes[i].listed && in_device(&device, &device.gpu.processes[i]);
    *count = found;
    if (found > room) return NVML_ERROR_INSUFFICIENT_SIZE;
    if (found && !to) return NVML_ERROR_INVALID_ARGUMENT;
    char *at = (char *)to;
    for (unsigned i = 0; i < device.gpu.process_count; i++) {
        const FakeProcess *process = &device.gpu.processes[i];
        if (!process->listed || !in_device(&device, process)) continue;
        memset(at, 0, PROCESS_RECORD_BYTES);
        nvmlProcessInfo_v2_t record = {process->pid, process->memory_bytes, process->gpu_instance,
                                       process->compute_instance};
        memcpy(at, &record, sizeof(record));
        at += PROCESS_RECORD_BYTES;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count, nvmlProcessInfo_t *to) {
    BEGIN_DEVICE(handle);
    (void)to;
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
                                                        nvmlProcessInfo_t *to) {
    BEGIN_DEVICE(handle);
    (void)to;
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t handle, nvmlProcessUtilizationSample_t *to,
                                             unsigned int *count, unsigned long long since_us) {
    BEGIN_DEVICE(handle);
    if (device.gpu.mig_current) return NVML_ERROR_NOT_SUPPORTED;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000ULL + (uint64_t)now.tv_nsec / 1000;
    unsigned room = to ? *count : 0, found = 0;
    for (unsigned i = 0; i < device.gpu.process_count; i++) {
        const FakeProcess *process = &device.gpu.processes[i];
        uint64_t sample_us = process->sample_us ? process->sample_us : now_us;
        if (!process->sampled || sample_us <= since_us) continue;
        if (found < room) {
            memset(&to[found], 0, sizeof(to[found]));
            to[found].pid = process->pid;
            to[found].timeStamp = sample_us;
            to[found].smUtil = process->sm_percent;
        }
        found++;
    }
    *count = found;
    if (!found) return NVML_ERROR_NOT_FOUND;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* ---- MIG ---- */

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned int *current, unsigned int *pending) {
    BEGIN_DEVICE(handle);
    if (!device.gpu.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
    *current = device.gpu.mig_current;
    *pending = device.gpu.mig_pending;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned int *count) {
    BEGIN_DEVICE(handle);
    *count = device.gpu.mig_current ? device.gpu.mig_slots : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned int index, nvmlDevice_t *instance) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (index >= FAKE_SLOTS) return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.gpu.mig_current || !device.gpu.slots[index].present) return NVML_ERROR_NOT_FOUND;
    *instance = handle_of(device.index, (int)index, device.gpu.mig_generation);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned int *is_instance) {
    BEGIN_DEVICE(handle);
    *is_instance = device.slot >= 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t handle, nvmlDevice_t *card) {
    BEGIN_DEVICE(handle);
    INSTANCE_ONLY;
    *card = handle_of(device.index, -1, 0);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t handle, unsigned int *id) {
    BEGIN_DEVICE(handle);
    if (device.slot < 0) return NVML_ERROR_INVALID_ARGUMENT;
    *id = device.gpu.slots[device.slot].gpu_instance;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned int *id) {
    BEGIN_DEVICE(handle);
    if (device.slot < 0) return NVML_ERROR_INVALID_ARGUMENT;
    *id = device.gpu.slots[device.slot].compute_instance;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes) {
    BEGIN_DEVICE(handle);
    INSTANCE_ONLY;
    const FakeSlot *slot = &device.gpu.slots[device.slot];
    memset(attributes, 0, sizeof(*attributes));
    attributes->multiprocessorCount = slot->multiprocessors;
    attributes->gpuInstanceSliceCount = slot->gpu_instance_slices;
    attributes->computeInstanceSliceCount = slot->compute_instance_slices;
    attributes->memorySizeMB = slot->memory_mib;
    return NVML_SUCCESS;
}
