/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who does it: what a sample says about a task. */
#ifndef TRACER_TASK_H
#define TRACER_TASK_H

#include "probe.h"
#include "sample.h"

#define PF_KTHREAD 0x00200000

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} samples SEC(".maps");

/* Samples that found no room, by event type. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

INLINE void *reserve(u32 type, u64 size)
{
	void *s = bpf_ringbuf_reserve(&samples, size, 0);
	u64 *n;

	if (s)
		return s;
	n = bpf_map_lookup_elem(&lost, &type);
	if (n)
		__sync_fetch_and_add(n, 1);
	return NULL;
}

/*
 * Wakes nobody; the reader looks every few milliseconds. A wakeup lets the
 * reader preempt the program right here where the kernel allows it (7.2 does),
 * and a program that has not ended is not run again: whatever others do at the
 * same probe until then would be lost, such as the last exit of a process.
 */
INLINE void submit(void *sample)
{
	bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
}

INLINE struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

INLINE void fill_pids(struct pids *p, struct task_struct *t)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);
	struct signal_struct *sig = BPF_CORE_READ(t, signal);

	p->tid = BPF_CORE_READ(t, pid);
	p->tgid = BPF_CORE_READ(t, tgid);
	p->ppid = BPF_CORE_READ(leader, real_parent, tgid);
	p->pgid = BPF_CORE_READ(sig, pids[PIDTYPE_PGID], numbers[0].nr);
	p->sid = BPF_CORE_READ(sig, pids[PIDTYPE_SID], numbers[0].nr);
	p->pad = 0;
	p->start_time_ns = BPF_CORE_READ(leader, start_time);
}

INLINE void fill_header(struct header *h, u32 type, struct task_struct *t)
{
	h->type = type;
	h->pad = 0;
	fill_pids(&h->pids, t);
	bpf_core_read(h->comm, sizeof(h->comm), &t->comm);
}

INLINE u64 capabilities(const struct capabilities *from)
{
	u64 c = 0;

	bpf_core_read(&c, sizeof(c), from);
	if (BIG_ENDIAN && bpf_core_type_exists(struct kernel_cap_struct))
		c = c >> 32 | c << 32;
	return c;
}

INLINE void fill_creds(struct creds *c, struct task_struct *t)
{
	const struct cred *k = BPF_CORE_READ(t, real_cred);

	c->ruid = BPF_CORE_READ(k, uid.val);
	c->rgid = BPF_CORE_READ(k, gid.val);
	c->euid = BPF_CORE_READ(k, euid.val);
	c->egid = BPF_CORE_READ(k, egid.val);
	c->suid = BPF_CORE_READ(k, suid.val);
	c->sgid = BPF_CORE_READ(k, sgid.val);
	c->cap_permitted = capabilities(&k->cap_permitted);
	c->cap_effective = capabilities(&k->cap_effective);
}

INLINE void fill_tty(struct tty *out, struct tty_struct *tty)
{
	out->pad = 0;
	if (!tty) {
		out->major = out->minor = 0;
		out->rows = out->cols = 0;
		return;
	}
	out->major = BPF_CORE_READ(tty, driver, major);
	out->minor = BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
	out->rows = BPF_CORE_READ(tty, winsize.ws_row);
	out->cols = BPF_CORE_READ(tty, winsize.ws_col);
}

INLINE void fill_ctty(struct tty *out, struct task_struct *t)
{
	fill_tty(out, BPF_CORE_READ(t, signal, tty));
}

/* The pid namespace the task is in, not the one its children will be in. */
INLINE u32 pid_ns(struct task_struct *t)
{
	struct pid *pid = BPF_CORE_READ(t, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *ns = NULL;
	struct upid *at;

	/* numbers is as long as the nesting is deep: the index is not constant,
	 * so only offset and stride can be relocated. */
	at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	     (level & 31) * bpf_core_type_size(struct upid);
	bpf_core_read(&ns, sizeof(ns), &at->ns);
	return BPF_CORE_READ(ns, ns.inum);
}

#endif
