/* What CouchDB tells of a node: here of the gateway that is asked, which is called _local. */
#include <inttypes.h>
#include <stdio.h>

#include "gateway/couch/couch.h"
#include "gateway/replicate/schedule.h"
#include "gateway/routes.h"

void couch_node(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"name\":");
	json_string(schedule_node(t->gw), &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

/* ---- counts ---- */

static void print_count(struct buf *out, const char *name, uint64_t value, const char *what)
{
	buf_printf(out, "\"%s\":{\"value\":%" PRIu64 ",\"type\":\"counter\",\"desc\":\"%s\"}", name,
		   value, what);
}

static uint64_t of_method(const struct gateway *gw, int method)
{
	uint64_t sum = 0;
	for (int code = 0; code < HTTP_CODES; code++)
		sum += gw->metrics.requests[DIALECT_COUCH][method][code];
	return sum;
}

static uint64_t of_code(const struct gateway *gw, int code)
{
	uint64_t sum = 0;
	for (int method = 0; method < HTTP_METHODS; method++)
		sum += gw->metrics.requests[DIALECT_COUCH][method][code];
	return sum;
}

static void print_codes(const struct gateway *gw, struct buf *out)
{
	bool first = true;
	for (int code = 0; code < HTTP_CODES; code++) {
		char name[8];
		uint64_t count = of_code(gw, code);
		if (count == 0)
			continue;
		snprintf(name, sizeof name, "%d", code);
		buf_append_text(out, first ? "" : ",");
		print_count(out, name, count, "answers with this status");
		first = false;
	}
}

void couch_node_stats(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	uint64_t all = 0;
	for (int method = 0; method < HTTP_METHODS; method++)
		all += of_method(t->gw, method);
	buf_append_text(out, "{\"couchdb\":{\"httpd\":{");
	print_count(out, "requests", all, "requests of both dialects");
	buf_append_text(out, "},\"httpd_request_methods\":{");
	for (int method = 0; method < HTTP_METHODS; method++) {
		buf_append_text(out, method > 0 ? "," : "");
		print_count(out, http_method_name((enum http_method)method),
			    of_method(t->gw, method), "requests with this method");
	}
	buf_append_text(out, "},\"httpd_status_codes\":{");
	print_codes(t->gw, out);
	buf_append_text(out, "}}}");
	reply_send(t, r, reply);
}

void couch_node_prometheus(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, 200);
	reply->content_type = slice_text("text/plain; version=0.0.4");
	metrics_print(t->gw, &reply->body);
	reply_send(t, r, reply);
}

/* ---- settings, by the names that CouchDB has for them ---- */

enum { SETTING_BYTES = 24 };

struct setting {
	const char *section;
	const char *key;
	const char *text; /* NULL: the number */
	uint64_t number;
};

static void print_setting(const struct setting *s, struct buf *out)
{
	char number[SETTING_BYTES];
	snprintf(number, sizeof number, "%" PRIu64, s->number);
	json_string(slice_text(s->text ? s->text : number), out);
}

/* Sections stand together. False: there is none of that name. */
static bool print_settings(const struct setting *list, size_t count, struct slice section,
			   struct slice key, struct buf *out)
{
	const char *open = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct setting *s = &list[i];
		if (section.len > 0 && !slice_is(section, s->section))
			continue;
		if (key.len > 0 && !slice_is(key, s->key))
			continue;
		if (key.len > 0) {
			print_setting(s, out);
			return true;
		}
		bool same = open && strcmp(open, s->section) == 0;
		if (section.len == 0 && !same)
			buf_printf(out, "%s\"%s\":", open ? "}," : "{", s->section);
		buf_printf(out, "%s\"%s\":", same ? "," : "{", s->key);
		print_setting(s, out);
		open = s->section;
	}
	if (open)
		buf_append_text(out, section.len == 0 ? "}}" : "}");
	return open != NULL;
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

void couch_node_config(struct turn *t, struct request *r)
{
	const struct gateway_limits *l = &t->gw->options.limits;
	const struct couch_options *o = &t->gw->options.couch;
	bool cors = *or_empty(o->cors_origins) != 0;
	const struct setting settings[] = {
	    {"chttpd", "enable_cors", cors ? "true" : "false", 0},
	    {"chttpd", "max_http_request_size", NULL, l->request_bytes_max},
	    {"chttpd_auth", "timeout", NULL, l->couch_session_s},
	    {"cors", "origins", or_empty(o->cors_origins), 0},
	    {"cors", "credentials", o->cors_credentials ? "true" : "false", 0},
	    {"cors", "methods", or_empty(o->cors_methods), 0},
	    {"cors", "headers", or_empty(o->cors_headers), 0},
	    {"cors", "max_age", NULL, l->couch_cors_max_age_s},
	    {"couchdb", "max_document_size", NULL, l->document_bytes_max},
	    {"replicator", "max_jobs", NULL, l->replications_max},
	};
	struct reply *reply = reply_begin(t, 200);
	if (print_settings(settings, ARRAY_LEN(settings), r->resource, r->part, &reply->body))
		reply_send(t, r, reply);
	else
		couch_answer_error(t, r, COUCH_NO_SETTING);
}
