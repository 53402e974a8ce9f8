/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an unprivileged user can do to make a free drive look used, done for real: a process of user
 * 65534 does it in namespaces of its own, and is looked at through the real /proc. The drive is
 * made of files; only its node is a real one, without a driver. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/strv.h"
#include "host/usage.h"
#include "tree.h"

#define NVME "0000:01:00.0"
#define NOBODY 65534
#define NODE "/dev/nvme0n1"

/* What the forger says when it has done what it can. */
#define DONE 'd'
#define CANNOT 'c'

/* --- the forger ------------------------------------------------------------------------------- */

/* Root in namespaces of its own, as any user may be. */
static bool enter_namespaces(void) {
        char map[64];

        /* A change of user makes what is in /proc of the process root's. */
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
            prctl(PR_SET_DUMPABLE, 1) < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return false;

        snprintf(map, sizeof(map), "0 %d 1\n", NOBODY);
        return write_attribute_at(AT_FDCWD, "/proc/self/setgroups", "deny") >= 0 &&
               write_attribute_at(AT_FDCWD, "/proc/self/uid_map", map) >= 0 &&
               write_attribute_at(AT_FDCWD, "/proc/self/gid_map", map) >= 0 &&
               mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) >= 0;
}

/* A regular file that is called like the node, open and mapped. */
static bool open_file_of_that_name(void) {
        int fd = open(NODE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        return fd >= 0 && ftruncate(fd, 4096) >= 0 &&
               mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
}

/* The source of a mount. */
static bool forge_source(const char *root _unused_) {
        return mount(NODE, "/mnt", "tmpfs", 0, NULL) >= 0;
}

static bool forge_file(const char *root _unused_) {
        return mount("none", "/dev", "tmpfs", 0, NULL) >= 0 && open_file_of_that_name();
}

/* The path of the node, to which the user has no right. */
static bool forge_open(const char *root) {
        char node[256];

        snprintf(node, sizeof(node), "%s" NODE, root);
        return open(node, O_RDONLY | O_CLOEXEC) < 0 && open(node, O_PATH | O_CLOEXEC) >= 0;
}

/* A file system of the user's own, which may call its kind what it likes behind the dot. */
static bool forge_fuse(const char *root) {
        char node[256], options[128];

        snprintf(node, sizeof(node), "%s/dev/fuse", root);
        int fd = open(node, O_RDWR);
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
        return fd >= 0 && mount(NODE, "/mnt", "fuse.xfs", MS_NOSUID | MS_NODEV, options) >= 0;
}

typedef bool (*Forge)(const char *root);

_Noreturn static void forger(Forge forge, const char *root, int fd) {
        char word = enter_namespaces() && forge(root) ? DONE : CANNOT;

        if (write(fd, &word, 1) == 1 && word == DONE)
                (void) pause();
        _exit(EXIT_SUCCESS);
}

/* Its PID, when it has done what it can. 0: this machine lets nobody do that. */
static pid_t start_forger(Forge forge, const char *root) {
        int ends[2];
        char word = CANNOT;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                forger(forge, root, ends[1]);
        }

        (void) close(ends[1]);
        (void) !read(ends[0], &word, 1);
        (void) close(ends[0]);
        if (word == DONE)
                return pid;

        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return 0;
}

/* --- the host --------------------------------------------------------------------------------- */

static void make_node(Tree *t, const char *path, mode_t mode, dev_t number) {
        assert_int_equal(mknodat(t->fd, path, mode, number), 0);
        assert_int_equal(fchmodat(t->fd, path, mode & 07777, 0), 0);
}

/* A free drive, with a node that only root may open. */
static Tree *new_host(void) {
        Tree *t = tree_new();
        _cleanup_free_ char *path = tree_add_function(t, &(TreeFunction) {
                .below = "pci0000:00/0000:00:01.0", .address = NVME, .vendor = 0x1b36,
                .device = 0x10, .class = 0x010802, .driver = "nvme", .group = 1,
                .reset_method = "flr" });

        tree_add_controller(t, path, "nvme0", "nqn.2019-08.org.qemu:nvme0");
        tree_add_namespace(t, path, "nvme0", "nvme0n1", "259:0");

        assert_int_equal(chmod(t->path, 0711), 0);
        tree_mkdir(t, "dev");
        make_node(t, "dev/nvme0n1", S_IFBLK | 0600, makedev(259, 0));
        make_node(t, "dev/fuse", S_IFCHR | 0666, makedev(10, 229));
        return t;
}

