/* A load generator for brokers that serve the jobs protocol: epoll, one thread, MQTT 3.1.1, QoS 1, loopback.
 *
 *   load MODE PORT [-n devices] [-w window] [-t seconds] [-u warm-up seconds] [-s payload bytes]
 *                  [-k updates per start-next] [-T] [-x thing name prefix] [-c pid,pid] [-r requests/s]
 *
 *   cycle  each device asks start-next, takes the job id from the reply, sends -k updates of that job (the last
 *          one SUCCEEDED with -T, else all IN_PROGRESS), and begins again
 *   rr     each device asks start-next and waits for the reply; whatever echoes the payload will do
 *   pub    each device publishes and waits for the PUBACK alone
 *   echo   one responder that answers every start-next with the payload it got, until it is terminated
 *
 * Each device keeps `window` requests outstanding (a closed loop), or sends -r requests a second (of cycle and
 * rr). A request is counted, and timed, from its sending, or from when it was due, to the accepted reply that
 * carries its clientToken. The user name and client id are the thing name.
 * The result is one line of JSON; "own_cpu" is how you see that this program was not the bottleneck.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"

enum mode { CYCLE, RR, PUB, ECHO };
enum state { CONNECTING, LOGGING_IN, SUBSCRIBING, READY, DEAD };
enum { WINDOW_MAX = 64, RAMP_MAX = 50, PIDS_MAX = 8, EVENTS_MAX = 512 };

/* One of the requests that a device keeps outstanding. */
struct slot { uint64_t sent_ns, due_ns; uint32_t sequence; int updates_left, outstanding, is_waiting; char job_id[65]; };

struct device {
    int fd, number, wants_write;
    enum state state;
    uint16_t packet_id;
    unsigned oldest; /* pub mode: PUBACKs come in the order of sending */
    struct buffer in, out;
    struct slot slots[WINDOW_MAX];
};

static struct {
    enum mode mode;
    int port, devices, window, seconds, warm_up, payload_bytes, updates, terminal;
    const char *prefix;
    int pids[PIDS_MAX], pid_count;
    uint64_t pace_ns;
} options = {.devices = 100, .window = 1, .seconds = 5, .warm_up = 1, .payload_bytes = 300, .updates = 1,
             .prefix = "bench-"};

static struct { long accepted, rejected, empty, stray, dead, ready; } counts, at_start;
static struct device *devices;
static int poller, measuring;
static volatile sig_atomic_t stopped;

static void on_signal(int number) { (void)number; stopped = 1; }

/* --- bytes out ------------------------------------------------------------------------------------------- */

static unsigned next_packet_id(struct device *d) { if (++d->packet_id == 0) d->packet_id = 1; return d->packet_id; }

static void publish(struct device *d, const char *topic, size_t topic_bytes, const void *payload, size_t n) {
    put_header(&d->out, 0x32, 2 + topic_bytes + 2 + n);
    put16(&d->out, (unsigned)topic_bytes);
    put(&d->out, topic, topic_bytes);
    put16(&d->out, next_packet_id(d));
    put(&d->out, payload, n);
}

static void lose(struct device *d, const char *why) {
    if (d->state == DEAD) return;
    if (++counts.dead <= 5) fprintf(stderr, "%s%d: %s\n", options.prefix, d->number, why);
    d->state = DEAD;
    close(d->fd);
}

static void flush(struct device *d) {
    struct buffer *b = &d->out;
    while (d->state != DEAD && b->start < b->end) {
        ssize_t n = send(d->fd, b->bytes + b->start, b->end - b->start, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) { lose(d, strerror(errno)); return; }
        b->start += (size_t)n;
    }
    if (b->start == b->end) b->start = b->end = 0;
    int wants_write = b->end > 0;
    if (d->state != DEAD && wants_write != d->wants_write) {
        struct epoll_event e = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = d};
        epoll_ctl(poller, EPOLL_CTL_MOD, d->fd, &e);
        d->wants_write = wants_write;
    }
}

/* --- requests and replies -------------------------------------------------------------------------------- */

