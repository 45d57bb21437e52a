/* What is to be replicated: a document's members taken apart, and who may be asked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/base64.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/replicate/internal.h"

#define BAD_PERCENT "A % in an address needs two hexadecimal digits behind it."

static bool bad(struct problem *p, const char *reason)
{
	return couch_problem(p, COUCH_BAD_REPLICATION, reason);
}

static bool is_printable(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] <= ' ' || text.data[i] >= 0x7f ||
		    strchr("\"<>\\^`{|}", text.data[i]))
			return false;
	return text.len > 0;
}

/* ---- who may be asked ---- */

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool same_host(struct slice a, struct slice b)
{
	bool same = a.len == b.len;
	for (size_t i = 0; same && i < a.len; i++)
		same = lower(a.data[i]) == lower(b.data[i]);
	return same;
}

/* rule: "*", "host", "host:port", "*.domain". */
static bool rule_allows(struct slice rule, struct slice host, struct slice with_port)
{
	if (slice_is(rule, "*") || same_host(rule, host) || same_host(rule, with_port))
		return rule.len > 0;
	if (rule.len < 3 || rule.data[0] != '*' || rule.data[1] != '.')
		return false;
	size_t len = rule.len - 1;
	struct slice end = slice_of(rule.data + 1, len);
	return (host.len > len && same_host(end, slice_of(host.data + host.len - len, len))) ||
	       (with_port.len > len &&
		same_host(end, slice_of(with_port.data + with_port.len - len, len)));
}

static bool host_allowed(const char *rules, struct slice host, struct slice with_port)
{
	for (const char *at = rules; at && *at;) {
		size_t len = 0;
		while (at[len] && at[len] != ',' && at[len] != ' ')
			len++;
		if (rule_allows(slice_of(at, len), host, with_port))
			return true;
		at += len + (at[len] != 0);
	}
	return false;
}

/* ---- addresses ---- */

struct address {
	struct slice scheme; /* with :// */
	struct slice user;   /* before the @, still encoded */
	struct slice host;   /* as it stands */
	struct slice with_port;
	struct slice path; /* without slashes at its end */
};

static bool begins(struct slice text, const char *with)
{
	size_t len = strlen(with);
	return text.len >= len && memcmp(text.data, with, len) == 0;
}

static bool is_port(struct slice text)
{
	uint32_t port = 0;
	for (size_t i = 0; i < text.len && i < 6; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		port = port * 10 + (uint32_t)(text.data[i] - '0');
	}
	return text.len > 0 && text.len < 6 && port > 0 && port < 65536;
}

static bool split_host(struct address *a)
{
	struct slice text = a->with_port;
	size_t at = 0;
	if (text.len > 0 && text.data[0] == '[') {
		while (at < text.len && text.data[at] != ']')
			at++;
		at += at < text.len;
	} else {
		while (at < text.len && text.data[at] != ':')
			at++;
	}
	a->host = slice_of(text.data, at);
	if (at == text.len)
		return at > 0;
	return at > 0 && text.data[at] == ':' &&
	       is_port(slice_of(text.data + at + 1, text.len - at - 1));
}

static bool split_address(struct slice url, struct address *a)
{
	size_t start = begins(url, "https://") ? 8 : 7;
	size_t end = start;
	if (!is_printable(url) || memchr(url.data, '?', url.len) || memchr(url.data, '#', url.len))
		return false;
	while (end < url.len && url.data[end] != '/')
		end++;
	size_t at = end;
	while (at > start && url.data[at - 1] != '@')
		at--;
	a->scheme = slice_of(url.data, start);
	a->user = slice_of(url.data + start, at > start ? at - 1 - start : 0);
	a->with_port = slice_of(url.data + at, end - at);
	size_t stop = url.len;
	while (stop > end && url.data[stop - 1] == '/')
		stop--;
	a->path = slice_of(url.data + end, stop - end);
	return a->path.len > 1 && split_host(a);
}

/* ---- credentials ---- */

static void add_header(struct endpoint *e, struct arena *arena, struct slice name,
		       struct slice value)
{
	e->headers[e->headers_count].name = arena_copy(arena, name);
	e->headers[e->headers_count++].value = arena_copy(arena, value);
}

