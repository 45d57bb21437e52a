/* One worker process: its birth, its socket, and its end. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/run/clock.h"
#include "common/run/script_pool_private.h"

enum {
	READ_BYTES = 64 * 1024,
	START_MS = 10000,
	REAP_MS = 5,
	RETRY_FIRST_MS = 100, /* doubles up to */
	RETRY_LONGEST_MS = 10000,
	/* The time of a run is the processor's, and the worker's kernel ends it. This is for one
	 * that gets no processor, or no end: so many times longer, by the clock. */
	TIME_MS_MAX = 600000,
	WALL_FACTOR = 4,
	WALL_MORE_MS = 1000
};

/* ---- birth ---- */

static bool spawn(struct script_process *w, int theirs)
{
	char *const argv[] = {w->pool->program, NULL};
	char *const none[] = {NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t set;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, theirs, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, theirs, STDOUT_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attributes, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(&attributes, &set);
	int result = posix_spawn(&w->pid, w->pool->program, &files, &attributes, argv, none);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	errno = result;
	return result == 0;
}

/* How long to wait before the next try. */
static void back_off(struct script_process *w)
{
	uint32_t failures = ++w->pool->failures;
	int64_t ms = RETRY_LONGEST_MS;
	if (failures < 8)
		ms = (int64_t)RETRY_FIRST_MS << (failures - 1);
	w->state = PROCESS_DOWN;
	w->due_ms = clock_boot_ms() + (ms < RETRY_LONGEST_MS ? ms : RETRY_LONGEST_MS);
}

static void job_done(struct script_process *w, enum script_status status, struct slice output)
{
	if (w->job.id != 0) {
		uint64_t took_us = clock_mono_us() - w->started_us;
		script_pool_result(w->pool, w->job.id, status, output);
		script_queue_ended(&w->pool->queue, &w->job, took_us);
		w->pool->run_us += took_us;
	}
	buf_close(&w->job.frame);
	w->job = (struct script_job){0};
}

static void start_failed(struct script_process *w, const char *why)
{
	logger_printf(w->pool->setup.logger, LOG_LEVEL_ERROR,
		      "script_worker_start_failed program=\"%s\" reason=\"%s\"", w->pool->program,
		      why);
	back_off(w);
	job_done(w, SCRIPT_UNAVAILABLE, slice_text("the script worker can't be started"));
	script_pool_refuse_all(w->pool);
}

static void on_socket(void *context);

void script_process_start(struct script_process *w)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		start_failed(w, strerror(errno));
		return;
	}
	bool ok = spawn(w, ends[1]);
	close(ends[1]);
	if (!ok) {
		close(ends[0]);
		start_failed(w, strerror(errno));
		return;
	}
	w->pool->starts++;
	w->state = PROCESS_STARTING;
	w->fd = ends[0];
	w->due_ms = clock_boot_ms() + START_MS;
	w->overdue = false;
	w->ready = false;
	w->retired = false;
	w->again = false;
	w->runs = 0;
	w->wants_write = false;
	buf_clear(&w->in);
	loop_add(w->pool->setup.loop, w->fd, on_socket, w);
}

/* ---- death ---- */

static void close_socket(struct script_process *w)
{
	if (w->fd < 0)
		return;
	loop_remove(w->pool->setup.loop, w->fd);
	close(w->fd);
	w->fd = -1;
}

/* It may still be there after this; script_process_look waits for it. */
static void end(struct script_process *w)
{
	close_socket(w);
	kill(w->pid, SIGKILL);
	w->state = PROCESS_ENDING;
	w->due_ms = clock_boot_ms();
}

static enum script_status cause_of(const struct script_process *w, int how)
{
	if (!w->ready)
		return SCRIPT_CRASHED;
	if (w->overdue || (WIFSIGNALED(how) && WTERMSIG(how) == SIGPROF))
		return SCRIPT_TIME;
	if (WIFEXITED(how) && WEXITSTATUS(how) == SCRIPT_EXIT_MEMORY)
		return SCRIPT_MEMORY;
	return SCRIPT_CRASHED;
}

