/* Timers that the wall clock does not move: preloaded in front of libfaketime, which counts a wall
 * clock that was changed into the timers of all clocks, also of those that it leaves alone. A
 * daemon that nobody wakes would sleep for as long as its clock was set back. */
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
	return (int)syscall(SYS_timerfd_settime, fd, flags, when, before);
}
