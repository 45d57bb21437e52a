#include "gateway/http/head.h"

#include <string.h>
#include <time.h>

/* ---- of requests ---- */

enum http_method http_method_of(const char *name)
{
	static const struct {
		const char *name;
		enum http_method method;
	} methods[] = {{"GET", HTTP_GET},         {"HEAD", HTTP_HEAD},   {"POST", HTTP_POST},
		       {"PUT", HTTP_PUT},         {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE},
		       {"OPTIONS", HTTP_OPTIONS}, {"COPY", HTTP_COPY}};
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].method;
	return HTTP_OTHER;
}

static struct slice header_copy(struct header_list *list, const char *bytes, size_t len, bool lower)
{
	size_t at = list->text.len;
	buf_append(&list->text, bytes, len);
	for (size_t i = at; lower && i < list->text.len; i++)
		if (list->text.data[i] >= 'A' && list->text.data[i] <= 'Z')
			list->text.data[i] += 'a' - 'A';
	return slice_of(list->text.data + at, len);
}

static bool header_join(struct header_list *list, struct slice name, const char *value, size_t len)
{
	for (uint32_t i = 0; i < list->count; i++) {
		struct http_field *field = &list->fields[i];
		if (!slice_equal(field->name, name))
			continue;
		size_t at = list->text.len;
		buf_append(&list->text, field->value.data, field->value.len);
		buf_append(&list->text, ", ", 2);
		buf_append(&list->text, value, len);
		field->value = slice_of(list->text.data + at, list->text.len - at);
		return true;
	}
	return false;
}

static enum MHD_Result header_take(void *context, enum MHD_ValueKind kind, const char *name,
				   size_t name_len, const char *value, size_t value_len)
{
	struct header_list *list = context;
	(void)kind;
	/* A joined value repeats what came before: the whole may grow past what was reserved. */
	if (list->text.cap - list->text.len < name_len + 2 * list->text.len + value_len + 2) {
		list->overflow = true;
		return MHD_NO;
	}
	struct slice lower = header_copy(list, name, name_len, true);
	if (header_join(list, lower, value, value_len))
		return MHD_YES;
	if (list->count == HTTP_HEADERS_MAX) {
		list->overflow = true;
		return MHD_NO;
	}
	struct http_field *field = &list->fields[list->count++];
	field->name = lower;
	field->value = header_copy(list, value, value_len, false);
	return MHD_YES;
}

void header_list_read(struct header_list *list, struct MHD_Connection *connection, size_t bytes_max)
{
	list->count = 0;
	list->overflow = false;
	buf_clear(&list->text);
	buf_reserve(&list->text, bytes_max);
	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, header_take, list);
}

struct framing {
	unsigned lengths;
	unsigned encodings;
	unsigned hosts;
	bool wrong;
	const char *end; /* of the last value */
	size_t bytes_max;
};

/* Is there more between two texts than the end of a line, or of two? */
static bool is_apart(const struct framing *f, const char *next, unsigned line_ends)
{
	uintptr_t gap = (uintptr_t)next - (uintptr_t)f->end;
	return gap > 2 * line_ends && gap < f->bytes_max;
}

static enum MHD_Result framing_take(void *context, enum MHD_ValueKind kind, const char *name,
				    size_t name_len, const char *value, size_t value_len)
{
	struct framing *f = context;
	(void)kind;
	f->wrong |= is_apart(f, name, 1);
	f->end = value ? value + value_len : name + name_len;
	if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
		f->encodings++;
		f->wrong |= !value || strcasecmp(value, "chunked") != 0;
	}
	f->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
	f->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
	/* some read `Name : value` as a header of that name, some don't */
	f->wrong |= strcspn(name, " \t") != name_len;
	return MHD_YES;
}

bool head_is_clear(struct MHD_Connection *connection, const struct head_place *at, bool http_1_1)
{
	const union MHD_ConnectionInfo *size =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	struct framing f = {.end = at->version + strlen(at->version), .bytes_max = at->bytes_max};
	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, framing_take, &f);
	f.wrong |= size && is_apart(&f, at->method + size->header_size, 2);
	return !f.wrong && f.lengths + f.encodings <= 1 && f.hosts <= 1 &&
	       (http_1_1 || f.encodings == 0);
}

/* ---- of streams ---- */

static void field_print(struct slice name, struct slice value, struct buf *out)
{
	/* A header that would become two is none. */
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] < ' ' && value.data[i] != '\t')
			return;
	buf_append_slice(out, name);
	buf_append(out, ": ", 2);
	buf_append_slice(out, value);
	buf_append(out, "\r\n", 2);
}

static void date_print(struct buf *out)
{
	char text[40];
	time_t now = time(NULL);
	struct tm utc;
	if (!gmtime_r(&now, &utc))
		return;
	size_t len = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
	field_print(slice_text("Date"), slice_of(text, len), out);
}

void stream_head_print(const struct http_response *response, const char *accept, bool chunked,
		       struct buf *out)
{
	if (response->kind == HTTP_WEBSOCKET) {
		buf_append_text(out, "HTTP/1.1 101 Switching Protocols\r\n"
				     "Upgrade: websocket\r\nConnection: Upgrade\r\n");
		field_print(slice_text("Sec-WebSocket-Accept"), slice_text(accept), out);
	} else {
		buf_printf(out, "HTTP/1.1 %d %s\r\nConnection: close\r\n", response->status,
			   MHD_get_reason_phrase_for((unsigned)response->status));
		if (chunked)
			buf_append_text(out, "Transfer-Encoding: chunked\r\n");
		if (response->length > 0)
			buf_printf(out, "Content-Length: %llu\r\n",
				   (unsigned long long)response->length);
		field_print(slice_text("Content-Type"), response->content_type, out);
	}
	date_print(out);
	for (uint32_t i = 0; i < response->headers_count; i++) {
		const struct http_field *field = &response->headers[i];
		if (field->name.len != strlen("Connection") ||
		    strncasecmp((const char *)field->name.data, "Connection", field->name.len) != 0)
			field_print(field->name, field->value, out);
	}
	buf_append(out, "\r\n", 2);
}
