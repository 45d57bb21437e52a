/* Checkpoints: a _local document on either side that says up to where, and in which session. Where
 * the two tell the same story, that is where to go on; where they don't, at what they last had in
 * common. */
#include <inttypes.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/replicate/internal.h"
#include "gateway/url.h"

enum { LOG_TRIES = 3, REPLICATION_VERSION = 4, MS_A_DAY = 86400000 };

static void set_value(struct buf *to, struct slice value)
{
	buf_clear(to);
	buf_append_slice(to, value);
}

static struct slice member_text(struct slice value, const char *name)
{
	return answer_text(value_member(value, slice_text(name)));
}

/* ---- where to begin ---- */

/* The entry of this session in a log's history; empty: it does not know of it. */
static struct slice entry_of(struct slice log, struct slice session)
{
	struct slice history = value_member(log, slice_text("history"));
	for (uint32_t i = 0; i < REPLICATE_HISTORY; i++) {
		struct slice entry = value_element(history, i);
		if (entry.len == 0)
			break;
		if (slice_equal(member_text(entry, "session_id"), session))
			return entry;
	}
	return slice_of(NULL, 0);
}

static uint64_t checked_in(struct slice entry)
{
	struct mp_reader reader = mp_reader_of(value_member(entry, slice_text("missing_checked")));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_UINT ? token.u64 : 0;
}

/* The newest session that both know of, as far as it had come in that of the two which knows less:
 * either side may have been put back to an older copy of itself. */
static struct slice common_sequence(struct slice source, struct slice target)
{
	struct slice history = value_member(source, slice_text("history"));
	for (uint32_t i = 0; i < REPLICATE_HISTORY; i++) {
		struct slice entry = value_element(history, i);
		struct slice session = member_text(entry, "session_id");
		struct slice other = session.len > 0 ? entry_of(target, session) : session;
		if (entry.len == 0)
			break;
		if (other.len > 0)
			return value_member(checked_in(other) < checked_in(entry) ? other : entry,
					    slice_text("recorded_seq"));
	}
	return slice_of(NULL, 0);
}

static void logs_read(struct turn *t, struct job *job)
{
	struct slice source = buf_slice(&job->logs[SIDE_SOURCE]);
	struct slice sequence = common_sequence(source, buf_slice(&job->logs[SIDE_TARGET]));
	if (sequence.len > 0) {
		REACHED(job_goes_on);
		set_value(&job->start_sequence, sequence);
		set_value(&job->history, value_member(source, slice_text("history")));
	} else {
		buf_clear(&job->history);
		buf_clear(&job->start_sequence);
		mp_write_u64(&job->start_sequence, 0);
	}
	if (job->what.since.len > 0)
		set_value(&job->start_sequence, job->what.since);
	set_value(&job->recorded, buf_slice(&job->start_sequence));
	job_pages(t, job);
}

/* ---- reading ---- */

static void ask_log(struct turn *t, struct job *job, enum side side, enum http_method method,
		    struct slice body, job_step *done)
{
	struct buf path = {0};
	buf_printf(&path, "/_local/%s", job->log_id);
	const struct question q = {
	    .side = side, .method = method, .path = buf_cstr(&path), .body = body, .done = done};
	ask_send(t, &job->ask, &q);
	buf_close(&path);
}

/* False: the job has ended. */
static bool take_log(struct turn *t, struct job *job, enum side side, const struct answer *a)
{
	if (a->status != 404 && (a->status != 200 || a->value.len == 0)) {
		job_unexpected(t, job, a);
		return false;
	}
	buf_clear(&job->logs[side]);
	buf_clear(&job->revisions[side]);
	if (a->status == 200) {
		buf_append_slice(&job->logs[side], a->value);
		buf_append_slice(&job->revisions[side], member_text(a->value, "_rev"));
	}
	return true;
}

static void target_log_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (take_log(t, job, SIDE_TARGET, a))
		logs_read(t, job);
}

static void source_log_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (take_log(t, job, SIDE_SOURCE, a))
		ask_log(t, job, SIDE_TARGET, HTTP_GET, slice_of(NULL, 0), target_log_came);
}

static void read_logs(struct turn *t, struct job *job)
{
	ask_log(t, job, SIDE_SOURCE, HTTP_GET, slice_of(NULL, 0), source_log_came);
}

/* ---- what they are called ---- */

static struct slice design_of(const struct job *job)
{
	struct slice name = job->what.function;
	const uint8_t *slash = memchr(name.data, '/', name.len);
	return slice_of(name.data, slash ? (size_t)(slash - name.data) : name.len);
}

