#include "gateway/multipart.h"

enum state {
	BEFORE,     /* the first delimiter */
	LINE_END,   /* a delimiter is complete: what follows it? */
	LINE_FEED,  /* of its line */
	CLOSE_DASH, /* the second of a closing delimiter's */
	HEADERS,
	BODY,
	AFTER, /* the last delimiter */
	BROKEN
};

bool multipart_begin(struct multipart *m, struct slice boundary)
{
	if (boundary.len == 0 || boundary.len > MULTIPART_BOUNDARY_MAX)
		return false;
	for (size_t i = 0; i < boundary.len; i++)
		if (boundary.data[i] < ' ' || boundary.data[i] > '~')
			return false;
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.data, boundary.len);
	m->delimiter_len = boundary.len + 4;
	m->matched = m->line_break = 2; /* a first one may stand at the very beginning */
	m->state = BEFORE;
	return true;
}

void multipart_close(struct multipart *m)
{
	buf_close(&m->headers);
}

static uint8_t take(struct slice *in)
{
	uint8_t byte = in->data[0];
	*in = slice_of(in->data + 1, in->len - 1);
	return byte;
}

/* ---- what stands between delimiters ---- */

/* Bytes up to where a delimiter may begin. CR stands in it but once, at its beginning. */
static struct slice plain_bytes(struct slice *in)
{
	const uint8_t *at = memchr(in->data, '\r', in->len);
	size_t len = at ? (size_t)(at - in->data) : in->len;
	struct slice plain = slice_of(in->data, len);
	*in = slice_of(in->data + len, in->len - len);
	return plain;
}

/* What was taken for a delimiter's beginning is none. */
static struct slice give_back(struct multipart *m)
{
	struct slice held = slice_of(m->delimiter + m->line_break, m->matched - m->line_break);
	m->matched = m->line_break = 0;
	return held;
}

/* True: *out holds bytes that are no delimiter; else all was taken, or the delimiter is complete.
 */
static bool scan(struct multipart *m, struct slice *in, struct slice *out)
{
	m->gave_back = false;
	while (in->len > 0 && m->matched < m->delimiter_len) {
		if (m->matched == 0) {
			*out = plain_bytes(in);
			if (out->len > 0)
				return true;
		}
		if (in->data[0] == (uint8_t)m->delimiter[m->matched]) {
			m->matched++;
			(void)take(in);
			continue;
		}
		*out = give_back(m);
		m->gave_back = out->len > 0;
		if (m->gave_back)
			return true;
	}
	return false;
}

/* Before the first part: passed over. */
static enum multipart_event pass_preamble(struct multipart *m, struct slice *in)
{
	struct slice nothing;
	while (scan(m, in, &nothing))
		;
	if (m->matched == m->delimiter_len)
		m->state = LINE_END;
	return MULTIPART_MORE;
}

static enum multipart_event read_body(struct multipart *m, struct slice *in, struct slice *out)
{
	if (scan(m, in, out))
		return MULTIPART_DATA;
	if (m->matched < m->delimiter_len)
		return MULTIPART_MORE;
	m->state = LINE_END;
	return MULTIPART_LAST;
}

/* ---- lines ---- */

/* Behind a delimiter: white space and a line break, or two dashes. */
static enum multipart_event read_line_end(struct multipart *m, struct slice *in)
{
	uint8_t byte = take(in);
	if (m->state == CLOSE_DASH) {
		m->state = byte == '-' ? AFTER : BROKEN;
		return m->state == AFTER ? MULTIPART_END : MULTIPART_BAD;
	}
	if (m->state == LINE_FEED && byte == '\n')
		m->state = HEADERS;
	else if (m->state == LINE_END && byte == '\r')
		m->state = LINE_FEED;
	else if (m->state == LINE_END && byte == '-')
		m->state = CLOSE_DASH;
	else if (m->state != LINE_END || (byte != ' ' && byte != '\t'))
		m->state = BROKEN;
	buf_clear(&m->headers);
	return m->state == BROKEN ? MULTIPART_BAD : MULTIPART_MORE;
}

static bool ends_with(const struct buf *b, const char *text, size_t len)
{
	return b->len >= len && memcmp(b->data + b->len - len, text, len) == 0;
}

