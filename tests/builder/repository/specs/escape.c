/* Leaves a chroot by a second one, as root may: then runs its arguments from where it came out. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
    mkdir("/.out", 0700);
    if (argc < 2 || chdir("/") || chroot("/.out"))
        return 1;
    for (int up = 0; up < 64; up++)
        if (chdir(".."))
            return 2;
    if (chroot("."))
        return 3;
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 4;
}
