// Up to Linux 5.15 blk_account_io_start is a function of its own.
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe/blk_account_io_start")
int on_start(void *ctx) {
	return 0;
}
