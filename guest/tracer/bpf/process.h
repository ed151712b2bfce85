/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* PROCESS_*: life, identity and system calls of processes. */
#include "path.h"

#define NS_INUM(proxy, ns_) BPF_CORE_READ(proxy, ns_, ns.inum)

SEC("raw_tp/sched_process_fork")
int process_fork(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct nsproxy *ns;
	struct fork_sample *s;

	if (BPF_CORE_READ(child, flags) & PF_KTHREAD)
		return 0;
	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; /* a thread */
	s = reserve(EVENT_FORK, sizeof(*s));
	if (!s)
		return 0;
	fill_header(&s->h, EVENT_FORK, parent);
	fill_pids(&s->child, child);
	fill_creds(&s->creds, child);
	fill_ctty(&s->ctty, child);
	ns = BPF_CORE_READ(child, nsproxy);
	s->uts = NS_INUM(ns, uts_ns);
	s->ipc = NS_INUM(ns, ipc_ns);
	s->mnt = NS_INUM(ns, mnt_ns);
	s->net = NS_INUM(ns, net_ns);
	s->cgroup = NS_INUM(ns, cgroup_ns);
	s->time = NS_INUM(ns, time_ns);
	s->pid = pid_ns(child);
	set_path(&s->cwd, walk(s->cwd_buf, child, BPF_CORE_READ(child, fs, pwd.mnt),
			       BPF_CORE_READ(child, fs, pwd.dentry)));
	submit(s);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int process_exec(u64 *ctx)
{
	struct task_struct *t = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[2];
	struct file *file = BPF_CORE_READ(bprm, file);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct mm_struct *mm = BPF_CORE_READ(t, mm);
	u64 start, end;
	struct exec_sample *s;

	s = reserve(EVENT_EXEC, sizeof(*s));
	if (!s)
		return 0;
	fill_header(&s->h, EVENT_EXEC, t);
	fill_creds(&s->creds, t);
	fill_ctty(&s->ctty, t);
	s->mode = BPF_CORE_READ(inode, i_mode);
	s->nlink = BPF_CORE_READ(inode, i_nlink);
	s->is_memfd = is_memfd(dentry) & 1;
	s->pad = 0;
	set_path(&s->cwd, walk(s->cwd_buf, t, BPF_CORE_READ(t, fs, pwd.mnt),
			       BPF_CORE_READ(t, fs, pwd.dentry)));
	set_path(&s->filename, walk(s->filename_buf, t, BPF_CORE_READ(file, f_path.mnt), dentry));

	/* A new process's environment follows its arguments without a gap. */
	start = BPF_CORE_READ(mm, arg_start);
	end = BPF_CORE_READ(mm, env_end);
	s->argv_len = BPF_CORE_READ(mm, arg_end) - start;
	end -= start;
	if (end > ARGS_SIZE)
		end = ARGS_SIZE;
	s->args_len = bpf_probe_read_user(s->args, end, (void *)start) ? 0 : end;
	submit(s);
	return 0;
}

INLINE void send_exit(struct task_struct *t)
{
	struct exit_sample *s = reserve(EVENT_EXIT, sizeof(*s));

	if (!s)
		return;
	fill_header(&s->h, EVENT_EXIT, t);
	fill_ctty(&s->ctty, t);
	s->exit_code = BPF_CORE_READ(t, exit_code) >> 8 & 0xff;
	s->pad = 0;
	submit(s);
}

/*
 * Called once for a process, by the last of its threads, before the terminal
 * is gone. The tracepoint below is passed by every thread, and where programs
 * can be preempted the last exit was lost now and then, because a sibling was
 * still in the program.
 */
INLINE int on_disassociate_ctty(u64 *ctx, struct call *c)
{
	struct task_struct *t = current_task();

	/* 1: on exit; 0: ioctl TIOCNOTTY */
	if ((int)ARG(0) == 1 && !(BPF_CORE_READ(t, flags) & PF_KTHREAD))
		send_exit(t);
	return 0;
}
PROBE_ENTRY(disassociate_ctty)

/* The second choice. Of two last threads at once both may be told. */
SEC("raw_tp/sched_process_exit")
int process_exit(u64 *ctx)
{
	struct task_struct *t = (void *)ctx[0];

	if (BPF_CORE_READ(t, flags) & PF_KTHREAD)
		return 0;
	if (BPF_CORE_READ(t, signal, live.counter) == 0)
		send_exit(t);
	return 0;
}

INLINE void send_ids(u32 type, u32 real, u32 effective)
{
	struct ids_sample *s = reserve(type, sizeof(*s));

	if (!s)
		return;
	fill_header(&s->h, type, current_task());
	s->real = real;
	s->effective = effective;
	submit(s);
}

INLINE int on_commit_creds(u64 *ctx, struct call *c)
{
	struct cred *new = (void *)ARG(0);
	const struct cred *old = BPF_CORE_READ(current_task(), real_cred);
	u32 real, effective;

	real = BPF_CORE_READ(new, uid.val);
	effective = BPF_CORE_READ(new, euid.val);
	if (real != BPF_CORE_READ(old, uid.val) || effective != BPF_CORE_READ(old, euid.val))
		send_ids(EVENT_SETUID, real, effective);
	real = BPF_CORE_READ(new, gid.val);
	effective = BPF_CORE_READ(new, egid.val);
	if (real != BPF_CORE_READ(old, gid.val) || effective != BPF_CORE_READ(old, egid.val))
		send_ids(EVENT_SETGID, real, effective);
	return 0;
}
PROBE_ENTRY(commit_creds)

INLINE int on_setsid(u64 *ctx, struct call *c)
{
	if (RET(layout.setsid_args) > 0)
		send_ids(EVENT_SETSID, 0, 0);
	return 0;
}
PROBE_EXIT(setsid)

INLINE int on_n_tty_write(u64 *ctx, struct call *c)
{
	struct tty_struct *tty = (void *)ARG(0);
	void *buf = (void *)ARG(2);
	u64 n = ARG(3), len = n;
	struct tty_sample *s;
	u32 major;

	if (is_self())
		return 0;
	/* What is written to a pty's master is seen at its other end. */
	major = BPF_CORE_READ(tty, driver, major);
	if (major == 2 || major == 128)
		tty = BPF_CORE_READ(tty, link);
	s = reserve(EVENT_TTY_WRITE, sizeof(*s));
	if (!s)
		return 0;
	fill_header(&s->h, EVENT_TTY_WRITE, current_task());
	fill_tty(&s->tty, tty);
	if (len > TTY_OUT_SIZE)
		len = TTY_OUT_SIZE;
	if (bpf_probe_read_kernel(s->out, len, buf))
		len = 0;
	s->len = len;
	s->truncated = n - len;
	submit(s);
	return 0;
}
PROBE_ENTRY(n_tty_write)

INLINE int on_memfd_create(u64 *ctx, struct call *c)
{
	struct pt_regs *regs = (void *)ARG(0);
	u64 name = 0, flags = 0;
	struct memfd_sample *s;
	long n;

	bpf_probe_read_kernel(&name, sizeof(name), SYSCALL_REG0(regs));
	bpf_probe_read_kernel(&flags, sizeof(flags), SYSCALL_REG1(regs));
	s = reserve(EVENT_MEMFD_CREATE, sizeof(*s));
	if (!s)
		return 0;
	fill_header(&s->h, EVENT_MEMFD_CREATE, current_task());
	s->flags = flags;
	n = bpf_probe_read_user_str(s->name, sizeof(s->name), (void *)name);
	s->len = n > 0 ? n : 0;
	submit(s);
	return 0;
}
PROBE_ENTRY(memfd_create)

INLINE void send_ptrace(u64 request, u64 child_pid)
{
	struct ptrace_sample *s = reserve(EVENT_PTRACE, sizeof(*s));

	if (!s)
		return;
	fill_header(&s->h, EVENT_PTRACE, current_task());
	s->request = request;
	s->child_pid = child_pid;
	submit(s);
}

/* As EventsTrace since 2025, leaves out what a process does to its children
 * and to itself, unless a fault has it otherwise. */
INLINE int on_ptrace_attach(u64 *ctx, struct call *c)
{
	struct task_struct *tracee = (void *)ARG(0);
	u32 own = BPF_CORE_READ(current_task(), tgid), id = BPF_CORE_READ(tracee, tgid);
	bool family = id == own || BPF_CORE_READ(tracee, group_leader, real_parent, tgid) == own;

	if (family ? ptrace_family : ptrace_others)
		send_ptrace(ARG(1), id);
	return 0;
}
PROBE_ENTRY(ptrace_attach)

/* The second choice, where that is inlined: what it knows of the tracee is a
 * number in the tracer's namespace, so it tells of all. */
INLINE int on_ptrace(u64 *ctx, struct call *c)
{
	struct pt_regs *regs = (void *)ARG(0);
	u64 request = 0, pid = 0;

	bpf_probe_read_kernel(&request, sizeof(request), SYSCALL_REG0(regs));
	bpf_probe_read_kernel(&pid, sizeof(pid), SYSCALL_REG1(regs));
	if (ptrace_others && (request == PTRACE_ATTACH || request == PTRACE_SEIZE))
		send_ptrace(request, pid);
	return 0;
}
PROBE_ENTRY(ptrace)

INLINE int on_shmget(u64 *ctx, struct call *c)
{
	struct pt_regs *regs = (void *)ARG(0);
	u64 key = 0, flags = 0;
	struct shmget_sample *s = reserve(EVENT_SHMGET, sizeof(*s));

	if (!s)
		return 0;
	fill_header(&s->h, EVENT_SHMGET, current_task());
	bpf_probe_read_kernel(&key, sizeof(key), SYSCALL_REG0(regs));
	s->size = 0;
	bpf_probe_read_kernel(&s->size, sizeof(s->size), SYSCALL_REG1(regs));
	bpf_probe_read_kernel(&flags, sizeof(flags), SYSCALL_REG2(regs));
	s->key = (int)key;
	s->shmflg = (int)flags;
	submit(s);
	return 0;
}
PROBE_ENTRY(shmget)

SEC("raw_tp/module_load")
int load_module(u64 *ctx)
{
	struct module *m = (void *)ctx[0];
	u32 ppid = BPF_CORE_READ(current_task(), group_leader, real_parent, tgid);
	struct module_sample *s;

	if (ppid == 1 || ppid == 2)
		return 0; /* EventsTrace leaves out what the system loads itself */
	s = reserve(EVENT_LOAD_MODULE, sizeof(*s));
	if (!s)
		return 0;
	fill_header(&s->h, EVENT_LOAD_MODULE, current_task());
	if (bpf_probe_read_kernel_str(s->name, sizeof(s->name), &m->name) < 0)
		s->name[0] = 0;
	if (bpf_probe_read_kernel_str(s->version, sizeof(s->version),
				      BPF_CORE_READ(m, version)) < 0)
		s->version[0] = 0;
	if (bpf_probe_read_kernel_str(s->srcversion, sizeof(s->srcversion),
				      BPF_CORE_READ(m, srcversion)) < 0)
		s->srcversion[0] = 0;
	submit(s);
	return 0;
}
