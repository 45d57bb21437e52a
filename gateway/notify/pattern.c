/* Patterns, interests, and who has subscribed to what. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/query_plan.h"
#include "gateway/http_answer.h"
#include "gateway/notify/feed.h"
#include "gateway/url.h"

/* ---- the collection that a pattern fixes ---- */

static bool is_letter(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The method: letters, or one of the usual ways to say any. Bytes taken. */
static size_t method_bytes(struct slice text)
{
	static const char *const any[] = {".*", ".+", "\\w+", "\\w*", "[A-Z]+", "[A-Z]*"};
	for (size_t i = 0; i < ARRAY_LEN(any); i++) {
		size_t len = strlen(any[i]);
		if (text.len >= len && memcmp(text.data, any[i], len) == 0)
			return len;
	}
	size_t n = 0;
	bool group = text.len > 0 && text.data[0] == '(';
	n += group;
	if (group && text.len > 3 && text.data[1] == '?' && text.data[2] == ':')
		n += 2;
	while (n < text.len && (is_letter(text.data[n]) || (group && text.data[n] == '|')))
		n++;
	if (!group)
		return n;
	return n < text.len && text.data[n] == ')' ? n + 1 : 0;
}

static bool has_alternative(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '|')
			return true;
	return false;
}

/* METHOD:/name/ and then whatever does not undo it. A path begins with its method, so a pattern
 * that begins so means this collection, also without ^. */
struct slice pattern_collection(struct slice pattern)
{
	const struct slice none = {0};
	size_t at = pattern.len > 0 && pattern.data[0] == '^';
	at += method_bytes(slice_of(pattern.data + at, pattern.len - at));
	if (pattern.len < at + 2 || pattern.data[at] != ':' || pattern.data[at + 1] != '/')
		return none;
	at += 2;
	size_t end = at;
	while (end < pattern.len && (is_letter(pattern.data[end]) || pattern.data[end] == '-' ||
				     (pattern.data[end] >= '0' && pattern.data[end] <= '9')))
		end++;
	if (end == pattern.len || pattern.data[end] != '/')
		return none;
	struct slice rest = slice_of(pattern.data + end + 1, pattern.len - end - 1);
	if (rest.len > 0 && strchr("?*+{", rest.data[0]))
		return none;
	struct slice name = slice_of(pattern.data + at, end - at);
	return has_alternative(rest) || !collection_name_valid(name) ? none : name;
}

/* ---- interests ---- */

static struct interest *interest_get(struct notify *n, struct slice name)
{
	if (name.len == 0)
		return &n->all;
	struct interest *interest = map_get(&n->interests, name);
	if (interest)
		return interest;
	interest = mem_alloc_zero(sizeof *interest);
	memcpy(interest->name, name.data, name.len);
	interest->name_len = name.len;
	map_put(&n->interests, name, interest);
	return interest;
}

struct interest *interest_use(struct turn *t, struct slice name)
{
	struct interest *interest = interest_get(t->gw->notify, name);
	if (interest->users++ == 0)
		feeds_follow(t, interest);
	return interest;
}

void interest_release(struct turn *t, struct interest *interest)
{
	struct notify *n = t->gw->notify;
	if (--interest->users > 0)
		return;
	feeds_unfollow(t, interest);
	buf_close(&interest->id);
	if (interest == &n->all)
		return;
	map_remove(&n->interests, slice_of(interest->name, interest->name_len));
	free(interest);
}

static void pattern_join(struct turn *t, struct pattern *pattern)
{
	struct interest *interest = interest_use(t, pattern_collection(pattern->text));
	pattern->interest = interest;
	pattern->next = interest->patterns;
	if (pattern->next)
		pattern->next->prev = pattern;
	interest->patterns = pattern;
}

static void pattern_leave(struct turn *t, struct pattern *pattern)
{
	*(pattern->prev ? &pattern->prev->next : &pattern->interest->patterns) = pattern->next;
	if (pattern->next)
		pattern->next->prev = pattern->prev;
	interest_release(t, pattern->interest);
}

/* ---- patterns ---- */

static void pattern_free(struct pattern *pattern)
{
	for (int kind = 0; kind < SUBSCRIBER_KINDS; kind++) {
		free(pattern->audience[kind].items);
		free(pattern->audience[kind].streams);
	}
	arena_close(&pattern->arena);
	free(pattern);
}

/* One more is no more than all may be. */
static bool pattern_fits(const struct gateway *gw, const struct pattern *pattern, struct problem *p)
{
	const struct notify *n = gw->notify;
	uint32_t max = gw->options.limits.patterns_max;
	if (n->patterns.count >= max)
		return problem_limit(p, STATUS_TOO_MANY_PATTERNS, "max_patterns", max,
				     n->patterns.count + 1);
	/* Few bytes of text can make many compiled ones. */
	uint64_t bytes_max = (uint64_t)max * NOTIFY_COMPILED_BYTES;
	uint64_t bytes = n->patterns_bytes + pattern->arena.used;
	return bytes <= bytes_max ||
	       problem_limit(p, STATUS_TOO_MANY_PATTERNS, "compiled_bytes", bytes_max, bytes);
}

static struct pattern *pattern_new(const struct gateway *gw, struct slice text, struct problem *p)
{
	char why[PLACE_BYTES] = "";
	struct pattern *pattern = mem_alloc_zero(sizeof *pattern);
	pattern->arena.block_bytes = NOTIFY_COMPILED_BYTES / 2;
	pattern->text = arena_copy(&pattern->arena, text);
	pattern->regex =
	    query_regex_compile(pattern->text, slice_of(NULL, 0), &pattern->arena, why, sizeof why);
	if (!pattern->regex)
		problem_detail(p, STATUS_BAD_PATTERN, "path", why);
	if (pattern->regex && pattern_fits(gw, pattern, p)) {
		query_regex_borrow(pattern->regex, gw->notify->lender);
		return pattern;
	}
	pattern_free(pattern);
	return NULL;
}

