/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The kernel types the tracer reads, and of each only the members it reads.
 *
 * Written by hand in place of a generated vmlinux.h: with
 * preserve_access_index every access is relocated against the BTF of the
 * running kernel, so offsets, order and missing members do not matter here.
 * A suffix of three underscores is CO-RE's "flavour": the same kernel type as
 * it looked in other versions.
 */
#ifndef TRACER_KERNEL_H
#define TRACER_KERNEL_H

typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;

#define NULL ((void *)0)
#define false 0
#define true 1
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206

/* From uapi/linux/bpf.h, which cannot be included beside these types. */
enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0 };
enum { BPF_RB_NO_WAKEUP = 1 };

/*
 * Where struct pt_regs has its registers, in bytes: part of each architecture's
 * ABI, so nothing is relocated. SYSCALL0 is the first argument of a system call
 * in the registers that its function is given. NOWHERE is on the stack.
 */
#define NOWHERE (-1)
#if defined(__TARGET_ARCH_x86)
enum { SP = 152, RESULT = 80, ARG0 = 112, ARG1 = 104, ARG2 = 96, ARG3 = 88, ARG4 = 72, ARG5 = 64, SYSCALL0 = ARG0 };
#elif defined(__TARGET_ARCH_arm64)
enum { SP = 248, RESULT = 0, ARG0 = 0, ARG1 = 8, ARG2 = 16, ARG3 = 24, ARG4 = 32, ARG5 = 40, SYSCALL0 = ARG0 };
#elif defined(__TARGET_ARCH_riscv)
enum { SP = 16, RESULT = 80, ARG0 = 80, ARG1 = 88, ARG2 = 96, ARG3 = 104, ARG4 = 112, ARG5 = 120, SYSCALL0 = 280 };
/* A kretprobe's registers lack the stack pointer: they lie right below it. */
#define RETURN_REGS_SIZE 288
#elif defined(__TARGET_ARCH_s390)
enum { SP = 144, RESULT = 40, ARG0 = 40, ARG1 = 48, ARG2 = 56, ARG3 = 64, ARG4 = 72, ARG5 = NOWHERE, SYSCALL0 = 152 };
#elif defined(__TARGET_ARCH_powerpc)
enum { SP = 8, RESULT = 24, ARG0 = 24, ARG1 = 32, ARG2 = 40, ARG3 = 48, ARG4 = 56, ARG5 = 64, SYSCALL0 = ARG0 };
#else
#error "compile with bpf/build"
#endif
struct pt_regs;

#define BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
typedef struct { int counter; } atomic_t;

struct cred {
	kuid_t uid, suid, euid;
	kgid_t gid, sgid, egid;
	/* Two u32 before 6.3, the lower first, one u64 since. */
	struct capabilities { u64 val; } cap_permitted, cap_effective;
};
struct kernel_cap_struct { u32 cap[2]; };

struct ns_common { unsigned int inum; };
struct uts_namespace { struct ns_common ns; };
struct ipc_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; };
struct pid_namespace { struct ns_common ns; };
struct cgroup_namespace { struct ns_common ns; };
struct time_namespace { struct ns_common ns; };
struct net { struct ns_common ns; };

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct cgroup_namespace *cgroup_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID, PIDTYPE_MAX };

struct winsize { unsigned short ws_row, ws_col; };
struct tty_driver { int major, minor_start; };
struct tty_struct {
	struct tty_driver *driver;
	int index;
	struct winsize winsize;
	struct tty_struct *link;
};

struct signal_struct {
	atomic_t live;
	struct pid *pids[PIDTYPE_MAX];
	struct tty_struct *tty;
};

struct qstr { const unsigned char *name; };

struct super_block { unsigned long s_magic; };

typedef unsigned short umode_t;
struct timespec64 { s64 tv_sec; long tv_nsec; };

struct inode {
	umode_t i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned long i_ino;
	unsigned int i_nlink;
	s64 i_size;
	char *i_link;
	/* up to 6.5, and i_atime and i_mtime up to 6.6 */
	struct timespec64 i_atime, i_mtime, i_ctime;
};
/* 6.6 hid ctime, 6.7 the other two */
struct inode___67 { struct timespec64 __i_atime, __i_mtime, __i_ctime; };
/* 6.11 split them */
struct inode___611 {
	s64 i_atime_sec, i_mtime_sec, i_ctime_sec;
	u32 i_atime_nsec, i_mtime_nsec, i_ctime_nsec;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct mnt_namespace *mnt_ns;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode;
};

struct fs_struct { struct path root, pwd; };

/* 5.12 and later, and stable kernels that took it over */
struct renamedata {
	struct dentry *old_dentry;
	struct dentry *new_dentry;
};

struct mm_struct { unsigned long arg_start, arg_end, env_start, env_end; };

struct linux_binprm { struct file *file; };

struct task_struct {
	unsigned int flags;
	int exit_code;
	int pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	u64 start_time;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct mm_struct *mm;
};

struct in6_addr {
	union { u8 u6_addr8[16]; } in6_u;
};
typedef struct { struct net *net; } possible_net_t;

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock { struct sock_common __sk_common; };
struct tcp_sock { u64 bytes_received, bytes_sent; };

struct module {
	char name[56];
	const char *version;
	const char *srcversion;
};

#pragma clang attribute pop

#endif
