package vm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// TrialTCG bounds the time that other VMs wait for what TCG says about a kernel
// that KVM may have spoiled.
const TrialTCG = 30 * time.Second

// KVMTrial finds out whether KVM carries kernels: a loop that runs fast is no
// proof that a kernel does. The first VM is on trial, and the others wait until
// its init is up. Only a kernel that is well on TCG speaks against KVM; with one
// that is not, the question stays open and the next one is on trial. The zero
// value is ready for use.
type KVMTrial struct {
	once sync.Once
	turn chan struct{} // holds something while a VM is on trial

	mu      sync.Mutex
	proven  bool   // a kernel's init was up on it
	strikes int    // kernels in a row that it spoiled
	why     string // why it is given up; "" if it is not
}

// Begin waits for its turn. It returns the function that ends a trial when the
// caller's VM is on trial, nil when the question is settled, with why KVM is
// given up.
func (t *KVMTrial) Begin(ctx context.Context) (end func(), why string, err error) {
	t.once.Do(func() { t.turn = make(chan struct{}, 1) })
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case t.turn <- struct{}{}:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proven || t.why != "" {
		<-t.turn
		return nil, t.why, nil
	}
	return sync.OnceFunc(func() { <-t.turn }), "", nil
}

// Up notes that a kernel's init was up on KVM.
func (t *KVMTrial) Up() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proven = true
}

// Good notes that a VM on KVM came to its end and nothing speaks against KVM.
func (t *KVMTrial) Good() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strikes = 0
}

// Spoiled notes that KVM spoiled a kernel that is well on TCG. It says whether KVM
// is given up by that: one kernel is enough when none was up on KVM before,
// unless it is of what kernels do by themselves at times; else it takes two in a
// row.
func (t *KVMTrial) Spoiled(id string, d Doubt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strikes++
	if t.why != "" || t.strikes < 2 && (t.proven || d.Kernels) {
		return false
	}
	t.why = "with " + id + " " + d.Why
	return true
}

// Doubt is what a VM on KVM showed that may be KVM's doing.
type Doubt struct {
	Why     string // one line; "" for no doubt
	Advised bool   // Why ends with what to do
	Kernels bool   // kernels do so by themselves at times
	Tested  bool   // the payload had begun
}

// DoubtKVM says what in a VM on KVM may be KVM's doing and not its kernel's. What
// the same kernel shows on TCG as well is its own: it is asked for both.
func DoubtKVM(o Observation, v Verdict) Doubt {
	hello := o.SawInit()
	hinted := func(format string, args ...any) Doubt {
		return Doubt{Why: fmt.Sprintf(format, args...) + ": " + qemu.KVMAdvice(), Advised: true}
	}
	switch {
	case o.Exit.FromOutside():
		return Doubt{}
	case v.bootCrash:
		return Doubt{Why: "the kernel reported while it booted: " + v.Cause.Title, Kernels: true, Tested: true}
	case v.Panicked:
		return Doubt{Why: "the kernel crashed before init: " + v.Cause.Title, Kernels: true}
	case hello && v.Verdict == report.Infra && o.Exit.Fault:
		return Doubt{Why: fmt.Sprintf("QEMU gave the VM up (%s)", o.Exit), Tested: true}
	case hello && v.Verdict == report.Infra && !o.Exit.Killed && !o.Exit.Clean():
		return Doubt{Why: fmt.Sprintf("QEMU ended before the guest (%s)", o.Exit), Tested: true}
	case hello:
		return Doubt{}
	case o.stopped == stopBoot && strings.TrimSpace(o.Tail) == "":
		limit := o.limits.Boot
		if o.limits.Sign > 0 {
			limit = o.limits.Sign
		}
		return hinted("the kernel printed nothing within %v", limit)
	case o.stopped == stopBoot:
		d := hinted("the kernel did not start init within %v", o.limits.Boot)
		d.Kernels = len(o.Findings) > 0 // it got far enough to say what is wrong
		return d
	case o.stopped == notStopped && o.Exit.Clean():
		return Doubt{Why: "the VM went down before init started", Kernels: true}
	case o.stopped != notStopped || o.Exit.Killed:
		return Doubt{}
	case o.Exit.MSR() != "":
		return hinted("QEMU died on a register of the CPU that KVM does not have (%s)", o.Exit.MSR())
	case o.Exit.Fault:
		return hinted("QEMU gave the VM up (%s)", o.Exit)
	default:
		d := Doubt{Why: fmt.Sprintf("QEMU ended before the kernel was up (%s)", o.Exit)}
		if a := o.Exit.Advice(); a != "" {
			d.Why, d.Advised = d.Why+": "+a, true
		}
		return d
	}
}
