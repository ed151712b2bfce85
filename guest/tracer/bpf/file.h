/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* FILE_*: files made, renamed, deleted, changed. */
#include "path.h"

#define FMODE_OPENED 0x80000
#define FMODE_CREATED 0x100000
#define TMPFS_MAGIC 0x01021994
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFLNK 0120000

/*
 * The mount a thread last asked to write to: the functions that unlink and
 * rename know only dentries, and a dentry may be mounted in many places.
 *
 * Mounts that only the kernel has, such as the layers of an overlayfs, are
 * kept apart: what is done there is a part of something else, and the outer
 * mount is still wanted when the inner work is done.
 */
struct mounts {
	struct vfsmount *visible;
	struct vfsmount *internal; /* asked for after visible, or NULL */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct mounts);
} mounts SEC(".maps");

/* What was there before the unlink or rename in progress. */
struct pending {
	struct dentry *dentry; /* of the file */
	struct inode *inode;
	struct vfsmount *mnt;
	struct dentry *parent;
	u32 name_len;
	char name[NAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct pending);
} pendings SEC(".maps");

/* A struct pending does not fit a stack beside the rest; this one is all
 * zero and only ever copied from. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pending);
} no_pending SEC(".maps");

INLINE int on_mnt_want_write(u64 *ctx, struct call *c)
{
	u64 id = bpf_get_current_pid_tgid();
	struct vfsmount *mnt = (void *)ARG(0);
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	u64 ns = (u64)BPF_CORE_READ(m, mnt_ns);
	struct mounts now = { mnt, NULL }, *old;

	/* Internal mounts have no namespace, or an error in its place. */
	if (ns == 0 || ns >= (u64)-4095) {
		old = bpf_map_lookup_elem(&mounts, &id);
		now.visible = old ? old->visible : NULL;
		now.internal = mnt;
	}
	bpf_map_update_elem(&mounts, &id, &now, BPF_ANY);
	return 0;
}
PROBE_ENTRY(mnt_want_write)

/* The visible mount by which the thread came to the dentry, or NULL. */
INLINE struct vfsmount *mount_of(struct dentry *d)
{
	u64 id = bpf_get_current_pid_tgid();
	struct mounts *m = bpf_map_lookup_elem(&mounts, &id);
	struct super_block *sb = BPF_CORE_READ(d, d_sb);
	struct vfsmount *mnt;

	if (!m)
		return NULL;
	mnt = m->internal;
	if (mnt && BPF_CORE_READ(mnt, mnt_sb) == sb)
		return NULL;
	mnt = m->visible;
	if (!mnt || BPF_CORE_READ(mnt, mnt_sb) != sb)
		return NULL;
	return mnt;
}

#define NSEC_PER_SEC 1000000000ull
#define TIMESPEC(inode, member) \
	(BPF_CORE_READ(inode, member.tv_sec) * NSEC_PER_SEC + BPF_CORE_READ(inode, member.tv_nsec))

INLINE void fill_times(struct file_sample *s, struct inode *inode)
{
	struct inode___611 *split = (void *)inode;
	struct inode___67 *hidden = (void *)inode;

	if (bpf_core_field_exists(split->i_atime_sec)) {
		s->atime = BPF_CORE_READ(split, i_atime_sec) * NSEC_PER_SEC +
			   BPF_CORE_READ(split, i_atime_nsec);
		s->mtime = BPF_CORE_READ(split, i_mtime_sec) * NSEC_PER_SEC +
			   BPF_CORE_READ(split, i_mtime_nsec);
		s->ctime = BPF_CORE_READ(split, i_ctime_sec) * NSEC_PER_SEC +
			   BPF_CORE_READ(split, i_ctime_nsec);
		return;
	}
	if (bpf_core_field_exists(hidden->__i_atime)) {
		s->atime = TIMESPEC(hidden, __i_atime);
		s->mtime = TIMESPEC(hidden, __i_mtime);
	} else {
		s->atime = TIMESPEC(inode, i_atime);
		s->mtime = TIMESPEC(inode, i_mtime);
	}
	if (bpf_core_field_exists(hidden->__i_ctime))
		s->ctime = TIMESPEC(hidden, __i_ctime);
	else
		s->ctime = TIMESPEC(inode, i_ctime);
}

INLINE void fill_file(struct file_sample *s, u32 type, u32 change, struct task_struct *t,
		      struct inode *inode)
{
	fill_header(&s->h, type, t);
	fill_creds(&s->creds, t);
	s->mnt_ns = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	s->change = change;
	s->inode = BPF_CORE_READ(inode, i_ino);
	s->size = BPF_CORE_READ(inode, i_size);
	s->mode = BPF_CORE_READ(inode, i_mode);
	s->uid = BPF_CORE_READ(inode, i_uid.val);
	s->gid = BPF_CORE_READ(inode, i_gid.val);
	s->link_len = 0;
	s->new_path.len = s->new_path.flags = 0;
	fill_times(s, inode);
}

