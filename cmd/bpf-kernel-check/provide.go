package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// provide installs what a run needs and this machine lacks, and makes KVM
// accessible.
func (c *command) provide(ctx context.Context, in inputs) error {
	arch, err := qemu.LookupArch(payloadArch(in))
	if err != nil {
		return usageError{err}
	}
	missing := missingSources(in)
	if _, err := qemu.Find(arch); errors.Is(err, qemu.ErrNotInstalled) {
		missing = append(missing, arch.Package)
	}
	if err := c.install(ctx, missing); err != nil {
		return err
	}
	return c.openKVM(ctx, qemu.DefaultKVM)
}

// provideSources installs what listing kernels needs.
func (c *command) provideSources(ctx context.Context, in inputs) error {
	return c.install(ctx, missingSources(in))
}

// payloadArch is the architecture whose QEMU is needed.
func payloadArch(in inputs) string {
	program := strings.TrimSpace(in["events-trace"])
	if words, err := shellquote.Split(in["test"]); err == nil && len(words) > 0 {
		program = words[0]
	}
	if program != "" {
		if arch := guest.ExecutableArch(program); arch != "" {
			return arch
		}
	}
	return cmp.Or(strings.TrimSpace(in["arch"]), runtime.GOARCH)
}

// missingSources are the packages that sources read package repositories with.
func missingSources(in inputs) (missing []string) {
	var specs []string
	for line := range strings.Lines(in["kernels"]) {
		if line = strings.TrimSpace(line); line != "" {
			specs = append(specs, line)
		}
	}
	for _, n := range kernel.Needs(specs) {
		there := hasCommand(n.Path)
		if path.IsAbs(n.Path) {
			there = exists(n.Path)
		}
		if !there {
			missing = append(missing, n.Package)
		}
	}
	return missing
}

func hasCommand(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// tries is how often apt is asked: a mirror that is being updated, or another
// apt that holds the lock, is gone after a moment.
const tries = 3

// install installs packages of Debian and Ubuntu.
func (c *command) install(ctx context.Context, packages []string) error {
	if len(packages) == 0 {
		return nil
	}
	if !hasCommand("apt-get") {
		return usagef("%s missing, and this is no Debian or Ubuntu: install the equivalents on the runner", strings.Join(packages, " "))
	}
	fmt.Fprintf(c.stdout, "installing %s\n", strings.Join(packages, " "))
	args := []string{"install", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}
	var err error
	for try := range tries {
		if try > 0 {
			c.warn(fmt.Sprintf("attempt %d did not work: %v; trying again", try, err))
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Duration(try) * c.patience):
			}
		}
		if err = c.asRoot(ctx, "apt-get", "update", "-qq"); err != nil {
			continue
		}
		if err = c.asRoot(ctx, "apt-get", append(slices.Clone(args), packages...)...); err == nil {
			return nil
		}
	}
	return fmt.Errorf("install %s: %w: install them on the runner", strings.Join(packages, " "), err)
}

// kvmRule lets everyone who may log in use KVM, as on GitHub's own runners
// nobody but the job does.
const kvmRule = `KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"` + "\n"

// openKVM gives this user access to KVM where the machine has it. That it
// works is proven later; that it cannot be had is a warning, as emulation will
// do.
func (c *command) openKVM(ctx context.Context, device string) error {
	if !exists(device) || canOpen(device) {
		return nil
	}
	rule, err := os.CreateTemp("", "kvm-*.rules")
	if err != nil {
		return fmt.Errorf("write the rule for %s: %w", device, err)
	}
	defer os.Remove(rule.Name())
	_, err = rule.WriteString(kvmRule)
	if err = errors.Join(err, rule.Close()); err != nil {
		return fmt.Errorf("write the rule for %s: %w", device, err)
	}
	for _, args := range [][]string{
		{"install", "-m", "0644", rule.Name(), "/etc/udev/rules.d/99-bpf-kernel-check-kvm.rules"},
		{"udevadm", "control", "--reload-rules"},
		{"udevadm", "trigger", "--name-match=kvm", "--settle"},
	} {
		if err := c.asRoot(ctx, args[0], args[1:]...); err != nil {
			c.warn(fmt.Sprintf("%s may not be opened: %v: kernels are emulated, which is much slower", device, err))
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

// asRoot runs a program as root, quietly unless it goes wrong.
func (c *command) asRoot(ctx context.Context, name string, args ...string) error {
	if os.Geteuid() != 0 {
		if !hasCommand("sudo") {
			return fmt.Errorf("%s: not root, and there is no sudo", name)
		}
		args = append([]string{"-n", "env", "DEBIAN_FRONTEND=noninteractive", name}, args...)
		name = "sudo"
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	// A package manager that is killed leaves a system half changed: it is asked
	// to end, and does not die with this process.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		if line := lastLine(out); line != "" {
			return fmt.Errorf("%s: %w: %s", name, err, line)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return report.OneLine(text[strings.LastIndexByte(text, '\n')+1:], 1000)
}
