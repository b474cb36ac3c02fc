/* The fake library's inside: the state file, handles, how every call begins, and the library's own life. */
#define _GNU_SOURCE
#include "fake_nvml_core.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

unsigned long fake_nvml_state_bytes(void) { return sizeof(FakeState); }
unsigned long fake_nvml_gpu_bytes(void) { return sizeof(FakeGpu); }
unsigned long fake_nvml_slot_bytes(void) { return sizeof(FakeSlot); }
unsigned long fake_nvml_process_bytes(void) { return sizeof(FakeProcess); }
unsigned long fake_nvml_rule_bytes(void) { return sizeof(FakeRule); }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows and of the rules' counts */
FakeState *state;
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

nvmlDevice_t handle_of(unsigned index, int slot, unsigned mig_generation) {
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
        if (rule->skip) {
            rule->skip--;
            continue;
        }
        if (rule->times != FAKE_ANY) rule->times--;
        if (rule->remake_mig && gpu < FAKE_GPUS) state->gpus[gpu].mig_generation++;
        *delay_us += rule->delay_us;
        if (rule->code >= 0) return rule->code;
    }
    return -1;
}

static uint32_t times_relented(void) { return __atomic_load_n(&state->relented, __ATOMIC_ACQUIRE); }

/* Waits for so long, or until the test relents: more often than it had before it was known how long. */
static void wait_us(unsigned delay_us, uint32_t relented) {
    for (unsigned waited_us = 0; waited_us < delay_us; waited_us += 1000) {
        if (times_relented() != relented) return;
        usleep(delay_us - waited_us < 1000 ? delay_us - waited_us : 1000);
    }
}

/* -1: go on. */
int begin(const char *function, unsigned gpu) {
    unsigned delay_us = 0;
    uint32_t relented = 0;
    int code = -1;
    pthread_mutex_lock(&lock);
    if (!init_count) {
        code = NVML_ERROR_UNINITIALIZED;
    } else {
        __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
        relented = times_relented();
        delay_us = state->delay_us;
        code = apply_rules(function, gpu, &delay_us);
    }
    pthread_mutex_unlock(&lock);
    if (delay_us) wait_us(delay_us, relented);
    return code;
}

int begin_device(const char *function, nvmlDevice_t handle, Device *device) {
    int code = begin(function, (unsigned)((uintptr_t)handle & 0xff) - 1);
    if (code >= 0) return code;
    if (!resolve(handle, device)) return NVML_ERROR_INVALID_ARGUMENT;
    if (device->gpu.lost) return NVML_ERROR_GPU_IS_LOST;
    if (device->slot >= 0 && !device->gpu.slots[device->slot].present) return NVML_ERROR_NOT_FOUND;
    return -1;
}

nvmlReturn_t say(const char *text, char *to, unsigned length) {
    if (strlen(text) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

/* ---- its life ---- */

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    nvmlReturn_t code = NVML_SUCCESS;
    unsigned delay_us = 0;
    uint32_t relented = 0;
    pthread_mutex_lock(&lock);
    if (!init_count) {
        if (state) munmap(state, sizeof(FakeState));
        state = map_state();
        if (!state) code = NVML_ERROR_OPERATING_SYSTEM;
        else code = (nvmlReturn_t)state->init_code;
    }
    if (code == NVML_SUCCESS && init_count++ == 0) init_generation++;
    if (state) {
        state->clients = init_count;
        relented = times_relented();
        apply_rules("nvmlInitWithFlags", FAKE_GPUS, &delay_us);
    }
    pthread_mutex_unlock(&lock);
    if (delay_us) wait_us(delay_us, relented);
    return code;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void) {
    nvmlReturn_t code = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (init_count) {
        init_count--;
        if (state) state->clients = init_count;
        code = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