/* Only in samples of at least FILE_SAMPLE_LINK bytes. */
INLINE void fill_link(struct file_sample *s, struct inode *inode)
{
	long n;

	if ((s->mode & S_IFMT) != S_IFLNK)
		return;
	/* Short targets are kept in the inode; others would need a read. */
	n = bpf_probe_read_kernel_str(s->link, LINK_SIZE, BPF_CORE_READ(inode, i_link));
	if (n > 0)
		s->link_len = n;
}

INLINE void send_short(u32 type, u32 change, struct vfsmount *mnt, struct dentry *dentry,
		       struct inode *inode)
{
	struct task_struct *t = current_task();
	struct file_sample *s = reserve(type, FILE_SAMPLE_SHORT);

	if (!s)
		return;
	fill_file(s, type, change, t, inode);
	set_path(&s->path, walk(s->path_buf, t, mnt, dentry));
	submit(s);
}

/* FILE_SHMEM_OPEN is what shm_open(3) does: a file of the tmpfs mounted on a
 * directory shm. */
INLINE u64 is_shmem(struct vfsmount *mnt, struct dentry *d)
{
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);

	/* One byte more than the name, so that it ends there. */
	return named(BPF_CORE_READ(m, mnt_mountpoint), NAME3('s', 'h', 'm'), 4) &
	       mask_if_zero(BPF_CORE_READ(d, d_sb, s_magic) ^ TMPFS_MAGIC);
}

/* Every open ends here. Only the flags in f_mode say whether it made the file
 * and whether it succeeded, whatever the signature. */
INLINE int on_do_dentry_open(u64 *ctx, struct call *c)
{
	struct file *f = (void *)ARG(0);
	u32 mode = BPF_CORE_READ(f, f_mode);
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct dentry *d = BPF_CORE_READ(f, f_path.dentry);
	struct vfsmount *mnt = BPF_CORE_READ(f, f_path.mnt);
	u64 existed, memfd, type;

	if (!(mode & FMODE_OPENED) || is_self())
		return 0;
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	existed = mask_if_zero(mode & FMODE_CREATED);
	memfd = is_memfd(d);
	type = (~existed & EVENT_FILE_CREATE) | (existed & memfd & EVENT_FILE_MEMFD_OPEN) |
	       (existed & ~memfd & is_shmem(mnt, d) & EVENT_FILE_SHMEM_OPEN);
	if (type == 0)
		return 0;
	send_short(type, 0, mnt, d, inode);
	return 0;
}
PROBE_EXIT(do_dentry_open)

/* An unlink or rename begins. One within another (overlayfs in its layers)
 * is part of the outer one. */
INLINE void begin(struct dentry *d)
{
	u64 id = bpf_get_current_pid_tgid();
	struct vfsmount *mnt = mount_of(d);
	struct pending *p;
	u32 zero = 0;
	long n;

	if (!mnt || is_self())
		return;
	p = bpf_map_lookup_elem(&pendings, &id);
	if (p && p->dentry)
		return;
	if (!p) {
		p = bpf_map_lookup_elem(&no_pending, &zero);
		if (!p)
			return;
		bpf_map_update_elem(&pendings, &id, p, BPF_ANY);
		p = bpf_map_lookup_elem(&pendings, &id);
		if (!p)
			return;
	}
	p->dentry = d;
	p->inode = BPF_CORE_READ(d, d_inode);
	p->mnt = mnt;
	p->parent = BPF_CORE_READ(d, d_parent);
	n = bpf_probe_read_kernel_str(p->name, NAME_BYTES, BPF_CORE_READ(d, d_name.name));
	p->name_len = n > 0 ? n : 0;
}

/* The unlink or rename of d that began, or NULL. */
INLINE struct pending *end(struct dentry *d, u64 id)
{
	struct pending *p = bpf_map_lookup_elem(&pendings, &id);

	return p && p->dentry == d ? p : NULL;
}

INLINE int on_vfs_unlink(u64 *ctx, struct call *c)
{
	begin((void *)ARG(layout.unlink_dentry & 7));
	return 0;
}
PROBE_ENTRY(vfs_unlink)

INLINE int on_vfs_unlink_exit(u64 *ctx, struct call *c)
{
	u64 id = bpf_get_current_pid_tgid();
	struct pending *p = end((void *)ARG(layout.unlink_dentry & 7), id);
	struct task_struct *t = current_task();
	struct file_sample *s;

	if (!p)
		return 0;
	if (RET(layout.unlink_args) == 0) {
		s = reserve(EVENT_FILE_DELETE, FILE_SAMPLE_LINK);
		if (s) {
			/* The dentry may have lost its inode by now, which the
			 * caller of vfs_unlink still holds. */
			fill_file(s, EVENT_FILE_DELETE, 0, t, p->inode);
			fill_link(s, p->inode);
			set_path(&s->path, walk(s->path_buf, t, p->mnt, p->dentry));
			submit(s);
		}
	}
	bpf_map_delete_elem(&pendings, &id);
	return 0;
}
PROBE_EXIT(vfs_unlink_exit)