static void send_request(struct device *d, struct slot *s) {
    char topic[256], head[256], body[2048];
    int is_update = s->updates_left > 0;
    int topic_bytes = is_update
        ? snprintf(topic, sizeof topic, "$aws/things/%s%d/jobs/%s/update", options.prefix, d->number, s->job_id)
        : snprintf(topic, sizeof topic, "$aws/things/%s%d/jobs/start-next", options.prefix, d->number);
    const char *status = !is_update ? "" : options.terminal && s->updates_left == 1
        ? "\"status\":\"SUCCEEDED\"," : "\"status\":\"IN_PROGRESS\",";
    int head_bytes = snprintf(head, sizeof head,
                              "{%s\"clientToken\":\"%d-%u\",\"statusDetails\":{\"step\":\"download\",\"pad\":\"",
                              status, (int)(s - d->slots), ++s->sequence);
    int pad = options.payload_bytes - head_bytes - 3;
    if (pad < 1) pad = 1;
    memcpy(body, head, (size_t)head_bytes);
    memset(body + head_bytes, 'x', (size_t)pad);
    memcpy(body + head_bytes + pad, "\"}}", 3);
    publish(d, topic, (size_t)topic_bytes, body, (size_t)(head_bytes + pad + 3));
    s->outstanding = 1;
    s->sent_ns = now_ns();
}

static void count_answer(struct slot *s) {
    counts.accepted++;
    s->outstanding = 0;
    if (measuring) add_sample((now_ns() - s->sent_ns) / 1000);
}

/* Decides what the slot asks next: an update of the job it was given, or a start. */
static int plan_next(struct slot *s, const char *reply, size_t n, int is_accepted) {
    if (options.mode != CYCLE || !is_accepted) { s->updates_left = 0; return 1; }
    if (s->updates_left > 0) { s->updates_left--; return 1; }
    if (!find_text(reply, n, "\"jobId\"", s->job_id, sizeof s->job_id)) { counts.empty++; return 0; }
    s->updates_left = options.updates;
    return 1;
}

/* Asks what was planned, at once or when the pace allows. */
static void ask_next(struct device *d, struct slot *s) {
    s->due_ns += options.pace_ns;
    if (!(s->is_waiting = options.pace_ns > 0)) send_request(d, s);
}

static void send_what_is_due(void) {
    for (int i = 0; options.pace_ns && i < options.devices; i++) for (int w = 0; w < options.window; w++) {
        struct slot *s = &devices[i].slots[w];
        if (!s->is_waiting || s->due_ns > now_ns()) continue;
        s->is_waiting = 0;
        send_request(&devices[i], s);
        s->sent_ns = s->due_ns;
        flush(&devices[i]);
    }
}

static void on_reply(struct device *d, const char *topic, size_t topic_bytes, const char *reply, size_t n) {
    int is_accepted = topic_bytes > 9 && !memcmp(topic + topic_bytes - 9, "/accepted", 9);
    if (!is_accepted && !(topic_bytes > 9 && !memcmp(topic + topic_bytes - 9, "/rejected", 9))) return;
    char token[32];
    unsigned index, sequence;
    if (!find_text(reply, n, "\"clientToken\"", token, sizeof token)
        || sscanf(token, "%u-%u", &index, &sequence) != 2 || index >= (unsigned)options.window
        || d->slots[index].sequence != sequence || !d->slots[index].outstanding) {
        counts.stray++;
        return;
    }
    struct slot *s = &d->slots[index];
    if (is_accepted) count_answer(s);
    else if (s->outstanding = 0, ++counts.rejected <= 3) fprintf(stderr, "rejected: %.*s\n", (int)n, reply);
    if (plan_next(s, reply, n, is_accepted)) ask_next(d, s);
}

static void answer(struct device *d, const char *topic, size_t topic_bytes, const void *payload, size_t n) {
    char reply_topic[256];
    if (topic_bytes + 9 > sizeof reply_topic) return;
    memcpy(reply_topic, topic, topic_bytes);
    memcpy(reply_topic + topic_bytes, "/accepted", 9);
    publish(d, reply_topic, topic_bytes + 9, payload, n);
    counts.accepted++;
}

/* --- MQTT packets ---------------------------------------------------------------------------------------- */

static void send_connect(struct device *d) {
    char name[96];
    snprintf(name, sizeof name, options.mode == ECHO ? "%secho" : "%s%d", options.prefix, d->number);
    put_header(&d->out, 0x10, 10 + 2 * (2 + strlen(name)));
    put_text(&d->out, "MQTT");
    put8(&d->out, 4);
    put8(&d->out, 0x82); /* user name, clean session */
    put16(&d->out, 600);
    put_text(&d->out, name);
    put_text(&d->out, name);
    d->state = LOGGING_IN;
}

