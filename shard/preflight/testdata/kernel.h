/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The kernel types that the objects read, relocated against the running kernel,
 * and of each only the members that are read. A name with three underscores is
 * the type as some versions have it.
 */
#ifndef TESTDATA_KERNEL_H
#define TESTDATA_KERNEL_H

#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
	int tgid;
};

struct task_struct___old { /* up to 5.13 */
	volatile long state;
};

struct task_struct___new { /* from 5.14 */
	unsigned int __state;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct inode {
	unsigned long i_ino;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk; /* from 5.15 */
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
};

struct request___old { /* up to 5.16 */
	struct gendisk *rq_disk;
};

#pragma clang attribute pop

enum bpf_func_id___x {
	BPF_FUNC_strncmp___x = 182, /* from 5.17 */
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
