/* A graph whose bodies come in parts, and that moves between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/doc/graph_parts.h"

enum { NODES_MAX = 4 };

struct fixture {
	struct arena arena;
	struct graph_parts parts;
	struct msg_conflict_read_ack whole;
	uint64_t from;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.from = 99};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	arena_close(&f->arena);
	return 0;
}

/* Nodes by their letters: a capital has its body in this part, a small one has it elsewhere. */
static bool take(struct fixture *f, const char *letters)
{
	struct graph_node nodes[NODES_MAX] = {0};
	char names[NODES_MAX];
	struct msg_conflict_read_ack part = {.nodes = nodes};
	for (; letters[part.nodes_count]; part.nodes_count++) {
		uint32_t i = part.nodes_count;
		bool here = letters[i] >= 'A' && letters[i] <= 'Z';
		names[i] = (char)(letters[i] | 0x20);
		nodes[i].revision = (struct revision){1, slice_of(&names[i], 1)};
		nodes[i].flags = here ? REVISION_HAS_BODY : REVISION_BODY_LEFT;
		if (here)
			nodes[i].body = slice_of(&letters[i], 1);
	}
	bool whole = graph_parts_take(&f->parts, &f->arena, &part, &f->whole, &f->from);
	for (uint32_t i = 0; whole && i < f->whole.nodes_count; i++) {
		assert_int_equal(f->whole.nodes[i].body.len, 1);
		assert_int_equal(f->whole.nodes[i].body.data[0] | 0x20, names[i]);
		assert_int_equal(f->whole.nodes[i].flags, REVISION_HAS_BODY);
	}
	return whole;
}

static void test_one_part(void **state)
{
	assert_true(take(*state, "ABC"));
}

static void test_parts(void **state)
{
	struct fixture *f = *state;
	assert_false(take(f, "ABcd"));
	assert_int_equal(f->from, 2);
	assert_false(take(f, "abCd"));
	assert_int_equal(f->from, 3);
	assert_true(take(f, "abcD"));
}

/* What was read stays good: of the new graph only the rest is asked for. */
static void test_it_moves(void **state)
{
	struct fixture *f = *state;
	assert_false(take(f, "ABc"));
	assert_false(take(f, "axBc")); /* another version came in */
	assert_int_equal(f->from, 1);
}

static void test_it_moves_and_is_whole(void **state)
{
	struct fixture *f = *state;
	assert_false(take(f, "ABc"));
	assert_false(take(f, "aXbc"));
	assert_int_equal(f->from, 3);
	assert_true(take(f, "axbC"));
}

static void test_what_is_left_for_good(void **state)
{
	struct fixture *f = *state;
	assert_false(take(f, "Ab"));
	/* asked for, and not there: nothing more is read, and the mark stays */
	struct graph_node nodes[2] = {{.flags = REVISION_BODY_LEFT}, {.flags = REVISION_BODY_LEFT}};
	nodes[0].revision = (struct revision){1, slice_text("a")};
	nodes[1].revision = (struct revision){1, slice_text("b")};
	struct msg_conflict_read_ack part = {.nodes = nodes, .nodes_count = 2};
	assert_true(graph_parts_take(&f->parts, &f->arena, &part, &f->whole, &f->from));
	assert_true(graph_parts_are_left(&f->whole));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_one_part),
	    T(test_parts),
	    T(test_it_moves),
	    T(test_it_moves_and_is_whole),
	    T(test_what_is_left_for_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
