/* In place of the console that the C library's printf family refers to: there is none, so writing to it fails, and
   nothing is imported for it. Weak, so that a plugin that calls for more of WASI links, and the engine says by name what it may
   not import. */

#include <wasi/api.h>

#define ABSENT __attribute__((weak)) __wasi_errno_t

ABSENT __wasi_fd_close(__wasi_fd_t fd) {
    (void)fd;
    return __WASI_ERRNO_BADF;
}

ABSENT __wasi_fd_seek(__wasi_fd_t fd, __wasi_filedelta_t offset, __wasi_whence_t whence, __wasi_filesize_t *position) {
    (void)fd, (void)offset, (void)whence, (void)position;
    return __WASI_ERRNO_BADF;
}

ABSENT __wasi_fd_write(__wasi_fd_t fd, const __wasi_ciovec_t *parts, size_t count, __wasi_size_t *written) {
    (void)fd, (void)parts, (void)count, (void)written;
    return __WASI_ERRNO_BADF;
}

ABSENT __wasi_fd_fdstat_get(__wasi_fd_t fd, __wasi_fdstat_t *status) {
    (void)fd, (void)status;
    return __WASI_ERRNO_BADF;
}