INLINE struct dentry *renamed(u64 *ctx, struct call *c)
{
	struct renamedata *rd;

	if (layout.rename_args != 1)
		return (void *)ARG(layout.rename_old & 7);
	rd = (void *)ARG(0);
	return BPF_CORE_READ(rd, old_dentry);
}

INLINE int on_vfs_rename(u64 *ctx, struct call *c)
{
	begin(renamed(ctx, c));
	return 0;
}
PROBE_ENTRY(vfs_rename)

INLINE int on_vfs_rename_exit(u64 *ctx, struct call *c)
{
	u64 id = bpf_get_current_pid_tgid();
	struct pending *p = end(renamed(ctx, c), id);
	struct task_struct *t = current_task();
	struct file_sample *s;
	u32 len;

	if (!p)
		return 0;
	if (RET(layout.rename_args) == 0) {
		s = reserve(EVENT_FILE_RENAME, sizeof(*s));
		if (s) {
			fill_file(s, EVENT_FILE_RENAME, 0, t, p->inode);
			fill_link(s, p->inode);
			/* The dentry has moved: it has the new path, and the old
			 * one is the old name in the old directory. */
			set_path(&s->new_path, walk(s->new_path_buf, t, p->mnt, p->dentry));
			len = p->name_len & (NAME_BYTES - 1);
			bpf_probe_read_kernel(s->path_buf, NAME_BYTES, p->name);
			set_path(&s->path, len + walk(s->path_buf + len, t, p->mnt, p->parent));
			submit(s);
		}
	}
	bpf_map_delete_elem(&pendings, &id);
	return 0;
}
PROBE_EXIT(vfs_rename_exit)

INLINE void modified(u32 change, struct vfsmount *mnt, struct dentry *d)
{
	struct task_struct *t = current_task();
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	struct file_sample *s;

	if (!mnt || !inode || is_self())
		return;
	s = reserve(EVENT_FILE_MODIFY, FILE_SAMPLE_LINK);
	if (!s)
		return;
	fill_file(s, EVENT_FILE_MODIFY, change, t, inode);
	fill_link(s, inode);
	set_path(&s->path, walk(s->path_buf, t, mnt, d));
	submit(s);
}

INLINE int on_chmod_common(u64 *ctx, struct call *c)
{
	struct path *p = (void *)ARG(0);

	if (RET(2) == 0)
		modified(CHANGE_PERMISSIONS, BPF_CORE_READ(p, mnt), BPF_CORE_READ(p, dentry));
	return 0;
}
PROBE_EXIT(chmod_common)

INLINE int on_chown_common(u64 *ctx, struct call *c)
{
	struct path *p = (void *)ARG(0);

	if (RET(3) == 0)
		modified(CHANGE_OWNER, BPF_CORE_READ(p, mnt), BPF_CORE_READ(p, dentry));
	return 0;
}
PROBE_EXIT(chown_common)

INLINE void written(struct file *f)
{
	struct inode *inode = BPF_CORE_READ(f, f_inode);

	if (is_self() || (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	send_short(EVENT_FILE_MODIFY, CHANGE_CONTENT, BPF_CORE_READ(f, f_path.mnt),
		   BPF_CORE_READ(f, f_path.dentry), inode);
}

INLINE int on_vfs_write(u64 *ctx, struct call *c)
{
	if (RET(4) > 0)
		written((void *)ARG(0));
	return 0;
}
PROBE_EXIT(vfs_write)

INLINE int on_vfs_writev(u64 *ctx, struct call *c)
{
	if (RET(5) > 0)
		written((void *)ARG(0));
	return 0;
}
PROBE_EXIT(vfs_writev)

INLINE int on_do_truncate(u64 *ctx, struct call *c)
{
	struct dentry *d = (void *)scalar(ARG(layout.truncate_dentry & 7));
	struct file *f = (void *)ARG(layout.truncate_file & 7);
	struct vfsmount *mnt;

	if (RET(layout.truncate_args) != 0)
		return 0;
	mnt = f ? BPF_CORE_READ(f, f_path.mnt) : mount_of(d);
	if (mnt && !is_self())
		send_short(EVENT_FILE_MODIFY, CHANGE_CONTENT, mnt, d, BPF_CORE_READ(d, d_inode));
	return 0;
}
PROBE_EXIT(do_truncate)

INLINE int on_vfs_setxattr(u64 *ctx, struct call *c)
{
	struct dentry *d = (void *)scalar(ARG(layout.setxattr_dentry & 7));

	if (RET(layout.setxattr_args) == 0)
		modified(CHANGE_XATTRS, mount_of(d), d);
	return 0;
}
PROBE_EXIT(vfs_setxattr)

INLINE int on_vfs_removexattr(u64 *ctx, struct call *c)
{
	struct dentry *d = (void *)scalar(ARG(layout.removexattr_dentry & 7));

	if (RET(layout.removexattr_args) == 0)
		modified(CHANGE_XATTRS, mount_of(d), d);
	return 0;
}
PROBE_EXIT(vfs_removexattr)
