/* A libnvidia-ml.so.1 that stands between a program and the driver and writes down every answer, byte for byte; or,
 * without a driver, gives the answers of such a recording again. tape.py builds it and turns the lines into JSON.
 *
 *   NVML_TAPE_DRIVER=/path/libnvidia-ml.so.1 NVML_TAPE_RECORD=FILE   record
 *   neither                                                          replay what nvml_tape_load was given last
 *
 * Arguments go through as machine words, for whatever they are they travel in registers (x86-64, aarch64): so one
 * function serves all, and no header of NVIDIA's is needed. Not for two threads at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint64_t W;
typedef int (*Driver)(W, W, W, W);

enum { ARGUMENTS = 4, ANSWERS = 512, NAME = 64, OUT_BYTES = 8192 };
enum { FUNCTION_NOT_FOUND = 13, UNKNOWN = 999 };
enum { ROOM = 64, SENTINEL = 0xA5 }; /* how exporter/nvml/ lays out and fills its list of processes */
enum { SAMPLE = 32, FIELD = 40 };    /* sizeof(nvmlProcessUtilizationSample_t), sizeof(nvmlFieldValue_t) */
#define SINCE_SLACK_US 200000        /* the replayed clock is the recorded one to a beat's beginning, not to a call */

/* What an argument is. IN and SINCE are part of what is asked; OUT, TEXT, RECORDS, SAMPLES and FIELDS are answered,
 * COUNT is both. The length of a TEXT is the next argument, the room of RECORDS and SAMPLES the COUNT beside them, how
 * many FIELDS there are the IN before them. */
typedef enum { NONE, IN, SINCE, OUT, TEXT, COUNT, RECORDS, SAMPLES, FIELDS } Kind;
typedef struct { Kind kind; unsigned bytes; } Argument;

typedef struct {
    char name[NAME];
    W in[ARGUMENTS];
    int code, used;
    unsigned bytes[ARGUMENTS];
    unsigned char *out[ARGUMENTS];
} Answer;

static Answer answers[ANSWERS];
static unsigned answer_count;
static char unanswered[4096];

/* ---- recording ---- */

static void *driver(void) {
    static void *library;
    const char *path = getenv("NVML_TAPE_DRIVER");
    if (!library && path && !(library = dlopen(path, RTLD_NOW | RTLD_LOCAL))) fprintf(stderr, "tape: %s\n", dlerror());
    return library;
}

static int64_t now_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static W asked(Argument argument, W value) {
    if (argument.kind == COUNT) return *(uint32_t *)value;
    return argument.bytes == 4 ? (uint32_t)value : value;
}

/* How many bytes of an argument were answered. */
static unsigned answered(const Argument *is, const W *value, const W *in, unsigned i) {
    unsigned written = 0;
    switch (is[i].kind) {
    case OUT: return is[i].bytes;
    case COUNT: return 4;
    case TEXT: return (unsigned)strnlen((char *)value[i], in[i + 1] - 1) + 1;
    case RECORDS:
        for (written = (unsigned)in[i - 1] * ROOM; written; written--)
            if (((unsigned char *)value[i])[written - 1] != SENTINEL) break;
        return written;
    case FIELDS: return (unsigned)in[i - 1] * FIELD;
    case SAMPLES: return value[i] ? *(uint32_t *)value[i + 1] * SAMPLE : 0;
    default: return 0;
    }
}

static int record(const char *name, const Argument *is, const W *value, FILE *tape) {
    W in[ARGUMENTS] = {0};
    for (unsigned i = 0; i < ARGUMENTS; i++)
        if (is[i].kind == IN || is[i].kind == SINCE || is[i].kind == COUNT) in[i] = asked(is[i], value[i]);
    Driver call = (Driver)dlsym(driver(), name);
    int64_t at_us = now_us(CLOCK_REALTIME), from_us = now_us(CLOCK_MONOTONIC);
    int code = call ? call(value[0], value[1], value[2], value[3]) : FUNCTION_NOT_FOUND;
    int64_t took_us = now_us(CLOCK_MONOTONIC) - from_us;
    fprintf(tape, "%lld %lld %s %d", (long long)at_us, (long long)took_us, name, code);
    for (unsigned i = 0; i < ARGUMENTS; i++) {
        unsigned bytes = code == 0 || is[i].kind == COUNT ? answered(is, value, in, i) : 0;
        fprintf(tape, " %llu:", (unsigned long long)in[i]);
        for (unsigned at = 0; at < bytes; at++) fprintf(tape, "%02x", ((unsigned char *)value[i])[at]);
    }
    fputc('\n', tape);
    fflush(tape);
    return code;
}