static void send_subscribe(struct device *d) {
    static const char *const replies[] = {"start-next/accepted", "start-next/rejected", "+/update/accepted",
                                          "+/update/rejected"};
    char filters[4][128];
    int count = options.mode == CYCLE ? 4 : options.mode == RR ? 1 : options.mode == ECHO ? 1 : 0;
    size_t remaining = 2;
    for (int i = 0; i < count; i++) {
        if (options.mode == ECHO) snprintf(filters[i], sizeof filters[i], "$aws/things/+/jobs/start-next");
        else snprintf(filters[i], sizeof filters[i], "$aws/things/%s%d/jobs/%s", options.prefix,
                      d->number, replies[i]);
        remaining += 2 + strlen(filters[i]) + 1;
    }
    d->state = count ? SUBSCRIBING : READY;
    counts.ready += !count;
    if (!count) return;
    put_header(&d->out, 0x82, remaining);
    put16(&d->out, next_packet_id(d));
    for (int i = 0; i < count; i++) { put_text(&d->out, filters[i]); put8(&d->out, 1); }
}

static void on_publish(struct device *d, uint8_t header, const uint8_t *p, size_t n) {
    size_t topic_bytes = (size_t)(p[0] << 8 | p[1]);
    const char *topic = (const char *)p + 2;
    const uint8_t *rest = p + 2 + topic_bytes;
    if (header & 0x06) { put8(&d->out, 0x40); put8(&d->out, 2); put(&d->out, rest, 2); rest += 2; }
    size_t payload_bytes = (size_t)(p + n - rest);
    if (options.mode == ECHO) answer(d, topic, topic_bytes, rest, payload_bytes);
    else on_reply(d, topic, topic_bytes, (const char *)rest, payload_bytes);
}

static void on_packet(struct device *d, uint8_t header, const uint8_t *p, size_t n) {
    switch (header >> 4) {
    case 2: /* CONNACK */
        if (p[1]) lose(d, "login refused"); else send_subscribe(d);
        break;
    case 9: /* SUBACK */
        for (size_t i = 2; i < n; i++) if (p[i] & 0x80) { lose(d, "subscription refused"); return; }
        d->state = READY;
        counts.ready++;
        break;
    case 3: on_publish(d, header, p, n); break;
    case 4: /* PUBACK */
        if (options.mode == PUB) {
            struct slot *s = &d->slots[d->oldest++ % (unsigned)options.window];
            count_answer(s);
            send_request(d, s);
        }
        break;
    }
}

static void on_readable(struct device *d) {
    struct buffer *b = &d->in;
    reserve(b, 65536);
    ssize_t got = recv(d->fd, b->bytes + b->end, b->capacity - b->end, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { lose(d, got ? strerror(errno) : "the broker closed the connection"); return; }
    b->end += (size_t)got;
    struct packet p;
    while (d->state != DEAD && take_packet(b, &p)) on_packet(d, p.header, p.bytes, p.length);
    drop_taken(b);
    flush(d);
}

/* --- the run --------------------------------------------------------------------------------------------- */

static void start_connecting(struct device *d) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if ((d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) fail("socket");
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(d->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = d};
    d->wants_write = 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, d->fd, &e);
}

static void poll_once(int timeout_ms) {
    static struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(poller, events, EVENTS_MAX, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct device *d = events[i].data.ptr;
        if (d->state == CONNECTING) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) lose(d, strerror(error)); else send_connect(d);
        }
        if (d->state != DEAD && events[i].events & EPOLLOUT) flush(d);
        if (d->state != DEAD && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(d);
    }
}

/* A few at a time, so that no listener's backlog overflows; gives up when nothing has become ready for 20 s. */
static double connect_all(void) {
    uint64_t begun_ns = now_ns(), progress_ns = begun_ns;
    long last_ready = 0;
    for (int started = 0; !stopped && counts.ready + counts.dead < options.devices;) {
        while (started < options.devices && started - counts.ready - counts.dead < RAMP_MAX) {
            devices[started].number = started;
            start_connecting(&devices[started++]);
        }
        poll_once(1000);
        if (counts.ready != last_ready) { last_ready = counts.ready; progress_ns = now_ns(); }
        if (now_ns() - progress_ns > 20000000000u) {
            fprintf(stderr, "only %ld of %d devices connected\n", counts.ready, options.devices);
            exit(1);
        }
    }
    return (double)(now_ns() - begun_ns) / 1e9;
}

