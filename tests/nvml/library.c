/* A libnvidia-ml.so.1 without a GPU: it answers what a test has written into a shared file.

   The layout of `struct script` is repeated in library.py, which checks its size. What no test
   needs is not here: the binding then says "Function Not Found", as with an old driver. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { GPUS = 8, PARTS = 7, PROCESSES = 8, FAILURES = 8, EVENTS = 16, NAME = 96, CALL = 48 };
enum { LOOK_MS = 50 }; /* seldom: a real library waits without looking */
enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7,
       TIMEOUT = 10, LOST = 15 };

struct process { uint32_t pid, sm_percent; uint64_t memory_bytes, stamp_us; };
struct failure { char call[CALL]; int32_t code, unused; };
struct part {
  char uuid[NAME], name[NAME];
  uint64_t total, used, reserved;
  uint32_t present, gpu_instance, compute_instance, slices, processes, unused;
  struct process process[PROCESSES];
};
struct gpu {
  char uuid[NAME], name[NAME], bus[32];
  uint64_t total, used, reserved, numa_bits, energy_mj, pcie_sent, pcie_received,
      ecc_uncorrectable, throttled, links;
  uint32_t present, lost, minor, cc_major, cc_minor, gpu_percent, memory_percent, temperature,
      memory_temperature, power_mw, sm_mhz, memory_mhz, pcie_replays, rows[4], processes,
      pcie_counts, clique;
  int32_t ecc, mig; /* -1: not supported */
  struct failure failure[FAILURES];
  struct process process[PROCESSES];
  struct part part[PARTS];
};
struct event { uint32_t gpu, gpu_instance, compute_instance, unused; uint64_t type, data; };
struct script {
  uint32_t bytes, inits, ends, calls, latency_us, events_said, events_taken, sets, waits;
  int32_t init_code, wait_code, cuda, global_code;
  char driver[80];
  struct event event[EVENTS];
  struct gpu gpu[GPUS];
};

struct handle { int gpu, part; };
static struct handle handles[GPUS][PARTS + 1];
static struct script *script;
static int begun, seen, place[GPUS];
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

unsigned script_bytes(void) { return sizeof(struct script); }

int script_use(const char *path) {
  int file = open(path, O_RDWR);
  if (file < 0) return -1;
  void *at = mmap(NULL, sizeof(struct script), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (at == MAP_FAILED) return -1;
  if (script) munmap(script, sizeof(struct script));
  script = at;
  begun = 0;
  return 0;
}

static void pause_us(unsigned us) {
  struct timespec time = {us / 1000000, us % 1000000 * 1000};
  if (us) nanosleep(&time, NULL);
}

/* What is wrong with a question before it is looked at. */
static int enter(const struct handle *h, const char *call) {
  if (!script || !begun) return UNINITIALIZED;
  __atomic_add_fetch(&script->calls, 1, __ATOMIC_RELAXED);
  pause_us(script->latency_us);
  if (script->global_code) return script->global_code;
  if (!h) return OK;
  const struct gpu *g = &script->gpu[h->gpu];
  for (int i = 0; i < FAILURES; i++)
    if (!strcmp(g->failure[i].call, call)) return g->failure[i].code;
  if (g->lost || !g->present) return LOST;
  if (h->part && !g->part[h->part - 1].present) return NOT_FOUND;
  return OK;
}

#define ENTER(h)                                                                                   \
  int code = enter(h, __func__);                                                                   \
  if (code) return code
#define G (&script->gpu[h->gpu])
#define P (&script->gpu[h->gpu].part[h->part - 1])

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  const char *path = getenv("NVML_SCRIPT");
  if (!script && (!path || script_use(path))) return 9; /* DRIVER_NOT_LOADED */
  script->inits++;
  if (script->init_code) return script->init_code;
  seen = 0;
  for (int i = 0; i < GPUS; i++) {
    for (int j = 0; j <= PARTS; j++) handles[i][j] = (struct handle){i, j};
    if (script->gpu[i].present) place[seen++] = i;
  }
  begun = 1;
  return OK;
}
int nvmlShutdown(void) {
  if (!begun) return UNINITIALIZED;
  script->ends++;
  begun = 0;
  return OK;
}
const char *nvmlErrorString(int code) { return code == 28 ? "GPU Not Found" : "Unknown Error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned room) {
  ENTER(NULL);
  strncpy(out, script->driver, room);
  return OK;
}
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
  ENTER(NULL);
  *out = script->cuda;
  return OK;
}
int nvmlDeviceGetCount_v2(unsigned *out) {
  ENTER(NULL);
  *out = seen;
  return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct handle **out) {
  if (begun && index >= (unsigned)seen) return INVALID;
  struct handle *h = begun ? &handles[place[index]][0] : NULL;
  ENTER(h);
  *out = h;
  return OK;
}