/* ---- replaying ---- */

static unsigned unhex(const char *text, unsigned char **to) {
    unsigned bytes = (unsigned)strlen(text) / 2;
    *to = bytes ? malloc(bytes) : NULL;
    for (unsigned i = 0; i < bytes; i++) sscanf(text + 2 * i, "%2hhx", *to + i);
    return bytes;
}

/* Answer from now on as these lines say, which record() wrote. 0 where they cannot be read. */
int nvml_tape_load(const char *path) {
    static char words[ARGUMENTS][2 * OUT_BYTES + 32];
    for (unsigned i = 0; i < answer_count * ARGUMENTS; i++) free(answers[i / ARGUMENTS].out[i % ARGUMENTS]);
    answer_count = 0;
    unanswered[0] = 0;
    FILE *tape = fopen(path, "r");
    if (!tape) return 0;
    Answer each = {0};
    while (answer_count < ANSWERS && fscanf(tape, "%*d %*d %63s %d %16415s %16415s %16415s %16415s", each.name,
                                            &each.code, words[0], words[1], words[2], words[3]) == 6) {
        for (unsigned i = 0; i < ARGUMENTS; i++) {
            char *colon = strchr(words[i], ':');
            each.in[i] = strtoull(words[i], NULL, 10);
            each.bytes[i] = unhex(colon + 1, &each.out[i]);
        }
        answers[answer_count++] = each;
    }
    int whole = feof(tape);
    fclose(tape);
    return whole;
}

/* What was asked since then and is not in the recording, a line a question. */
const char *nvml_tape_unanswered(void) { return unanswered; }

static int same(Argument is, W recorded, W now) {
    int64_t apart = (int64_t)(recorded - now);
    return is.kind == SINCE ? llabs(apart) <= SINCE_SLACK_US : recorded == now;
}

static Answer *find(const char *name, const Argument *is, const W *in) {
    for (unsigned n = 0; n < answer_count; n++) {
        int fits = !answers[n].used && strcmp(answers[n].name, name) == 0;
        for (unsigned i = 0; fits && i < ARGUMENTS; i++) fits = same(is[i], answers[n].in[i], in[i]);
        if (fits) return &answers[n];
    }
    return NULL;
}

static int replay(const char *name, const Argument *is, const W *value) {
    W in[ARGUMENTS] = {0};
    for (unsigned i = 0; i < ARGUMENTS; i++)
        if (is[i].kind == IN || is[i].kind == SINCE || is[i].kind == COUNT) in[i] = asked(is[i], value[i]);
    Answer *answer = find(name, is, in);
    if (!answer) {
        size_t length = strlen(unanswered);
        snprintf(unanswered + length, sizeof(unanswered) - length, "%s(%llu, %llu, %llu, %llu)\n", name,
                 (unsigned long long)in[0], (unsigned long long)in[1], (unsigned long long)in[2],
                 (unsigned long long)in[3]);
        return UNKNOWN;
    }
    answer->used = 1;
    for (unsigned i = 0; i < ARGUMENTS; i++)
        if (answer->bytes[i]) memcpy((void *)value[i], answer->out[i], answer->bytes[i]);
    return answer->code;
}

static int call(const char *name, const Argument *is, const W *value) {
    static FILE *tape;
    if (!getenv("NVML_TAPE_DRIVER")) return replay(name, is, value);
    if (!tape && !(tape = fopen(getenv("NVML_TAPE_RECORD"), "a"))) return UNKNOWN;
    return record(name, is, value, tape);
}

