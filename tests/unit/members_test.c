/* The member list: what it gives, and what it refuses with file and line. */
#include "common/run/members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"

#define KEY_1 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define KEY_2 "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define KEY_3 "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"

#define GOOD                                                                                       \
	"# the cluster\n"                                                                          \
	"cluster: \"0123456789abcdef\"\n"                                                          \
	"members:\n"                                                                               \
	"  - id: 1\n"                                                                              \
	"    name: coordinator-1\n"                                                                \
	"    role: coordinator\n"                                                                  \
	"    public_key: \"" KEY_1 "\"\n"                                                          \
	"    address: tcp://127.0.1.1:7000\n"                                                      \
	"  - id: 12\n"                                                                             \
	"    name: storage-1\n"                                                                    \
	"    role: storage\n"                                                                      \
	"    public_key: \"" KEY_2 "\"\n"                                                          \
	"    address: tcp://127.0.1.2:7000\n"                                                      \
	"    source: 127.0.1.2\n"                                                                  \
	"  - id: 3\n"                                                                              \
	"    name: gateway-1\n"                                                                    \
	"    role: gateway\n"                                                                      \
	"    public_key: \"" KEY_3 "\"\n"

struct bench {
	char file[64];
	struct members members;
	struct buf problem;
};

static int open_bench(void **state)
{
	static struct bench b;
	b = (struct bench){.file = "/tmp/parley-members-XXXXXX"};
	int fd = mkstemp(b.file);
	assert_true(fd >= 0);
	close(fd);
	*state = &b;
	return 0;
}

static int close_bench(void **state)
{
	struct bench *b = *state;
	unlink(b->file);
	members_close(&b->members);
	buf_close(&b->problem);
	return 0;
}

static bool load(struct bench *b, const char *text)
{
	FILE *f = fopen(b->file, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	members_close(&b->members);
	buf_clear(&b->problem);
	return members_load(b->file, &b->members, &b->problem);
}

/* The good list with one thing changed. */
static bool load_changed(struct bench *b, const char *from, const char *to)
{
	struct buf text = {0};
	const char *at = strstr(GOOD, from);
	assert_non_null(at);
	buf_append(&text, GOOD, (size_t)(at - GOOD));
	buf_append_text(&text, to);
	buf_append_text(&text, at + strlen(from));
	bool ok = load(b, buf_cstr(&text));
	buf_close(&text);
	return ok;
}

static void refused(struct bench *b, const char *from, const char *to, unsigned line,
		    const char *words)
{
	char place[96];
	assert_false(load_changed(b, from, to));
	snprintf(place, sizeof place, "%s:%u:", b->file, line);
	if (!strstr(buf_cstr(&b->problem), place) || !strstr(buf_cstr(&b->problem), words))
		fail_msg("expected %s ... %s, got: %s", place, words, buf_cstr(&b->problem));
	assert_null(b->members.rows);
	assert_int_equal(b->members.count, 0);
}

static void a_good_list_gives_its_rows(void **state)
{
	struct bench *b = *state;
	if (!load(b, GOOD))
		fail_msg("%s", buf_cstr(&b->problem));
	assert_true(b->members.cluster == 0x0123456789abcdef);
	assert_int_equal(b->members.count, 3);
	const struct member_row *s = members_by_id(&b->members, 12);
	assert_non_null(s);
	assert_string_equal(s->name, "storage-1");
	assert_int_equal(s->role, ROLE_STORAGE);
	assert_string_equal(s->public_key, KEY_2);
	assert_string_equal(s->address, "tcp://127.0.1.2:7000");
	assert_string_equal(s->source, "127.0.1.2");
	assert_ptr_equal(members_by_name(&b->members, "storage-1"), s);
	assert_ptr_equal(members_by_key(&b->members, KEY_2), s);
	assert_string_equal(members_by_id(&b->members, 3)->address, "");
	assert_null(members_by_id(&b->members, 2));
	assert_null(members_by_name(&b->members, "storage"));
	assert_null(members_by_key(&b->members, ""));
}

static void what_is_there_twice_is_refused(void **state)
{
	struct bench *b = *state;
	refused(b, "id: 12", "id: 1", 9, "is there twice");
	refused(b, "name: storage-1", "name: coordinator-1", 10, "is there twice");
	refused(b, KEY_2, KEY_1, 12, "is there twice");
	refused(b, "tcp://127.0.1.2:7000", "tcp://127.0.1.1:7000", 13, "is there twice");
}

static void bad_values_are_refused(void **state)
{
	struct bench *b = *state;
	refused(b, "id: 3", "id: 0", 15, "above 0");
	refused(b, "id: 3", "id: minus", 15, "");
	refused(b, "role: gateway", "role: gate", 17, "must be gateway");
	refused(b, "name: gateway-1", "name: \"gate way\"", 16, "may hold");
	refused(b, KEY_3, "too short", 18, "");
	refused(b, KEY_3, "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{L~~", 18, "CURVE");
	refused(b, "\"0123456789abcdef\"", "\"0000000000000000\"", 2, "16 hexadecimal");
	refused(b, "\"0123456789abcdef\"", "\"+123456789abcdef\"", 2, "16 hexadecimal");
	refused(b, "\"0123456789abcdef\"", "12", 2, "16 hexadecimal");
}

static void addresses_are_checked(void **state)
{
	struct bench *b = *state;
	refused(b, "    address: tcp://127.0.1.2:7000\n", "", 10, "needs an address");
	refused(b, "tcp://127.0.1.2:7000", "127.0.1.2:7000", 13, "tcp://host:port");
	refused(b, "tcp://127.0.1.2:7000", "tcp://127.0.1.2", 13, "tcp://host:port");
	refused(b, "tcp://127.0.1.2:7000", "tcp://127.0.1.2:70000", 13, "tcp://host:port");
	refused(b, "tcp://127.0.1.2:7000", "tcp://*:7000", 13, "tcp://host:port");
	refused(b, "tcp://127.0.1.2:7000", "tcp://127.0.1.2:0", 13, "tcp://host:port");
	refused(b, "role: gateway", "address: tcp://127.0.1.9:1\n    role: gateway", 17,
		"only storage nodes");
	refused(b, "source: 127.0.1.2", "source: 127.0.1.2;tcp", 14, "IP address");
}

static void unknown_keys_are_named(void **state)
{
	struct bench *b = *state;
	refused(b, "    source:", "    sauce:", 14, "unknown key 'sauce'");
	refused(b, "members:", "extra: 1\nmembers:", 3, "unknown key 'extra'");
	assert_false(load(b, ""));
	assert_false(load(b, "cluster: \"0123456789abcdef\"\n"));
	assert_false(load(b, "cluster: \"0123456789abcdef\"\nmembers: []\n"));
	buf_clear(&b->problem);
	assert_false(members_load("/no/such/list", &b->members, &b->problem));
	assert_non_null(strstr(buf_cstr(&b->problem), "/no/such/list: No such file"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_good_list_gives_its_rows), TEST(what_is_there_twice_is_refused),
	    TEST(bad_values_are_refused),     TEST(addresses_are_checked),
	    TEST(unknown_keys_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
