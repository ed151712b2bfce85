package shard

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// The watch over the first VM on KVM. Hardware is past the kernel's banner
// within 0.1 s and starts init within 1 s; QEMU's start from a cold disk takes
// seconds more.
const (
	trialSign = 10 * time.Second // until the kernel prints anything
	trialBoot = 20 * time.Second // until init is up
	trialTCG  = 30 * time.Second // that the other VMs wait for what TCG says about the same kernel
)

// kvmTrial finds out whether KVM carries kernels: a loop that runs fast is no
// proof that a kernel does. The first VM is on trial, and the others wait until
// its init is up. Only a kernel that is well on TCG speaks against KVM; with one
// that is not, the question stays open and the next one is on trial. The zero
// value is ready for use.
type kvmTrial struct {
	once sync.Once
	turn chan struct{} // holds something while a VM is on trial

	mu      sync.Mutex
	proven  bool   // a kernel's init was up on it
	strikes int    // kernels in a row that it spoiled
	why     string // why it is given up; "": it is not
}

// begin waits for its turn. It returns the function that ends a trial when the
// caller's VM is on trial, nil when the question is settled, with why KVM is
// given up.
func (t *kvmTrial) begin(ctx context.Context) (end func(), why string, err error) {
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

// up notes that a kernel's init was up on KVM.
func (t *kvmTrial) up() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proven = true
}

// good notes that a VM on KVM came to its end and nothing speaks against KVM.
func (t *kvmTrial) good() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strikes = 0
}

// spoiled notes that KVM spoiled a kernel that is well on TCG. It says whether KVM
// is given up by that: one kernel is enough when none was up on KVM before,
// unless it is of what kernels do by themselves at times; else it takes two in a
// row.
func (t *kvmTrial) spoiled(id string, d doubt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strikes++
	if t.why != "" || t.strikes < 2 && (t.proven || d.kernels) {
		return false
	}
	t.why = "with " + id + " " + d.why
	return true
}

// doubt is what a VM on KVM showed that may be KVM's doing.
type doubt struct {
	why     string // one line; "": there is none
	advised bool   // why ends with what to do
	kernels bool   // kernels do so by themselves at times
	tested  bool   // the payload had begun
}

// kvmDoubt says what in a VM on KVM may be KVM's doing and not its kernel's. What
// the same kernel shows on TCG as well is its own: it is asked for both.
func kvmDoubt(o observation, v verdict) doubt {
	hello := len(o.records) > 0
	hinted := func(format string, args ...any) doubt {
		return doubt{why: fmt.Sprintf(format, args...) + ": " + qemu.KVMAdvice(), advised: true}
	}
	switch {
	case o.exit.FromOutside():
		return doubt{}
	case v.bootCrash:
		return doubt{why: "the kernel reported while it booted: " + v.cause.Title, kernels: true, tested: true}
	case v.panicked:
		return doubt{why: "the kernel crashed before init: " + v.cause.Title, kernels: true}
	case hello && v.Verdict == report.Infra && o.exit.Fault:
		return doubt{why: fmt.Sprintf("QEMU gave the VM up (%s)", o.exit), tested: true}
	case hello && v.Verdict == report.Infra && !o.exit.Killed && !o.exit.Clean():
		return doubt{why: fmt.Sprintf("QEMU ended before the guest (%s)", o.exit), tested: true}
	case hello:
		return doubt{}
	case o.stopped == stopBoot && strings.TrimSpace(o.tail) == "":
		limit := o.limits.Boot
		if o.limits.Sign > 0 {
			limit = o.limits.Sign
		}
		return hinted("the kernel printed nothing within %v", limit)
	case o.stopped == stopBoot:
		d := hinted("the kernel did not start init within %v", o.limits.Boot)
		d.kernels = len(o.findings) > 0 // it got far enough to say what is wrong
		return d
	case o.stopped == notStopped && o.exit.Clean():
		return doubt{why: "the VM went down before init started", kernels: true}
	case o.stopped != notStopped || o.exit.Killed:
		return doubt{}
	case o.exit.MSR() != "":
		return hinted("QEMU died on a register of the CPU that KVM does not have (%s)", o.exit.MSR())
	case o.exit.Fault:
		return hinted("QEMU gave the VM up (%s)", o.exit)
	default:
		d := doubt{why: fmt.Sprintf("QEMU ended before the kernel was up (%s)", o.exit)}
		if a := o.exit.Advice(); a != "" {
			d.why, d.advised = d.why+": "+a, true
		}
		return d
	}
}
