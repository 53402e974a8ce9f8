/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files by Landlock, system calls by a filter, amounts by resource limits: what a service may lay upon itself
 * whose own sandbox forbids namespaces and other users. */

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "sandbox.h"

/* All that the first version of Landlock knows; no rule below gives any of the rest. */
#define FILE_ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FILE_READ LANDLOCK_ACCESS_FS_READ_FILE
#define FILE_WRITE LANDLOCK_ACCESS_FS_WRITE_FILE
#define FILE_PROGRAM (LANDLOCK_ACCESS_FS_EXECUTE | FILE_READ | LANDLOCK_ACCESS_FS_READ_DIR)

static int allow(int rules, int fd, uint64_t access) {
        const struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

        return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int allow_path(int rules, const char *path, uint64_t access) {
        _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        return allow(rules, fd, access);
}

static int allow_programs(int rules) {
        static const char *const directories[] = { "/usr", "/bin", "/lib", "/lib64" };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(directories); i++)
                r = allow_path(rules, directories[i], FILE_PROGRAM);
        if (r >= 0)
                r = allow_path(rules, "/etc/ld.so.cache", FILE_READ);
        return r < 0 ? r : allow_path(rules, "/dev/null", FILE_READ | FILE_WRITE);
}

static int restrict_files(const int read_fds[], size_t n_read_fds, int write_fd) {
        const struct landlock_ruleset_attr handled = { .handled_access_fs = FILE_ALL };
        _cleanup_close_ int rules =
                (int) syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
        int r;

        if (rules < 0)
                return errno == ENOSYS || errno == EOPNOTSUPP ? -EOPNOTSUPP : -errno;

        r = allow_programs(rules);
        for (size_t i = 0; r >= 0 && i < n_read_fds; i++)
                r = allow(rules, read_fds[i], FILE_READ);
        if (r >= 0 && write_fd >= 0)
                r = allow(rules, write_fd, FILE_READ | FILE_WRITE);
        if (r < 0)
                return r;
        return syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define DENY(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), RETURN(SECCOMP_RET_ERRNO | EPERM)

/* Not what a converter needs, but what a broken one could be used for: the network, other processes of root, and
 * corners of the kernel. Calls of another architecture have other numbers, so they end the process. */
static int restrict_calls(void) {
        struct sock_filter filter[] = {
                LOAD(arch),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
                RETURN(SECCOMP_RET_KILL_PROCESS),
                LOAD(nr),
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
                RETURN(SECCOMP_RET_KILL_PROCESS),
                DENY(socket), DENY(connect), DENY(bind), DENY(listen), DENY(accept), DENY(accept4),
                DENY(kill), DENY(tkill), DENY(pidfd_open), DENY(pidfd_send_signal), DENY(pidfd_getfd),
                DENY(rt_sigqueueinfo), DENY(rt_tgsigqueueinfo),
                DENY(ptrace), DENY(process_vm_readv), DENY(process_vm_writev), DENY(kcmp),
                DENY(unshare), DENY(setns), DENY(mount), DENY(umount2), DENY(pivot_root), DENY(chroot),
                DENY(open_tree), DENY(move_mount), DENY(fsopen), DENY(fsmount),
                DENY(bpf), DENY(perf_event_open), DENY(userfaultfd), DENY(io_uring_setup),
                DENY(keyctl), DENY(add_key), DENY(request_key), DENY(shmget), DENY(msgget), DENY(semget),
                RETURN(SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

static int restrict_amounts(const SandboxLimits *limits) {
        const struct {
                int resource;
                uint64_t value;
        } all[] = {
                { RLIMIT_AS, limits->memory },
                { RLIMIT_CPU, limits->cpu_seconds },
                { RLIMIT_FSIZE, limits->file_size },
                { RLIMIT_CORE, 0 },
                { RLIMIT_NOFILE, 64 },
        };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (setrlimit(all[i].resource, &(struct rlimit) { all[i].value, all[i].value }) < 0)
                        return -errno;
        return 0;
}

int sandbox_enter(const int read_fds[], size_t n_read_fds, int write_fd, const SandboxLimits *limits) {
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;

        r = restrict_files(read_fds, n_read_fds, write_fd);
        if (r >= 0)
                r = restrict_amounts(limits);
        return r < 0 ? r : restrict_calls();
}
