/* What downloads share: where credentials go. The servers are two sockets that note what they are
 * asked. */
#include "tests/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "actions/download.h"

/* Answers one request with "body" and keeps its text. */
struct server {
	int fd;
	char url[64];
	char request[4096];
	pthread_t thread;
};

static void *serve(void *argument)
{
	static const char answer[] =
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
	struct server *server = argument;
	size_t used = 0;
	int fd = accept(server->fd, NULL, NULL);
	while (fd >= 0 && !strstr(server->request, "\r\n\r\n") &&
	       used < sizeof(server->request) - 1) {
		ssize_t got = read(fd, server->request + used, sizeof(server->request) - 1 - used);
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (fd >= 0 && write(fd, answer, sizeof(answer) - 1) < 0)
		server->request[0] = '\0';
	close(fd);
	return NULL;
}

static void start(struct server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	*server = (struct server){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->fd, 4), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
	snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->fd);
}

static void get(const struct source_options *options, const char *base, const char *name)
{
	auto_buffer struct buffer body = {.cap = 100};
	struct error err;
	char url[200];
	snprintf(url, sizeof(url), "%s%s", base, name);
	assert_ok(download_companion(options, url, &body, &err));
	assert_int_equal(body.size, 4);
}

static void sends_credentials_to_its_own_servers_only(void **state)
{
	(void)state;
	struct server own, other;
	const struct action_context context = {.request = NULL};
	const struct download_params params = {.username = "me",
					       .password = "secret",
					       .token = "",
					       .ca_file = "",
					       .stall_s = 5,
					       .connections = 1};
	struct source_options options = download_options(&context, &params);
	char image[100];
	start(&own);
	start(&other);
	snprintf(image, sizeof(image), "%simage.raw?x=http://h/", own.url);
	const char *const urls[] = {"http://127.0.0.1:1/first", image, NULL};
	options.urls = urls;
	get(&options, own.url, "SHA256SUMS");
	get(&options, other.url, "SHA256SUMS");
	stop(&own);
	stop(&other);
	assert_contains(own.request, "Authorization: Basic bWU6c2VjcmV0");
	assert_lacks(other.request, "Authorization");
}

static void takes_the_parameters(void **state)
{
	(void)state;
	const struct action_context context = {.http = {.ca_file = "/machine.pem"}};
	struct download_params params = {.retry = true,
					 .retry_minutes = 3,
					 .stall_s = 7,
					 .connections = 4,
					 .username = "",
					 .password = "",
					 .token = "t",
					 .ca_file = "/own.pem"};
	struct source_options options = download_options(&context, &params);
	assert_int_equal(options.retry_ms, 180000);
	assert_int_equal(options.connections, 4);
	assert_int_equal(options.http.stall_timeout_ms, 7000);
	assert_string_equal(options.http.token, "t");
	assert_string_equal(options.http.ca_file, "/own.pem");
	params.retry = false;
	params.ca_file = "";
	options = download_options(&context, &params);
	assert_int_equal(options.retry_ms, 0);
	assert_string_equal(options.http.ca_file, "/machine.pem");
}

static int set_up(void **state)
{
	(void)state;
	struct error err;
	return http_setup(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_credentials_to_its_own_servers_only),
		cmocka_unit_test(takes_the_parameters),
	};
	return cmocka_run_group_tests_name("download", tests, set_up, NULL);
}
