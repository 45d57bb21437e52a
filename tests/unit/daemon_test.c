/* The skeleton with a toy core: the order of a turn, identity of data directories, signals, and how
 * it ends. */
#include "common/run/daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "common/run/identity.h"
#include "common/store/store_rocks.h"
#include "tests/unit/certificate.h"

enum { SEEN_MAX = 4096, PATH_BYTES = 256 };

/* What the core does when it starts; on its first timer it does what `on_timer` says. */
struct toy {
	void (*on_start)(struct toy *t, struct effects *fx);
	void (*on_timer)(struct toy *t, struct effects *fx);
	void (*on_stored)(struct toy *t, struct effects *fx);
	struct daemon *daemon;
	struct store *store;
	bool timer_done;
	bool destroyed;
	int undrained; /* so often it says that something is under way */
	bool unready;
	int seen[EVENT_DRAIN + 1];
	bool disk_full;
	char order[64]; /* what happened: N(ow), C(ommitted), D(urable), S(tored) */
	int reloads;
	bool member_found;
	uint64_t incarnation, boot;
};

struct bench {
	char dir[64];
	char secret[MEMBER_KEY_CHARS + 1], public[MEMBER_KEY_CHARS + 1];
	struct toy toy;
	struct daemon_spec spec;
	char log[65536];
	const char *extra; /* one more argument */
	const char *name;
	bool no_input; /* it is closed */
	volatile sig_atomic_t terminated;
};

static struct bench bench; /* daemon_run gives its hooks no pointer of ours */

/* ---- the toy ---- */

static void note(struct toy *t, char what)
{
	size_t len = strlen(t->order);
	if (len + 1 < sizeof t->order)
		t->order[len] = what;
}

static void toy_step(void *core, const struct event *event, struct effects *fx)
{
	struct toy *t = core;
	t->seen[event->kind]++;
	assert_true(event->now_ms > 0 && event->wall_ms > 0);
	if (event->kind == EVENT_START && t->on_start)
		t->on_start(t, fx);
	if (event->kind == EVENT_TIMER) {
		t->timer_done = true;
		if (t->on_timer)
			t->on_timer(t, fx);
	}
	if (event->kind == EVENT_STORED) {
		note(t, 'S');
		if (t->on_stored)
			t->on_stored(t, fx);
	}
	if (event->kind == EVENT_DISK)
		t->disk_full = event->disk.full && event->disk.exhausted;
}

static int64_t toy_deadline(const void *core)
{
	return ((const struct toy *)core)->timer_done ? NO_DEADLINE : 1;
}

static bool toy_ready(const void *core, int64_t now_ms, struct buf *out)
{
	bool ready = !((const struct toy *)core)->unready;
	(void)now_ms;
	buf_append_text(out, ready ? "toy ok\n" : "toy failed: not yet\n");
	return ready;
}

static const struct core_ops toy_ops = {.name = "toy",
					.role = ROLE_STORAGE,
					.step = toy_step,
					.deadline = toy_deadline,
					.ready = toy_ready};

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	(void)problem;
	assert_true(seed != 0);
	bench.toy.daemon = d;
	bench.toy.store = daemon_store(d);
	const struct node_identity *identity = daemon_identity(d);
	bench.toy.incarnation = identity->incarnation;
	bench.toy.boot = identity->boot;
	return &bench.toy;
}

static void destroy(void *core)
{
	((struct toy *)core)->destroyed = true;
}

static void respond(struct daemon *d, const struct effect *effect)
{
	(void)d;
	note(&bench.toy, store_dirty(bench.toy.store) ? 'N' : 'D');
	assert_int_equal(effect->respond.request, 1);
}

static bool drained(struct daemon *d)
{
	(void)d;
	return bench.toy.undrained == 0 || bench.toy.undrained-- == 0;
}

static void reload(struct daemon *d)
{
	bench.toy.reloads++;
	bench.toy.member_found = members_by_name(daemon_members(d), "gateway-9") != NULL;
	raise(SIGTERM);
}

/* ---- the bench ---- */

static void path_of(char path[PATH_BYTES], const char *file)
{
	snprintf(path, PATH_BYTES, "%s/%s", bench.dir, file);
}

static void write_file(const char *file, const char *text)
{
	char path[PATH_BYTES];
	path_of(path, file);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	chmod(path, 0600);
}