static bool has_header(const struct endpoint *e, const char *name)
{
	for (uint32_t i = 0; i < e->headers_count; i++)
		if (same_host(e->headers[i].name, slice_text(name)))
			return true;
	return false;
}

static void add_basic(struct endpoint *e, struct arena *arena, struct slice name,
		      struct slice password)
{
	struct buf pair = {0};
	struct buf value = {0};
	if (has_header(e, "authorization") || e->headers_count == REPLICATE_HEADERS)
		return;
	struct buf login = {0};
	buf_append_text(&login, "{\"name\":");
	json_string(name, &login);
	buf_append_text(&login, ",\"password\":");
	json_string(password, &login);
	buf_append_byte(&login, '}');
	e->login = arena_copy(arena, buf_slice(&login));
	buf_close(&login);
	buf_append_slice(&pair, name);
	buf_append_byte(&pair, ':');
	buf_append_slice(&pair, password);
	buf_append_text(&value, "Basic ");
	base64_encode(buf_slice(&pair), &value);
	add_header(e, arena, slice_text("Authorization"), buf_slice(&value));
	buf_close(&pair);
	buf_close(&value);
}

/* user:password before the @ */
static bool take_user(struct endpoint *e, struct arena *arena, struct slice user)
{
	struct slice name, password = {0};
	const uint8_t *colon = user.len ? memchr(user.data, ':', user.len) : NULL;
	size_t len = colon ? (size_t)(colon - user.data) : user.len;
	if (user.len == 0)
		return true;
	if (!url_decode(slice_of(user.data, len), false, arena, &name) ||
	    (colon &&
	     !url_decode(slice_of(colon + 1, user.len - len - 1), false, arena, &password)))
		return false;
	add_basic(e, arena, name, password);
	return true;
}

static bool is_header(struct slice name, struct slice value)
{
	static const char *const ours[] = {"host",       "content-length", "content-type",
					   "connection", "expect",         "transfer-encoding"};
	bool ok = name.len > 0 && name.len <= 64 && value.len > 0 && value.len <= 4096;
	for (size_t i = 0; ok && i < name.len; i++)
		ok = (lower(name.data[i]) >= 'a' && lower(name.data[i]) <= 'z') ||
		     (name.data[i] >= '0' && name.data[i] <= '9') || name.data[i] == '-';
	for (size_t i = 0; ok && i < value.len; i++)
		ok = value.data[i] >= ' ' && value.data[i] < 0x7f;
	for (size_t i = 0; ok && i < ARRAY_LEN(ours); i++)
		ok = !same_host(name, slice_text(ours[i]));
	return ok;
}

static bool take_headers(struct endpoint *e, struct arena *arena, struct slice headers)
{
	struct mp_reader reader = mp_reader_of(headers);
	if (headers.len == 0 || mp_peek(&reader) == MP_NIL)
		return true;
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || head.count >= REPLICATE_HEADERS)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct mp_token value = mp_read(&reader);
		if (value.type != MP_STR || !is_header(name.bytes, value.bytes))
			return false;
		add_header(e, arena, name.bytes, value.bytes);
	}
	return true;
}

/* ---- sides ---- */

static void print_address(struct endpoint *e, struct arena *arena, const struct address *a)
{
	struct buf text = {0};
	buf_append_slice(&text, a->scheme);
	buf_append_slice(&text, a->with_port);
	e->server = arena_copy(arena, buf_slice(&text));
	buf_append_slice(&text, a->path);
	e->base = arena_copy(arena, buf_slice(&text));
	buf_append_byte(&text, '/');
	e->shown = arena_copy(arena, buf_slice(&text));
	buf_close(&text);
}

static bool take_local(struct endpoint *e, struct arena *arena, struct slice name,
		       struct problem *p)
{
	struct buf text = {0};
	bool closed = slice_is(name, "_replicator") || slice_is(name, COUCH_REPLICATIONS);
	bool ok = !closed && couch_collection_name(name, &text);
	buf_clear(&text);
	buf_append_byte(&text, '/');
	url_encode(name, &text);
	e->base = arena_copy(arena, buf_slice(&text));
	e->shown = arena_copy(arena, name);
	buf_close(&text);
	return ok || bad(p, "A side is the name of a database, or an http(s) address of one.");
}