/* The forger is a process of that host. */
static void add_real_process(Tree *t, pid_t pid) {
        char link[64], target[64];

        snprintf(link, sizeof(link), "proc/%d", (int) pid);
        snprintf(target, sizeof(target), "/proc/%d", (int) pid);
        tree_symlink(t, link, target);
}

typedef int (*Inspect)(int root_fd, const Inventory *inventory, const PciDevice *device,
                       Reasons *reasons);

static char *inspect_with(Inspect inspect, Tree *t) {
        _cleanup_(inventory_freep) Inventory *inventory = NULL;
        _cleanup_reasons_ Reasons reasons = {};

        assert_int_equal(inventory_read(t->fd, &inventory), 0);
        assert_int_equal(inspect(t->fd, inventory, inventory->devices[0], &reasons), 0);
        return strdup(reasons.n > 0 ? reasons.items[0].detail : "");
}

/* With what could be seen if names counted, lest the forger has not done it. */
static void expect_free(Forge forge, const char *file, const char *seen) {
        if (geteuid() != 0)
                skip(); /* node and change of user are root's to make */

        _cleanup_tree_ Tree *t = new_host();
        _cleanup_free_ char *quick = NULL, *close = NULL, *content = NULL;
        char path[64];

        pid_t pid = start_forger(forge, t->path);
        if (pid == 0)
                skip(); /* no user namespaces, or no FUSE */

        add_real_process(t, pid);
        snprintf(path, sizeof(path), "proc/%d/%s", (int) pid, file);
        content = tree_read(t, path);
        quick = inspect_with(usage_inspect, t);
        close = inspect_with(usage_inspect_deep, t);
        (void) kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);

        assert_non_null(content);
        assert_non_null(strstr(content, seen));
        assert_string_equal(quick, "");
        assert_string_equal(close, "");
}

static void test_source(void **state) {
        expect_free(forge_source, "mountinfo", " - tmpfs " NODE " ");
}

static void test_fuse(void **state) {
        expect_free(forge_fuse, "mountinfo", " - fuse.xfs " NODE " ");
}

static void test_file(void **state) {
        expect_free(forge_file, "maps", " " NODE "\n");
}

static void test_path(void **state) {
        expect_free(forge_open, "status", "\nUid:\t65534\t");
}

/* --- and what is no forgery ------------------------------------------------------------------- */

/* Has the node open and mapped, and on a word only mapped; says so. */
_Noreturn static void user_of(const char *node, int word_fd, int answer_fd) {
        int fd = open(node, O_RDWR | O_CLOEXEC);
        char word = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED ? DONE : CANNOT;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) prctl(PR_SET_NAME, "real-user");
        while (write(answer_fd, &word, 1) == 1 && read(word_fd, &word, 1) == 1)
                (void) close(fd);
        _exit(EXIT_SUCCESS);
}

static void expect_answer(int fd) {
        char word = CANNOT;

        assert_int_equal(read(fd, &word, 1), 1);
        assert_int_equal(word, DONE);
}

/* A node that every host has, as one of the drive's. */
static void test_real_use(void **state) {
        if (geteuid() != 0)
                skip(); /* map_files is root's to see */

        _cleanup_tree_ Tree *t = new_host();
        _cleanup_free_ char *opened = NULL, *mapped = NULL, *gone = NULL;
        static const char directory[] =
                "sys/devices/pci0000:00/0000:00:01.0/" NVME "/nvme/nvme0/zero";
        const char word = DONE;
        int words[2], answers[2];

        tree_mkdir(t, directory);
        tree_link(t, "sys/dev/char/1:5", directory);

        assert_int_equal(pipe2(words, O_CLOEXEC), 0);
        assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                user_of("/dev/zero", words[0], answers[1]);

        add_real_process(t, pid);
        expect_answer(answers[0]);
        opened = inspect_with(usage_inspect_deep, t);

        assert_int_equal(write(words[1], &word, 1), 1);
        expect_answer(answers[0]);
        mapped = inspect_with(usage_inspect_deep, t);

        (void) kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        gone = inspect_with(usage_inspect_deep, t);

        assert_non_null(strstr(opened, "/dev/zero is open in real-user (PID "));
        assert_string_equal(mapped, opened);
        assert_string_equal(gone, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_source), cmocka_unit_test(test_fuse),
                cmocka_unit_test(test_file),   cmocka_unit_test(test_path),
                cmocka_unit_test(test_real_use),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
