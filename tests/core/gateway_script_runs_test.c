/* How many runs of scripts a collection may have under way at the gateway, beside others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/script_runs.h"

static void ended(struct turn *t, struct request *r, const void *context,
		  const struct script_end *end)
{
	(void)t, (void)r, (void)context, (void)end;
}

static uint32_t drops(const struct effects *fx)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < fx->count; i++)
		count += fx->items[i].kind == EFFECT_SCRIPT_DROP;
	return count;
}

static void test_shares(void **state)
{
	static struct gateway gw;
	struct effects fx = {0};
	struct turn t = {.gw = &gw, .fx = &fx, .now_ms = 1};
	struct request greedy = {.id = 1, .collection = slice_text("greedy")};
	struct request modest = {.id = 2, .collection = slice_text("modest")};
	const struct script_asked asked = {slice_text("1"), {0}, ended, NULL, 0};
	int runs = 0;
	(void)state;
	script_runs_init(&gw);
	map_put_u64(&gw.requests, greedy.id, &greedy);
	map_put_u64(&gw.requests, modest.id, &modest);
	while (script_run(&t, &greedy, &asked))
		runs++;
	assert_int_equal(runs, SCRIPT_RUNS_MAX / 2);
	assert_true(script_run(&t, &modest, &asked));
	assert_false(script_run(&t, &greedy, &asked));
	t.now_ms += SCRIPT_PATIENCE_MS + 1;
	script_runs_tick(&t);
	assert_int_equal(script_runs_deadline(&gw), NO_DEADLINE);
	assert_int_equal(drops(&fx), SCRIPT_RUNS_MAX / 2 + 1);
	assert_true(script_run(&t, &greedy, &asked));
	assert_true(script_run(&t, &modest, &asked));
	assert_true(script_run(&t, &greedy, &asked));
	/* of one that ends nothing is run any more */
	effects_clear(&fx);
	script_runs_end(&t, &greedy);
	assert_int_equal(drops(&fx), 2);
	script_runs_end(&t, &modest);
	assert_int_equal(drops(&fx), 3);
	assert_int_equal(script_runs_deadline(&gw), NO_DEADLINE);
	map_close(&gw.requests);
	script_runs_close(&gw);
	effects_close(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