static void say_why(const struct script_process *w, int how, struct buf *out)
{
	switch (cause_of(w, how)) {
	case SCRIPT_TIME:
		buf_printf(out, "ran longer than %llu ms", (unsigned long long)w->job.time_ms);
		break;
	case SCRIPT_MEMORY:
		buf_append_text(out, "took more memory than it may");
		break;
	default:
		buf_printf(out, "the worker ended with %s %d",
			   WIFSIGNALED(how) ? "signal" : "status",
			   WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
	}
}

/* What other runs left in the worker must not decide: a run counts as too much for the memory that
 * it may take if it was that in a new worker, too. */
static bool is_doubtful(const struct script_process *w, enum script_status status)
{
	return status == SCRIPT_MEMORY && w->runs > 1;
}

static void reaped(struct script_process *w, int how)
{
	struct buf why = {0};
	enum script_status cause = cause_of(w, how);
	say_why(w, how, &why);
	if (!w->retired)
		logger_printf(w->pool->setup.logger, LOG_LEVEL_WARN,
			      "script_worker_ended cause=%s detail=\"%s\"",
			      script_status_name(cause), buf_cstr(&why));
	w->pid = 0;
	w->state = PROCESS_DOWN;
	w->due_ms = 0;
	bool again = w->job.id != 0 && (w->again || is_doubtful(w, cause));
	if (!again && w->ready)
		job_done(w, cause, buf_slice(&why));
	if (again)
		script_process_start(w);
	else if (!w->ready)
		start_failed(w, buf_cstr(&why));
	else if (cause == SCRIPT_CRASHED && !w->retired)
		back_off(w);
	buf_close(&why);
}

void script_process_look(struct script_process *w)
{
	int how;
	int64_t now_ms = clock_boot_ms();
	bool runs = w->state == PROCESS_STARTING || w->state == PROCESS_RUNNING;
	if (runs && w->due_ms <= now_ms) {
		w->overdue = true;
		end(w);
	}
	if (w->state != PROCESS_ENDING || w->due_ms > now_ms)
		return;
	pid_t got = waitpid(w->pid, &how, WNOHANG);
	if (got == w->pid || (got < 0 && errno == ECHILD))
		reaped(w, got > 0 ? how : 0);
	else
		w->due_ms = now_ms + REAP_MS;
}

void script_process_stop(struct script_process *w)
{
	if (w->pid > 0) {
		close_socket(w);
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	buf_close(&w->in);
	buf_close(&w->job.frame);
}

/* ---- its socket ---- */

static void flush(struct script_process *w)
{
	while (w->state == PROCESS_RUNNING && w->sent < w->job.frame.len) {
		ssize_t put = send(w->fd, w->job.frame.data + w->sent, w->job.frame.len - w->sent,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			break; /* what is wrong shows when it is read */
		w->sent += (size_t)put;
	}
	bool more = w->state == PROCESS_RUNNING && w->sent < w->job.frame.len;
	if (more != w->wants_write)
		loop_want_write(w->pool->setup.loop, w->fd, more);
	w->wants_write = more;
}

void script_process_run(struct script_process *w, struct script_job *job)
{
	uint64_t time_ms = job->time_ms < TIME_MS_MAX ? job->time_ms : TIME_MS_MAX;
	uint64_t wall_ms = time_ms * WALL_FACTOR + WALL_MORE_MS;
	if (w->job.id != job->id) /* else it is run again */
		w->started_us = clock_mono_us();
	w->job = *job;
	w->sent = 0;
	w->runs++;
	w->state = PROCESS_RUNNING;
	w->due_ms = clock_boot_ms() + (int64_t)wall_ms;
	flush(w);
}

/* What a worker may say of a run; the rest is for this process to say. */
static bool is_for_worker(enum script_status status)
{
	return status <= SCRIPT_TOO_LARGE || status == SCRIPT_MEMORY;
}

/* False: it is not to be talked to any more. */
static bool take_reply(struct script_process *w, const struct script_reply *reply)
{
	if (w->state == PROCESS_STARTING && reply->id == 0 && reply->status == SCRIPT_OK) {
		w->state = PROCESS_IDLE;
		w->ready = true;
		if (w->job.id != 0)
			script_process_run(w, &w->job);
		return true;
	}
	if (w->state != PROCESS_RUNNING || reply->id != w->job.id || !is_for_worker(reply->status))
		return false;
	w->pool->failures = 0;
	if (is_doubtful(w, reply->status)) {
		w->again = w->retired = true;
		return false;
	}
	job_done(w, reply->status, reply->status == SCRIPT_OK ? reply->value : reply->text);
	w->state = PROCESS_IDLE;
	w->retired = reply->last;
	return !w->retired;
}

static bool take_frame(struct script_process *w)
{
	struct slice body;
	struct script_reply reply;
	enum script_frame found = script_frame_next(buf_slice(&w->in), &body);
	if (found == SCRIPT_FRAME_MORE)
		return true;
	if (found == SCRIPT_FRAME_BAD || w->in.len > SCRIPT_FRAME_HEAD + body.len ||
	    !script_reply_read(body, &reply))
		return false;
	bool goes_on = take_reply(w, &reply);
	buf_clear(&w->in);
	return goes_on;
}

static void on_socket(void *context)
{
	struct script_process *w = context;
	ssize_t got = recv(w->fd, buf_reserve(&w->in, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		flush(w);
		return;
	}
	w->in.len += got > 0 ? (size_t)got : 0;
	if (got <= 0 || !take_frame(w))
		end(w);
	else
		flush(w);
}