static void write_members(const char *cluster, const char *more)
{
	struct buf text = {0};
	buf_printf(&text, "cluster: \"%s\"\nmembers:\n", cluster);
	buf_printf(&text, "- {id: 5, name: toy-1, role: storage, public_key: '%s', ", bench.public);
	buf_append_text(&text, "address: 'tcp://127.0.0.1:1'}\n");
	buf_append_text(&text, more);
	write_file("members.yaml", buf_cstr(&text));
	buf_close(&text);
}

static int open_bench(void **state)
{
	static const struct config_option options[] = {
	    {"data_dir", CONFIG_TEXT, NULL, 0, 0, ""},
	    {"accept_torn_log", CONFIG_BOOL, "false", 0, 0, ""},
	    {"disk_reserve_bytes", CONFIG_NUMBER, "0", 0, UINT64_MAX, ""},
	    {"verify", CONFIG_BOOL, "false", 0, 0, ""},
	};
	bench = (struct bench){.dir = "/tmp/parley-daemon-XXXXXX", .name = "toy-1"};
	assert_non_null(mkdtemp(bench.dir));
	struct buf cert = {0}, key = {0};
	certificate_make(&cert, &key);
	write_file("cert.pem", buf_cstr(&cert));
	write_file("tls.key", buf_cstr(&key));
	buf_close(&cert);
	buf_close(&key);
	do /* YAML in single quotes */
		assert_int_equal(zmq_curve_keypair(bench.public, bench.secret), 0);
	while (strchr(bench.public, '\''));
	write_file("curve.key", bench.secret);
	write_members("00000000000000aa", "");
	bench.spec = (struct daemon_spec){.ops = &toy_ops,
					  .options = options,
					  .options_count = ARRAY_LEN(options),
					  .stores = true,
					  .identity = true,
					  .create = create,
					  .destroy = destroy,
					  .respond = respond,
					  .drained = drained,
					  .reload = reload};
	*state = &bench;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int close_bench(void **state)
{
	(void)state;
	return nftw(bench.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void read_log(int fd)
{
	ssize_t got = pread(fd, bench.log, sizeof bench.log - 1, 0);
	bench.log[got > 0 ? got : 0] = '\0';
}

/* Runs the daemon to its end with its log kept; gives its exit code. */
static int run(void)
{
	char data[PATH_BYTES], members[PATH_BYTES], key[PATH_BYTES], cert[PATH_BYTES],
	    tls[PATH_BYTES], name[PATH_BYTES], log[PATH_BYTES];
	snprintf(data, sizeof data, "--data-dir=%s/data", bench.dir);
	snprintf(members, sizeof members, "--members-file=%s/members.yaml", bench.dir);
	snprintf(key, sizeof key, "--key-file=%s/curve.key", bench.dir);
	snprintf(cert, sizeof cert, "--tls-cert=%s/cert.pem", bench.dir);
	snprintf(tls, sizeof tls, "--tls-key=%s/tls.key", bench.dir);
	snprintf(name, sizeof name, "--name=%s", bench.name);
	char *argv[] = {(char[]){"toy"},
			data,
			members,
			key,
			cert,
			tls,
			name,
			(char[]){"--bind=tcp://127.0.0.1:*"},
			(char[]){"--health-port=0"},
			(char *)(uintptr_t)(bench.extra ? bench.extra : "--log-level=debug"),
			NULL};
	path_of(log, "log");
	int saved = dup(STDERR_FILENO);
	int fd = open(log, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(saved >= 0 && fd >= 0);
	dup2(fd, STDERR_FILENO);
	if (bench.no_input)
		close(STDIN_FILENO);
	int exit_code = daemon_run((int)ARRAY_LEN(argv) - 1, argv, &bench.spec);
	dup2(saved, STDERR_FILENO);
	close(saved);
	read_log(fd);
	close(fd);
	return exit_code;
}

static void restart_toy(void)
{
	bench.toy = (struct toy){.on_start = bench.toy.on_start,
				 .on_timer = bench.toy.on_timer,
				 .on_stored = bench.toy.on_stored};
}

static void expect_log(const char *part)
{
	if (!strstr(bench.log, part))
		fail_msg("\"%s\" is not in the log: %s", part, bench.log);
}

/* ---- behaviours ---- */

static void terminate(struct toy *t, struct effects *fx)
{
	(void)t;
	(void)fx;
	raise(SIGTERM);
}

static void answer(struct effects *fx, enum effect_when when)
{
	struct http_response response = {.status = 200};
	fx_respond(fx, 1, &response);
	fx->items[fx->count - 1].when = when;
}

static void put_and_answer(struct toy *t, struct effects *fx)
{
	store_put(t->store, STORE_META, slice_text("toy"), slice_text("1"));
	answer(fx, WHEN_DURABLE);
	answer(fx, WHEN_NOW);
	fx_sync(fx);
}

static void put_once_more(struct toy *t, struct effects *fx)
{
	if (t->seen[EVENT_STORED] == 1)
		put_and_answer(t, fx);
}

static enum store_result fail_commit(struct store *s, bool sync)
{
	(void)s;
	(void)sync;
	return STORE_FULL;
}

static void put_on_a_full_disk(struct toy *t, struct effects *fx)
{
	static struct store_ops ops;
	ops = *t->store->ops;
	ops.commit = fail_commit;
	t->store->ops = &ops;
	put_and_answer(t, fx);
}

static void hang_up(struct toy *t, struct effects *fx)
{
	(void)t;
	(void)fx;
	char key[MEMBER_KEY_CHARS + 1], secret[MEMBER_KEY_CHARS + 1], row[256];
	zmq_curve_keypair(key, secret);
	snprintf(row, sizeof row,
		 "- id: 9\n  name: gateway-9\n  role: gateway\n  public_key: \"%s\"\n", key);
	write_members("00000000000000aa", row);
	raise(SIGHUP);
}

static void exit_with_words(struct toy *t, struct effects *fx)
{
	(void)t;
	fx_log(fx, LOG_LEVEL_ERROR, "last_words said=yes");
	answer(fx, WHEN_NOW);
	fx_exit(fx, "it can't go on");
}

static void reset_data(struct toy *t, struct effects *fx)
{
	(void)t;
	fx_reset(fx, "a torn log");
}

/* ---- tests ---- */

static void a_turn_keeps_its_order(void **state)
{
	(void)state;
	bench.toy.on_start = put_and_answer;
	bench.toy.on_stored = put_once_more;
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	/* now, then - committed - durable, then stored; and what STORED made likewise */
	assert_string_equal(bench.toy.order, "NDSNDS");
	assert_int_equal(bench.toy.seen[EVENT_START], 1);
	assert_int_equal(bench.toy.seen[EVENT_STORED], 2);
	assert_true(bench.toy.seen[EVENT_TURN] > 0);
	assert_true(bench.toy.destroyed);
	expect_log("event=ready");
}

static void nothing_durable_leaves_after_a_failed_commit(void **state)
{
	(void)state;
	bench.toy.on_start = put_on_a_full_disk;
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	assert_string_equal(bench.toy.order, "N");
	assert_int_equal(bench.toy.seen[EVENT_STORED], 0);
	expect_log("level=fatal");
	expect_log("reason=no_space");
}

static void a_stop_drains(void **state)
{
	(void)state;
	bench.toy.on_timer = terminate;
	bench.toy.undrained = 2;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_int_equal(bench.toy.seen[EVENT_DRAIN], 1);
	assert_int_equal(bench.toy.undrained, 0);
	restart_toy();
	bench.toy.undrained = 1000000; /* never done: the time limit ends it */
	bench.extra = "--drain-timeout-ms=50";
	int64_t start_ms = clock_boot_ms();
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_true(clock_boot_ms() - start_ms >= 50);
	assert_true(bench.toy.undrained > 0);
}

static void hangup_reads_members_anew(void **state)
{
	(void)state;
	bench.toy.on_timer = hang_up;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_int_equal(bench.toy.reloads, 1);
	assert_true(bench.toy.member_found);
	expect_log("event=reloaded");
}

static void a_core_may_end_its_process(void **state)
{
	(void)state;
	bench.toy.on_timer = exit_with_words;
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("event=last_words said=yes");
	expect_log("exit reason=\"it can't go on\"");
	assert_string_equal(bench.toy.order, "");
}

static int count_aside(void)
{
	char path[PATH_BYTES];
	int count = 0;
	path_of(path, "data");
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		count += strncmp(e->d_name, "store.aside-", 12) == 0;
	closedir(d);
	return count;
}

static void a_directory_keeps_its_identity(void **state)
{
	(void)state;
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	uint64_t incarnation = bench.toy.incarnation;
	assert_true(incarnation != 0);
	assert_int_equal(bench.toy.boot, 1);
	restart_toy();
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_true(bench.toy.incarnation == incarnation);
	assert_int_equal(bench.toy.boot, 2);

	write_members("00000000000000bb", "");
	restart_toy();
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("belongs to cluster 00000000000000aa, not 00000000000000bb");
	assert_int_equal(bench.toy.seen[EVENT_START], 0);
	assert_int_equal(count_aside(), 0);
}

static void a_reset_begins_a_new_incarnation(void **state)
{
	(void)state;
	bench.toy.on_timer = reset_data;
	assert_int_equal(run(), DAEMON_EXIT_RESET);
	uint64_t incarnation = bench.toy.incarnation;
	assert_int_equal(count_aside(), 1);
	assert_true(bench.toy.destroyed);
	expect_log("data_set_aside");
	expect_log("a torn log");
	restart_toy();
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_true(bench.toy.incarnation != incarnation);
	assert_int_equal(bench.toy.boot, 1);
}

static void a_damaged_store_is_set_aside_or_refused(void **state)
{
	(void)state;
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	uint64_t incarnation = bench.toy.incarnation;
	write_file("data/store/CURRENT", "no such manifest\n");
	restart_toy();
	bench.spec.identity = false; /* a coordinator's: its operator decides */
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("is damaged");
	assert_int_equal(count_aside(), 0);
	bench.spec.identity = true;
	restart_toy();
	assert_int_equal(run(), DAEMON_EXIT_OK);
	expect_log("level=error");
	expect_log("data_set_aside");
	assert_int_equal(count_aside(), 1);
	assert_true(bench.toy.incarnation != incarnation);
}

static void a_second_process_is_refused(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct store *store;
	struct buf text = {0};
	path_of(path, "data");
	mkdir(path, 0700);
	path_of(path, "data/store");
	struct store_rocks_options options = {.path = path};
	assert_int_equal(store_rocks_open(&options, &store, &text), STORE_OPEN_OK);
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("another process has");
	expect_log("only one toy may run on it");
	store_close(store);
	buf_close(&text);
}

static void low_space_is_told(void **state)
{
	(void)state;
	bench.extra = "--disk-reserve-bytes=9000000000000000000";
	bench.toy.on_timer = terminate;
	bench.toy.undrained = 2;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_int_equal(bench.toy.seen[EVENT_DISK], 1);
	assert_true(bench.toy.disk_full);
}

/* What the daemon tells systemd in a run, line by line. */
static void run_told(struct buf *told)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char line[1024];
	snprintf(at.sun_path, sizeof at.sun_path, "%.60s/notify", bench.dir);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	setenv("NOTIFY_SOCKET", at.sun_path, 1);
	assert_int_equal(run(), DAEMON_EXIT_OK);
	unsetenv("NOTIFY_SOCKET");
	for (ssize_t got; (got = recv(fd, line, sizeof line, 0)) > 0;) {
		buf_append(told, line, (size_t)got);
		buf_append_byte(told, '\n');
	}
	close(fd);
	assert_int_equal(unlink(at.sun_path), 0);
}

/* A node that is copied to, or that waits for the others, is not ready for as long as that takes:
 * it must not be taken for one that hangs. */
static void who_is_not_ready_says_that_it_lives(void **state)
{
	(void)state;
	struct buf told = {0};
	bench.toy.on_timer = terminate;
	bench.toy.unready = true;
	run_told(&told);
	const char *waits = strstr(buf_cstr(&told), "STATUS=toy failed: not yet");
	assert_non_null(waits);
	assert_non_null(strstr(waits, "EXTEND_TIMEOUT_USEC="));
	assert_null(strstr(buf_cstr(&told), "READY=1"));
	restart_toy();
	buf_clear(&told);
	run_told(&told);
	const char *ready = strstr(buf_cstr(&told), "READY=1");
	assert_non_null(ready);
	assert_null(strstr(ready, "EXTEND_TIMEOUT_USEC="));
	buf_close(&told);
}

static bool say_well(struct daemon *d, struct buf *report)
{
	(void)d;
	(void)report;
	raise(SIGTERM);
	return true;
}

static void be_terminated(int signal)
{
	(void)signal;
	bench.terminated = true;
}

static void only_a_store_that_is_there_is_verified(void **state)
{
	(void)state;
	char data[PATH_BYTES], store[PATH_BYTES];
	path_of(data, "data");
	path_of(store, "data/store");
	bench.spec.verify = say_well;
	bench.toy.on_timer = terminate;
	bench.extra = "--verify";
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("data/store: No such file");
	assert_int_equal(access(data, F_OK), -1); /* nor was one made */
	bench.extra = NULL;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	bench.extra = "--verify";
	if (chown(store, 1, (gid_t)-1) == 0) { /* else this is not root */
		assert_int_equal(run(), DAEMON_EXIT_FAILED);
		expect_log("belongs to user 1");
		assert_int_equal(chown(store, geteuid(), (gid_t)-1), 0);
	}
}

/* It may take hours. */
static void a_verification_can_be_stopped(void **state)
{
	(void)state;
	struct sigaction stop = {.sa_handler = be_terminated}, before;
	sigset_t term, blocked;
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &term, &blocked), 0);
	assert_int_equal(sigaction(SIGTERM, &stop, &before), 0);
	bench.spec.verify = say_well;
	bench.extra = "--verify";
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_true(bench.terminated);
	assert_int_equal(sigaction(SIGTERM, &before, NULL), 0);
	assert_int_equal(sigprocmask(SIG_SETMASK, &blocked, NULL), 0);
}

static void look_at_signals(struct toy *t, struct effects *fx)
{
	static const int numbers[] = {SIGHUP, SIGTERM, SIGCHLD};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct sigaction now;
		assert_int_equal(sigaction(numbers[i], NULL, &now), 0);
		if (now.sa_handler == SIG_IGN) {
			fx_exit(fx, "a signal is ignored");
			return;
		}
	}
	hang_up(t, fx);
}

