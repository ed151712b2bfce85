// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Two prototypes for one kernel function, of which one is right. */
#include "../kernel.h"

struct task_struct;
extern struct task_struct *bpf_task_from_pid(int pid, int flags) __ksym __weak; /* of no kernel */
extern struct task_struct *bpf_task_from_pid___now(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *p) __ksym __weak;

SEC("tp_btf/sched_process_exit")
int flavour(void *ctx)
{
	struct task_struct *t = 0;

	if (bpf_task_from_pid)
		t = bpf_task_from_pid(1, 0);
	else if (bpf_task_from_pid___now)
		t = bpf_task_from_pid___now(1);
	if (t)
		bpf_task_release(t);
	return 0;
}
