// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How long files live: an object in the style of libbpf-tools' filelife, with
 * its mistakes left in.
 */
#include "kernel.h"

struct event {
	__u64 lived;
	__u32 tgid;
	char file[32];
	char task[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct dentry *);
	__type(value, __u64);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

const volatile __u32 targ_tgid = 0;

static __always_inline int created(struct dentry *dentry)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now;

	if (targ_tgid && targ_tgid != tgid)
		return 0;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&start, &dentry, &now, BPF_ANY);
	return 0;
}

/* vfs_create(dir, dentry, mode, excl) */
SEC("kprobe/vfs_create")
int vfs_create(struct pt_regs *ctx)
{
	struct dentry *dentry = (void *)PT_REGS_PARM2(ctx);

	if (!BPF_CORE_READ(dentry, d_name.name))
		return 0;
	return created(dentry);
}

/* vfs_open(path, file) */
SEC("kprobe/vfs_open")
int vfs_open(struct pt_regs *ctx)
{
	struct path *path = (void *)PT_REGS_PARM1(ctx);

	return created(BPF_CORE_READ(path, dentry));
}

/* security_inode_create(dir, dentry, mode) */
SEC("kprobe/security_inode_create")
int inode_create(struct pt_regs *ctx)
{
	struct dentry *dentry = (void *)PT_REGS_PARM2(ctx);

	return created(dentry);
}

/* vfs_unlink(dir, dentry, delegated_inode) */
SEC("fentry/vfs_unlink")
int vfs_unlink(__u64 *ctx)
{
	struct dentry *dentry = (void *)ctx[1];
	const unsigned char *name;
	struct event *e;
	__u64 *began;

	began = bpf_map_lookup_elem(&start, &dentry);
	if (!began)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->lived = bpf_ktime_get_ns() - *began;
	e->tgid = bpf_get_current_pid_tgid() >> 32;
	name = BPF_CORE_READ(dentry, d_name.name);
	bpf_probe_read_kernel_str(e->file, sizeof(e->file), name);
	bpf_get_current_comm(e->task, sizeof(e->task));
	bpf_ringbuf_submit(e, 0);
	bpf_map_delete_elem(&start, &dentry);
	return 0;
}

/* Nothing of the kernel's calls it any more from 7.2 on. */
SEC("kprobe/do_unlinkat")
int do_unlinkat(struct pt_regs *ctx)
{
	return 0;
}

/* block_rq_issue(rq), as it is since 5.11; the disk has moved in 5.17. */
SEC("tp_btf/block_rq_issue")
int block_rq_issue(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	struct request___old *old = (void *)rq;
	struct gendisk *disk;

	if (bpf_core_field_exists(old->rq_disk))
		disk = BPF_CORE_READ(old, rq_disk);
	else
		disk = BPF_CORE_READ(rq, q, disk);
	return BPF_CORE_READ(disk, major) + BPF_CORE_READ(rq, cmd_flags);
}
