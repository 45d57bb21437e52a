/* The only user of PCRE2. Its memory comes from the query's arena, so that there is nothing to
 * free. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "common/doc/query_plan.h"

/* What a pattern may take is measured by callouts, one before each of its items: a step each, and
 * one for every SCAN_BYTES that an item ran over. Every value looked at earns some steps; how many
 * can be saved up bounds what a single value takes, some milliseconds. So a query costs what its
 * documents are worth, whatever its patterns, and however many. The limits of PCRE2 bound its
 * memory. */
enum {
	REGEX_PATTERN_BYTES = 4096,
	REGEX_STEPS_SAVED = 200000,
	REGEX_STEPS_EARNED = 500,
	REGEX_STEPS_EARNED_PER_BYTE = 8,
	REGEX_SCAN_BYTES = 16,
	REGEX_MATCH_LIMIT = 10000000,
	REGEX_HEAP_KIB = 4096
};

struct query_regex {
	pcre2_code *code;
	pcre2_match_data *data; /* scratch of a match */
	pcre2_match_context *context;
	int64_t own_steps;
	int64_t *steps;  /* that it may still take: its own, or those of all of a filter */
	PCRE2_SIZE last; /* position at the last callout */
};

static void *take(size_t bytes, void *arena)
{
	return arena_alloc(arena, bytes);
}

/* The arena frees all at once. */
static void give(void *memory, void *arena)
{
	(void)memory;
	(void)arena;
}

static bool option_bits(struct slice options, uint32_t *bits, char *text, size_t text_bytes)
{
	*bits = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
	for (size_t i = 0; i < options.len; i++) {
		switch (options.data[i]) {
		case 'i':
			*bits |= PCRE2_CASELESS;
			break;
		case 'm':
			*bits |= PCRE2_MULTILINE;
			break;
		case 's':
			*bits |= PCRE2_DOTALL;
			break;
		case 'x':
			*bits |= PCRE2_EXTENDED;
			break;
		default:
			snprintf(text, text_bytes, "$options takes the letters i, m, s and x");
			return false;
		}
	}
	return true;
}

static int count_step(pcre2_callout_block *block, void *data)
{
	struct query_regex *regex = data;
	PCRE2_SIZE at = block->current_position;
	PCRE2_SIZE moved = at > regex->last ? at - regex->last : 0;
	regex->last = at;
	*regex->steps -= 1 + (int64_t)(moved / REGEX_SCAN_BYTES);
	return *regex->steps < 0 ? PCRE2_ERROR_CALLOUT : 0;
}

static void bound(struct query_regex *regex, pcre2_general_context *general)
{
	regex->context = pcre2_match_context_create(general);
	pcre2_set_match_limit(regex->context, REGEX_MATCH_LIMIT);
	pcre2_set_depth_limit(regex->context, REGEX_MATCH_LIMIT);
	pcre2_set_heap_limit(regex->context, REGEX_HEAP_KIB);
	pcre2_set_callout(regex->context, count_step, regex);
	regex->own_steps = REGEX_STEPS_SAVED;
	regex->steps = &regex->own_steps;
}

struct query_regex *query_regex_compile(struct slice pattern, struct slice options,
					struct arena *arena, char *text, size_t text_bytes)
{
	uint32_t bits;
	if (!option_bits(options, &bits, text, text_bytes))
		return NULL;
	if (pattern.len > REGEX_PATTERN_BYTES) {
		snprintf(text, text_bytes, "a pattern has at most %d bytes", REGEX_PATTERN_BYTES);
		return NULL;
	}
	struct query_regex *regex = arena_alloc(arena, sizeof *regex);
	pcre2_general_context *general = pcre2_general_context_create(take, give, arena);
	pcre2_compile_context *compile = pcre2_compile_context_create(general);
	int problem;
	PCRE2_SIZE at;
	regex->code = pcre2_compile(pattern.len ? pattern.data : (PCRE2_SPTR) "", pattern.len,
				    bits | PCRE2_AUTO_CALLOUT, &problem, &at, compile);
	if (!regex->code) {
		PCRE2_UCHAR reason[100];
		pcre2_get_error_message(problem, reason, sizeof reason);
		snprintf(text, text_bytes, "at byte %zu of the pattern: %s", at,
			 (const char *)reason);
		return NULL;
	}
	bound(regex, general);
	regex->data = pcre2_match_data_create(1, general);
	return regex;
}

void query_regex_borrow(struct query_regex *regex, const struct query_regex *lender)
{
	regex->data = lender->data;
}

void query_regex_join(struct query_regex *regex, const struct query_regex *first)
{
	query_regex_borrow(regex, first);
	regex->steps = first->steps;
}

bool query_regex_matches(struct query_regex *regex, struct slice subject, bool *too_costly)
{
	int64_t earned = REGEX_STEPS_EARNED;
	earned += REGEX_STEPS_EARNED_PER_BYTE * (int64_t)subject.len;
	*regex->steps += earned;
	if (*regex->steps > REGEX_STEPS_SAVED + earned)
		*regex->steps = REGEX_STEPS_SAVED + earned;
	regex->last = 0;
	int result = pcre2_match(regex->code, subject.len ? subject.data : (PCRE2_SPTR) "",
				 subject.len, 0, 0, regex->data, regex->context);
	if (result < 0 && result != PCRE2_ERROR_NOMATCH)
		*too_costly = true;
	return result >= 0;
}
