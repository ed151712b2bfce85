/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The kernel types that the test objects read, relocated against the running
 * kernel, and of each only the members that are read.
 */
#ifndef TESTDATA_KERNEL_H
#define TESTDATA_KERNEL_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
	int tgid;
	int no_such_member; /* of no kernel */
};

struct no_such_struct { /* of no kernel */
	int member;
};

#pragma clang attribute pop

char LICENSE[] SEC("license") = "GPL";

#endif
