#include "tests/sim/versions.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/memory.h"

static struct key_head head_of(struct slice key)
{
	uint8_t bytes[sizeof(struct key_head)] = {0};
	size_t len = key.len < sizeof bytes ? key.len : sizeof bytes;
	if (len)
		memcpy(bytes, key.data, len);
	return (struct key_head){be64_read(bytes), be64_read(bytes + 8)};
}

struct key_prefix key_prefix_of(struct slice prefix)
{
	uint8_t ones[sizeof(struct key_head)];
	size_t len = prefix.len < sizeof ones ? prefix.len : sizeof ones;
	memset(ones, 0xff, len);
	return (struct key_prefix){
	    .head = head_of(prefix),
	    .mask = head_of(slice_of(ones, len)),
	    .data = prefix.data,
	    .len = prefix.len,
	};
}

static bool is_less(const struct node *node, const struct key_head *head, struct slice key)
{
	if (node->head.first != head->first)
		return node->head.first < head->first;
	if (node->head.second != head->second)
		return node->head.second < head->second;
	return slice_compare(node_key(node), key) < 0;
}

static struct node *node_new(struct slice key, uint32_t height)
{
	size_t links = height * sizeof(struct node *);
	struct node *node = mem_alloc_zero(sizeof *node + links + key.len);
	uint8_t *copy = (uint8_t *)node + sizeof *node + links;
	if (key.len)
		memcpy(copy, key.data, key.len);
	node->key = copy;
	node->key_len = key.len;
	node->head = head_of(key);
	node->height = height;
	return node;
}

static void node_free(struct node *node)
{
	while (node->newest)
		node_pop(node);
	free(node);
}

void versions_init(struct versions *v)
{
	*v = (struct versions){.height = 1};
	v->head = node_new((struct slice){0}, VERSIONS_HEIGHT_MAX);
	rng_init(&v->rng, 1);
}

void versions_close(struct versions *v)
{
	struct node *node = v->head;
	while (node) {
		struct node *next = node->next[0];
		node_free(node);
		node = next;
	}
	*v = (struct versions){0};
}

/* The first node not less than the key; before[level] is the last one less, where `before` is
 * given. */
static struct node *walk(const struct versions *v, struct slice key, struct node **before)
{
	struct node *at = v->head;
	struct node *known = NULL; /* not less, compared already */
	struct key_head head = head_of(key);
	for (uint32_t level = v->height; level-- > 0;) {
		struct node *next = at->next[level];
		while (next && next != known && is_less(next, &head, key)) {
			at = next;
			next = at->next[level];
		}
		known = next;
		if (before)
			before[level] = at;
	}
	return at->next[0];
}

struct node *versions_seek(const struct versions *v, struct slice key)
{
	return walk(v, key, NULL);
}

struct node *versions_before(const struct versions *v, struct slice key)
{
	struct node *before[VERSIONS_HEIGHT_MAX];
	walk(v, key, before);
	return before[0] == v->head ? NULL : before[0];
}

struct node *versions_find(const struct versions *v, struct slice key)
{
	struct node *node = walk(v, key, NULL);
	return node && slice_equal(node_key(node), key) ? node : NULL;
}

/* Each level holds a quarter of the one below. */
static uint32_t draw_height(struct versions *v)
{
	uint64_t bits = rng_next(&v->rng);
	uint32_t height = 1;
	while (height < VERSIONS_HEIGHT_MAX && (bits & 3) == 0) {
		bits >>= 2;
		height++;
	}
	return height;
}

struct node *versions_insert(struct versions *v, struct slice key)
{
	struct node *before[VERSIONS_HEIGHT_MAX];
	struct node *node = walk(v, key, before);
	if (node && slice_equal(node_key(node), key))
		return node;
	node = node_new(key, draw_height(v));
	for (; v->height < node->height; v->height++)
		before[v->height] = v->head;
	for (uint32_t level = 0; level < node->height; level++) {
		node->next[level] = before[level]->next[level];
		before[level]->next[level] = node;
	}
	return node;
}

void versions_drop(struct versions *v, struct node *node)
{
	struct node *before[VERSIONS_HEIGHT_MAX];
	struct node *found = walk(v, node_key(node), before);
	CHECK(found == node && node->height <= v->height);
	for (uint32_t level = 0; level < node->height; level++)
		before[level]->next[level] = node->next[level];
	node_free(node);
}

void node_push(struct node *node, uint64_t number, const struct slice *value)
{
	size_t len = value ? value->len : 0;
	struct version *version = mem_alloc(sizeof *version + len);
	*version = (struct version){
	    .older = node->newest,
	    .number = number,
	    .len = len,
	    .removed = !value,
	};
	if (len)
		memcpy(version->data, value->data, len);
	node->newest = version;
}

void node_pop(struct node *node)
{
	struct version *gone = node->newest;
	node->newest = gone->older;
	free(gone);
}

void node_trim(struct version *from)
{
	if (!from)
		return;
	struct version *gone = from->older;
	from->older = NULL;
	while (gone) {
		struct version *older = gone->older;
		free(gone);
		gone = older;
	}
}
