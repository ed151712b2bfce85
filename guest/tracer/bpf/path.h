/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Paths as the task sees them. */
#ifndef TRACER_PATH_H
#define TRACER_PATH_H

#include "task.h"

/*
 * Choices without a branch. The empty asm keeps clang from seeing what these
 * compute and putting a branch in its place.
 */
INLINE u64 differ(const void *a, const void *b)
{
	u64 d = (u64)a ^ (u64)b;

	asm volatile("" : "+r"(d));
	return d;
}

/* All ones if v is 0, else 0. */
INLINE u64 mask_if_zero(u64 v)
{
	u64 n = -v;

	asm volatile("" : "+r"(n));
	n = ((v | n) >> 63) - 1;
	asm volatile("" : "+r"(n));
	return n;
}

/* a where mask is all ones, b where it is 0. */
INLINE void *select(u64 mask, void *a, void *b)
{
	return (void *)((u64)b ^ (((u64)a ^ (u64)b) & mask));
}

/*
 * Writes the components of (mnt, dentry) into buf, leaf first, up to the root
 * of the task or as far as there is a parent. User space turns them round:
 * that costs the verifier far less than prepending.
 *
 * A bounded loop, as bpf_loop came with 5.17 and 5.10 must load this. The body
 * has no branches but those that leave it: of each choice within the loop the
 * verifier follows both sides through all later rounds (it drops the states
 * that would let it notice, after a few misses), which took 260,000
 * instructions and over a second under emulation.
 */
static __noinline u64 walk(char *buf, struct task_struct *t, struct vfsmount *mnt,
			   struct dentry *dentry)
{
	struct fs_struct *fs = BPF_CORE_READ(t, fs);
	struct dentry *root = BPF_CORE_READ(fs, root.dentry);
	struct vfsmount *root_mnt = BPF_CORE_READ(fs, root.mnt);
	u64 off = 0;

	for (int i = 0; i < PATH_COMPONENTS; i++) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct dentry *next;
		struct vfsmount *up;
		u64 at_top;
		long n;

		if ((differ(dentry, root) | differ(mnt, root_mnt)) == 0)
			return off | PATH_REACHED << 16;

		/* At the root of a mount go on where it is mounted. */
		at_top = mask_if_zero(differ(dentry, BPF_CORE_READ(mnt, mnt_root)));
		up = (void *)BPF_CORE_READ(m, mnt_parent) + bpf_core_field_offset(struct mount, mnt);
		up = select(at_top, up, mnt);
		next = select(at_top, BPF_CORE_READ(m, mnt_mountpoint),
			      BPF_CORE_READ(dentry, d_parent));
		if ((differ(dentry, next) | differ(mnt, up)) == 0)
			return off; /* no parent: not below the root, as a memfd is not */

		n = bpf_probe_read_kernel_str(buf + off, NAME_BYTES,
					      BPF_CORE_READ(dentry, d_name.name));
		if (n <= 0)
			break;
		off += n & ~at_top; /* a mount's root has no name of its own */
		if (off >= PATH_BYTES)
			break;
		dentry = next;
		mnt = up;
	}
	return off | PATH_TRUNCATED << 16;
}

INLINE void set_path(struct path_info *info, u64 walked)
{
	info->len = walked & 0xffff;
	info->flags = walked >> 16;
}

/* All ones if d is called what the first bytes of want say, else 0. Again
 * without branches, as these choose between calls of walk. */
INLINE u64 named(struct dentry *d, u64 want, u32 bytes)
{
	union {
		char s[8];
		u64 v;
	} name = {};

	bpf_probe_read_kernel_str(name.s, bytes + 1, BPF_CORE_READ(d, d_name.name));
	return mask_if_zero(name.v ^ want);
}

/* A name's bytes as they lie in memory. */
#define BYTE(c, i) ((u64)(c) << (BIG_ENDIAN ? 56 - 8 * (i) : 8 * (i)))
#define NAME3(a, b, c) (BYTE(a, 0) | BYTE(b, 1) | BYTE(c, 2))

INLINE u64 is_memfd(struct dentry *d)
{
	return named(d, NAME3('m', 'e', 'm') | BYTE('f', 3) | BYTE('d', 4) | BYTE(':', 5), 6);
}

#endif
