/* A client with its own OpenSSL inside: `inside MODEL...`, one streamed chat completion a model on a connection of its own.
 * Environment and output as in common.py: BASE_URL (https://HOST:PORT), SSL_CERT_FILE, CLIENT_SECRET, CLIENT_GO, CLIENT_WARM.
 * Built by set-up against the libssl.a and libcrypto.a of several Debian releases, and stripped: as a program (with ADDON: as an
 * addon, which loads its TLS late, by dlopen). CLIENT_EX=1: the _ex functions. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifndef LOADER
#include <openssl/err.h>
#include <openssl/ssl.h>

/* Newer releases' archives want a newer C library's names of old functions. */
__asm__(".weak __isoc23_strtol, __isoc23_strtoul, __isoc23_sscanf\n.text\n__isoc23_strtol: jmp strtol@PLT\n"
        "__isoc23_strtoul: jmp strtoul@PLT\n__isoc23_sscanf: jmp sscanf@PLT\n");

static int dial(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *found;
    if (getaddrinfo(host, port, &hints, &found)) return -1;
    int fd = socket(found->ai_family, found->ai_socktype, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen)) { close(fd); fd = -1; }
    freeaddrinfo(found);
    return fd;
}

static int put(SSL *ssl, const char *bytes, size_t len) {
    size_t done;
    if (getenv("CLIENT_EX")) return SSL_write_ex(ssl, bytes, len, &done) == 1 && done == len ? 0 : -1;
    return SSL_write(ssl, bytes, (int)len) == (int)len ? 0 : -1;
}

static int get(SSL *ssl, char *into, int room) {
    size_t done;
    if (getenv("CLIENT_EX")) return SSL_read_ex(ssl, into, room, &done) == 1 ? (int)done : 0;
    return SSL_read(ssl, into, room);
}

static const char *call(SSL_CTX *context, const char *model, const char *host, const char *port) {
    static char request[8192], body[4096], answer[16384];
    const char *secret = getenv("CLIENT_SECRET"), *error = NULL;
    int len = snprintf(body, sizeof body,
        "{\"model\":\"%s\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"Tell me about rivers.\"}]}", model);
    int all = snprintf(request, sizeof request,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: %s:%s\r\ncontent-type: application/json\r\nauthorization: Bearer %s\r\n"
        "connection: close\r\ncontent-length: %d\r\n\r\n%s", host, port, secret ? secret : "sk-test-not-a-secret", len, body);
    int fd = dial(host, port);
    if (fd < 0) return "connect";
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, host);
    if (SSL_connect(ssl) != 1) error = "handshake";
    else if (put(ssl, request, all)) error = "write";
    else while (get(ssl, answer, sizeof answer) > 0) {}
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    return error;
}

static void one(SSL_CTX *context, const char *model, const char *host, const char *port) {
    printf("{\"begin\":\"%s\",\"pid\":%d}\n", model, getpid());
    fflush(stdout);
    const char *error = call(context, model, host, port);
    if (error) printf("{\"end\":\"%s\",\"error\":\"%s\"}\n", model, error);
    else printf("{\"end\":\"%s\",\"error\":null}\n", model);
    fflush(stdout);
}

__attribute__((visibility("default"))) int inside(int argc, char **argv) {
    char line[16], host[256], port[16];
    if (!getenv("BASE_URL") || sscanf(getenv("BASE_URL"), "https://%255[^:]:%15[0-9]", host, port) != 2) return 2;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_locations(context, getenv("SSL_CERT_FILE"), NULL);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    const char *go = getenv("CLIENT_GO"), *warm = getenv("CLIENT_WARM");
    if (go && !strcmp(go, "1")) {
        printf("{\"ready\":true,\"pid\":%d}\n", getpid());
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 3;
    }
    if (warm) one(context, warm, host, port);
    for (int i = 1; i < argc; i++) one(context, argv[i], host, port);
    return 0;
}
#endif

#ifdef LOADER
int main(int argc, char **argv) {
    void *addon = dlopen(getenv("CLIENT_ADDON"), RTLD_NOW | RTLD_LOCAL);
    if (!addon) { fprintf(stderr, "%s\n", dlerror()); return 4; }
    int (*inside)(int, char **) = (int (*)(int, char **))dlsym(addon, "inside");
    return inside ? inside(argc, argv) : 5;
}
#elif !defined(ADDON)
int main(int argc, char **argv) { return inside(argc, argv); }
#endif