static int say(char *out, unsigned room, const char *what) {
  if (strlen(what) >= room) return TOO_SMALL;
  strcpy(out, what);
  return OK;
}
int nvmlDeviceGetUUID(struct handle *h, char *out, unsigned room) {
  ENTER(h);
  return say(out, room, h->part ? P->uuid : G->uuid);
}
int nvmlDeviceGetName(struct handle *h, char *out, unsigned room) {
  ENTER(h);
  return say(out, room, h->part ? P->name : G->name);
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct handle *h, struct pci *out) {
  ENTER(h);
  memset(out, 0, sizeof *out);
  return say(out->bus_id, sizeof out->bus_id, G->bus);
}
int nvmlDeviceGetMinorNumber(struct handle *h, unsigned *out) {
  ENTER(h);
  *out = G->minor;
  return OK;
}
int nvmlDeviceGetCudaComputeCapability(struct handle *h, int *major, int *minor) {
  ENTER(h);
  *major = G->cc_major, *minor = G->cc_minor;
  return OK;
}
int nvmlDeviceGetEccMode(struct handle *h, unsigned *now, unsigned *next) {
  ENTER(h);
  if (G->ecc < 0) return NOT_SUPPORTED;
  *now = *next = G->ecc;
  return OK;
}
int nvmlDeviceGetMemoryAffinity(struct handle *h, unsigned words, uint64_t *out, unsigned scope) {
  (void)scope;
  ENTER(h);
  if (!G->numa_bits) return NOT_SUPPORTED;
  memset(out, 0, words * sizeof *out);
  out[0] = G->numa_bits;
  return OK;
}
struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(struct handle *h, struct memory *out) {
  ENTER(h);
  uint64_t total = h->part ? P->total : G->total;
  uint64_t used = h->part ? P->used + P->reserved : G->used + G->reserved;
  *out = (struct memory){total, total - used, used};
  return OK;
}
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(struct handle *h, struct memory_v2 *out) {
  ENTER(h);
  uint64_t total = h->part ? P->total : G->total, used = h->part ? P->used : G->used;
  uint64_t reserved = h->part ? P->reserved : G->reserved;
  *out = (struct memory_v2){out->version, total, reserved, total - used - reserved, used};
  return OK;
}

int nvmlDeviceGetMigMode(struct handle *h, unsigned *now, unsigned *next) {
  ENTER(h);
  if (G->mig < 0) return NOT_SUPPORTED;
  *now = *next = G->mig;
  return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(struct handle *h, unsigned *out) {
  ENTER(h);
  *out = G->mig < 0 ? 0 : PARTS;
  return OK;
}
int nvmlDeviceGetMigDeviceHandleByIndex(struct handle *h, unsigned index, struct handle **out) {
  ENTER(h);
  if (index >= PARTS || !G->part[index].present) return NOT_FOUND;
  *out = &handles[h->gpu][index + 1];
  return OK;
}
int nvmlDeviceGetGpuInstanceId(struct handle *h, unsigned *out) {
  ENTER(h);
  if (!h->part) return NOT_SUPPORTED;
  *out = P->gpu_instance;
  return OK;
}
int nvmlDeviceGetComputeInstanceId(struct handle *h, unsigned *out) {
  ENTER(h);
  if (!h->part) return NOT_SUPPORTED;
  *out = P->compute_instance;
  return OK;
}
struct attributes { unsigned about[8]; unsigned long long memory_mib; };
int nvmlDeviceGetAttributes_v2(struct handle *h, struct attributes *out) {
  ENTER(h);
  if (!h->part) return NOT_SUPPORTED;
  memset(out, 0, sizeof *out);
  out->about[6] = out->about[7] = P->slices;
  out->memory_mib = P->total >> 20;
  return OK;
}

#define NUMBER(call, type, what)                                                                   \
  int call(struct handle *h, type *out) {                                                          \
    ENTER(h);                                                                                      \
    if (h->part) return NOT_SUPPORTED;                                                             \
    *out = G->what;                                                                                \
    return OK;                                                                                     \
  }
NUMBER(nvmlDeviceGetPowerUsage, unsigned, power_mw)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, energy_mj)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, throttled)

