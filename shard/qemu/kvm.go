package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
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

// KVMHint is what to do where KVM is there and does not work.
const KVMHint = "where this machine is a VM itself, turn nested virtualization on at its host (nested=1 of kvm_intel or kvm_amd; on Intel CPUs the host's hypervisor needs VMCS shadowing as well), or use --accel tcg"

// udevRule lets everyone open KVM's device.
const udevRule = `KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"`

// whoMayOpen says why this user may not open a device and what to do.
func whoMayOpen(device string) string {
	rule := "install the udev rule " + udevRule + " and run udevadm trigger --name-match=kvm"
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Sprintf("%s may not be opened by this user: %s", device, rule)
	}
	group := strconv.FormatUint(uint64(st.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	is := fmt.Sprintf("%s may not be opened by this user: it is of group %s with mode %04o", device, group, st.Mode&0o777)
	if st.Mode&0o060 == 0o060 && st.Gid != 0 {
		return fmt.Sprintf("%s: add the user to that group (usermod -aG %s USER, then log in again), or %s", is, group, rule)
	}
	return is + ": " + rule
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
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no %s: enable virtualization in the firmware, or nested virtualization where this machine is a VM itself", device)
	case errors.Is(err, os.ErrPermission):
		return errors.New(whoMayOpen(device))
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s has no driver behind it: load it (modprobe kvm_intel or kvm_amd), and enable virtualization in the firmware, or nested virtualization where this machine is a VM itself", device)
	case err != nil:
		return fmt.Errorf("open %s: %w", device, err)
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
		return fmt.Errorf("%s opens, but a guest of a few instructions did not end within %v: there is no hardware virtualization below it: %s", device, proofLimit, KVMHint)
	case r := <-done:
		if r.err != nil {
			return fmt.Errorf("%s opens, but does not run a guest: %w: %s", device, r.err, KVMHint)
		}
		if r.took > loopLimit {
			return fmt.Errorf("%s opens, but runs a loop of %d rounds in %v, where hardware needs under 1ms: it emulates: %s", device, loopRounds, r.took.Round(100*time.Microsecond), KVMHint)
		}
		return nil
	}
}