/* An address of this cluster, with no credentials but those of who asks: so what is done there is
 * done with the same rights. */
static bool is_here(const struct asker *asker, const struct address *a, const struct endpoint *e)
{
	if (!slice_is(a->scheme, "https://") || !same_host(a->with_port, asker->host) ||
	    memchr(a->path.data + 1, '/', a->path.len - 1))
		return false;
	return e->headers_count == 0 || (e->headers_count == 1 && has_header(e, "authorization") &&
					 slice_equal(e->headers[0].value, asker->authorization));
}

static bool take_here(struct endpoint *e, struct arena *arena, const struct address *a,
		      struct problem *p)
{
	struct slice name;
	*e = (struct endpoint){.here = true};
	if (!url_decode(slice_of(a->path.data + 1, a->path.len - 1), false, arena, &name))
		return bad(p, BAD_PERCENT);
	return take_local(e, arena, name, p);
}

static bool take_side(const struct gateway *gw, struct slice value, const struct asker *asker,
		      struct arena *arena, struct endpoint *e, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	struct slice url = token.type == MP_STR ? token.bytes : value_text_member(value, "url");
	struct address a;
	e->remote = begins(url, "http://") || begins(url, "https://");
	if (!e->remote)
		return take_local(e, arena, url, p);
	if (!split_address(url, &a))
		return bad(p, "An address is http(s)://host[:port]/database, without ? and #.");
	struct slice basic =
	    value_member(value_member(value, slice_text("auth")), slice_text("basic"));
	if (!take_headers(e, arena, value_member(value, slice_text("headers"))))
		return bad(p, "`headers` is an object of at most 7 names and texts.");
	if (basic.len > 0)
		add_basic(e, arena, value_text_member(basic, "username"),
			  value_text_member(basic, "password"));
	if (!take_user(e, arena, a.user))
		return bad(p, BAD_PERCENT);
	if (e->here || is_here(asker, &a, e))
		return take_here(e, arena, &a, p);
	if (!host_allowed(gw->options.replicate_hosts, a.host, a.with_port))
		return couch_problem(p, COUCH_REPLICATE_HOST, "");
	print_address(e, arena, &a);
	return true;
}

/* ---- all of it ---- */

/* What is not said stays as it is. */
static bool take_flag(struct slice value, const char *name, bool *out, struct problem *p)
{
	struct slice member = value_member(value, slice_text(name));
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token token = mp_read(&reader);
	char reason[80];
	if (token.type == MP_BOOL)
		*out = token.flag;
	snprintf(reason, sizeof reason, "`%s` is true or false.", name);
	return member.len == 0 || token.type == MP_BOOL || bad(p, reason);
}

/* What is asked of the source beside the name of its filter. */
static bool take_query(struct slice params, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(params);
	if (params.len == 0 || mp_peek(&reader) == MP_NIL)
		return true;
	struct mp_token head = mp_read(&reader);
	bool fine = head.type == MP_MAP && head.count <= REPLICATE_PARAMETERS;
	for (uint32_t i = 0; fine && i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		struct mp_reader text = mp_reader_of(value);
		struct mp_token token = mp_read(&text);
		struct buf json = {0};
		buf_append_byte(out, '&');
		url_encode(name.bytes, out);
		buf_append_byte(out, '=');
		if (token.type != MP_STR)
			fine = json_from_msgpack(value, &json);
		url_encode(token.type == MP_STR ? token.bytes : buf_slice(&json), out);
		buf_close(&json);
	}
	return fine;
}

static bool take_function(struct slice value, struct arena *arena, struct replication *out,
			  struct problem *p)
{
	struct slice name = value_text_member(value, "filter");
	struct buf query = {0};
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES)
		return bad(p, "`filter` is a text.");
	buf_append_text(&query, "&filter=");
	url_encode(name, &query);
	bool fine = take_query(value_member(value, slice_text("query_params")), &query);
	out->filter_query = arena_copy(arena, buf_slice(&query));
	if (memchr(name.data, '/', name.len))
		out->function = arena_copy(arena, name);
	buf_close(&query);
	return fine || bad(p, "`query_params` is an object of at most 32 names and values.");
}

