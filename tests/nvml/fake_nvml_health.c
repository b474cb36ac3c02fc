/* A card's health: XID events, ECC, row remaps, clocks and what slows them, power limit, links. */
#define _GNU_SOURCE
#include "fake_nvml_core.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(nvmlEventData_t) == 32, "event");
_Static_assert(sizeof(nvmlFieldValue_t) == 40, "field");

/* ---- events ---- */

/* Of a card in a set: of which epoch it was, and the first event not delivered yet. A reset of the card ends it. */
typedef struct {
    int registered;
    unsigned epoch;
    uint64_t types;
    uint32_t next;
} Registration;

struct nvmlEventSet_st {
    Registration cards[FAKE_GPUS];
};

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    BEGIN(FAKE_ANY);
    *set = calloc(1, sizeof(**set));
    return *set ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    BEGIN(FAKE_ANY);
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t handle, unsigned long long *types) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *types = nvmlEventTypeXidCriticalError;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t handle, unsigned long long types, nvmlEventSet_t set) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (types & ~(unsigned long long)nvmlEventTypeXidCriticalError) return NVML_ERROR_NOT_SUPPORTED;
    set->cards[device.index] = (Registration){1, device.gpu.epoch, types, state->event_count};
    return NVML_SUCCESS;
}

static int deliver(const FakeEvent *event, nvmlEventData_t *data) {
    int of_an_instance = event->gpu_instance != FAKE_NO_ID;
    if (of_an_instance && state->unprivileged) return 0;
    data->device = handle_of(event->gpu, -1, 0);
    data->eventType = event->type;
    data->eventData = event->data;
    data->gpuInstanceId = event->gpu_instance;
    data->computeInstanceId = event->compute_instance;
    return 1;
}

/* The oldest event of a card that this set has not delivered. */
static int next_event(Registration *card, unsigned index, nvmlEventData_t *data) {
    while (card->next < state->event_count) {
        const FakeEvent *event = &state->events[card->next++ % FAKE_EVENTS];
        if (event->gpu != index || event->epoch != card->epoch || !(event->type & card->types)) continue;
        if (deliver(event, data)) return 1;
    }
    return 0;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    BEGIN(FAKE_ANY);
    int is_lost = 0;
    for (unsigned i = 0; i < FAKE_GPUS; i++) {
        if (!set->cards[i].registered) continue;
        if (next_event(&set->cards[i], i, data)) return NVML_SUCCESS;
        is_lost |= state->gpus[i].lost != 0;
    }
    if (is_lost) return NVML_ERROR_GPU_IS_LOST;
    usleep(timeout_ms * 1000);
    return NVML_ERROR_TIMEOUT;
}

/* ---- figures ---- */

static int has_instances(const FakeGpu *gpu) {
    for (int slot = 0; gpu->mig_current && slot < FAKE_SLOTS; slot++)
        if (gpu->slots[slot].present) return 1;
    return 0;
}

static nvmlReturn_t put(nvmlFieldValue_t *field, uint64_t value) {
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field->value.ullVal = value;
    return NVML_SUCCESS;
}

static nvmlReturn_t put_small(nvmlFieldValue_t *field, uint32_t value) {
    memset(&field->value, 0xA5, sizeof(field->value)); /* only the member that valueType names is written */
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.uiVal = value;
    return NVML_SUCCESS;
}

static nvmlReturn_t read_field(const FakeGpu *gpu, nvmlFieldValue_t *field) {
    const FakeHealth *health = &gpu->health;
    switch (field->fieldId) {
    case NVML_FI_DEV_ECC_SBE_VOL_TOTAL:
    case NVML_FI_DEV_ECC_DBE_VOL_TOTAL:
    case NVML_FI_DEV_ECC_SBE_AGG_TOTAL:
    case NVML_FI_DEV_ECC_DBE_AGG_TOTAL:
        if (!health->has_ecc) return NVML_ERROR_NOT_SUPPORTED;
        return put(field, health->ecc_errors[field->fieldId - NVML_FI_DEV_ECC_SBE_VOL_TOTAL]);
    case NVML_FI_DEV_REMAPPED_COR:
    case NVML_FI_DEV_REMAPPED_UNC:
    case NVML_FI_DEV_REMAPPED_PENDING:
    case NVML_FI_DEV_REMAPPED_FAILURE:
        if (!health->has_ecc || has_instances(gpu)) return NVML_ERROR_NOT_SUPPORTED;
        return put_small(field, health->remaps[field->fieldId - NVML_FI_DEV_REMAPPED_COR]);
    case NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX:
    case NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX:
        if (!health->has_nvlink || field->scopeId != 0xffffffffu) return NVML_ERROR_NOT_SUPPORTED;
        return put(field, health->nvlink_kib[field->fieldId - NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX]);
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t handle, int count, nvmlFieldValue_t *fields) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    for (int i = 0; i < count; i++) fields[i].nvmlReturn = read_field(&device.gpu, &fields[i]);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t handle, unsigned long long *reasons) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *reasons = device.gpu.health.clocks_reasons;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t handle, nvmlClockType_t type, unsigned int *mhz) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (type != NVML_CLOCK_SM && type != NVML_CLOCK_MEM) return NVML_ERROR_NOT_SUPPORTED;
    *mhz = type == NVML_CLOCK_SM ? device.gpu.health.sm_mhz : device.gpu.health.memory_mhz;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, nvmlEnableState_t *mode) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *mode = device.gpu.health.persistence ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t handle, unsigned int *milliwatts) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *milliwatts = device.gpu.health.power_limit_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t handle, nvmlPcieUtilCounter_t counter, unsigned int *kib) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (counter != NVML_PCIE_UTIL_TX_BYTES && counter != NVML_PCIE_UTIL_RX_BYTES) return NVML_ERROR_INVALID_ARGUMENT;
    usleep(20000); /* it measures so long */
    *kib = device.gpu.health.pcie_kib_s[counter == NVML_PCIE_UTIL_RX_BYTES];
    return NVML_SUCCESS;
}