static void who_started_it_hides_no_signals(void **state)
{
	(void)state;
	signal(SIGHUP, SIG_IGN); /* nohup */
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	bench.toy.on_timer = look_at_signals;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_int_equal(bench.toy.reloads, 1);
}

static void look_at_input(struct toy *t, struct effects *fx)
{
	struct stat st;
	if (fstat(STDIN_FILENO, &st) != 0 || !S_ISCHR(st.st_mode))
		fx_exit(fx, "something else is the standard input");
	else
		terminate(t, fx);
}

/* A file of the store as standard error would take the lines of the log. */
static void what_it_opens_is_no_standard_descriptor(void **state)
{
	(void)state;
	int saved = dup(STDIN_FILENO);
	bench.toy.on_timer = look_at_input;
	bench.no_input = true;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	if (saved >= 0) {
		dup2(saved, STDIN_FILENO);
		close(saved);
	}
}

static void as_many_files_are_open_as_may_be(void **state)
{
	(void)state;
	struct rlimit before, during;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	during = (struct rlimit){64, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &during), 0);
	bench.toy.on_timer = terminate;
	assert_int_equal(run(), DAEMON_EXIT_OK);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &during), 0);
	assert_true(during.rlim_cur == before.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void what_is_wrong_at_the_start_is_said(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	path_of(path, "curve.key");
	chmod(path, 0644);
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("curve.key");
	expect_log("0644");
	chmod(path, 0400);
	bench.name = "toy-2";
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("has no member toy-2");
	bench.name = "toy-1";
	bench.extra = "--no-such=1";
	assert_int_equal(run(), DAEMON_EXIT_USAGE);
	expect_log("--no-such");
	bench.extra = "--log-level=loud";
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("loud");
	bench.extra = "--tls-cert=/no/such/cert";
	assert_int_equal(run(), DAEMON_EXIT_FAILED);
	expect_log("/no/such/cert");
	assert_int_equal(bench.toy.seen[EVENT_START], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_turn_keeps_its_order),
	    TEST(nothing_durable_leaves_after_a_failed_commit),
	    TEST(a_stop_drains),
	    TEST(hangup_reads_members_anew),
	    TEST(a_core_may_end_its_process),
	    TEST(a_directory_keeps_its_identity),
	    TEST(a_reset_begins_a_new_incarnation),
	    TEST(a_damaged_store_is_set_aside_or_refused),
	    TEST(a_second_process_is_refused),
	    TEST(low_space_is_told),
	    TEST(who_is_not_ready_says_that_it_lives),
	    TEST(only_a_store_that_is_there_is_verified),
	    TEST(a_verification_can_be_stopped),
	    TEST(who_started_it_hides_no_signals),
	    TEST(what_it_opens_is_no_standard_descriptor),
	    TEST(as_many_files_are_open_as_may_be),
	    TEST(what_is_wrong_at_the_start_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
