/* The small parts of the load generator: buffers, MQTT packets in and out, a member of a JSON text, samples, clocks. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct buffer { uint8_t *bytes; size_t start, end, capacity; };
struct packet { uint8_t header; const uint8_t *bytes; size_t length; };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void reserve(struct buffer *b, size_t more) {
    if (b->end + more <= b->capacity) return;
    while (b->capacity < b->end + more) b->capacity = b->capacity ? b->capacity * 2 : 4096;
    if (!(b->bytes = realloc(b->bytes, b->capacity))) fail("realloc");
}

static void put(struct buffer *b, const void *bytes, size_t n) {
    reserve(b, n);
    memcpy(b->bytes + b->end, bytes, n);
    b->end += n;
}

static void put8(struct buffer *b, unsigned v) { uint8_t byte = (uint8_t)v; put(b, &byte, 1); }
static void put16(struct buffer *b, unsigned v) { put8(b, v >> 8); put8(b, v & 255); }
static void put_text(struct buffer *b, const char *text) {
    put16(b, (unsigned)strlen(text));
    put(b, text, strlen(text));
}

static void put_header(struct buffer *b, unsigned type_and_flags, size_t remaining) {
    put8(b, type_and_flags);
    do { put8(b, (remaining & 127) | (remaining > 127 ? 128 : 0)); remaining >>= 7; } while (remaining);
}

/* The next whole packet of the buffer, valid until drop_taken; false when there is none yet. */
static int take_packet(struct buffer *b, struct packet *p) {
    size_t length = 0, i = 1, have = b->end - b->start;
    const uint8_t *bytes = b->bytes + b->start;
    for (int shift = 0;; shift += 7) {
        if (i >= have) return 0;
        if (i > 4) { fprintf(stderr, "malformed packet length\n"); exit(1); }
        length |= (size_t)(bytes[i] & 127) << shift;
        if (!(bytes[i++] & 128)) break;
    }
    if (have - i < length) return 0;
    *p = (struct packet){.header = bytes[0], .bytes = bytes + i, .length = length};
    b->start += i + length;
    return 1;
}

static void drop_taken(struct buffer *b) {
    memmove(b->bytes, b->bytes + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
}

/* The text member of a JSON object, found by its name alone: enough for replies whose shape is known. */
static int find_text(const char *json, size_t n, const char *quoted_name, char *into, size_t capacity) {
    const char *end = json + n, *at = memmem(json, n, quoted_name, strlen(quoted_name));
    if (!at) return 0;
    const char *open = memchr(at + strlen(quoted_name), '"', (size_t)(end - at) - strlen(quoted_name));
    const char *close = open ? memchr(open + 1, '"', (size_t)(end - open) - 1) : NULL;
    if (!close || (size_t)(close - open) > capacity) return 0;
    memcpy(into, open + 1, (size_t)(close - open) - 1);
    into[close - open - 1] = 0;
    return 1;
}

/* How long each answer took. */
enum { SAMPLES_MAX = 20 * 1000 * 1000 };
static uint32_t *samples_us;
static long sample_count;

static void make_samples(void) {
    if (!(samples_us = malloc(SAMPLES_MAX * sizeof *samples_us))) fail("malloc");
}

static void add_sample(uint64_t us) {
    if (sample_count < SAMPLES_MAX) samples_us[sample_count++] = (uint32_t)us;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void sort_samples(void) { qsort(samples_us, (size_t)sample_count, sizeof *samples_us, by_value); }

static double sample_ms(double share) {
    return sample_count ? samples_us[(long)((double)(sample_count - 1) * share)] / 1e3 : 0;
}

static void allow_many_sockets(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double own_cpu_s(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static double cpu_s_of(int pid) {
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    const char *after_name = strrchr(text, ')');
    const char *fields = "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu";
    if (!after_name || sscanf(after_name + 2, fields, &user, &system) != 2) return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* What all processors together have worked since the machine started; a processor's idle time is not work. */
static double machine_cpu_s(void) {
    unsigned long user = 0, nice = 0, system = 0, interrupts = 0, soft = 0;
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return 0;
    int found = fscanf(f, "cpu %lu %lu %lu %*u %*u %lu %lu", &user, &nice, &system, &interrupts, &soft);
    fclose(f);
    return found == 5 ? (double)(user + nice + system + interrupts + soft) / (double)sysconf(_SC_CLK_TCK) : 0;
}