static enum multipart_event read_headers(struct multipart *m, struct slice *in, struct slice *out)
{
	while (in->len > 0) {
		buf_append_byte(&m->headers, take(in));
		if (m->headers.len > MULTIPART_HEADERS_MAX) {
			m->state = BROKEN;
			return MULTIPART_BAD;
		}
		bool none = m->headers.len == 2 && ends_with(&m->headers, "\r\n", 2);
		if (!none && !ends_with(&m->headers, "\r\n\r\n", 4))
			continue;
		m->state = BODY;
		/* of an empty part the delimiter's line break may be the one behind its headers */
		m->matched = m->line_break = 2;
		*out = buf_slice(&m->headers);
		return MULTIPART_PART;
	}
	return MULTIPART_MORE;
}

enum multipart_event multipart_next(struct multipart *m, struct slice *in, struct slice *out)
{
	enum multipart_event event = MULTIPART_MORE;
	while (in->len > 0 && event == MULTIPART_MORE) {
		if (m->state == BEFORE)
			event = pass_preamble(m, in);
		else if (m->state == HEADERS)
			event = read_headers(m, in, out);
		else if (m->state == BODY)
			event = read_body(m, in, out);
		else if (m->state == BROKEN)
			event = MULTIPART_BAD;
		else if (m->state == AFTER)
			*in = slice_of(in->data + in->len, 0);
		else
			event = read_line_end(m, in);
	}
	return event;
}

/* ---- headers ---- */

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

static bool same_word(struct slice a, const char *word)
{
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.data[i]) != (uint8_t)word[i]) /* NUL is no byte of a */
			return false;
	return word[a.len] == 0;
}

static struct slice trim(struct slice s)
{
	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
		s = slice_of(s.data + 1, s.len - 1);
	while (s.len > 0 && s.data[s.len - 1] <= ' ')
		s.len--;
	return s;
}

/* Up to a byte, which is taken, too; or all. */
static struct slice take_to(struct slice *rest, char stop)
{
	if (rest->len == 0)
		return *rest;
	const uint8_t *at = memchr(rest->data, stop, rest->len);
	size_t len = at ? (size_t)(at - rest->data) : rest->len;
	struct slice part = slice_of(rest->data, len);
	len += at ? 1 : 0;
	*rest = slice_of(rest->data + len, rest->len - len);
	return part;
}

struct slice multipart_header(struct slice headers, const char *name)
{
	while (headers.len > 0) {
		struct slice line = take_to(&headers, '\n');
		struct slice key = take_to(&line, ':');
		if (memchr(key.data, 0, key.len) == NULL && same_word(trim(key), name))
			return trim(line);
	}
	return slice_of(NULL, 0);
}

/* Of a quoted value, behind its first quote. */
static void take_quoted(struct slice *rest, struct buf *out)
{
	while (rest->len > 0) {
		uint8_t byte = take(rest);
		if (byte == '"')
			return;
		if (byte == '\\' && rest->len > 0)
			byte = take(rest);
		buf_append_byte(out, byte);
	}
}

static void skip_spaces(struct slice *rest)
{
	while (rest->len > 0 && (rest->data[0] == ' ' || rest->data[0] == '\t'))
		(void)take(rest);
}

/* A parameter's value, up to the next semicolon. */
static void take_value(struct slice *rest, struct buf *out)
{
	buf_clear(out);
	skip_spaces(rest);
	if (rest->len > 0 && rest->data[0] == '"') {
		(void)take(rest);
		take_quoted(rest, out);
		(void)take_to(rest, ';');
	} else {
		buf_append_slice(out, trim(take_to(rest, ';')));
	}
}

bool header_parameter(struct slice value, const char *name, struct buf *out)
{
	(void)take_to(&value, ';');
	while (value.len > 0) {
		struct slice key = trim(take_to(&value, '='));
		take_value(&value, out);
		if (key.len > 0 && memchr(key.data, 0, key.len) == NULL && same_word(key, name))
			return true;
	}
	buf_clear(out);
	return false;
}

bool header_type_is(struct slice value, const char *type)
{
	struct slice word = trim(take_to(&value, ';'));
	return word.len > 0 && memchr(word.data, 0, word.len) == NULL && same_word(word, type);
}
