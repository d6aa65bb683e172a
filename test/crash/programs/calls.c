/*
 * A library to preload, which counts the calls that change a file system below a folder, and kills the process before
 * or after one of them.
 *
 *   LIGHTBOX_CALLS_IN      the folder
 *   LIGHTBOX_CALLS_LOG     a file that gets a line for each call before it is made, NUMBER KIND PATH, and one after it,
 *                          NUMBER = 0, or what errno says
 *   LIGHTBOX_CALLS_KILL    "before NUMBER" or "after NUMBER"; none by default
 *   LIGHTBOX_CALLS_EXCEPT  a part of paths that are not counted; none by default
 *
 * What was made below the folder before is not counted, and neither are processes that this one starts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static const char *folder, *except;
static int log_file = -1;
static int kill_before, kill_after;
static int count;

typedef long (*raw_call)(long, ...);

/* The call itself, of which nobody here is told. */
static long raw(long number, long a, long b, long c, long d) {
  static raw_call real;
  if (real == NULL) real = (raw_call)dlsym(RTLD_NEXT, "syscall");
  return real(number, a, b, c, d);
}

__attribute__((constructor)) static void start(void) {
  const char *log = getenv("LIGHTBOX_CALLS_LOG");
  const char *kills = getenv("LIGHTBOX_CALLS_KILL");
  folder = getenv("LIGHTBOX_CALLS_IN");
  if (folder != NULL) folder = strdup(folder);
  except = getenv("LIGHTBOX_CALLS_EXCEPT");
  if (except != NULL) except = strdup(except);
  if (log != NULL) log_file = (int)raw(SYS_openat, AT_FDCWD, (long)log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (kills != NULL && strncmp(kills, "before ", 7) == 0) kill_before = atoi(kills + 7);
  if (kills != NULL && strncmp(kills, "after ", 6) == 0) kill_after = atoi(kills + 6);
  unsetenv("LD_PRELOAD");
}

static void end_process(void) {
  for (;;) kill(getpid(), SIGKILL);
}

/* Where a path leads that is relative to a folder. */
static const char *at(int directory, const char *path, char *buffer) {
  char link[64];
  ssize_t length;
  if (path == NULL || path[0] == '/') return path;
  if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
  else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  length = raw(SYS_readlinkat, AT_FDCWD, (long)link, (long)buffer, PATH_MAX);
  if (length < 0) return NULL;
  snprintf(buffer + length, PATH_MAX - (size_t)length, "/%s", path);
  return buffer;
}

static const char *of(int file, char *buffer) {
  char *slash;
  const char *path = at(file, "", buffer);
  if (path != NULL && (slash = strrchr(path, '/')) != NULL) *slash = 0;
  return path;
}

/* Returns the number of a call that is about to be made, or 0 if it is of no interest. */
static int before(const char *kind, const char *path) {
  char line[PATH_MAX + 64];
  int number, length, error = errno;
  if (folder == NULL || path == NULL || strncmp(path, folder, strlen(folder)) != 0) return 0;
  if (except != NULL && strstr(path, except) != NULL) return 0;
  number = __sync_add_and_fetch(&count, 1);
  length = snprintf(line, sizeof line, "%d %s %s\n", number, kind, path);
  if (log_file >= 0) raw(SYS_write, log_file, (long)line, length, 0);
  if (number == kill_before) end_process();
  errno = error;
  return number;
}

static void after(int number, int failed) {
  char line[64];
  int length, error = errno;
  if (number == 0) return;
  length = snprintf(line, sizeof line, "%d = %d\n", number, failed ? error : 0);
  if (log_file >= 0) raw(SYS_write, log_file, (long)line, length, 0);
  if (number == kill_after) end_process();
  errno = error;
}

#define REAL(type, name, params) static type (*real) params; if (real == NULL) real = (type (*) params)dlsym(RTLD_NEXT, #name)

#define WATCH(type, name, params, args, path)     \
  type name params {                              \
    char buffer[PATH_MAX + 1];                    \
    type result;                                  \
    int number;                                   \
    REAL(type, name, params);                     \
    (void)buffer;                                 \
    number = before(#name, path);                 \
    result = real args;                           \
    after(number, result == (type)-1);            \
    return result;                                \
  }

#define PATHS const char *from, const char *to
WATCH(int, rename, (PATHS), (from, to), to)
WATCH(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), at(b, to, buffer))
WATCH(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), at(b, to, buffer))
WATCH(int, link, (PATHS), (from, to), to)
WATCH(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), at(b, to, buffer))
WATCH(int, symlink, (PATHS), (from, to), to)
WATCH(int, symlinkat, (const char *from, int b, const char *to), (from, b, to), at(b, to, buffer))
WATCH(int, unlink, (const char *path), (path), path)
WATCH(int, unlinkat, (int a, const char *path, int flags), (a, path, flags), at(a, path, buffer))
WATCH(int, rmdir, (const char *path), (path), path)
WATCH(int, remove, (const char *path), (path), path)
WATCH(int, mkdir, (const char *path, mode_t mode), (path, mode), path)
WATCH(int, mkdirat, (int a, const char *path, mode_t mode), (a, path, mode), at(a, path, buffer))
WATCH(int, mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device), path)
WATCH(int, chmod, (const char *path, mode_t mode), (path, mode), path)
WATCH(int, fchmod, (int file, mode_t mode), (file, mode), of(file, buffer))
WATCH(int, fchmodat, (int a, const char *path, mode_t mode, int flags), (a, path, mode, flags), at(a, path, buffer))
WATCH(int, chown, (const char *path, uid_t user, gid_t group), (path, user, group), path)
WATCH(int, lchown, (const char *path, uid_t user, gid_t group), (path, user, group), path)
WATCH(int, fchown, (int file, uid_t user, gid_t group), (file, user, group), of(file, buffer))
WATCH(int, utimensat, (int a, const char *path, const struct timespec times[2], int flags), (a, path, times, flags), at(a, path, buffer))
WATCH(int, futimens, (int file, const struct timespec times[2]), (file, times), of(file, buffer))
WATCH(int, utimes, (const char *path, const struct timeval times[2]), (path, times), path)
WATCH(int, truncate, (const char *path, off_t length), (path, length), path)
WATCH(int, truncate64, (const char *path, off64_t length), (path, length), path)
WATCH(int, ftruncate, (int file, off_t length), (file, length), of(file, buffer))
WATCH(int, ftruncate64, (int file, off64_t length), (file, length), of(file, buffer))
WATCH(int, fallocate, (int file, int mode, off_t offset, off_t length), (file, mode, offset, length), of(file, buffer))
WATCH(int, fallocate64, (int file, int mode, off64_t offset, off64_t length), (file, mode, offset, length), of(file, buffer))
WATCH(int, fsync, (int file), (file), of(file, buffer))
WATCH(int, fdatasync, (int file), (file), of(file, buffer))
WATCH(ssize_t, write, (int file, const void *bytes, size_t length), (file, bytes, length), of(file, buffer))
WATCH(ssize_t, pwrite, (int file, const void *bytes, size_t length, off_t offset), (file, bytes, length, offset), of(file, buffer))
WATCH(ssize_t, pwrite64, (int file, const void *bytes, size_t length, off64_t offset), (file, bytes, length, offset), of(file, buffer))
WATCH(ssize_t, writev, (int file, const struct iovec *parts, int length), (file, parts, length), of(file, buffer))
WATCH(ssize_t, pwritev, (int file, const struct iovec *parts, int length, off_t offset), (file, parts, length, offset), of(file, buffer))
WATCH(ssize_t, pwritev64, (int file, const struct iovec *parts, int length, off64_t offset), (file, parts, length, offset), of(file, buffer))
WATCH(ssize_t, sendfile, (int to, int from, off_t *offset, size_t length), (to, from, offset, length), of(to, buffer))
WATCH(ssize_t, sendfile64, (int to, int from, off64_t *offset, size_t length), (to, from, offset, length), of(to, buffer))
WATCH(ssize_t, copy_file_range, (int from, off64_t *a, int to, off64_t *b, size_t length, unsigned flags), (from, a, to, b, length, flags), of(to, buffer))

