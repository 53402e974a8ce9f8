/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What can be learnt about a client's descriptor without touching the file behind it. */

#include <fcntl.h>

#include "image.h"

int image_descriptor_check(int fd, const char *option, Error *error) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return error_set(error, ERROR_INVALID_OPTION, "%s is not an open file", option);
        if (flags & O_PATH)
                return error_set(error, ERROR_INVALID_OPTION,
                                 "%s was opened with O_PATH, not for reading", option);
        if ((flags & O_ACCMODE) == O_WRONLY)
                return error_set(error, ERROR_INVALID_OPTION, "%s was opened for writing only",
                                 option);
        return 0;
}

void image_info_clear(ImageInfo *info) {
        if (!info)
                return;
        free(info->format);
        *info = (ImageInfo) {};
}
