package shard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// The watch over the first VM on KVM. Hardware is past the kernel's banner
// within 0.1 s and starts init within 1 s.
const (
	trialSign = 2500 * time.Millisecond // until the kernel prints anything
	trialBoot = 20 * time.Second        // until init is up
)

// kvmTrial finds out whether KVM carries a kernel: a loop that runs fast is no
// proof that a kernel does. The first VM is on trial, and the others wait until
// its init is up. The zero value is ready for use.
type kvmTrial struct {
	once sync.Once
	turn chan struct{} // holds something while a VM is on trial

	mu      sync.Mutex
	settled bool
	why     string // why KVM is no good; "": it is good
}

// begin waits for its turn. It returns the function that ends a trial when the
// caller's VM is one, nil when KVM is settled already, with why it is no good.
func (t *kvmTrial) begin(ctx context.Context) (end func(settled bool, why string), why string, err error) {
	t.once.Do(func() { t.turn = make(chan struct{}, 1) })
	select {
	case <-ctx.Done():
		return nil, "", ctx.Err()
	case t.turn <- struct{}{}:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled {
		<-t.turn
		return nil, t.why, nil
	}
	var once sync.Once
	return func(settled bool, why string) {
		once.Do(func() {
			t.mu.Lock()
			t.settled, t.why = settled, why
			t.mu.Unlock()
			<-t.turn
		})
	}, "", nil
}

// reason says why KVM is no good; "": nothing speaks against it.
func (t *kvmTrial) reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why
}

// bootProven boots a kernel on KVM where that works, and on TCG otherwise. A
// KVM that does not carry the first kernel is not tried again in this run, and
// that kernel is booted once more, which is no further attempt: nothing was
// tested. What an attempt on KVM told nothing about is tried again without it.
// It says on what the VM ran, and, in one line, why not on KVM.
func (r *Runner) bootProven(ctx context.Context, j job, path string, attempt int) (v verdict, o observation, on qemu.Accel, why string, err error) {
	on = r.Accel
	if attempt > 1 && !r.NoEmulation {
		on = qemu.TCG
	}
	if on != qemu.KVM {
		v, o, err = r.boot(ctx, j, path, attempt, on, nil)
		return v, o, on, r.trial.reason(), err
	}
	end, why, err := r.trial.begin(ctx)
	if err != nil {
		return v, o, on, "", err
	}
	if end != nil {
		up := func() { end(true, "") } // the others need not wait for the payload
		v, o, err = r.boot(ctx, j, path, attempt, on, up)
		if err == nil {
			why = kvmFailed(o)
		}
		end(why != "", why)
		if why == "" {
			return v, o, on, "", err
		}
		if r.NoEmulation {
			return noKVM(why), o, on, why, nil
		}
		r.Report(Event{ID: j.entry.ID(), State: Emulating, Reason: why})
		if err := os.Rename(path, strings.TrimSuffix(path, ".txt")+".kvm.txt"); err != nil && !errors.Is(err, os.ErrNotExist) {
			why += "; its console could not be kept: " + err.Error()
		}
	}
	if why == "" {
		v, o, err = r.boot(ctx, j, path, attempt, on, nil)
		return v, o, on, "", err
	}
	if r.NoEmulation {
		return noKVM(why), o, on, why, nil
	}
	on = qemu.TCG
	v, o, err = r.boot(ctx, j, path, attempt, on, nil)
	return v, o, on, why, err
}

func noKVM(why string) verdict {
	return verdict{Verdict: report.Infra, cause: &report.Cause{Title: report.OneLine("KVM cannot be used: "+why, 300)}}
}

// kvmFailed says why the first VM on KVM speaks against KVM; "": it does not.
func kvmFailed(o observation) string {
	if len(o.records) > 0 {
		return "" // init was up
	}
	for _, f := range o.findings {
		if f.Kind.Crash() {
			return "" // the kernel got far enough to say what is wrong
		}
	}
	switch {
	case o.stopped == stopBoot && strings.TrimSpace(o.tail) == "":
		return fmt.Sprintf("the first kernel printed nothing within %v: %s", trialSign, qemu.KVMHint)
	case o.stopped == stopBoot:
		return fmt.Sprintf("the first kernel did not start init within %v: %s", o.limits.Boot, qemu.KVMHint)
	case o.stopped != notStopped || o.exit.Killed:
		return ""
	case strings.Contains(o.exit.Stderr, "MSR"):
		return fmt.Sprintf("QEMU died on a register of the CPU that KVM does not have (%s): %s", o.exit.MSR(), qemu.KVMHint)
	case !o.exit.Clean():
		return fmt.Sprintf("QEMU ended before the kernel was up (%s): %s", o.exit, qemu.KVMHint)
	}
	return ""
}