/* Another function lets others pass, which an earlier one may have kept back long ago: what was
 * done with that one does not count. */
static void name_logs(const struct job *job, struct slice design, char out[LOG_NAME_BYTES])
{
	struct slice name = job->what.function;
	size_t used = design_of(job).len + 1;
	struct slice filters = value_member(design, slice_text("filters"));
	struct slice code = value_member(filters, slice_of(name.data + used, name.len - used));
	uint8_t digest[16];
	struct buf text = {0};
	memcpy(out, job->what.id, LOG_NAME_BYTES);
	if (code.len == 0)
		return;
	buf_printf(&text, "%s\n", job->what.id);
	buf_append_slice(&text, code);
	digest16(buf_slice(&text), digest);
	buf_clear(&text);
	buf_append_hex(&text, digest, sizeof digest);
	memcpy(out, buf_cstr(&text), LOG_NAME_BYTES);
	buf_close(&text);
}

/* One that is not there, or not shown: the source will say so of its feed. False: the job has
 * ended. */
static bool take_design(struct turn *t, struct job *job, const struct answer *a,
			char out[LOG_NAME_BYTES])
{
	bool hidden = a->status == 401 || a->status == 403 || a->status == 404;
	if (a->status != 200 && !hidden) {
		job_unexpected(t, job, a);
		return false;
	}
	name_logs(job, a->value, out);
	return true;
}

static void design_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (take_design(t, job, a, job->log_id))
		read_logs(t, job);
}

static void design_came_again(struct turn *t, struct job *job, const struct answer *a)
{
	char name[LOG_NAME_BYTES];
	if (!take_design(t, job, a, name))
		return;
	if (a->status != 200 || memcmp(name, job->log_id, sizeof name) == 0)
		job_page(t, job);
	else
		job_filter_changed(t, job);
}

static void ask_design(struct turn *t, struct job *job, struct ask *ask, job_step *done)
{
	struct buf path = {0};
	buf_append_text(&path, "/_design/");
	url_encode(design_of(job), &path);
	const struct question q = {
	    .side = SIDE_SOURCE, .method = HTTP_GET, .path = buf_cstr(&path), .done = done};
	ask_send(t, ask, &q);
	buf_close(&path);
}

void log_check(struct turn *t, struct job *job)
{
	ask_design(t, job, &job->pages, design_came_again);
}

void log_read(struct turn *t, struct job *job)
{
	if (job->what.no_logs)
		logs_read(t, job);
	else if (job->what.function.len > 0)
		ask_design(t, job, &job->ask, design_came);
	else
		read_logs(t, job);
}

/* ---- printing ---- */

struct date {
	uint64_t day; /* since 1970 */
	uint64_t year, month, of_month;
	uint64_t second; /* of the day */
};

/* Days since 1970 to a date, by eras of 400 years. */
static struct date date_of(int64_t wall_ms)
{
	uint64_t wall = wall_ms > 0 ? (uint64_t)wall_ms : 0;
	struct date d = {.day = wall / MS_A_DAY, .second = wall % MS_A_DAY / 1000};
	uint64_t since = d.day + 719468; /* since March 1 of the year 0 */
	uint64_t era = since / 146097;
	uint64_t of_era = since % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * of_year + 2) / 153; /* since March */
	d.of_month = of_year - (153 * month + 2) / 5 + 1;
	d.month = month < 10 ? month + 3 : month - 9;
	d.year = era * 400 + year + (d.month < 3);
	return d;
}

static void print_clock(const struct date *d, struct buf *out)
{
	buf_printf(out, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, d->second / 3600,
		   d->second / 60 % 60, d->second % 60);
}

void date_print(int64_t wall_ms, struct buf *out)
{
	static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	struct date d = date_of(wall_ms);
	buf_printf(out, "%s, %02" PRIu64 " %s %04" PRIu64 " ", days[d.day % 7], d.of_month,
		   months[d.month - 1], d.year);
	print_clock(&d, out);
	buf_append_text(out, " GMT");
}

void time_print(int64_t wall_ms, struct buf *out)
{
	struct date d = date_of(wall_ms);
	buf_printf(out, "%04" PRIu64 "-%02" PRIu64 "-%02" PRIu64 "T", d.year, d.month, d.of_month);
	print_clock(&d, out);
	buf_append_byte(out, 'Z');
}

static void print_value(const char *name, const struct buf *value, struct buf *out)
{
	buf_printf(out, ",\"%s\":", name);
	if (!json_from_msgpack(buf_slice(value), out))
		buf_append_text(out, "0");
}