static bool take_filter(struct slice value, struct arena *arena, struct replication *out,
			struct problem *p)
{
	struct slice ids = value_member(value, slice_text("doc_ids"));
	struct slice selector = value_member(value, slice_text("selector"));
	struct mp_reader ids_reader = mp_reader_of(ids);
	struct mp_reader selector_reader = mp_reader_of(selector);
	bool function = value_member(value, slice_text("filter")).len > 0;
	if ((ids.len > 0) + (selector.len > 0) + function > 1)
		return bad(p, "`doc_ids`, `selector` and `filter` exclude each other.");
	if (function)
		return take_function(value, arena, out, p);
	if (ids.len == 0 && selector.len == 0)
		return true;
	if (ids.len > 0 && mp_peek(&ids_reader) != MP_ARRAY)
		return bad(p, "`doc_ids` is an array.");
	if (selector.len > 0 && mp_peek(&selector_reader) != MP_MAP)
		return bad(p, "`selector` is an object.");
	struct buf body = {0};
	out->filter_query = slice_text(ids.len > 0 ? "&filter=_doc_ids" : "&filter=_selector");
	buf_printf(&body, "{\"%s\":", ids.len > 0 ? "doc_ids" : "selector");
	bool ok = json_from_msgpack(ids.len > 0 ? ids : selector, &body);
	buf_append_byte(&body, '}');
	out->filter = arena_copy(arena, buf_slice(&body));
	buf_close(&body);
	return ok || bad(p, "The filter can't be read.");
}

/* {"q": 2} as "?q=2" */
static bool take_making(struct slice value, struct arena *arena, struct replication *out,
			struct problem *p)
{
	struct buf query = {0};
	bool fine = take_query(value_member(value, slice_text("create_target_params")), &query);
	if (query.len > 0)
		query.data[0] = '?';
	out->make = arena_copy(arena, buf_slice(&query));
	buf_close(&query);
	return fine || bad(p, "`create_target_params` is an object of at most 32 members.");
}

static bool take_since(struct slice value, struct arena *arena, struct replication *out,
		       struct problem *p)
{
	struct slice since = value_member(value, slice_text("since_seq"));
	struct mp_reader reader = mp_reader_of(since);
	struct mp_token token = mp_read(&reader);
	out->since = arena_copy(arena, since);
	return since.len == 0 || token.type == MP_UINT || token.type == MP_STR ||
	       bad(p, "`since_seq` is a sequence of the source.");
}

/* Without it a job would go where it must not, or not get there. */
static bool names_no_proxy(struct slice value, struct problem *p)
{
	static const char *const names[] = {"proxy", "source_proxy", "target_proxy"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct slice given = value_member(value, slice_text(names[i]));
		struct mp_reader reader = mp_reader_of(given);
		if (given.len > 0 && mp_peek(&reader) != MP_NIL)
			return bad(p, "Proxies are not used: leave out `proxy`, `source_proxy` and "
				      "`target_proxy`.");
	}
	return true;
}

static bool take_flags(struct slice value, struct replication *out, struct problem *p)
{
	bool logs = true, many = true;
	if (!take_flag(value, "continuous", &out->continuous, p) ||
	    !take_flag(value, "create_target", &out->create_target, p) ||
	    !take_flag(value, "winning_revs_only", &out->winners, p) ||
	    !take_flag(value, "use_checkpoints", &logs, p) ||
	    !take_flag(value, "use_bulk_get", &many, p))
		return false;
	out->no_logs = !logs;
	out->single = !many;
	return true;
}

/* ---- in whose name ---- */

