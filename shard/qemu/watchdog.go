package qemu

import "strconv"

// hangs are the kernel's own limits in seconds: for a grace period of RCU, for
// a CPU that does not schedule, and for a task that waits without being
// interruptible.
type watchdog struct{ stall, lockup, task int }

// Each limit is above the one of what causes it, so that the cause is what is
// reported, and all are below the runner's own. A busy host makes an emulated
// guest stand still for many seconds, and none of them may be reached by that.
var watchdogLimits = map[Accel]watchdog{
	KVM: {stall: 21, lockup: 24, task: 45},
	TCG: {stall: 40, lockup: 50, task: 75},
}

// params are the kernel's parameters for them. What a kernel says of a hang
// makes no panic of it: the second report of a lockup ends the VM, and one that
// goes away may be a splat that is allowed.
func (h watchdog) params() []string {
	if h.stall == 0 {
		return nil
	}
	return []string{
		"rcupdate.rcu_cpu_stall_timeout=" + strconv.Itoa(h.stall),
		"watchdog_thresh=" + strconv.Itoa(h.lockup/2), // a soft lockup is twice as long
		"sysctl.kernel.hung_task_timeout_secs=" + strconv.Itoa(h.task),
	}
}