static void print_session(const struct job *job, struct buf *out)
{
	const struct counts *c = &job->counts;
	buf_printf(out, "{\"session_id\":\"%s\",\"start_time\":\"", job->session);
	date_print(job->started_wall_ms, out);
	buf_append_text(out, "\",\"end_time\":\"");
	date_print(job->updated_wall_ms, out);
	buf_append_byte(out, '"');
	print_value("start_last_seq", &job->start_sequence, out);
	print_value("end_last_seq", &job->recorded, out);
	print_value("recorded_seq", &job->recorded, out);
	buf_printf(out,
		   ",\"missing_checked\":%" PRIu64 ",\"missing_found\":%" PRIu64
		   ",\"docs_read\":%" PRIu64 ",\"docs_written\":%" PRIu64
		   ",\"doc_write_failures\":%" PRIu64 "}",
		   c->checked, c->missing, c->read, c->written, c->refused);
}

void log_history(const struct job *job, struct buf *out)
{
	bool any = job->rows > 0;
	buf_append_byte(out, '[');
	if (any)
		print_session(job, out);
	for (uint32_t i = 0; i + 1 < REPLICATE_HISTORY; i++) {
		struct slice entry = value_element(buf_slice(&job->history), i);
		if (entry.len == 0)
			break;
		if (any)
			buf_append_byte(out, ',');
		any = true;
		if (!json_from_msgpack(entry, out))
			buf_append_text(out, "{}");
	}
	buf_append_byte(out, ']');
}

static void print_log(const struct job *job, enum side side, struct buf *out)
{
	buf_append_byte(out, '{');
	if (job->revisions[side].len > 0) {
		buf_append_text(out, "\"_rev\":");
		json_string(buf_slice(&job->revisions[side]), out);
		buf_append_byte(out, ',');
	}
	buf_printf(out, "\"session_id\":\"%s\"", job->session);
	print_value("source_last_seq", &job->recorded, out);
	buf_printf(out, ",\"replication_id_version\":%d,\"history\":", REPLICATION_VERSION);
	log_history(job, out);
	buf_append_byte(out, '}');
}

/* ---- writing ---- */

static void write_side(struct turn *t, struct job *job, enum side side, job_step *done)
{
	struct buf body = {0};
	print_log(job, side, &body);
	ask_log(t, job, side, HTTP_PUT, buf_slice(&body), done);
	buf_close(&body);
}

static void write_source(struct turn *t, struct job *job);
static void write_target(struct turn *t, struct job *job);

static void reread_came(struct turn *t, struct job *job, const struct answer *a)
{
	enum side side = job->ask.side;
	if (!take_log(t, job, side, a))
		return;
	if (side == SIDE_SOURCE)
		write_source(t, job);
	else
		write_target(t, job);
}

/* True: it stands there. An answer that was lost, or another replicator of the same, makes a
 * conflict: the document is read again. */
static bool written(struct turn *t, struct job *job, enum side side, const struct answer *a)
{
	if (a->status == 409 && ++job->log_tries <= LOG_TRIES) {
		ask_log(t, job, side, HTTP_GET, slice_of(NULL, 0), reread_came);
		return false;
	}
	/* of a source that may only be read: after a crash it begins anew */
	if (side == SIDE_SOURCE && (a->status == 401 || a->status == 403))
		return true;
	if (a->status != 200 && a->status != 201 && a->status != 202) {
		job_unexpected(t, job, a);
		return false;
	}
	struct slice revision = member_text(a->value, "rev");
	set_value(&job->revisions[side], revision);
	return true;
}

static void source_written(struct turn *t, struct job *job, const struct answer *a)
{
	if (written(t, job, SIDE_SOURCE, a))
		job_next(t, job);
}

static void target_written(struct turn *t, struct job *job, const struct answer *a)
{
	if (written(t, job, SIDE_TARGET, a))
		write_source(t, job);
}

static void write_source(struct turn *t, struct job *job)
{
	write_side(t, job, SIDE_SOURCE, source_written);
}

static void write_target(struct turn *t, struct job *job)
{
	write_side(t, job, SIDE_TARGET, target_written);
}

void log_write(struct turn *t, struct job *job)
{
	job->log_tries = 0;
	set_value(&job->recorded, buf_slice(&job->reached));
	job->updated_wall_ms = t->event->wall_ms;
	if (job->what.no_logs)
		job_next(t, job);
	else
		write_target(t, job);
}
