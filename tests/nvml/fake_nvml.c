/*
 * A libnvidia-ml.so.1 for tests: NVML's ABI over a state file that the test changes while we run.
 *
 * It is the written form of what we believe about the driver, not a proof of it. Built by fake.py against the
 * real nvml.h. Options: -DPROCESS_RECORD_BYTES=32 (drivers 535.43 to 535.86 had such records), and a linker's
 * version script that hides symbols, as an old driver does.
 */
#define _GNU_SOURCE
#define NVML_NO_UNVERSIONED_FUNC_DEFS /* or the header would rename what we define */
#include <nvml.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fake_nvml.h"

#ifndef PROCESS_RECORD_BYTES
#define PROCESS_RECORD_BYTES 24
#endif

_Static_assert(sizeof(nvmlProcessInfo_v2_t) == 24, "process record");
_Static_assert(PROCESS_RECORD_BYTES >= 24 && PROCESS_RECORD_BYTES <= 64, "process record");
_Static_assert(sizeof(nvmlProcessUtilizationSample_t) == 32, "process sample");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "memory");
_Static_assert(sizeof(nvmlDeviceAttributes_t) == 40, "attributes");

unsigned long fake_nvml_state_bytes(void) { return sizeof(FakeState); }
unsigned long fake_nvml_gpu_bytes(void) { return sizeof(FakeGpu); }
unsigned long fake_nvml_slot_bytes(void) { return sizeof(FakeSlot); }
unsigned long fake_nvml_process_bytes(void) { return sizeof(FakeProcess); }
unsigned long fake_nvml_rule_bytes(void) { return sizeof(FakeRule); }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows and of the rules' counts */
static FakeState *state;
static unsigned init_count, init_generation;

/* ---- the state file ---- */

static FakeState *map_state(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    struct stat info;
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0 || fstat(file, &info) != 0 || info.st_size != (off_t)sizeof(FakeState)) {
        fprintf(stderr, "fake NVML: FAKE_NVML_STATE must name a file of %zu bytes\n", sizeof(FakeState));
        if (file >= 0) close(file);
        return NULL;
    }
    FakeState *mapped = mmap(NULL, sizeof(FakeState), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return NULL;
    if (mapped->magic == FAKE_MAGIC && mapped->bytes == sizeof(FakeState)) return mapped;
    fprintf(stderr, "fake NVML: %s is not a state file of this build\n", path);
    munmap(mapped, sizeof(FakeState));
    return NULL;
}

/* Copy a part of the state whole: again, as long as a test was writing meanwhile. */
static void copy_state(void *to, const void *from, size_t bytes) {
    for (;;) {
        uint32_t before = __atomic_load_n(&state->sequence, __ATOMIC_ACQUIRE);
        memcpy(to, from, bytes);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && before == __atomic_load_n(&state->sequence, __ATOMIC_RELAXED)) return;
        usleep(10);
    }
}

/* ---- handles: who, and as of which generation, so that an old one is never taken for a new one ---- */

typedef struct {
    unsigned index;
    int slot; /* -1: the card itself */
    FakeGpu gpu;
} Device;

static nvmlDevice_t handle_of(unsigned index, int slot, unsigned mig_generation) {
    uint64_t generation = slot < 0 ? 0 : mig_generation & 0xffff;
    return (nvmlDevice_t)(uintptr_t)((uint64_t)(init_generation & 0xffff) << 32 | generation << 16 |
                                     (uint64_t)(slot + 1) << 8 | (index + 1));
}

static int resolve(nvmlDevice_t handle, Device *device) {
    uint64_t bits = (uint64_t)(uintptr_t)handle;
    device->index = (unsigned)(bits & 0xff) - 1;
    device->slot = (int)(bits >> 8 & 0xff) - 1;
    if (device->index >= state->gpu_count || device->slot >= FAKE_SLOTS) return 0;
    copy_state(&device->gpu, &state->gpus[device->index], sizeof(FakeGpu));
    if (device->slot >= 0 && !device->gpu.mig_current) return 0;
    return handle == handle_of(device->index, device->slot, device->gpu.mig_generation);
}

/* ---- every call begins here ---- */