static void report(double elapsed_s, double connect_s, double own_s, double machine_s, const double *pid_s) {
    static const char *const names[] = {"cycle", "rr", "pub", "echo"};
    sort_samples();
    printf("{\"mode\":\"%s\",\"devices\":%d,\"window\":%d,", names[options.mode], options.devices, options.window);
    printf("\"per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,",
           (double)(counts.accepted - at_start.accepted) / elapsed_s, sample_ms(0.5), sample_ms(0.99), sample_ms(1));
    printf("\"accepted\":%ld,\"rejected\":%ld,\"empty\":%ld,\"stray\":%ld,\"dead\":%ld,", counts.accepted,
           counts.rejected, counts.empty, counts.stray, counts.dead);
    printf("\"connect_s\":%.2f,\"own_cpu\":%.1f,", connect_s, (own_cpu_s() - own_s) / elapsed_s * 100);
    printf("\"machine_cpu\":%.1f,\"cpu\":[", (machine_cpu_s() - machine_s) / elapsed_s * 100);
    for (int i = 0; i < options.pid_count; i++)
        printf("%s%.1f", i ? "," : "", (cpu_s_of(options.pids[i]) - pid_s[i]) / elapsed_s * 100);
    printf("]}\n");
}

static void run(void) {
    double connect_s = connect_all(), own_s = 0, machine_s = 0, pid_s[PIDS_MAX] = {0};
    if (!counts.ready) exit(1);
    fprintf(stderr, "ready\n");
    for (int i = 0; options.mode != ECHO && i < options.devices; i++) {
        for (int w = 0; devices[i].state == READY && w < options.window; w++) {
            /* Paced devices begin one after the other. */
            devices[i].slots[w].due_ns = now_ns() + options.pace_ns * (uint64_t)i / (uint64_t)options.devices;
            ask_next(&devices[i], &devices[i].slots[w]);
        }
        flush(&devices[i]);
    }
    uint64_t start_ns = now_ns() + (uint64_t)options.warm_up * 1000000000u;
    uint64_t end_ns = options.mode == ECHO ? UINT64_MAX : start_ns + (uint64_t)options.seconds * 1000000000u;
    while (!stopped && now_ns() < end_ns && counts.dead < options.devices) {
        if (!measuring && now_ns() >= start_ns) {
            measuring = 1;
            start_ns = now_ns();
            at_start = counts;
            own_s = own_cpu_s();
            machine_s = machine_cpu_s();
            for (int i = 0; i < options.pid_count; i++) pid_s[i] = cpu_s_of(options.pids[i]);
        }
        send_what_is_due();
        poll_once(options.pace_ns ? 1 : 20);
    }
    if (!measuring) own_s = own_cpu_s();
    report((double)(now_ns() - start_ns) / 1e9, connect_s, own_s, machine_s, pid_s);
}

static void read_options(int argc, char **argv) {
    static const char *const names[] = {"cycle", "rr", "pub", "echo"};
    int c, mode = 0;
    if (argc < 3) { fprintf(stderr, "usage: load cycle|rr|pub|echo PORT [options]\n"); exit(2); }
    while (mode < 4 && strcmp(argv[1], names[mode])) mode++;
    if (mode == 4) { fprintf(stderr, "unknown mode %s\n", argv[1]); exit(2); }
    options.mode = (enum mode)mode;
    options.port = atoi(argv[2]);
    optind = 3;
    while ((c = getopt(argc, argv, "n:w:t:u:s:k:Tx:c:r:")) != -1) switch (c) {
        case 'n': options.devices = atoi(optarg); break;
        case 'w': options.window = atoi(optarg); break;
        case 't': options.seconds = atoi(optarg); break;
        case 'u': options.warm_up = atoi(optarg); break;
        case 's': options.payload_bytes = atoi(optarg); break;
        case 'k': options.updates = atoi(optarg); break;
        case 'T': options.terminal = 1; break;
        case 'x': options.prefix = optarg; break;
        case 'c': for (char *p = strtok(optarg, ","); p && options.pid_count < PIDS_MAX; p = strtok(NULL, ","))
                options.pids[options.pid_count++] = atoi(p);
            break;
        case 'r': options.pace_ns = atoi(optarg) > 0 ? 1000000000u / (unsigned)atoi(optarg) : 0; break;
        default: exit(2);
    }
    if (options.mode == ECHO) options.devices = 1;
    if (options.window < 1 || options.window > WINDOW_MAX || options.devices < 1 || options.payload_bytes > 1500
        || options.updates < 1 || strlen(options.prefix) > 64) {
        fprintf(stderr, "an option is out of range\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    allow_many_sockets();
    devices = calloc((size_t)options.devices, sizeof *devices);
    make_samples();
    if (!devices || (poller = epoll_create1(0)) < 0) fail("start");
    run();
    return 0;
}