int nvmlDeviceGetTemperature(struct handle *h, unsigned sensor, unsigned *out) {
  (void)sensor;
  ENTER(h);
  *out = G->temperature;
  return OK;
}
int nvmlDeviceGetUtilizationRates(struct handle *h, unsigned *out) {
  ENTER(h);
  if (h->part || G->mig > 0) return NOT_SUPPORTED;
  out[0] = G->gpu_percent, out[1] = G->memory_percent;
  return OK;
}
int nvmlDeviceGetClockInfo(struct handle *h, unsigned kind, unsigned *out) {
  ENTER(h);
  *out = kind == 1 ? G->sm_mhz : G->memory_mhz;
  return OK;
}
int nvmlDeviceGetTotalEccErrors(struct handle *h, unsigned type, unsigned counter,
                                unsigned long long *out) {
  ENTER(h);
  if (G->ecc <= 0 || type != 1 || counter != 0) return NOT_SUPPORTED;
  *out = G->ecc_uncorrectable;
  return OK;
}
int nvmlDeviceGetRemappedRows(struct handle *h, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
  ENTER(h);
  *corrected = G->rows[0], *uncorrected = G->rows[1], *pending = G->rows[2], *failed = G->rows[3];
  return OK;
}
struct value { unsigned field, scope; int64_t at, took; unsigned type; int code; uint64_t value; };
int nvmlDeviceGetFieldValues(struct handle *h, int count, struct value *out) {
  ENTER(h);
  for (int i = 0; i < count; i++) {
    out[i].code = OK, out[i].type = 1, out[i].value = 0;
    if (out[i].field == 82) out[i].value = G->memory_temperature;
    else if (out[i].field == 94) out[i].value = G->pcie_replays;
    else if (out[i].field == 197 && G->pcie_counts) out[i].type = 3, out[i].value = G->pcie_sent;
    else if (out[i].field == 198 && G->pcie_counts)
      out[i].type = 3, out[i].value = G->pcie_received;
    else out[i].code = NOT_SUPPORTED;
  }
  return OK;
}
int nvmlDeviceGetPcieThroughput(struct handle *h, unsigned kind, unsigned *out) {
  ENTER(h);
  *out = kind == 0 ? 11 : 22;
  return OK;
}

struct running {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
};
int nvmlDeviceGetComputeRunningProcesses_v3(struct handle *h, unsigned *count,
                                            struct running *out) {
  ENTER(h);
  unsigned there = h->part ? P->processes : G->processes, room = *count;
  *count = there;
  if (there == 0) return OK;
  if (!out || room < there) return TOO_SMALL;
  for (unsigned i = 0; i < there; i++) {
    struct process *p = h->part ? &P->process[i] : &G->process[i];
    out[i] = (struct running){p->pid, p->memory_bytes, ~0u, ~0u};
  }
  return OK;
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(struct handle *h, unsigned *count,
                                               struct running *out) {
  (void)out;
  ENTER(h);
  *count = 0;
  return OK;
}
struct utilisation { unsigned pid; unsigned long long stamp; unsigned sm, memory, enc, dec; };
int nvmlDeviceGetProcessUtilization(struct handle *h, struct utilisation *out, unsigned *count,
                                    unsigned long long since) {
  ENTER(h);
  unsigned room = *count, there = 0;
  for (unsigned i = 0; i < G->processes; i++) {
    struct process *p = &G->process[i];
    if (p->stamp_us <= since) continue;
    if (out && there < room)
      out[there] = (struct utilisation){p->pid, p->stamp_us, p->sm_percent, 0, 0, 0};
    there++;
  }
  *count = there;
  if (!there) return NOT_FOUND;
  return !out || room < there ? TOO_SMALL : OK;
}

int nvmlDeviceGetP2PStatus(struct handle *h, struct handle *other, unsigned kind, unsigned *out) {
  ENTER(h);
  *out = kind == 2 && G->links >> other->gpu & 1 ? 0 : 5;
  return OK;
}
struct fabric { unsigned char cluster[16]; unsigned status, clique; unsigned char state; };
int nvmlDeviceGetGpuFabricInfo(struct handle *h, struct fabric *out) {
  ENTER(h);
  if (!G->clique) return NOT_SUPPORTED;
  *out = (struct fabric){.cluster = {7}, .clique = G->clique, .state = 3};
  return OK;
}

int nvmlEventSetCreate(struct script **out) {
  ENTER(NULL);
  script->sets++;
  *out = script;
  return OK;
}
int nvmlDeviceGetSupportedEventTypes(struct handle *h, unsigned long long *out) {
  ENTER(h);
  *out = 0x1f;
  return OK;
}
int nvmlDeviceRegisterEvents(struct handle *h, unsigned long long types, struct script *set) {
  (void)types, (void)set;
  ENTER(h);
  return OK;
}
struct told { struct handle *device; unsigned long long type, data; unsigned gi, ci; };
int nvmlEventSetWait_v2(struct script *set, struct told *out, unsigned timeout_ms) {
  (void)set;
  if (!begun) return UNINITIALIZED;
  __atomic_add_fetch(&script->waits, 1, __ATOMIC_RELAXED);
  if (script->wait_code) return script->wait_code;
  for (unsigned waited_ms = 0; waited_ms < timeout_ms; waited_ms += LOOK_MS) {
    pthread_mutex_lock(&taking);
    int there = __atomic_load_n(&script->events_said, __ATOMIC_ACQUIRE) != script->events_taken;
    if (there) {
      struct event *e = &script->event[script->events_taken++ % EVENTS];
      *out = (struct told){&handles[e->gpu][0], e->type, e->data, e->gpu_instance,
                           e->compute_instance};
    }
    pthread_mutex_unlock(&taking);
    if (there) return OK;
    pause_us(1000 * LOOK_MS);
  }
  return TIMEOUT;
}
int nvmlEventSetFree(struct script *set) {
  (void)set;
  ENTER(NULL);
  script->sets--;
  return OK;
}
