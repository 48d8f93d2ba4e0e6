/* The floor under a container's start: the system calls that one needs, and nothing else.
 *
 *     cc -O2 -o floor tests/bench/floor.c && sudo ./floor ROOTFS /bin/true
 *
 * It makes the namespaces, the mounts, the device nodes, the masks and the read-only paths of a default OCI
 * configuration, drops the capabilities that this does not have, executes the command and waits for it.  It parses
 * no configuration, makes no cgroup, installs no seccomp filter, resolves no path safely, writes no record.
 * Prints the microseconds of each step to standard error when FLOOR_STEPS is set.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double last;

static double now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static void step(const char *name) {
    double at = now_us();
    if (getenv("FLOOR_STEPS"))
        fprintf(stderr, "%8.0f  %s\n", at - last, name);
    last = now_us();
}

static void mount_or_die(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
    if (mount(source, target, type, flags, data) < 0)
        err(1, "mount %s on %s", type ? type : source, target);
}

static void make_mounts(void) {
    const unsigned long guarded = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    mount_or_die("proc", "proc", "proc", guarded, NULL);
    mount_or_die("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k");
    mkdir("dev/pts", 0755), mkdir("dev/shm", 0755), mkdir("dev/mqueue", 0755);
    mount_or_die("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_or_die("shm", "dev/shm", "tmpfs", guarded, "mode=1777,size=65536k");
    mount_or_die("mqueue", "dev/mqueue", "mqueue", guarded, NULL);
    mount_or_die("sysfs", "sys", "sysfs", guarded | MS_RDONLY, NULL);
}

static void make_devices(void) {
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    static const char *links[][2] = {
        {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"},
    };
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            err(1, "mknod %s", nodes[i].path);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            err(1, "symlink %s", links[i][1]);
}

static void hide(void) {
    static const char *read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    static const char *masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                   "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"};
    struct stat status;
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
        if (stat(read_only[i], &status) == 0) {
            mount_or_die(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL);
            mount_or_die(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_REC, NULL);
        }
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++)
        if (stat(masked[i], &status) == 0) {
            if (S_ISDIR(status.st_mode))
                mount_or_die("tmpfs", masked[i], "tmpfs", MS_RDONLY, "size=0");
            else
                mount_or_die("/dev/null", masked[i], NULL, MS_BIND, NULL);
        }
}

static void be_container(const char *root, char **command) {
    mount_or_die(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
    mount_or_die(root, root, NULL, MS_BIND | MS_REC, NULL);
    if (chdir(root) < 0)
        err(1, "chdir %s", root);
    step("root file system");
    make_mounts();
    step("mounts");
    make_devices();
    step("devices and links");
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        err(1, "pivot_root");
    step("pivot_root");
    hide();
    step("masks and read-only paths");
    sethostname("floor", 5);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (capability > CAP_AUDIT_WRITE)
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    step("host name, capabilities");
    execv(command[0], command);
    err(127, "exec %s", command[0]);
}

int main(int count, char **words) {
    if (count < 3)
        errx(2, "usage: floor ROOTFS COMMAND [ARGUMENT ...]");
    char *root = realpath(words[1], NULL);
    struct clone_args arguments = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    last = now_us();
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        err(1, "clone3");
    if (!pid) {
        step("clone3 with six namespaces");
        be_container(root ? root : words[1], words + 2);
    }
    int status;
    waitpid(pid, &status, 0);
    step("all after that, to the end of the process");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
