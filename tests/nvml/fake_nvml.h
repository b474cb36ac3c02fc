/* What the fake driver says, as one fixed struct in a file that the tests map too (state.py mirrors it). */
#ifndef FAKE_NVML_H
#define FAKE_NVML_H

#include <stdint.h>

#define FAKE_MAGIC 0x464b4e564d4c3031ULL /* "FKNVML01" */
#define FAKE_GPUS 16
#define FAKE_SLOTS 8
#define FAKE_PROCESSES 64
#define FAKE_RULES 16
#define FAKE_EVENTS 4096
#define FAKE_NAME 96
#define FAKE_NO_ID 0xffffffffu
#define FAKE_ANY 0xffffffffu

typedef struct {
    uint32_t pid;
    uint32_t gpu_instance, compute_instance; /* FAKE_NO_ID without MIG */
    uint32_t listed;                         /* 0: only in the utilisation samples, as zombies are */
    uint32_t sampled;                        /* 0: idle, so without a utilisation sample */
    uint32_t sm_percent;
    uint64_t memory_bytes;
    uint64_t sample_us; /* 0: now */
    uint64_t peak_bytes, started_us; /* what accounting has as its greatest memory and its beginning */
} FakeProcess;

typedef struct {
    char uuid[FAKE_NAME];
    char name[FAKE_NAME];
    uint32_t present;
    uint32_t gpu_instance, compute_instance;
    uint32_t gpu_instance_slices, compute_instance_slices;
    uint32_t multiprocessors;
    uint32_t placement_start; /* the first memory slice of its GPU instance */
    uint32_t unused_placement;
    uint64_t memory_mib;
    uint64_t used_bytes;
    uint64_t gpm_ticks, gpm_busy_ticks; /* of the SMs of its GPU instance, since it was made */
} FakeSlot;

/* In the order of NVML's fields 3 to 6 and 142 to 145; tx, rx. */
typedef struct {
    uint64_t ecc_errors[4];
    uint64_t clocks_reasons;
    uint64_t nvlink_kib[2];
    uint32_t remaps[4];
    uint32_t pcie_kib_s[2];
    uint32_t has_ecc, has_nvlink;
    uint32_t persistence, power_limit_mw;
    uint32_t sm_mhz, memory_mhz;
} FakeHealth;

typedef struct {
    uint32_t gpu, epoch;
    uint32_t gpu_instance, compute_instance; /* FAKE_NO_ID: of the whole card */
    uint64_t type, data;
} FakeEvent;

typedef struct {
    char uuid[FAKE_NAME];
    char name[FAKE_NAME];
    uint32_t lost;
    uint32_t mig_capable, mig_current, mig_pending, mig_slots;
    uint32_t mig_generation; /* a handle of an earlier one is stale */
    uint32_t minor;          /* of /dev/nvidiaN: not the index */
    uint32_t unused_minor;
    uint32_t busy_percent;
    uint32_t temperature_celsius;
    uint64_t total_bytes, reserved_bytes, used_bytes;
    uint64_t energy_mj; /* at energy_ns (of the monotonic clock), growing by power_mw from there */
    uint64_t energy_ns;
    uint32_t power_mw;
    uint32_t process_count;
    FakeSlot slots[FAKE_SLOTS];
    FakeProcess processes[FAKE_PROCESSES];
    FakeHealth health;
    uint32_t epoch; /* bumped by a reset, which ends all that was registered */
    uint32_t gpm;   /* 1: it has GPM, as Hopper and later */
    uint32_t accounting; /* 1: accounting mode is on */
    uint32_t unused;
} FakeGpu;

/* What a function does instead of its work, or besides it. */
typedef struct {
    char function[FAKE_NAME];
    uint32_t gpu;   /* FAKE_ANY: every one */
    uint32_t times; /* how often still; FAKE_ANY: always */
    int32_t code;   /* answered instead; -1: none */
    uint32_t remake_mig; /* 1: the GPU's MIG generation is bumped just before */
    uint32_t delay_us;
    uint32_t skip; /* how many calls it lets pass first */
} FakeRule;

typedef struct {
    uint64_t magic;
    uint64_t bytes;    /* size of all this */
    uint32_t sequence; /* odd while a test is writing */
    uint32_t init_code;
    uint32_t unprivileged;
    uint32_t delay_us; /* of every call */
    uint32_t gpu_count;
    uint32_t calls;    /* how many the library has answered */
    char driver_version[80];
    FakeRule rules[FAKE_RULES];
    FakeGpu gpus[FAKE_GPUS];
    uint32_t event_count; /* ever; the last FAKE_EVENTS are kept, by number */
    uint32_t clients;     /* how often the library is open in the process that last opened or closed it */
    FakeEvent events[FAKE_EVENTS];
    uint32_t gpm_samples; /* that are allocated and not freed */
    uint32_t relented;    /* how often a test had what waits go on */
} FakeState;

#endif
