#include "gateway/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

int http_listen(const char *numeric, uint16_t wanted, uint16_t *port, struct buf *problem)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
	socklen_t len = sizeof *v4;
	int one = 1;
	v4->sin_port = htons(wanted);
	if (inet_pton(AF_INET, numeric, &v4->sin_addr) == 1) {
		address.ss_family = AF_INET;
	} else if (inet_pton(AF_INET6, numeric, &v6->sin6_addr) == 1) {
		address.ss_family = AF_INET6;
		len = sizeof *v6;
	} else {
		buf_printf(problem, "%s is no IP address", numeric);
		return -1;
	}
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0 ||
	    bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
		buf_printf(problem, "can't listen on %s:%u: %s", numeric, wanted, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	*port = ntohs(v4->sin_port); /* at the same place in both */
	return fd;
}
