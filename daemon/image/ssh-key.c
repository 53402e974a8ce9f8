/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The form of an SSH public key. What is in it is for the guest's sshd to judge; here it matters
 * that it is one line of plain text that cannot be mistaken for anything else. */

#include "image.h"

#define SSH_KEY_SIZE_MAX (16 * KIB)

static const char *const key_types[] = {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
};

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static const char *skip_type(const char *s) {
        for (size_t i = 0; i < ELEMENTSOF(key_types); i++) {
                const char *rest = str_after(s, key_types[i]);
                if (rest && *rest == ' ')
                        return rest + 1;
        }
        return NULL;
}

/* The end of the base64 text that s begins with, or NULL if it is none. */
static const char *skip_base64(const char *s) {
        size_t data = strspn(s, BASE64), padding = strspn(s + data, "=");

        if (data == 0 || padding > 2 || (data + padding) % 4 != 0)
                return NULL;
        return s + data + padding;
}

static bool comment_is_valid(const char *s) {
        if (*s == '\0')
                return true;
        if (*s != ' ')
                return false;
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        return false;
        return true;
}

static int key_refused(Error *error, const char *why) {
        int r = error_set(error, ERROR_INVALID_OPTION, "ssh-keys: %s", why);

        error_set_remedy(error,
                         "Give a public key as one line, as it is in ~/.ssh/id_ed25519.pub.");
        return r;
}

int ssh_key_check(const char *key, Error *error) {
        const char *rest;

        if (strlen(key) > SSH_KEY_SIZE_MAX)
                return key_refused(error, "a key is too long");
        if (strstr(key, "PRIVATE KEY"))
                return key_refused(error,
                                   "that is a private key, which belongs to nobody but its owner");

        rest = skip_type(key);
        if (!rest)
                return key_refused(error,
                                   "a key does not begin with a known type such as ssh-ed25519");

        rest = skip_base64(rest);
        if (!rest)
                return key_refused(error, "a key is not valid base64 after its type");
        if (!comment_is_valid(rest))
                return key_refused(
                        error, "the comment of a key has other than printable ASCII characters");
        return 0;
}