/* {"name": "ann" or null, "roles": ["nurse"]}; with the role _admin it is nobody in particular. */
static bool take_user_ctx(struct slice value, struct arena *arena, struct replication *out,
			  struct problem *p)
{
	struct slice ctx = value_member(value, slice_text("user_ctx"));
	struct slice list = value_member(ctx, slice_text("roles"));
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	struct couch_user user = {.name = value_text_member(ctx, "name"), .by = "replicator"};
	if (ctx.len == 0)
		return true;
	bool fine = value_is_document(ctx) && user.name.len <= COUCH_NAME_BYTES &&
		    (list.len == 0 || head.type == MP_ARRAY);
	uint32_t count = fine && list.len > 0 ? head.count : 0;
	fine = fine && count <= COUCH_ROLES_MAX;
	struct slice *roles = arena_alloc(arena, (fine ? count + 1 : 1) * sizeof *roles);
	bool admin = false;
	for (uint32_t i = 0; fine && i < count; i++) {
		struct mp_token role = mp_read(&reader);
		fine = role.type == MP_STR;
		admin |= fine && slice_is(role.bytes, "_admin");
		roles[user.roles_count++] = role.bytes;
	}
	user.roles = roles;
	if (fine && !admin)
		out->user = couch_user_copy(&user, arena);
	return fine || bad(p, "`user_ctx` is {\"name\": text, \"roles\": [texts]}.");
}

/* Credentials and flags change nothing in how far it has come; what a user may not see does. */
static void make_id(const struct gateway *gw, struct replication *out)
{
	uint8_t digest[16];
	struct buf text = {0};
	buf_printf(&text, "%016" PRIx64, gw->options.cluster);
	for (int i = 0; i < SIDES; i++) {
		buf_append_byte(&text, '\n');
		buf_append_slice(&text, out->sides[i].shown);
	}
	buf_append_byte(&text, '\n');
	buf_append_slice(&text, out->filter);
	if (out->filter.len == 0)
		buf_append_slice(&text, out->filter_query);
	if (out->winners)
		buf_append_text(&text, "\nwinners");
	if (out->user) {
		buf_append_text(&text, "\nuser ");
		buf_append_slice(&text, out->user->name);
		for (uint32_t i = 0; i < out->user->roles_count; i++) {
			buf_append_byte(&text, '\n');
			buf_append_slice(&text, out->user->roles[i]);
		}
	}
	digest16(buf_slice(&text), digest);
	buf_clear(&text);
	buf_append_hex(&text, digest, sizeof digest);
	memcpy(out->id, buf_cstr(&text), sizeof out->id);
	buf_close(&text);
}

const char *replication_side(enum side side)
{
	return side == SIDE_SOURCE ? "source" : "target";
}

/* It says no more than a name in place of the address would, so it may come from anybody. */
static bool is_noted(struct slice value, const char *side)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text(REPLICATION_HERE)));
	struct mp_token head = mp_read(&reader);
	bool found = false;
	for (uint32_t i = 0; head.type == MP_ARRAY && !found && i < head.count; i++) {
		struct mp_reader item = mp_reader_of(mp_value(&reader));
		struct mp_token name = mp_read(&item);
		found = name.type == MP_STR && slice_is(name.bytes, side);
	}
	return found;
}

bool replication_parse_for(const struct gateway *gw, struct slice value, const struct asker *asker,
			   struct arena *arena, struct replication *out, struct problem *p)
{
	*out = (struct replication){0};
	if (!value_is_document(value))
		return couch_problem(p, COUCH_NOT_OBJECT, "");
	for (int i = 0; i < SIDES; i++) {
		const char *name = replication_side(i);
		struct slice side = value_member(value, slice_text(name));
		out->sides[i].here = asker->noted && is_noted(value, name);
		if (side.len == 0)
			return bad(p, i == SIDE_SOURCE ? "Missing required field: source"
						       : "Missing required field: target");
		if (!take_side(gw, side, asker, arena, &out->sides[i], p))
			return false;
	}
	if (!names_no_proxy(value, p) || !take_flags(value, out, p) ||
	    !take_making(value, arena, out, p) || !take_since(value, arena, out, p) ||
	    !take_filter(value, arena, out, p))
		return false;
	if (asker->user)
		out->user = couch_user_copy(asker->user, arena);
	else if (!take_user_ctx(value, arena, out, p))
		return false;
	make_id(gw, out);
	return true;
}

bool replication_parse(const struct gateway *gw, struct slice value, struct arena *arena,
		       struct replication *out, struct problem *p)
{
	const struct asker nobody = {.noted = true};
	return replication_parse_for(gw, value, &nobody, arena, out, p);
}