/* A socket is a file as well. */
int bind(int file, const struct sockaddr *address, socklen_t length) {
  const char *path = address->sa_family == AF_UNIX ? ((const struct sockaddr_un *)address)->sun_path : NULL;
  int number, result;
  REAL(int, bind, (int, const struct sockaddr *, socklen_t));
  number = before("bind", path);
  result = real(file, address, length);
  after(number, result == -1);
  return result;
}

/* Opening changes something if it makes a file, or empties one. */
#define OPEN(name, params, directory, args)                                      \
  int name params {                                                              \
    char buffer[PATH_MAX + 1];                                                   \
    va_list rest;                                                                \
    mode_t mode = 0;                                                             \
    int number, result;                                                          \
    REAL(int, name, params);                                                     \
    va_start(rest, flags);                                                       \
    if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) mode = va_arg(rest, mode_t); \
    va_end(rest);                                                                \
    number = (flags & (O_CREAT | O_TRUNC)) == 0 ? 0 : before(#name, at(directory, path, buffer)); \
    result = real args;                                                          \
    after(number, result == -1);                                                 \
    return result;                                                               \
  }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int directory, const char *path, int flags, ...), directory, (directory, path, flags, mode))
OPEN(openat64, (int directory, const char *path, int flags, ...), directory, (directory, path, flags, mode))

/* Copies that share blocks. */
int ioctl(int file, unsigned long request, ...) {
  char buffer[PATH_MAX + 1];
  va_list rest;
  void *argument;
  int number, result;
  REAL(int, ioctl, (int, unsigned long, ...));
  va_start(rest, request);
  argument = va_arg(rest, void *);
  va_end(rest);
  number = request == 0x40049409 || request == 0x4020940d ? before("ioctl", of(file, buffer)) : 0;
  result = real(file, request, argument);
  after(number, result == -1);
  return result;
}

/* What is called by its number, as the C library may not have it. */
long syscall(long call, ...) {
  char buffer[PATH_MAX + 1];
  long words[6], result;
  const char *path = NULL;
  va_list rest;
  int number;
  REAL(long, syscall, (long, ...));
  va_start(rest, call);
  for (int word = 0; word < 6; word++) words[word] = va_arg(rest, long);
  va_end(rest);
  switch (call) {
    case SYS_copy_file_range: path = of((int)words[2], buffer); break;
    case SYS_renameat2: path = at((int)words[2], (const char *)words[3], buffer); break;
    case SYS_unlinkat: case SYS_mkdirat: path = at((int)words[0], (const char *)words[1], buffer); break;
    case SYS_openat: if ((words[2] & (O_CREAT | O_TRUNC)) != 0) path = at((int)words[0], (const char *)words[1], buffer); break;
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2: case SYS_sendfile:
    case SYS_fsync: case SYS_fdatasync: case SYS_ftruncate: case SYS_fallocate: case SYS_fchmod:
      path = of((int)words[0], buffer);
      break;
  }
  number = path == NULL ? 0 : before("syscall", path);
  result = real(call, words[0], words[1], words[2], words[3], words[4], words[5]);
  after(number, result == -1);
  return result;
}
