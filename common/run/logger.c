/* The journal's call takes the caller's file and line by macro; ours would all name this file. */
#define SD_JOURNAL_SUPPRESS_LOCATION 1

#include "common/run/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/run/clock.h"

enum { REPEAT_MS = 1000, JOURNAL_FIELDS = 6 };

static const char *const level_words[] = {"debug", "info", "warn", "error", "fatal"};
static const int level_priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR, LOG_CRIT};

bool logger_level_of(const char *word, enum log_level *level)
{
	for (int i = LOG_LEVEL_DEBUG; i < LOG_LEVEL_FATAL; i++) {
		if (strcmp(word, level_words[i]) != 0)
			continue;
		*level = (enum log_level)i;
		return true;
	}
	return false;
}

/* JOURNAL_STREAM names the device and inode of the journal's stream: stderr may have been moved
 * since. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;
	if (!stream || fstat(STDERR_FILENO, &st) != 0)
		return false;
	char *end = NULL;
	unsigned long long device = strtoull(stream, &end, 10);
	if (!end || *end != ':')
		return false;
	unsigned long long inode = strtoull(end + 1, &end, 10);
	return *end == '\0' && device == st.st_dev && inode == st.st_ino;
}

void logger_open(struct logger *l, const char *role, const char *node, enum log_level level)
{
	*l = (struct logger){.level = level, .fd = STDERR_FILENO, .journal = stderr_is_journal()};
	snprintf(l->role, sizeof l->role, "%s", role);
	snprintf(l->node, sizeof l->node, "%s", node);
}

void logger_close(struct logger *l)
{
	buf_close(&l->line);
}

/* Whatever the text holds, a line stays one line. */
static void append_clean(struct buf *out, struct slice text)
{
	uint8_t *to = buf_reserve(out, text.len);
	for (size_t i = 0; i < text.len; i++)
		to[i] = text.data[i] < 0x20 || text.data[i] == 0x7f ? ' ' : text.data[i];
	out->len += text.len;
}

static void append_time(struct buf *out)
{
	int64_t now_ms = clock_wall_ms();
	time_t seconds = (time_t)(now_ms / 1000);
	struct tm tm;
	char text[32];
	if (!gmtime_r(&seconds, &tm) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return;
	buf_printf(out, "ts=%s.%03dZ ", text, (int)(now_ms % 1000));
}

static void write_stderr(struct logger *l, enum log_level level, struct slice text,
			 uint32_t repeated)
{
	buf_clear(&l->line);
	append_time(&l->line);
	buf_printf(&l->line, "level=%s role=%s node=%s event=", level_words[level], l->role,
		   l->node);
	append_clean(&l->line, text);
	if (repeated)
		buf_printf(&l->line, " repeated=%u", repeated);
	buf_append_byte(&l->line, '\n');
	ssize_t written = write(l->fd, l->line.data, l->line.len);
	(void)written; /* a log that can't be written can't be complained about either */
}

/* The value of `key=` in the text, if it is there. */
static struct slice field_of(struct slice text, const char *key)
{
	size_t key_len = strlen(key);
	for (size_t at = 0; at + key_len < text.len; at++) {
		if (memcmp(text.data + at, key, key_len) != 0 ||
		    (at > 0 && text.data[at - 1] != ' '))
			continue;
		size_t end = at + key_len;
		while (end < text.len && text.data[end] != ' ')
			end++;
		return slice_of(text.data + at + key_len, end - at - key_len);
	}
	return slice_of(NULL, 0);
}

struct journal_line {
	struct iovec fields[JOURNAL_FIELDS];
	struct buf texts[JOURNAL_FIELDS];
	int count;
};

static struct buf *journal_field(struct journal_line *j, const char *name)
{
	struct buf *text = &j->texts[j->count++];
	buf_printf(text, "%s=", name);
	return text;
}

static void write_journal(struct logger *l, enum log_level level, struct slice text,
			  uint32_t repeated)
{
	struct journal_line j = {.count = 0};
	struct buf *message = journal_field(&j, "MESSAGE");
	append_clean(message, text);
	if (repeated)
		buf_printf(message, " repeated=%u", repeated);
	buf_printf(journal_field(&j, "PRIORITY"), "%d", level_priorities[level]);
	buf_append_text(journal_field(&j, "PARLEY_ROLE"), l->role);
	buf_append_text(journal_field(&j, "PARLEY_NODE"), l->node);
	struct slice request = field_of(text, "request=");
	if (request.len)
		append_clean(journal_field(&j, "PARLEY_REQUEST_ID"), request);
	struct slice trace = field_of(text, "trace=");
	if (trace.len)
		append_clean(journal_field(&j, "TRACE_ID"), trace);
	for (int i = 0; i < j.count; i++)
		j.fields[i] = (struct iovec){j.texts[i].data, j.texts[i].len};
	if (sd_journal_sendv(j.fields, j.count) < 0)
		write_stderr(l, level, text, repeated);
	for (int i = 0; i < j.count; i++)
		buf_close(&j.texts[i]);
}

static void write_line(struct logger *l, enum log_level level, struct slice text, uint32_t repeated)
{
	if (l->journal)
		write_journal(l, level, text, repeated);
	else
		write_stderr(l, level, text, repeated);
}

static void flush_memory(struct logger *l, struct logger_memory *m)
{
	if (m->suppressed)
		write_line(l, m->level, slice_text(m->text), m->suppressed);
	m->suppressed = 0;
}

static void remember(struct logger *l, uint64_t hash, enum log_level level, struct slice text)
{
	struct logger_memory *oldest = &l->memory[0];
	for (size_t i = 1; i < LOGGER_REMEMBERED; i++)
		if (l->memory[i].written_ms < oldest->written_ms)
			oldest = &l->memory[i];
	flush_memory(l, oldest);
	*oldest =
	    (struct logger_memory){.hash = hash, .written_ms = clock_boot_ms(), .level = level};
	size_t keep = text.len < sizeof oldest->text - 1 ? text.len : sizeof oldest->text - 1;
	memcpy(oldest->text, text.data, keep);
}

void logger_text(struct logger *l, enum log_level level, struct slice text)
{
	l->lines[level]++;
	if (level < l->level || text.len == 0)
		return;
	uint64_t hash = XXH3_64bits_withSeed(text.data, text.len, (uint64_t)level);
	int64_t now_ms = clock_boot_ms();
	for (size_t i = 0; i < LOGGER_REMEMBERED; i++) {
		struct logger_memory *m = &l->memory[i];
		if (m->hash != hash || m->written_ms == 0)
			continue;
		if (now_ms - m->written_ms < REPEAT_MS) {
			m->suppressed++;
			return;
		}
		write_line(l, level, text, m->suppressed);
		m->suppressed = 0;
		m->written_ms = now_ms;
		return;
	}
	remember(l, hash, level, text);
	write_line(l, level, text, 0);
}

void logger_printf(struct logger *l, enum log_level level, const char *format, ...)
{
	struct buf text = {0};
	va_list args;
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	logger_text(l, level, buf_slice(&text));
	buf_close(&text);
}

void logger_tick(struct logger *l)
{
	int64_t now_ms = clock_boot_ms();
	for (size_t i = 0; i < LOGGER_REMEMBERED; i++)
		if (l->memory[i].suppressed && now_ms - l->memory[i].written_ms >= REPEAT_MS)
			flush_memory(l, &l->memory[i]);
}