/* What the rules have for this call. Called with the lock held. */
static int apply_rules(const char *function, unsigned gpu, unsigned *delay_us) {
    for (int i = 0; i < FAKE_RULES; i++) {
        FakeRule *rule = &state->rules[i];
        if (!rule->times || strcmp(rule->function, function) != 0) continue;
        if (rule->gpu != FAKE_ANY && rule->gpu != gpu) continue;
        if (rule->times != FAKE_ANY) rule->times--;
        if (rule->remake_mig && gpu < FAKE_GPUS) state->gpus[gpu].mig_generation++;
        *delay_us += rule->delay_us;
        if (rule->code >= 0) return rule->code;
    }
    return -1;
}

/* -1: go on. */
static int begin(const char *function, unsigned gpu) {
    unsigned delay_us = 0;
    int code = -1;
    pthread_mutex_lock(&lock);
    if (!init_count) {
        code = NVML_ERROR_UNINITIALIZED;
    } else {
        __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
        delay_us = state->delay_us;
        code = apply_rules(function, gpu, &delay_us);
    }
    pthread_mutex_unlock(&lock);
    if (delay_us) usleep(delay_us);
    return code;
}

static int begin_device(const char *function, nvmlDevice_t handle, Device *device) {
    int code = begin(function, (unsigned)((uintptr_t)handle & 0xff) - 1);
    if (code >= 0) return code;
    if (!resolve(handle, device)) return NVML_ERROR_INVALID_ARGUMENT;
    if (device->gpu.lost) return NVML_ERROR_GPU_IS_LOST;
    if (device->slot >= 0 && !device->gpu.slots[device->slot].present) return NVML_ERROR_NOT_FOUND;
    return -1;
}

#define BEGIN(gpu)                                          \
    do {                                                    \
        int code = begin(__func__, gpu);                    \
        if (code >= 0) return (nvmlReturn_t)code;           \
    } while (0)

#define BEGIN_DEVICE(handle)                                \
    Device device;                                          \
    do {                                                    \
        int code = begin_device(__func__, handle, &device); \
        if (code >= 0) return (nvmlReturn_t)code;           \
    } while (0)

#define CARD_ONLY                                           \
    do {                                                    \
        if (device.slot >= 0) return NVML_ERROR_NOT_SUPPORTED; \
    } while (0)

#define INSTANCE_ONLY                                       \
    do {                                                    \
        if (device.slot < 0) return NVML_ERROR_NOT_SUPPORTED; \
    } while (0)

/* What sums up all MIG instances of a card takes privileges. */
#define AGGREGATE                                           \
    do {                                                    \
        if (device.slot < 0 && device.gpu.mig_current && state->unprivileged) return NVML_ERROR_NO_PERMISSION; \
    } while (0)

static nvmlReturn_t say(const char *text, char *to, unsigned length) {
    if (strlen(text) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

/* ---- the library itself ---- */

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    nvmlReturn_t code = NVML_SUCCESS;
    pthread_mutex_lock(&lock);
    if (!init_count) {
        if (state) munmap(state, sizeof(FakeState));
        state = map_state();
        if (!state) code = NVML_ERROR_OPERATING_SYSTEM;
        else code = (nvmlReturn_t)state->init_code;
    }
    if (code == NVML_SUCCESS && init_count++ == 0) init_generation++;
    pthread_mutex_unlock(&lock);
    return code;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void) {
    nvmlReturn_t code = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (init_count) {
        init_count--;
        code = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

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
    *minor = device.index;
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
    if (index >= FAKE_SLOTS || !device.gpu.mig_current) return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.gpu.slots[index].present) return NVML_ERROR_NOT_FOUND;
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
    INSTANCE_ONLY;
    *id = device.gpu.slots[device.slot].gpu_instance;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned int *id) {
    BEGIN_DEVICE(handle);
    INSTANCE_ONLY;
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

/* ---- not measured yet: as on a card that cannot ---- */

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t handle, nvmlGpmSupport_t *support) {
    BEGIN_DEVICE(handle);
    (void)support;
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    BEGIN(FAKE_ANY);
    (void)set;
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t handle, unsigned long long types, nvmlEventSet_t set) {
    BEGIN_DEVICE(handle);
    (void)types;
    (void)set;
    return NVML_ERROR_NOT_SUPPORTED;
}
