/* What a soak does to a process's machine without its knowing: clocks that jump, disks that are slow or fail.
 *
 * LD_PRELOAD it. SOAK_MACHINE names a file of three 64-bit numbers, looked at on every call: the seconds the wall clock is
 * ahead, the milliseconds a sync takes longer, and whether syncs and positioned writes of regular files fail with EIO.
 * Plain write(2) is left alone: narration goes through it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *state(void) {
    static volatile int64_t *shared;
    static int64_t nothing[3];
    if (shared == NULL) {
        const char *path = getenv("SOAK_MACHINE");
        int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof nothing, PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0) close(fd);
        shared = map == MAP_FAILED ? nothing : map;
    }
    return shared;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int fails(int fd) {
    struct stat found;
    if (state()[2] == 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    errno = EIO;
    return 1;
}

static void dawdle(void) {
    int64_t ms = state()[1];
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    if (ms > 0) nanosleep(&wait, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += state()[0];
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int result = real(now, zone);
    if (result == 0) now->tv_sec += state()[0];
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) *out = now.tv_sec;
    return now.tv_sec;
}

int fsync(int fd) {
    REAL(fsync);
    dawdle();
    return fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    dawdle();
    return fails(fd) ? -1 : real(fd);
}

ssize_t pwrite(int fd, const void *content, size_t size, off_t place) {
    REAL(pwrite);
    return fails(fd) ? -1 : real(fd, content, size, place);
}

ssize_t pwrite64(int fd, const void *content, size_t size, off64_t place) {
    REAL(pwrite64);
    return fails(fd) ? -1 : real(fd, content, size, place);
}
