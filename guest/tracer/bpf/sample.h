/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The samples in the ring buffer. sample.go decodes them, and refuses one that
 * is not used up: the two files change together.
 *
 * Samples are reserved at their full size and not zeroed: what lies behind a
 * stated length is old memory that nobody may look at.
 */
#ifndef TRACER_SAMPLE_H
#define TRACER_SAMPLE_H

#include "kernel.h"

enum event_type {
	EVENT_FORK = 1,
	EVENT_EXEC,
	EVENT_EXIT,
	EVENT_SETSID,
	EVENT_SETUID,
	EVENT_SETGID,
	EVENT_TTY_WRITE,
	EVENT_MEMFD_CREATE,
	EVENT_SHMGET,
	EVENT_PTRACE,
	EVENT_LOAD_MODULE,
	EVENT_FILE_CREATE,
	EVENT_FILE_RENAME,
	EVENT_FILE_DELETE,
	EVENT_FILE_MODIFY,
	EVENT_FILE_MEMFD_OPEN,
	EVENT_FILE_SHMEM_OPEN,
	EVENT_NET_ATTEMPTED,
	EVENT_NET_ACCEPTED,
	EVENT_NET_CLOSED,
	EVENT_MAX,
};

enum change { CHANGE_PERMISSIONS = 1, CHANGE_CONTENT, CHANGE_OWNER, CHANGE_XATTRS };

/* A path is its components from the leaf up, each ended by a NUL. */
#define PATH_BYTES 4096
#define NAME_BYTES 256 /* NAME_MAX and the NUL */
#define PATH_SIZE (PATH_BYTES + NAME_BYTES)
#define PATH_COMPONENTS 50
enum {
	PATH_REACHED = 1,   /* ends at the process's root */
	PATH_TRUNCATED = 2, /* deeper or longer than the limits above */
};

struct path_info { u16 len, flags; };

struct pids {
	u32 tid, tgid, ppid, pgid, sid, pad;
	u64 start_time_ns;
};

struct creds {
	u32 ruid, rgid, euid, egid, suid, sgid;
	u64 cap_permitted, cap_effective;
};

struct tty {
	u32 major, minor;
	u16 rows, cols;
	u32 pad;
};

struct header {
	u32 type, pad;
	struct pids pids;
	char comm[16];
};

struct fork_sample {
	struct header h; /* pids: the parent's */
	struct pids child;
	struct creds creds;
	struct tty ctty;
	u32 uts, ipc, mnt, net, cgroup, time, pid;
	struct path_info cwd;
	char cwd_buf[PATH_SIZE];
};

#define ARGS_SIZE 12288

struct exec_sample {
	struct header h;
	struct creds creds;
	struct tty ctty;
	u32 mode;     /* of the executable */
	u32 nlink;
	u32 is_memfd;
	u32 argv_len; /* of args; the environment follows */
	u32 args_len; /* of both, not more than ARGS_SIZE */
	struct path_info cwd, filename;
	u32 pad;
	char cwd_buf[PATH_SIZE];
	char filename_buf[PATH_SIZE];
	char args[ARGS_SIZE];
};

struct exit_sample {
	struct header h;
	struct tty ctty;
	u32 exit_code, pad;
};

struct ids_sample { /* SETSID, SETUID, SETGID */
	struct header h;
	u32 real, effective;
};

#define TTY_OUT_SIZE 4096

struct tty_sample {
	struct header h;
	struct tty tty;
	u32 len, truncated;
	char out[TTY_OUT_SIZE];
};

struct memfd_sample {
	struct header h;
	u32 flags, len;
	char name[NAME_BYTES];
};

struct shmget_sample {
	struct header h;
	s64 key, size, shmflg;
};

struct ptrace_sample {
	struct header h;
	s64 child_pid, request;
};

struct module_sample {
	struct header h;
	char name[64], version[64], srcversion[64]; /* NUL-terminated */
};

#define LINK_SIZE 1024

struct file_sample {
	struct header h;
	struct creds creds;
	u32 mnt_ns, change;
	u64 inode, size, atime, mtime, ctime;
	u32 mode, uid, gid, link_len;
	struct path_info path, new_path;
	char path_buf[PATH_SIZE];
	/* Not in FILE_CREATE, *_OPEN and change of content. */
	char link[LINK_SIZE];
	/* Only in FILE_RENAME. */
	char new_path_buf[PATH_SIZE];
};

#define FILE_SAMPLE_SHORT __builtin_offsetof(struct file_sample, link)
#define FILE_SAMPLE_LINK __builtin_offsetof(struct file_sample, new_path_buf)

struct net_sample {
	struct header h;
	u32 family, netns;
	u16 sport, dport; /* host order */
	u32 pad;
	u8 saddr[16], daddr[16];
	u64 sent, received;
};

/* The sizes that sample_test.go builds samples with. */
_Static_assert(sizeof(struct fork_sample) == 4528, "fork");
_Static_assert(sizeof(struct exec_sample) == 21136, "exec");
_Static_assert(sizeof(struct exit_sample) == 80, "exit");
_Static_assert(sizeof(struct ids_sample) == 64, "ids");
_Static_assert(sizeof(struct tty_sample) == 4176, "tty");
_Static_assert(sizeof(struct memfd_sample) == 320, "memfd");
_Static_assert(sizeof(struct shmget_sample) == 80, "shmget");
_Static_assert(sizeof(struct ptrace_sample) == 72, "ptrace");
_Static_assert(sizeof(struct module_sample) == 248, "module");
_Static_assert(FILE_SAMPLE_SHORT == 4520, "file");
_Static_assert(FILE_SAMPLE_LINK == 5544, "file with link");
_Static_assert(sizeof(struct file_sample) == 9896, "file with two paths");
_Static_assert(sizeof(struct net_sample) == 120, "net");

#endif
