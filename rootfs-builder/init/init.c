/*
 * /init of a root that boots as an initramfs: sets what a cpio cannot hold, then becomes the root's
 * own init. Static, as a root need not have a shell, or even a C library.
 *
 * What the tree's extended attributes are, and which init its recipe names, stands in NOTES, which
 * is removed. Lines for people and programs start with "BOOTDROP: ".
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NOTES "/.bootdrop-init"

static const char *const inits[] = {
    "/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd",
    "/etc/init", "/bin/init", "/linuxrc",
};
static const char *const shells[] = {
    "/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash", "/bin/busybox", "/usr/bin/busybox",
};
static char wanted[4096];     /* by the recipe */
static char from_line[4096];  /* by init= on the command line */

static void say(const char *format, ...)
{
    va_list values;
    printf("BOOTDROP: ");
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    printf("\n");
    fflush(stdout);
}

/* Turns hexadecimal into bytes in place, with a NUL behind them; returns how many, -1 for others. */
static ssize_t unhex(char *text)
{
    char *out = text, pair[3] = "";
    const char *in = text;
    for (; in[0]; in += 2) {
        if (!isxdigit((unsigned char)in[0]) || !isxdigit((unsigned char)in[1]))
            return -1;
        pair[0] = in[0];
        pair[1] = in[1];
        *out++ = (char)strtol(pair, NULL, 16);
    }
    *out = 0;
    return out - text;
}

static void follow_notes(void)
{
    FILE *notes = fopen(NOTES, "re");
    char *line = NULL;
    size_t room = 0;
    unsigned failed = 0;
    int why = 0;

    if (!notes)
        return;
    while (getline(&line, &room, notes) > 0) {
        char *verb = strtok(line, " \n"), *path = strtok(NULL, " \n");
        char *name = strtok(NULL, " \n"), *value = strtok(NULL, " \n");
        if (!verb || !path || unhex(path) < 0)
            continue;
        if (!strcmp(verb, "init")) {
            snprintf(wanted, sizeof wanted, "%s", path);
        } else if (name && value && unhex(name) > 0) {
            ssize_t size = unhex(value);
            if (size >= 0 && lsetxattr(path, name, value, (size_t)size, 0)) {
                failed++;
                why = errno;
            }
        }
    }
    free(line);
    fclose(notes);
    unlink(NOTES);
    if (failed)
        say("%u file capabilities or attributes are not set: %s"
            " (a root in memory needs CONFIG_TMPFS_XATTR, and no root= on the command line)",
            failed, strerror(why));
}

/* The last init=PATH counts, as for the kernel, which itself looks at it for other roots only. */
static void read_command_line(void)
{
    static char line[65536];
    FILE *file = fopen("/proc/cmdline", "re");
    size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        fclose(file);
    line[length] = 0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
        if (!strncmp(word, "init=/", 6))
            snprintf(from_line, sizeof from_line, "%s", word + 5);
}

static void mount_what_is_needed(void)
{
    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    /* Without devtmpfs the root's own nodes stay. */
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
}

/* The kernel opened the console before /dev was mounted, or had none to open. */
static void open_console(void)
{
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    if (console < 0)
        return;
    for (int number = 0; number < 3; number++)
        if (console != number)
            dup2(console, number);
    if (console > 2)
        close(console);
}

/* Returns only when there is no such program, or the kernel cannot start it. */
static void become(const char *path, char **argv)
{
    struct stat found;
    char *first = argv[0];
    if (!*path || stat(path, &found) || !S_ISREG(found.st_mode) || access(path, X_OK))
        return;
    say("init %s", path);
    argv[0] = (char *)path;
    execv(path, argv);
    say("%s cannot be started: %s%s", path, strerror(errno),
        errno == ENOENT ? " (its loader, such as /lib64/ld-linux-x86-64.so.2, is missing)" : "");
    argv[0] = first;
}

static void shell(void)
{
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        const char *path = shells[i], *name = strrchr(path, '/') + 1;
        int is_busybox = !strcmp(name, "busybox"), status;
        pid_t child;
        if (access(path, X_OK))
            continue;
        say("a shell instead: %s; when it ends, the machine powers off", path);
        child = fork();
        if (!child) {
            setsid();
            ioctl(0, TIOCSCTTY, 1); /* for Ctrl-C and job control */
            if (is_busybox)
                execl(path, "sh", (char *)NULL);
            else
                execl(path, name, (char *)NULL);
            _exit(127);
        }
        while (child > 0 && waitpid(-1, &status, 0) != child)
            ;
        if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
            continue; /* it was none */
        sync();
        reboot(RB_POWER_OFF);
        return;
    }
    say("there is no shell either");
}

int main(int argc, char **argv)
{
    (void)argc;
    follow_notes();
    mount_what_is_needed();
    open_console();
    read_command_line();
    if (*from_line) {
        become(from_line, argv);
        say("init=%s of the command line does not work; trying others", from_line);
    }
    if (*wanted) {
        become(wanted, argv);
        say("the recipe's init %s does not work; trying others", wanted);
    }
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++)
        become(inits[i], argv);
    say("no init in this root: install one (systemd, sysvinit, busybox), or name a program by"
        " `init:` in the recipe or init=PATH on the kernel's command line");
    shell();
    /* A kernel whose init ends panics, and the lines above scroll away. */
    for (;;)
        pause();
}
