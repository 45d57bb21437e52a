#include "script-worker/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_FOREIGN_FD = 3, CAPABILITIES = 64 };

static bool failed(struct buf *problem, const char *what)
{
	buf_printf(problem, "%s: %s", what, strerror(errno));
	return false;
}

/* What protects the daemon from a machine without memory would protect its worker, too, which is
 * easily replaced. Where this can't be written, nothing is lost but that. */
static void die_first(void)
{
	static const char score[] = "900";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t put = write(fd, score, sizeof score - 1);
	(void)put;
	close(fd);
}

bool sandbox_begin(struct buf *problem)
{
	struct rlimit none = {0, 0};
	die_first();
	if (syscall(SYS_close_range, FIRST_FOREIGN_FD, ~0U, 0) != 0)
		return failed(problem, "close_range");
	/* it was started by its link in /proc */
	prctl(PR_SET_NAME, "parley-script");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return failed(problem, "prctl");
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		return failed(problem, "setrlimit");
	return true;
}

/* Calls visit for each name in the folder, until it says false. */
static bool each_name(const char *folder, struct buf *problem,
		      bool (*visit)(const char *name, struct buf *problem))
{
	bool ok = true;
	DIR *names = opendir(folder);
	if (!names)
		return failed(problem, folder);
	for (struct dirent *d; ok && (d = readdir(names));)
		ok = d->d_name[0] == '.' || visit(d->d_name, problem);
	closedir(names);
	return ok;
}

/* A thread that was there before could do what this one can't any more. */
static bool is_this_thread(const char *name, struct buf *problem)
{
	bool mine = strtoll(name, NULL, 10) == (long long)getpid();
	if (!mine)
		buf_append_text(problem, "the engine runs threads of its own");
	return mine;
}

/* The engine keeps some open: its bell, random numbers, its own size. */
static bool is_harmless(const char *name, struct buf *problem)
{
	static const char *const kinds[] = {"anon_inode:", "/dev/urandom", "/proc/"};
	char path[64], target[256];
	if (strtoll(name, NULL, 10) < FIRST_FOREIGN_FD)
		return true;
	snprintf(path, sizeof path, "/proc/self/fd/%s", name);
	ssize_t len = readlink(path, target, sizeof target - 1);
	target[len > 0 ? len : 0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strncmp(target, kinds[i], strlen(kinds[i])) == 0)
			return true;
	buf_printf(problem, "the engine has %s open", target);
	return false;
}

static bool is_alone(struct buf *problem)
{
	return each_name("/proc/self/task", problem, is_this_thread) &&
	       each_name("/proc/self/fd", problem, is_harmless);
}

/* To give them up may be refused to one that has none. */
static bool drop_capabilities(struct buf *problem)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	for (int i = 0; i < CAPABILITIES; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, data) == 0)
		return true;
	if (syscall(SYS_capget, &head, data) != 0 || data[0].permitted || data[1].permitted)
		return failed(problem, "capset");
	return true;
}

static bool limit_resources(struct buf *problem)
{
	static const int zero[] = {RLIMIT_FSIZE,   RLIMIT_NPROC,    RLIMIT_NOFILE,
				   RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_LOCKS};
	struct rlimit none = {0, 0};
	for (size_t i = 0; i < ARRAY_LEN(zero); i++)
		if (setrlimit(zero[i], &none) != 0)
			return failed(problem, "setrlimit");
	return true;
}

/* ---- system calls ---- */

static struct scmp_arg_cmp equals(unsigned place, uint64_t value)
{
	return (struct scmp_arg_cmp){.arg = place, .op = SCMP_CMP_EQ, .datum_a = value};
}

static struct scmp_arg_cmp masked(unsigned place, uint64_t mask, uint64_t value)
{
	return (struct scmp_arg_cmp){
	    .arg = place, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

static int allow_if(scmp_filter_ctx filter, int call, struct scmp_arg_cmp first,
		    struct scmp_arg_cmp second)
{
	const struct scmp_arg_cmp both[] = {first, second};
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, ARRAY_LEN(both), both);
}

static int allow(scmp_filter_ctx filter, int call)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
}

/* Only private memory without a file behind it, and none of it executable. */
static int allow_memory(scmp_filter_ctx filter)
{
	static const int plain[] = {SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
				    SCMP_SYS(brk), SCMP_SYS(futex)};
	int result = 0;
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		result |= allow(filter, plain[i]);
	result |= allow_if(filter, SCMP_SYS(mmap), masked(2, PROT_EXEC, 0),
			   masked(3, MAP_ANONYMOUS, MAP_ANONYMOUS));
	result |= allow_if(filter, SCMP_SYS(mprotect), masked(2, PROT_EXEC, 0), masked(0, 0, 0));
	return result;
}

/* Reading requests, answering, limits of a run, and the end. */
static int allow_work(scmp_filter_ctx filter)
{
	static const int plain[] = {SCMP_SYS(read),          SCMP_SYS(pread64),
				    SCMP_SYS(write),         SCMP_SYS(exit),
				    SCMP_SYS(exit_group),    SCMP_SYS(rt_sigreturn),
				    SCMP_SYS(setitimer),     SCMP_SYS(sched_yield),
				    SCMP_SYS(clock_gettime), SCMP_SYS(restart_syscall),
				    SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigprocmask),
				    SCMP_SYS(sigaltstack),   SCMP_SYS(getpid),
				    SCMP_SYS(gettid),        SCMP_SYS(sysinfo)};
	int result = 0;
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		result |= allow(filter, plain[i]);
	result |= allow_if(filter, SCMP_SYS(prlimit64), equals(0, 0), equals(1, RLIMIT_AS));
	/* abort() */
	result |= allow_if(filter, SCMP_SYS(tgkill), equals(0, (uint64_t)getpid()),
			   equals(1, (uint64_t)gettid()));
	return result;
}

/* Anything else ends the process at once: nobody goes on trying. */
static bool filter_calls(struct buf *problem)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return failed(problem, "seccomp_init");
	int result = allow_memory(filter) | allow_work(filter);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	if (result != 0)
		buf_printf(problem, "seccomp: %d", result);
	return result == 0;
}

bool sandbox_close(struct buf *problem)
{
	return is_alone(problem) && drop_capabilities(problem) && limit_resources(problem) &&
	       filter_calls(problem);
}
