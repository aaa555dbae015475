/* signalfd(2): see signals.h. */
#include "agent/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP};
static sigset_t stop_set;
static int fd;
static volatile sig_atomic_t stops; /* how many have come */
static volatile sig_atomic_t grace_s;
static volatile sig_atomic_t grace_runs; /* the span of grace has begun */
static bool grace_over;

static void begin_grace(void)
{
	grace_runs = 1;
	alarm((unsigned)grace_s);
}

/* The first one starts the span, another one ends it: SIGALRM comes by the descriptor. */
static void on_held_signal(int number)
{
	(void)number;
	int saved = errno;
	stops++;
	if (grace_runs)
		kill(getpid(), SIGALRM);
	else
		begin_grace();
	errno = saved;
}

/* What the descriptor brings: SIGALRM, and the others unless they go to the handler. A poll that
 * runs when one comes would else see both. */
static int listen_to(bool stop_signals_too)
{
	sigset_t set = stop_set;
	if (!stop_signals_too)
		sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	return signalfd(fd > 0 ? fd : -1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int signals_open(struct error *err)
{
	sigemptyset(&stop_set);
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++) {
		struct sigaction action;
		/* One that is ignored (by nohup) does not ask anybody to stop. */
		if (sigaction(stop_signals[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			continue;
		action = (struct sigaction){.sa_handler = on_held_signal, .sa_flags = SA_RESTART};
		sigaction(stop_signals[i], &action, NULL);
		sigaddset(&stop_set, stop_signals[i]);
	}
	sigset_t all = stop_set;
	sigaddset(&all, SIGALRM);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
		return error_sys(err, "sigprocmask");
	fd = listen_to(true);
	return fd < 0 ? error_sys(err, "signalfd") : 0;
}

int signals_fd(void)
{
	return fd;
}

static void take(void)
{
	struct signalfd_siginfo info;
	while (fd > 0 && read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGALRM)
			grace_over = true;
		else
			stops++;
	}
}

bool signals_stop_requested(void)
{
	take();
	return stops > 0;
}

void signals_hold(unsigned seconds)
{
	take();
	grace_s = (sig_atomic_t)seconds;
	/* Asked to stop before this report: as if the signal came now. */
	if (stops > 0 && !grace_runs)
		begin_grace();
	listen_to(false);
	/* One that is pending goes to the handler now. */
	sigprocmask(SIG_UNBLOCK, &stop_set, NULL);
}

void signals_release(void)
{
	sigprocmask(SIG_BLOCK, &stop_set, NULL);
	listen_to(true);
}

bool signals_grace_over(void)
{
	take();
	return grace_over;
}