struct pattern *pattern_get(struct turn *t, struct slice text, struct problem *p)
{
	struct notify *n = t->gw->notify;
	if (text.len == 0 || text.len > NOTIFY_PATTERN_BYTES) {
		problem_limit(p, STATUS_BAD_PATTERN, "path", NOTIFY_PATTERN_BYTES, text.len);
		return NULL;
	}
	struct pattern *pattern = map_get(&n->patterns, text);
	if (pattern)
		return pattern;
	pattern = pattern_new(t->gw, text, p);
	if (!pattern)
		return NULL;
	pattern->since_wall_ms = t->event ? t->event->wall_ms : 0;
	n->patterns_bytes += pattern->arena.used;
	map_put(&n->patterns, pattern->text, pattern);
	pattern_join(t, pattern);
	return pattern;
}

void pattern_drop(struct turn *t, struct pattern *pattern)
{
	if (--pattern->users > 0)
		return;
	map_remove(&t->gw->notify->patterns, pattern->text);
	t->gw->notify->patterns_bytes -= pattern->arena.used;
	pattern_leave(t, pattern);
	pattern_free(pattern);
}

/* ---- subscriptions ---- */

struct subscription *subscription_find(const struct subscriber *sub, struct slice text)
{
	for (uint32_t i = 0; i < sub->count; i++)
		if (slice_equal(sub->items[i]->pattern->text, text))
			return sub->items[i];
	return NULL;
}

struct subscription *subscription_add(struct turn *t, struct subscriber *sub,
				      struct pattern *pattern)
{
	struct subscription *s = mem_alloc_zero(sizeof *s);
	s->owner = sub;
	s->pattern = pattern;
	pattern->users++;
	if (sub->count == sub->cap) {
		sub->cap = sub->cap ? 2 * sub->cap : 1;
		sub->items = mem_realloc(sub->items, sub->cap * sizeof(struct subscription *));
	}
	sub->items[sub->count++] = s;
	t->gw->notify->report_due = true;
	return s;
}

void subscription_activate(struct subscription *s)
{
	struct audience *a = &s->pattern->audience[s->owner->kind];
	if (s->active)
		return;
	if (a->count == a->cap) {
		a->cap = a->cap ? 2 * a->cap : 1;
		a->items = mem_realloc(a->items, a->cap * sizeof(struct subscription *));
		a->streams = mem_realloc(a->streams, a->cap * sizeof *a->streams);
	}
	s->place = a->count++;
	a->items[s->place] = s;
	a->streams[s->place] = s->owner->stream;
	s->active = true;
}

static void deactivate(struct subscription *s)
{
	struct audience *a = &s->pattern->audience[s->owner->kind];
	if (!s->active)
		return;
	a->count--;
	a->items[s->place] = a->items[a->count];
	a->streams[s->place] = a->streams[a->count];
	a->items[s->place]->place = s->place;
	s->active = false;
}

void subscription_remove(struct turn *t, struct subscription *s)
{
	struct subscriber *sub = s->owner;
	uint32_t at = 0;
	while (sub->items[at] != s)
		at++;
	sub->items[at] = sub->items[--sub->count];
	if (!s->active)
		waiters_drop(sub, s);
	deactivate(s);
	pattern_drop(t, s->pattern);
	free(s);
	t->gw->notify->report_due = true;
}

/* ---- subscribers ---- */

struct subscriber *subscriber_find(const struct gateway *gw, uint64_t stream)
{
	return map_get_u64(&gw->notify->subscribers, stream);
}

struct subscriber *subscriber_new(struct turn *t, uint64_t stream, enum subscriber_kind kind)
{
	struct subscriber *sub = mem_alloc_zero(sizeof *sub);
	sub->stream = stream;
	sub->kind = kind;
	map_put_u64(&t->gw->notify->subscribers, stream, sub);
	t->gw->notify->counts[kind]++;
	return sub;
}

void subscriber_clear(struct turn *t, struct subscriber *sub)
{
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i])
			feed_close(t, sub->replays[i]);
	sub->replays_count = sub->replays_left = 0;
	waiters_drop(sub, NULL);
	while (sub->count > 0)
		subscription_remove(t, sub->items[sub->count - 1]);
}

void subscriber_free(struct turn *t, struct subscriber *sub)
{
	subscriber_clear(t, sub);
	map_remove_u64(&t->gw->notify->subscribers, sub->stream);
	t->gw->notify->counts[sub->kind]--;
	free(sub->items);
	free(sub->replays);
	free(sub->skips);
	free(sub->resume);
	free(sub);
}

void subscriber_cut(struct turn *t, struct subscriber *sub, uint16_t code, enum status status)
{
	struct notify *n = t->gw->notify;
	struct problem p;
	if (sub->closing)
		return;
	if (sub->kind != SUBSCRIBER_SOCKET && !sub->answered) {
		sub->refusal = status; /* its answer says so */
		waiters_look(t, sub);
		return;
	}
	sub->closing = true;
	n->cut_off++;
	if (sub->kind != SUBSCRIBER_SOCKET) {
		problem_set(&p, status, "");
		buf_clear(&n->frame);
		buf_append_text(&n->frame, "event: error\ndata: ");
		problem_print(&p, slice_of(NULL, 0), &n->frame);
		buf_append_text(&n->frame, "\n\n");
		fx_stream_send(t->fx, &sub->stream, 1, buf_slice(&n->frame));
	}
	subscriber_clear(t, sub);
	fx_stream_close(t->fx, sub->stream, code, status_row(status)->code);
}
