/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Disk images: a private copy of what a client's descriptor shows, judged after the copy and never
 * probed by QEMU. All of it runs in the image helper (image/helper.c), a child process, because a
 * client's descriptor may be a FUSE file that never answers. */

#include <stdint.h>
#include <sys/types.h>

#include "base/child.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/strv.h"

typedef struct ImageInfo {
        char *format;          /* "raw" or "qcow2" */
        uint64_t virtual_size; /* bytes the guest sees */
        uint64_t used;         /* bytes allocated on the host */
        bool overlay;          /* laid over its base, which must stay as it is */
} ImageInfo;

void image_info_clear(ImageInfo *info);
#define _cleanup_image_info_ _cleanup_(image_info_clear)

/* The first look at a descriptor from a client, on the loop, so only what cannot hang (fcntl):
 * opened for reading and not O_PATH. Whether it is a regular file is the helper's to find out.
 * InvalidOption names option. */
int image_descriptor_check(int fd, const char *option, Error *error);

/* Judges an image of our own by its header: raw, or qcow2 without backing file, data file,
 * encryption or unknown incompatible features, with tables inside the file and a virtual size up to
 * max_virtual. ImageRejected says what is wrong. Pure reading; used by the helper and by tests. */
int image_judge(int fd, uint64_t max_virtual, ImageInfo *ret, Error *error);

/* Only what the header says, of an image of the store, which was judged on its way in: quick enough
 * for the loop. */
int image_peek(int fd, ImageInfo *ret, Error *error);

/* What QEMU only reads: an installer (ISO 9660 or UDF), a PCI expansion ROM (at most 16 MiB). */
typedef enum ImageKind { IMAGE_DISK, IMAGE_CDROM, IMAGE_ROM } ImageKind;
int image_judge_readonly(int fd, ImageKind kind, uint64_t max_size, ImageInfo *ret, Error *error);

/* A job of the helper. done(): info is NULL on failure; exactly once. */
typedef struct ImageHandler {
        void (*progress)(const char *phase, double progress, uint64_t bytes, void *userdata); /* see ChildHandler */
        void (*done)(const ImageInfo *info, const Error *error, void *userdata);
} ImageHandler;
typedef struct ImageTask ImageTask;

/* Copies source (a descriptor from a client or of ours; stays the caller's) to dir_path/NAME.raw or
 * NAME.qcow2, as its header says; reflink where the file system can, sparse otherwise; the name
 * appears only when the copy is complete and judged. grow_to (0: leave) enlarges the disk. One that a
 * guest would see as more than allowed (UINT64_MAX: any) is LimitExceeded, before it is copied where
 * its header can be read. Cancel and failure leave nothing behind. */
int image_copy(sd_event *event, const char *helper, int source, const char *dir_path,
               const char *name, uint64_t grow_to, uint64_t max_virtual, uint64_t allowed,
               const ImageHandler *handler, void *userdata, ImageTask **ret);
/* The same for an image of the store, base_path: a reflink where the file system can, else an overlay, which takes no
 * time and no space either. */
int image_derive(sd_event *event, const char *helper, int source, const char *base_path, const char *dir_path,
                 const char *name, uint64_t grow_to, uint64_t max_virtual, const ImageHandler *handler,
                 void *userdata, ImageTask **ret);
/* An overlay and its base as one image of its own: dir_path/NAME.qcow2. The files are ours, but may belong to
 * QEMU's user. */
int image_flatten(sd_event *event, const char *helper, int overlay, int base, const char *base_format,
                  const char *dir_path, const char *name, const ImageHandler *handler, void *userdata,
                  ImageTask **ret);
/* The same for a CD-ROM or a ROM: dir_path/NAME.iso or NAME.rom, unchanged. */
int image_copy_readonly(sd_event *event, const char *helper, ImageKind kind, int source,
                        const char *dir_path, const char *name, uint64_t max_size,
                        const ImageHandler *handler, void *userdata, ImageTask **ret);
/* An empty qcow2 disk of size bytes: dir_path/NAME.qcow2. */
int image_create_empty(sd_event *event, const char *helper, const char *dir_path, const char *name,
                       uint64_t size, const ImageHandler *handler, void *userdata, ImageTask **ret);

typedef struct CloudInit {
        char **ssh_keys;
        char *hostname;
        char *user;            /* NULL: the image's default user */
        int user_data_fd;      /* the caller's own user-data, merged; -EBADF: none */
        char *instance_id;     /* the VM's UUID */
} CloudInit;
/* What the caller gave, but for user_data_fd. InvalidOption names what is wrong. */
int cloud_init_check(const CloudInit *cloud_init, Error *error);
/* Writes the NoCloud seed ISO dir_path/seed.iso, in place of an older one: json-c writes the
 * documents (JSON is YAML), libarchive the image. With ssh_keys: password login off. Where the
 * caller's own user-data says something else, that holds. done() has info with format "raw". */
int image_make_seed(sd_event *event, const char *helper, const CloudInit *cloud_init,
                    const char *dir_path, const ImageHandler *handler, void *userdata,
                    ImageTask **ret);
/* An SSH public key as OpenSSH writes it: type, base64, comment. InvalidOption otherwise. */
int ssh_key_check(const char *key, Error *error);

/* done() follows, with Cancelled unless all was complete before. */
void image_task_cancel(ImageTask *task);

/* The store: STATE/images/UID/NAME.raw or .qcow2; UID 0 is shared with everyone. */
typedef struct StoredImage {
        char *name;
        ImageInfo info;
        uid_t owner;
} StoredImage;
typedef struct StoredImages {
        StoredImage *items;
        size_t n;
} StoredImages;
void stored_images_clear(StoredImages *images);

/* state_fd: the state directory. The images of uid and the shared ones. */
int image_store_list(int state_fd, uid_t uid, StoredImages *ret);
/* Opens an image by name, uid's own before a shared one. NoSuchImage otherwise. */
int image_store_open(int state_fd, uid_t uid, const char *name, int *ret_fd, uid_t *ret_owner,
                     Error *error);
/* Frees the blocks of what may be a large file: for a worker. */
int image_store_remove(int state_fd, uid_t owner, const char *name, Error *error);
/* Creates STATE/images/UID and returns its path relative to the state directory. */
int image_store_prepare(int state_fd, uid_t uid, char **ret_path);
