/* signalfd(2): see signals.h. */
#include "agent/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int fd;
static bool stop;

int signals_open(struct error *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return error_sys(err, "sigprocmask");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_sys(err, "signalfd") : 0;
}

int signals_fd(void)
{
	return fd;
}

bool signals_stop_requested(void)
{
	struct signalfd_siginfo info;
	while (fd > 0 && read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		stop = true;
	return stop;
}
