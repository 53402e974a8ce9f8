/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cloud-init takes user-data of many types, and a MIME message of several; what the caller wrote is
 * a part of one and stays as it was, whatever it is. Ours comes after it and fills in: lists are
 * appended to, and a key that is there already is left alone. */

#include "base/json.h"
#include "cloud-init.h"

#define HOSTNAME_SIZE_MAX 253
#define LABEL_SIZE_MAX 63
#define USER_SIZE_MAX 32
#define KEYS_MAX 64

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define LABEL_CHARS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-"

static bool hostname_is_valid(const char *s) {
        if (strlen(s) > HOSTNAME_SIZE_MAX)
                return false;

        for (;;) {
                size_t n = strspn(s, LABEL_CHARS);
                if (n == 0 || n > LABEL_SIZE_MAX || s[0] == '-' || s[n - 1] == '-')
                        return false;
                if (s[n] == '\0')
                        return true;
                if (s[n] != '.')
                        return false;
                s += n + 1;
        }
}

static bool user_is_valid(const char *s) {
        size_t n = strlen(s);

        return n > 0 && n <= USER_SIZE_MAX && strspn(s, LOWER DIGITS "_-") == n &&
               strcspn(s, LOWER "_") == 0 && !streq(s, "root");
}

int cloud_init_check(const CloudInit *c, Error *error) {
        int r;

        if (c->hostname && !hostname_is_valid(c->hostname))
                return error_set(error, ERROR_INVALID_OPTION, "hostname is not a valid host name");
        if (c->user && !user_is_valid(c->user))
                return error_set(
                        error, ERROR_INVALID_OPTION,
                        "user is not the name of an ordinary user (at most %u of a-z 0-9 _ -)",
                        USER_SIZE_MAX);
        if (strv_length(c->ssh_keys) > KEYS_MAX)
                return error_set(error, ERROR_INVALID_OPTION, "ssh-keys has more than %u keys",
                                 KEYS_MAX);

        STRV_FOREACH(key, c->ssh_keys) {
                r = ssh_key_check(*key, error);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Consumes value. */
static int add(struct json_object *o, const char *key, struct json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;

        (void) json_unref(value);
        return -ENOMEM;
}

static int add_string(struct json_object *o, const char *key, const char *value) {
        return add(o, key, json_object_new_string(value));
}

static int add_bool(struct json_object *o, const char *key, bool value) {
        return add(o, key, json_object_new_boolean(value));
}

/* Older YAML parsers do not know the escape "\/". */
static char *json_text(struct json_object *o, const char *heading) {
        const char *text =
                json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE);
        char *s;

        return text && asprintf(&s, "%s%s\n", heading, text) >= 0 ? s : NULL;
}

char *cloud_init_meta_data(const CloudInit *c) {
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (!o || add_string(o, "instance-id", c->instance_id) < 0)
                return NULL;
        if (c->hostname && add_string(o, "local-hostname", c->hostname) < 0)
                return NULL;
        return json_text(o, "");
}

static struct json_object *string_array(char *const *l) {
        _cleanup_json_ struct json_object *array = json_object_new_array();

        if (!array)
                return NULL;

        STRV_FOREACH(s, l) {
                struct json_object *item = json_object_new_string(*s);
                if (!item || json_object_array_add(array, item) < 0) {
                        (void) json_unref(item);
                        return NULL;
                }
        }
        return TAKE_PTR(array);
}

static struct json_object *one_in_array(struct json_object *item) {
        _cleanup_json_ struct json_object *array = json_object_new_array();

        if (!item || !array || json_object_array_add(array, item) < 0) {
                (void) json_unref(item);
                return NULL;
        }
        return TAKE_PTR(array);
}

static int add_keys(struct json_object *o, char *const *keys) {
        return strv_length(keys) > 0 ? add(o, "ssh_authorized_keys", string_array(keys)) : 0;
}

static struct json_object *new_user(const CloudInit *c) {
        _cleanup_json_ struct json_object *user = json_object_new_object();

        if (!user || add_string(user, "name", c->user) < 0 || add_keys(user, c->ssh_keys) < 0 ||
            add_string(user, "sudo", "ALL=(ALL) NOPASSWD:ALL") < 0 ||
            add_string(user, "shell", "/bin/bash") < 0 || add_bool(user, "lock_passwd", true) < 0)
                return NULL;
        return TAKE_PTR(user);
}

/* "SSH only": who has no key cannot log in over the network. */
static int add_login(struct json_object *o, const CloudInit *c) {
        int r = c->user ? add(o, "users", one_in_array(new_user(c))) : add_keys(o, c->ssh_keys);

        if (r < 0 || strv_length(c->ssh_keys) == 0)
                return r;

        r = add_bool(o, "ssh_pwauth", false);
        return r < 0 ? r : add_bool(o, "disable_root", true);
}

int cloud_init_config(const CloudInit *c, char **ret) {
        _cleanup_json_ struct json_object *o = NULL;
        int r;

        if (!c->user && strv_length(c->ssh_keys) == 0) {
                *ret = NULL;
                return 0;
        }

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;

        r = add_string(o, "merge_how", "list(append)+dict(no_replace,recurse_list)+str()");
        if (r < 0)
                return r;

        r = add_login(o, c);
        if (r < 0)
                return r;

        *ret = json_text(o, "#cloud-config\n");
        return *ret ? 0 : -ENOMEM;
}

static void write_base64(FILE *f, const void *data, size_t size) {
        static const char alphabet[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const uint8_t *p = data;

        for (size_t i = 0; i < size; i += 3) {
                size_t n = MIN(size - i, (size_t) 3);
                uint32_t v = (uint32_t) p[i] << 16 | (n > 1 ? (uint32_t) p[i + 1] << 8 : 0) |
                             (n > 2 ? p[i + 2] : 0);

                fprintf(f, "%c%c%c%c", alphabet[v >> 18], alphabet[v >> 12 & 63],
                        n > 1 ? alphabet[v >> 6 & 63] : '=', n > 2 ? alphabet[v & 63] : '=');
                if (i % 57 == 54)
                        fputc('\n', f);
        }
        fputc('\n', f);
}

static void write_part(FILE *f, const char *type, const void *data, size_t size) {
        fprintf(f, "Content-Type: %s\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n",
                type);
        write_base64(f, data, size);
}

/* How cloud-init itself tells a MIME message. */
static bool is_mime(const char *data, size_t size) {
        static const char field[] = "mime-version:";
        size_t n = MIN(size, (size_t) 4096);

        for (size_t i = 0; i + sizeof(field) - 1 <= n; i++)
                if (strncasecmp(data + i, field, sizeof(field) - 1) == 0)
                        return true;
        return false;
}

static bool is_gzip(const uint8_t *data, size_t size) {
        return size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

/* A MIME message is a part as it is. Of anything else cloud-init finds out the type by its first
 * line. */
static void write_theirs(FILE *f, const void *data, size_t size) {
        if (is_mime(data, size)) {
                (void) fwrite(data, 1, size, f);
                fputc('\n', f);
        } else
                write_part(f,
                           is_gzip(data, size) ? "application/gzip"
                                               : "text/plain; charset=\"utf-8\"",
                           data, size);
}

static void write_message(FILE *f, const char *config, const void *theirs, size_t theirs_size) {
        char boundary[32];
        unsigned i = 0;

        do
                (void) snprintf(boundary, sizeof(boundary), "==vmkit-%u==", i++);
        while (memmem(theirs, theirs_size, boundary, strlen(boundary)));

        fprintf(f, "Content-Type: multipart/mixed; boundary=\"%s\"\nMIME-Version: 1.0\n\n--%s\n",
                boundary, boundary);
        write_theirs(f, theirs, theirs_size);
        fprintf(f, "--%s\n", boundary);
        write_part(f, "text/cloud-config; charset=\"utf-8\"", config, strlen(config));
        fprintf(f, "--%s--\n", boundary);
}

int cloud_init_user_data(const char *config, const void *theirs, size_t theirs_size, char **ret,
                         size_t *ret_size) {
        char *text = NULL;
        size_t size = 0;

        FILE *f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;

        if (!theirs)
                fputs(config ? config : "#cloud-config\n{}\n", f);
        else if (!config)
                (void) fwrite(theirs, 1, theirs_size, f);
        else
                write_message(f, config, theirs, theirs_size);

        bool failed = ferror(f);
        if (fclose(f) < 0 || failed) {
                free(text);
                return -ENOMEM;
        }

        *ret = text;
        *ret_size = size;
        return 0;
}
