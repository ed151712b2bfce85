package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Has reports whether this machine has a command, or a file if name is an
// absolute path.
func Has(name string) bool {
	var err error
	if path.IsAbs(name) {
		_, err = os.Stat(name)
	} else {
		_, err = exec.LookPath(name)
	}
	return err == nil
}

// ErrNoApt means that this is neither Debian nor Ubuntu.
var ErrNoApt = errors.New("this is no Debian or Ubuntu: install the equivalents on the runner")

// Installer changes this machine as root, by sudo where it has to.
type Installer struct {
	Out      io.Writer     // says what is installed
	Warn     func(string)  // gets what did not work
	Patience time.Duration // wait before the second attempt of apt; longer before each further one
	Lists    string        // directory that apt changes with its lists of packages; see AptLists
	Hosted   bool          // this machine is GitHub's, and gone after the job
}

// AptLists is where apt downloads its lists to.
const AptLists = "/var/lib/apt/lists/partial"

// freshLists is how old lists may be to install by. GitHub's images are some days
// old and come with the lists of that day, which are right for most packages for
// some weeks. What is installed is then no older than the rest of the machine.
const freshLists = 14 * 24 * time.Hour

// aptAttempts bounds the attempts of apt. A mirror may be in the middle of an
// update, and another apt may hold the lock: both pass.
const aptAttempts = 3

// Install installs packages of Debian or Ubuntu, or returns [ErrNoApt].
func (i *Installer) Install(ctx context.Context, packages []string) error {
	if len(packages) == 0 {
		return nil
	}
	names := strings.Join(packages, " ")
	if !Has("apt-get") {
		return fmt.Errorf("%s missing, and %w", names, ErrNoApt)
	}
	fmt.Fprintf(i.Out, "installing %s\n", names)
	install := append([]string{"install", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, packages...)
	var err error
	if info, e := os.Stat(i.Lists); e == nil && time.Since(info.ModTime()) < freshLists {
		if err = asRoot(ctx, "apt-get", slices.Clone(install)...); err == nil {
			return nil
		}
		fmt.Fprintf(i.Out, "apt's lists of packages have to be updated: %v\n", err)
	}
	for attempt := range aptAttempts {
		if attempt > 0 {
			i.Warn(fmt.Sprintf("attempt %d did not work: %v; trying again", attempt, err))
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Duration(attempt) * i.Patience):
			}
		}
		// It fails for any repository of the machine, and the packages are in
		// another one.
		update := asRoot(ctx, "apt-get", "update", "-qq")
		if err = asRoot(ctx, "apt-get", slices.Clone(install)...); err == nil {
			return nil
		}
		if update != nil {
			err = fmt.Errorf("%w, after apt-get update: %w", err, update)
		}
	}
	return fmt.Errorf("install %s: %w: install them on the runner", names, err)
}

// OpenKVM lets this user open the KVM device, where the machine has one and is
// GitHub's: the rule would stay on another, and lets everyone there open it. It
// warns when that fails, as kernels can be emulated instead.
func (i *Installer) OpenKVM(ctx context.Context, device string) error {
	if !i.Hosted || !Has(device) || canOpen(device) {
		return nil
	}
	rule, err := os.CreateTemp("", "kvm-*.rules")
	if err != nil {
		return fmt.Errorf("write the rule for %s: %w", device, err)
	}
	defer os.Remove(rule.Name())
	_, err = rule.WriteString(qemu.UdevRule + "\n") // on GitHub's runners the job is the only user
	if err = errors.Join(err, rule.Close()); err != nil {
		return fmt.Errorf("write the rule for %s: %w", device, err)
	}
	for _, args := range [][]string{
		{"install", "-m", "0644", rule.Name(), "/etc/udev/rules.d/99-bpf-kernel-check-kvm.rules"},
		{"udevadm", "control", "--reload-rules"},
		{"udevadm", "trigger", "--name-match=kvm", "--settle"},
	} {
		if err := asRoot(ctx, args[0], args[1:]...); err != nil {
			i.Warn(fmt.Sprintf("%s may not be opened: %v: kernels are emulated, which is much slower", device, err))
			return nil
		}
	}
	return nil
}

func canOpen(device string) bool {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// asRoot runs a program as root. Its error ends with the last line of output.
func asRoot(ctx context.Context, name string, args ...string) error {
	if os.Geteuid() != 0 {
		if !Has("sudo") {
			return fmt.Errorf("%s: not root, and there is no sudo", name)
		}
		args = append([]string{"-n", "env", "DEBIAN_FRONTEND=noninteractive", name}, args...)
		name = "sudo"
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(child.Environ(), "DEBIAN_FRONTEND=noninteractive")
	// A package manager that is killed leaves the system half changed: ask it to
	// end, and let it outlive this process.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	out = bytes.TrimSpace(out)
	if line := out[bytes.LastIndexByte(out, '\n')+1:]; len(line) > 0 {
		return fmt.Errorf("%s: %w: %.1000s", name, err, line)
	}
	return fmt.Errorf("%s: %w", name, err)
}
