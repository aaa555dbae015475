/*
 * The settings of the Tink server's TLS: grpc-tls, grpc-insecure-tls, tls-ca, tls-cert, tls-key,
 * tls-server-name, tls-pin.
 */
#ifndef AGENT_TLS_H
#define AGENT_TLS_H

#include "agent/config.h"
#include "platform/grpc.h"
#include "platform/tls.h"

/*
 * tls-ca may be a URL with the digest of what is there (https://…/ca.pem#sha256=<hex>): fetches it,
 * again and again until it is there, and puts the path of the file into the setting. cancel_fd ends
 * that (ERROR_CANCELLED). A URL without a digest, one that answers with other bytes, and a file
 * that holds no certificates are ERROR_INPUT.
 */
int tls_fetch_ca(struct config *config, int cancel_fd, struct error *err);

/* Once at the start: checks these settings, and warns of what is not safe. ERROR_INPUT names the
 * setting that is wrong. */
int tls_prepare(const struct config *config, struct error *err);

/* The pins that are set. */
int tls_pins(const struct config *config, struct tls_pins *ret_pins, struct error *err);

/* Fills in what the settings say of a connection. config and pins must outlive it. */
void tls_options(const struct config *config, const struct tls_pins *pins,
		 struct grpc_options *options);

#endif
