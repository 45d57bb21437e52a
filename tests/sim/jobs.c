#include "tests/sim/jobs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"

/* What the processes of one run share. */
struct jobs {
	jobs_work *work;
	void *context;
	uint64_t count;
	_Atomic uint64_t *next;
};

void *jobs_shared(size_t bytes)
{
	void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	return shared;
}

void jobs_unshare(void *shared, size_t bytes)
{
	CHECK(munmap(shared, bytes) == 0);
}

static void take_all(const struct jobs *j)
{
	for (uint64_t number; (number = atomic_fetch_add(j->next, 1)) < j->count;)
		j->work(j->context, number);
}

static void start(const struct jobs *j)
{
	fflush(stdout);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child != 0)
		return;
	take_all(j);
	fflush(stdout);
	_exit(0);
}

uint64_t jobs_run(int jobs, uint64_t count, jobs_work *work, void *context)
{
	_Atomic uint64_t *next = jobs_shared(sizeof *next);
	struct jobs j = {work, context, count, next};
	uint64_t ended = 0;
	if (jobs == 1)
		take_all(&j);
	for (int i = 0; i < jobs && jobs > 1; i++)
		start(&j);
	for (int running = jobs > 1 ? jobs : 0; running > 0;) {
		int status;
		CHECK(wait(&status) > 0);
		bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
		ended += !fine;
		if (fine)
			running--;
		else
			start(&j);
	}
	jobs_unshare((void *)next, sizeof *next);
	return ended;
}
