/* What tells how devices were used beside the lists of processes: GPM (Hopper and later), and accounting mode. */
#include "fake_nvml_core.h"

#include <stdlib.h>
#include <string.h>

/* ---- GPM: counters of the SMs, read at two instants ---- */

/* Whose counters they are, and how they stood. */
struct nvmlGpmSample_st {
    int taken;
    unsigned index, gpu_instance, mig_generation;
    uint64_t ticks, busy_ticks;
};

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t handle, nvmlGpmSupport_t *support) {
    BEGIN_DEVICE(handle);
    if (support->version != NVML_GPM_SUPPORT_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    support->isSupportedDevice = device.gpu.gpm;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample) {
    BEGIN(FAKE_ANY);
    *sample = calloc(1, sizeof(**sample));
    __atomic_add_fetch(&state->gpm_samples, 1, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
    BEGIN(FAKE_ANY);
    if (!sample) return NVML_ERROR_INVALID_ARGUMENT;
    free(sample);
    __atomic_sub_fetch(&state->gpm_samples, 1, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t handle, unsigned int id, nvmlGpmSample_t sample) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (!device.gpu.gpm || !device.gpu.mig_current) return NVML_ERROR_NOT_SUPPORTED;
    for (int slot = 0; slot < FAKE_SLOTS; slot++) {
        const FakeSlot *row = &device.gpu.slots[slot];
        if (!row->present || row->gpu_instance != id) continue;
        *sample = (struct nvmlGpmSample_st){1, device.index, id, device.gpu.mig_generation, row->gpm_ticks,
                                            row->gpm_busy_ticks};
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

/* Of one instance, the first before the second. */
static int pair(const struct nvmlGpmSample_st *first, const struct nvmlGpmSample_st *second) {
    return first && second && first != second && first->taken && second->taken && first->index == second->index &&
           first->gpu_instance == second->gpu_instance && first->mig_generation == second->mig_generation &&
           first->ticks <= second->ticks;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get) {
    BEGIN(FAKE_ANY);
    if (get->version != NVML_GPM_METRICS_GET_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!pair(get->sample1, get->sample2)) return NVML_ERROR_INVALID_ARGUMENT;
    uint64_t ticks = get->sample2->ticks - get->sample1->ticks;
    for (unsigned i = 0; i < get->numMetrics; i++) {
        nvmlGpmMetric_t *metric = &get->metrics[i];
        metric->nvmlReturn = metric->metricId != NVML_GPM_METRIC_SM_UTIL ? NVML_ERROR_NOT_SUPPORTED
                             : ticks == 0                                ? NVML_ERROR_NO_DATA
                                                                         : NVML_SUCCESS;
        if (metric->nvmlReturn != NVML_SUCCESS) continue;
        metric->value = 100.0 * (double)(get->sample2->busy_ticks - get->sample1->busy_ticks) / (double)ticks;
    }
    return NVML_SUCCESS;
}

/* ---- accounting mode: off unless root has set it, and never under MIG ---- */

nvmlReturn_t nvmlDeviceGetAccountingMode(nvmlDevice_t handle, nvmlEnableState_t *mode) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    *mode = device.gpu.accounting && !device.gpu.mig_current ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t handle, unsigned int pid, nvmlAccountingStats_t *stats) {
    BEGIN_DEVICE(handle);
    CARD_ONLY;
    if (!device.gpu.accounting || device.gpu.mig_current) return NVML_ERROR_NOT_SUPPORTED;
    for (unsigned i = 0; i < device.gpu.process_count; i++) {
        const FakeProcess *process = &device.gpu.processes[i];
        if (process->pid != pid || !process->peak_bytes) continue;
        memset(stats, 0, sizeof(*stats));
        stats->gpuUtilization = process->sm_percent;
        stats->maxMemoryUsage = process->peak_bytes;
        stats->startTime = process->started_us;
        stats->isRunning = process->listed;
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}
