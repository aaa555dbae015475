/*
 * What the files of the Tink server's transport share. For transport.c, transport_current.c and
 * transport_older.c only.
 */
#ifndef AGENT_TRANSPORT_TINK_H
#define AGENT_TRANSPORT_TINK_H

#include "agent/address.h"
#include "agent/transport.h"
#include "platform/grpc.h"
#include "platform/protobuf.h"
#include "platform/tls.h"

/* What this transport knows of the action that it got last from a server of the older generation.
 */
struct older_action {
	char *id;        /* of the request; NULL: none yet */
	bool running;    /* the server has it as RUNNING */
	bool unsure;     /* a report went out and was not answered: it may have been stored */
	unsigned absent; /* how often in a row the server did not name the action */
};

struct tink {
	struct transport transport;
	const struct config *config;
	struct address_list addresses;
	size_t at; /* the address in use */
	struct grpc_channel *channel;
	struct tls_pins pins;
	int cancel_fd;
	int64_t call_timeout_ms;
	char *agent_id;
	bool known; /* the generation is: a server of it has answered */
	enum transport_generation generation;
	/* Of the last call: */
	bool unimplemented; /* the server itself said that it has no such method */
	bool unsure;        /* it went out more than once */
	/* The server's own retries hide a deleted workflow behind INTERNAL; two in a row are
	 * believed. */
	unsigned gone_in_a_row;
	struct older_action older;
};

/*
 * Calls a method of proto.WorkflowService at the address in use, and at the others in turn when
 * there is no server's answer; the one that answers is kept. *ret_answer is freed with
 * protobuf_c_message_free_unpacked(). err names the method.
 */
enum grpc_status tink_call(struct tink *tink, const char *method, const ProtobufCMessage *message,
			   const ProtobufCMessageDescriptor *answer_type,
			   ProtobufCMessage **ret_answer, struct error *err);

/* The same for a method with a stream of answers: see grpc_call_stream(). */
enum grpc_status tink_call_stream(struct tink *tink, const char *method,
				  const ProtobufCMessage *message,
				  int (*on_message)(void *context, const uint8_t *message,
						    size_t size, struct error *err),
				  void *context, struct error *err);

/* What a failed call means to the loop. */
enum transport_answer tink_failed(enum grpc_status status);

/* Whether a report will never be taken. Counts. */
bool tink_refused(struct tink *tink, enum grpc_status status, const struct error *err);

/* "" for NULL; copies of it; a list ended by NULL. */
static inline const char *tink_text(const char *text)
{
	return text ? text : "";
}
char *tink_copy_text(const char *text);
void tink_copy_list(char ***list, char *const *from, size_t count);

enum transport_answer current_get(struct tink *tink, struct action_request *ret_request,
				  struct transport_task *ret_task, struct error *err);
enum transport_answer current_report(struct tink *tink, const struct action_request *request,
				     const struct transport_task *task, const struct report *report,
				     struct error *err);

enum transport_answer older_get(struct tink *tink, struct action_request *ret_request,
				struct transport_task *ret_task, struct error *err);
enum transport_answer older_report(struct tink *tink, const struct action_request *request,
				   const struct transport_task *task, const struct report *report,
				   struct error *err);

/* Whether the server is of the older generation: it has GetWorkflowContexts, which changes nothing.
 * False, too, when it does not answer. */
bool older_answers(struct tink *tink);

#endif
