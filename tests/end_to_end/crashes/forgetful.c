/* A disk that forgets, for LD_PRELOAD: keeps beside each file below FORGETFUL_ROOT what a power cut would leave.
 *
 * The program sees its files as ever. In FORGETFUL_SHADOW there is for each inode I
 *     I        what of its content was synced
 *     keep-I   a link to it, so that its number is not used again
 *     dir-I    for a directory: the names that were synced, a line "inode type name" each
 * `forgetful.py` makes the directory of after the cut of it. Not watched: mmap, O_SYNC, rename of directories. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 4096
#define REAL(name) ((__typeof__(&name))real(#name))

struct watched {
  int is_open;
  off_t low, high, least; /* written since the last sync, and the smallest size meanwhile */
};

static struct watched table[FDS];

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

static void fail(const char *what) {
  fprintf(stderr, "forgetful disk: %s: %s\n", what, strerror(errno));
  abort();
}

static const char *shadow(char *into, const char *prefix, ino_t inode, const char *suffix) {
  snprintf(into, PATH_MAX, "%s/%s%lu%s", getenv("FORGETFUL_SHADOW"), prefix, (unsigned long)inode, suffix);
  return into;
}

static int is_ours(const char *path) {
  const char *root = getenv("FORGETFUL_ROOT");
  return root && getenv("FORGETFUL_SHADOW") && !strncmp(path, root, strlen(root));
}

static struct watched *watched(int fd) { return fd >= 0 && fd < FDS && table[fd].is_open ? &table[fd] : NULL; }

static void wrote(int fd, off_t from, off_t to) {
  struct watched *file = watched(fd);
  if (!file) return;
  if (from < file->low) file->low = from;
  if (to > file->high) file->high = to;
}

static void shrank(int fd, off_t size) {
  struct watched *file = watched(fd);
  if (file && size < file->least) file->least = size;
}

static void clean(struct watched *file) {
  file->low = file->least = LONG_MAX;
  file->high = 0;
}

static int opened(int fd, const char *path, int flags, int is_new) {
  struct stat status;
  char kept[PATH_MAX];
  if (fd < 0 || fd >= FDS || !is_ours(path) || fstat(fd, &status)) return fd;
  table[fd].is_open = 1;
  clean(&table[fd]);
  if (flags & O_TRUNC) shrank(fd, 0);
  if (is_new && link(path, shadow(kept, "keep-", status.st_ino, "")) && errno != EEXIST) fail("link");
  return fd;
}

static int open_as(const char *name, const char *path, int flags, mode_t mode) {
  int is_new = (flags & O_CREAT) && is_ours(path) && access(path, F_OK);
  int fd = ((int (*)(const char *, int, ...))real(name))(path, flags, mode);
  return opened(fd, path, flags, is_new);
}

#define OPEN(name)                                 \
  int name(const char *path, int flags, ...) {     \
    va_list more;                                  \
    va_start(more, flags);                         \
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
    va_end(more);                                  \
    return open_as(#name, path, flags, mode);      \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  if (watched(fd)) table[fd].is_open = 0;
  return REAL(close)(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
  ssize_t written = REAL(write)(fd, data, size);
  if (written > 0) wrote(fd, 0, LONG_MAX);
  return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  ssize_t written = REAL(pwrite)(fd, data, size, offset);
  if (written > 0) wrote(fd, offset, offset + written);
  return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
  ssize_t written = REAL(pwrite64)(fd, data, size, offset);
  if (written > 0) wrote(fd, offset, offset + written);
  return written;
}

int ftruncate(int fd, off_t size) {
  int result = REAL(ftruncate)(fd, size);
  if (!result) shrank(fd, size);
  return result;
}

int ftruncate64(int fd, off_t size) {
  int result = REAL(ftruncate64)(fd, size);
  if (!result) shrank(fd, size);
  return result;
}

static void sync_names(int fd, ino_t inode) {
  char aside[PATH_MAX], path[PATH_MAX], self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  DIR *directory = opendir(self);
  FILE *names = fopen(shadow(aside, "dir-", inode, ".tmp"), "w");
  if (!directory || !names) fail("names");
  for (struct dirent *entry; (entry = readdir(directory));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
      fprintf(names, "%lu %c %s\n", (unsigned long)entry->d_ino, entry->d_type == DT_DIR ? 'd' : 'f', entry->d_name);
  closedir(directory);
  if (fclose(names) || rename(aside, shadow(path, "dir-", inode, ""))) fail("names");
}

static void sync_content(int fd, struct watched *file, const struct stat *status) {
  static __thread char buffer[1 << 16];
  char path[PATH_MAX], self[64];
  struct stat synced;
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  int from = REAL(open)(self, O_RDONLY);
  int to = REAL(open)(shadow(path, "", status->st_ino, ""), O_WRONLY | O_CREAT, 0600);
  if (from < 0 || to < 0 || fstat(to, &synced)) fail("content");
  if (file->least < synced.st_size && REAL(ftruncate)(to, file->least)) fail("content");
  off_t end = file->high < status->st_size ? file->high : status->st_size;
  for (off_t at = file->low; at < end;) {
    size_t wanted = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
    ssize_t got = pread(from, buffer, wanted, at);
    if (got <= 0) break;
    if (REAL(pwrite)(to, buffer, got, at) != got) fail("content");
    at += got;
  }
  if (REAL(ftruncate)(to, status->st_size)) fail("content");
  REAL(close)(from);
  REAL(close)(to);
  clean(file);
}

static void synced(int fd) {
  struct watched *file = watched(fd);
  struct stat status;
  if (!file || fstat(fd, &status)) return;
  if (S_ISDIR(status.st_mode))
    sync_names(fd, status.st_ino);
  else
    sync_content(fd, file, &status);
}

int fsync(int fd) {
  int result = REAL(fsync)(fd);
  if (!result) synced(fd);
  return result;
}

int fdatasync(int fd) {
  int result = REAL(fdatasync)(fd);
  if (!result) synced(fd);
  return result;
}
