package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultKVM is the device.
const DefaultKVM = "/dev/kvm"

// Choose resolves Auto: KVM where it is proven to work, else TCG with the
// reason. Asked for KVM that does not work, it returns the reason as an error.
func Choose(ctx context.Context, want Accel, a Arch, device string) (Accel, string, error) {
	if want == TCG {
		return TCG, "", nil
	}
	err := errors.New("the host's architecture is " + runtime.GOARCH + ", the kernels' is " + a.Name)
	if a.Name == runtime.GOARCH {
		err = ProveKVM(ctx, device)
	}
	switch {
	case err == nil:
		return KVM, "", nil
	case want == KVM:
		return Unknown, "", fmt.Errorf("KVM cannot be used: %w", err)
	default:
		return TCG, "KVM is not used, the VMs are emulated: " + err.Error(), nil
	}
}

// The proof's loop and its limit. Hardware runs the loop in some ten
// microseconds, and in a nested VM enters and leaves it in a hundred more; a KVM
// that only emulates needs 10 ms and more, and a run should not wait for long to
// learn that.
const (
	loopRounds = 10_000
	loopLimit  = 2 * time.Millisecond
	proofLimit = 2 * time.Second
)

// ProveKVM runs a small guest on KVM and measures it. That the device opens,
// answers its version and even runs the guest to its end proves nothing: on
// machines without hardware virtualization below, each of these can work and
// real kernels still crawl or hang. The rate of a loop tells.
func ProveKVM(ctx context.Context, device string) error {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return thisHost().notOpened(device, err)
	}
	type result struct {
		took time.Duration
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// A vCPU belongs to the thread that made it. A thread that never comes
		// back from the kernel is left behind.
		runtime.LockOSThread()
		defer f.Close()
		took, err := timeLoop(int(f.Fd()))
		done <- result{took, err}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(proofLimit):
		return fmt.Errorf("%s opens, but a guest of a few instructions did not end within %v: there is no hardware virtualization below it: %s", device, proofLimit, KVMAdvice())
	case r := <-done:
		if r.err != nil {
			return fmt.Errorf("%s opens, but does not run a guest: %w: %s", device, r.err, thisHost().notRun(r.err))
		}
		if r.took > loopLimit {
			return fmt.Errorf("%s opens, but runs a loop of %d rounds in %v, where hardware needs under 1ms: it emulates: %s", device, loopRounds, r.took.Round(100*time.Microsecond), KVMAdvice())
		}
		return nil
	}
}
