/*
 * What NVIDIA's device plugin asks beside what the agent asks: where cards lie, and which profile a MIG instance has.
 *
 * A handle of a GPU instance or a compute instance is that of the (first) MIG device in it.
 */
#include "fake_nvml_core.h"

#include <stdio.h>
#include <string.h>

/* Ids and eighths of the card's memory as on cards of seven slices; `nvidia-smi mig -lgip` prints them. */
typedef struct {
    unsigned profile, id, slices, memory_eighths;
} Profile;

static const Profile PROFILES[] = {
    {NVML_GPU_INSTANCE_PROFILE_1_SLICE, 19, 1, 1},      {NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1, 20, 1, 1},
    {NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV2, 15, 1, 2}, {NVML_GPU_INSTANCE_PROFILE_2_SLICE, 14, 2, 2},
    {NVML_GPU_INSTANCE_PROFILE_3_SLICE, 9, 3, 4},       {NVML_GPU_INSTANCE_PROFILE_4_SLICE, 5, 4, 4},
    {NVML_GPU_INSTANCE_PROFILE_7_SLICE, 0, 7, 8},
};
#define PROFILE_COUNT (sizeof(PROFILES) / sizeof(PROFILES[0]))

/* Slices of the compute instance profiles, which are their own ids; 0: none. */
static const unsigned COMPUTE_SLICES[NVML_COMPUTE_INSTANCE_PROFILE_COUNT] = {1, 2, 3, 4, 7};

static uint64_t profile_mib(const FakeGpu *gpu, const Profile *profile) {
    return (gpu->total_bytes >> 20) * profile->memory_eighths / 8;
}

/* By slices, then by the name's "+me", then by which memory is nearest. */
static const Profile *profile_of(const FakeGpu *gpu, const FakeSlot *slot) {
    const Profile *best = NULL;
    uint64_t best_off = 0;
    int media = strstr(slot->name, "+me") != NULL;
    for (unsigned i = 0; i < PROFILE_COUNT; i++) {
        const Profile *profile = &PROFILES[i];
        uint64_t mib = profile_mib(gpu, profile);
        uint64_t off = mib > slot->memory_mib ? mib - slot->memory_mib : slot->memory_mib - mib;
        if (profile->slices != slot->gpu_instance_slices) continue;
        if ((profile->profile == NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1) != media) continue;
        if (!best || off < best_off) best = profile, best_off = off;
    }
    return best;
}

/* ---- cards ---- */

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor) {
    BEGIN_DEVICE(handle);
    *major = 9;
    *minor = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *pci) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    memset(pci, 0, sizeof(*pci));
    pci->bus = 0x10 + device.index;
    snprintf(pci->busId, sizeof(pci->busId), "00000000:%02X:00.0", pci->bus);
    snprintf(pci->busIdLegacy, sizeof(pci->busIdLegacy), "0000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t handle, nvmlDevice_t other, nvmlGpuTopologyLevel_t *level) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    (void)other;
    *level = NVML_TOPOLOGY_NODE;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t handle, unsigned int link, nvmlEnableState_t *active) {
    BEGIN_DEVICE(handle);
    (void)link;
    (void)active;
    return NVML_ERROR_NOT_SUPPORTED;
}

/* ---- profiles ---- */

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t handle, unsigned int wanted,
                                                 nvmlGpuInstanceProfileInfo_t *info) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (!device.gpu.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
    for (unsigned i = 0; i < PROFILE_COUNT; i++) {
        if (PROFILES[i].profile != wanted) continue;
        memset(info, 0, sizeof(*info));
        info->id = PROFILES[i].id;
        info->sliceCount = PROFILES[i].slices;
        info->memorySizeMB = profile_mib(&device.gpu, &PROFILES[i]);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

/* A compute instance's profile: the one with its slices. */
static unsigned compute_profile(unsigned slices) {
    unsigned profile = 0;
    while (profile < NVML_COMPUTE_INSTANCE_PROFILE_COUNT && COMPUTE_SLICES[profile] != slices) profile++;
    return profile;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t handle, unsigned int id, nvmlGpuInstance_t *instance) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    AGGREGATE;
    for (int slot = 0; slot < FAKE_SLOTS; slot++) {
        if (!device.gpu.slots[slot].present || device.gpu.slots[slot].gpu_instance != id) continue;
        *instance = (nvmlGpuInstance_t)handle_of(device.index, slot, device.gpu.mig_generation);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info) {
    BEGIN_DEVICE((nvmlDevice_t)instance);
    INSTANCE_ONLY;
    const FakeSlot *slot = &device.gpu.slots[device.slot];
    const Profile *profile = profile_of(&device.gpu, slot);
    if (!profile) return NVML_ERROR_UNKNOWN;
    memset(info, 0, sizeof(*info));
    info->device = handle_of(device.index, -1, 0);
    info->id = slot->gpu_instance;
    info->profileId = profile->id;
    info->placement.start = slot->placement_start;
    info->placement.size = profile->memory_eighths;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t instance, unsigned int id,
                                                   nvmlComputeInstance_t *found) {
    BEGIN_DEVICE((nvmlDevice_t)instance);
    INSTANCE_ONLY;
    for (int slot = 0; slot < FAKE_SLOTS; slot++) {
        const FakeSlot *row = &device.gpu.slots[slot];
        if (!row->present || row->compute_instance != id) continue;
        if (row->gpu_instance != device.gpu.slots[device.slot].gpu_instance) continue;
        *found = (nvmlComputeInstance_t)handle_of(device.index, slot, device.gpu.mig_generation);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t instance, unsigned int wanted,
                                                          unsigned int engine,
                                                          nvmlComputeInstanceProfileInfo_t *info) {
    BEGIN_DEVICE((nvmlDevice_t)instance);
    INSTANCE_ONLY;
    if (engine != NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED) return NVML_ERROR_NOT_SUPPORTED;
    if (wanted >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT || !COMPUTE_SLICES[wanted]) return NVML_ERROR_NOT_SUPPORTED;
    if (COMPUTE_SLICES[wanted] > device.gpu.slots[device.slot].gpu_instance_slices) return NVML_ERROR_NOT_SUPPORTED;
    memset(info, 0, sizeof(*info));
    info->id = wanted;
    info->sliceCount = COMPUTE_SLICES[wanted];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info) {
    BEGIN_DEVICE((nvmlDevice_t)instance);
    INSTANCE_ONLY;
    const FakeSlot *slot = &device.gpu.slots[device.slot];
    memset(info, 0, sizeof(*info));
    info->device = handle_of(device.index, -1, 0);
    info->gpuInstance = (nvmlGpuInstance_t)instance;
    info->id = slot->compute_instance;
    info->profileId = compute_profile(slot->compute_instance_slices);
    return NVML_SUCCESS;
}
