/* What the parts of the fake library share: handles, and how every call begins. Not exported. */
#ifndef FAKE_NVML_CORE_H
#define FAKE_NVML_CORE_H

#define NVML_NO_UNVERSIONED_FUNC_DEFS /* or the header would rename what we define */
#include <nvml.h>

#include <stdint.h>

#include "fake_nvml.h"

extern FakeState *state; /* NULL before the first nvmlInit */

/* Who a handle is, with a whole copy of its card. */
typedef struct {
    unsigned index;
    int slot; /* -1: the card itself */
    FakeGpu gpu;
} Device;

nvmlDevice_t handle_of(unsigned index, int slot, unsigned mig_generation);

/* -1: go on; else what the function answers. begin() is for calls without a device. */
int begin(const char *function, unsigned gpu);
int begin_device(const char *function, nvmlDevice_t handle, Device *device);

/* Text as NVML gives it. */
nvmlReturn_t say(const char *text, char *to, unsigned length);

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

#endif
