/* What a daemon shows of itself: readiness, metrics, systemd's watchdog and status, disk space. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/run/clock.h"
#include "common/run/daemon_private.h"
#include "common/run/file.h"
#include "common/store/store_rocks.h"
#include "common/version.h"

enum {
	PEM_BYTES = 256 * 1024,
	STARTING_S = 90, /* so long systemd waits for the next word of a daemon that is not ready */
	STARTING_TELL_MS = 10000
};

static bool report_ready(void *context, struct buf *out)
{
	struct daemon *d = context;
	if (d->draining)
		buf_append_text(out, "drain failed: about to stop\n");
	return d->spec->ops->ready(d->core, clock_boot_ms(), out) && !d->draining;
}

static uint64_t resident_bytes(void)
{
	/* "size resident ...", in pages */
	char line[256] = "";
	FILE *f = fopen("/proc/self/statm", "r");
	if (f) {
		if (!fgets(line, sizeof line, f))
			line[0] = '\0';
		fclose(f);
	}
	const char *second = strchr(line, ' ');
	uint64_t pages = second ? strtoull(second, NULL, 10) : 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void bus_metrics(const struct bus_counters *c, struct buf *out)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {{"parley_bus_frames_received_total", c->frames_in},
		    {"parley_bus_frames_sent_total", c->frames_out},
		    {"parley_bus_messages_received_total", c->messages_in},
		    {"parley_bus_messages_sent_total", c->messages_out},
		    {"parley_bus_received_bytes_total", c->bytes_in},
		    {"parley_bus_sent_bytes_total", c->bytes_out}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
	for (int i = 0; i < DROP_KINDS; i++)
		buf_printf(out, "parley_bus_dropped_total{reason=\"%s\"} %llu\n", bus_drop_names[i],
			   (unsigned long long)c->dropped[i]);
	for (int i = 0; i < REFUSAL_KINDS; i++)
		buf_printf(out, "parley_bus_refused_total{reason=\"%s\"} %llu\n",
			   bus_refusal_names[i], (unsigned long long)c->refused[i]);
}

static void report_metrics(void *context, struct buf *out)
{
	struct daemon *d = context;
	buf_printf(out, "parley_build_info{version=\"" PARLEY_VERSION "\",role=\"%s\"} 1\n",
		   role_name(d->spec->ops->role));
	buf_printf(out, "process_resident_memory_bytes %llu\n",
		   (unsigned long long)resident_bytes());
	buf_printf(out,
		   "parley_turns_total %llu\nparley_commits_total %llu\nparley_syncs_total %llu\n",
		   (unsigned long long)d->turns, (unsigned long long)d->commits,
		   (unsigned long long)d->syncs);
	buf_printf(out, "parley_commit_seconds_total %.6f\n", (double)d->commit_us / 1e6);
	bus_metrics(bus_counters(d->bus), out);
	buf_printf(out, "parley_bus_peers_connected %u\n", bus_connected(d->bus));
	if (d->store)
		store_rocks_metrics(d->store, out);
	if (d->scripts)
		script_pool_metrics(d->scripts, out);
	if (d->spec->ops->metrics)
		d->spec->ops->metrics(d->core, out);
	if (d->spec->metrics)
		d->spec->metrics(d, out);
}

static void on_health(void *context)
{
	health_run(((struct daemon *)context)->health);
}

/* Opens the listener, or gives it the certificate that lies in the files by now. */
bool daemon_open_health(struct daemon *d, struct buf *problem)
{
	struct buf cert = {0};
	struct buf key = {0};
	struct health_source source = {report_ready, report_metrics, d};
	int old_fd = d->health ? health_fd(d->health) : -1;
	bool ok = file_read(config_text(&d->config, "tls_cert"), PEM_BYTES, &cert, problem) &&
		  file_read_secret(config_text(&d->config, "tls_key"), PEM_BYTES, &key, problem);
	if (ok && d->health) {
		/* the old descriptor must leave the loop before its number is used again */
		loop_remove(&d->loop, old_fd);
		ok = health_reload(d->health, buf_cstr(&cert), buf_cstr(&key), problem);
	} else if (ok) {
		d->health = health_open(config_text(&d->config, "health_address"),
					(unsigned)config_number(&d->config, "health_port"),
					buf_cstr(&cert), buf_cstr(&key), &source, problem);
		ok = d->health != NULL;
	}
	if (d->health && (ok || old_fd >= 0))
		loop_set(&d->loop, health_fd(d->health), on_health, d);
	if (key.data)
		explicit_bzero(key.data, key.cap);
	buf_close(&cert);
	buf_close(&key);
	return ok;
}

/* ---- now and then ---- */

/* Once below, a quarter more must be free: no flapping. */
static bool is_short(uint64_t free_bytes, uint64_t wanted, bool was_short)
{
	return free_bytes < (was_short ? wanted + wanted / 4 : wanted);
}

static void look_at_disk(struct daemon *d)
{
	struct statvfs fs;
	if (!d->spec->stores || statvfs(config_text(&d->config, "data_dir"), &fs) != 0)
		return;
	uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	uint64_t reserve = config_number(&d->config, "disk_reserve_bytes");
	bool full = is_short(free_bytes, reserve, d->disk_full);
	bool exhausted = is_short(free_bytes, reserve / 4, d->disk_exhausted);
	if (full == d->disk_full && exhausted == d->disk_exhausted)
		return;
	d->disk_full = full;
	d->disk_exhausted = exhausted;
	struct event event = {.kind = EVENT_DISK, .disk = {.full = full, .exhausted = exhausted}};
	daemon_inject(d, &event);
}

/* The first check that does not hold; "ready" if all do. */
static struct slice status_of(const struct buf *checks)
{
	const char *at = (const char *)checks->data;
	const char *end = at ? at + checks->len : at;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((newline ? newline : end) - at);
		if (memmem(at, len, " failed", strlen(" failed")))
			return slice_of(at, len);
		at += len + 1;
	}
	return slice_text("ready");
}

/* Only when it has changed. */
static void tell_status(struct daemon *d, const struct buf *checks)
{
	struct slice status = status_of(checks);
	if (slice_is(status, d->status))
		return;
	snprintf(d->status, sizeof d->status, "%.*s", (int)status.len, (const char *)status.data);
	sd_notifyf(0, "STATUS=%s", d->status);
}

/* To be copied to, or to wait for other machines, takes any time. Systemd would end who is not
 * ready after its patience, and the copy would begin anew, again and again. */
static void tell_starting(struct daemon *d)
{
	int64_t now_ms = clock_boot_ms();
	if (d->ready_told || d->draining || now_ms < d->starting_tell_ms)
		return;
	d->starting_tell_ms = now_ms + STARTING_TELL_MS;
	sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%lld", STARTING_S * 1000000LL);
}

static void tell_systemd(struct daemon *d)
{
	struct buf checks = {0};
	uint64_t watchdog_us;
	bool ready = report_ready(d, &checks);
	tell_status(d, &checks);
	if (sd_watchdog_enabled(0, &watchdog_us) > 0)
		sd_notify(0, "WATCHDOG=1");
	if (ready && !d->ready_told) {
		d->ready_told = true;
		logger_printf(&d->logger, LOG_LEVEL_INFO, "ready");
		sd_notify(0, "READY=1");
	}
	tell_starting(d);
	buf_close(&checks);
}

void daemon_housekeeping(struct daemon *d)
{
	look_at_disk(d);
	tell_systemd(d);
	logger_tick(&d->logger);
	if (d->health)
		health_run(d->health);
}