/* ---- what exporter/nvml/ asks ---- */

#define CALL(name, ...)                                                \
    int name(W a, W b, W c, W d) {                                     \
        return call(#name, (Argument[ARGUMENTS]){__VA_ARGS__}, (W[]){a, b, c, d}); \
    }
#define HANDLE {IN, 8}
#define NUMBER {IN, 4}

CALL(nvmlInitWithFlags, NUMBER)
CALL(nvmlShutdown, {NONE, 0})
CALL(nvmlSystemGetDriverVersion, {TEXT, 0}, NUMBER)
CALL(nvmlDeviceGetCount_v2, {OUT, 4})
CALL(nvmlDeviceGetHandleByIndex_v2, NUMBER, {OUT, 8})
CALL(nvmlDeviceGetUUID, HANDLE, {TEXT, 0}, NUMBER)
CALL(nvmlDeviceGetName, HANDLE, {TEXT, 0}, NUMBER)
CALL(nvmlDeviceGetMigMode, HANDLE, {OUT, 4}, {OUT, 4})
CALL(nvmlDeviceGetMaxMigDeviceCount, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetMigDeviceHandleByIndex, HANDLE, NUMBER, {OUT, 8})
CALL(nvmlDeviceGetAttributes_v2, HANDLE, {OUT, 40})
CALL(nvmlDeviceGetGpuInstanceId, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetComputeInstanceId, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetMemoryInfo, HANDLE, {OUT, 24})
CALL(nvmlDeviceGetMemoryInfo_v2, HANDLE, {OUT, 40})
CALL(nvmlDeviceGetPowerUsage, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetUtilizationRates, HANDLE, {OUT, 8})
CALL(nvmlDeviceGetTotalEnergyConsumption, HANDLE, {OUT, 8})
CALL(nvmlDeviceGetTemperatureV, HANDLE, {OUT, 12})
CALL(nvmlDeviceGetTemperature, HANDLE, NUMBER, {OUT, 4})
CALL(nvmlDeviceGetComputeRunningProcesses_v3, HANDLE, {COUNT, 4}, {RECORDS, 0})
CALL(nvmlDeviceGetProcessUtilization, HANDLE, {SAMPLES, 0}, {COUNT, 4}, {SINCE, 8})
CALL(nvmlDeviceGetMinorNumber, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetFieldValues, HANDLE, NUMBER, {FIELDS, 0})
CALL(nvmlDeviceGetCurrentClocksEventReasons, HANDLE, {OUT, 8})
CALL(nvmlDeviceGetPersistenceMode, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetEnforcedPowerLimit, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetClockInfo, HANDLE, NUMBER, {OUT, 4})
CALL(nvmlDeviceGetPcieThroughput, HANDLE, NUMBER, {OUT, 4})
CALL(nvmlDeviceGetAccountingMode, HANDLE, {OUT, 4})
CALL(nvmlDeviceGetAccountingStats, HANDLE, NUMBER, {OUT, 56})
CALL(nvmlEventSetCreate, {OUT, 8})
CALL(nvmlDeviceRegisterEvents, HANDLE, {IN, 8}, HANDLE)
CALL(nvmlEventSetWait_v2, HANDLE, {OUT, 32}, NUMBER)
CALL(nvmlEventSetFree, HANDLE)
CALL(nvmlDeviceGetGpuInstanceById, HANDLE, NUMBER, {OUT, 8})
CALL(nvmlGpuInstanceGetInfo, HANDLE, {OUT, 24})
CALL(nvmlGpmQueryDeviceSupport, HANDLE, {OUT, 8})
CALL(nvmlGpmSampleAlloc, {OUT, 8})
CALL(nvmlGpmSampleFree, HANDLE)
CALL(nvmlGpmMigSampleGet, HANDLE, NUMBER, HANDLE)
CALL(nvmlGpmMetricsGet, {OUT, 64}) /* its head and the one metric we ask for, of 333 */

const char *nvmlErrorString(int code) {
    (void)code;
    return "as recorded";
}
