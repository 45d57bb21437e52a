/* parley-arbiter: pulls the conflict queue, applies policies, drives acknowledged cleanup. Keeps
 * nothing. */
#include "arbiter/arbiter.h"
#include "common/run/daemon.h"

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	(void)problem;
	struct arbiter_options o = {.self = daemon_self(d)->id,
				    .coordinator = daemon_coordinator(d)};
	return arbiter_new(&o, seed);
}

static void destroy(void *core)
{
	arbiter_free(core);
}

int main(int argc, char **argv)
{
	const struct daemon_spec spec = {.ops = &arbiter_ops, .create = create, .destroy = destroy};
	return daemon_run(argc, argv, &spec);
}
