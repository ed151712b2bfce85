package qemu

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/child"
)

// Sandbox is QEMU's seccomp filter: no obsolete system calls, no more
// privileges, no further programs, no changes of its limits. A guest that
// breaks out of its VM does not get far.
const Sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// Features are what not every QEMU and host has.
type Features struct {
	Sandbox  string // for Machine.Sandbox: QEMU runs under its seccomp filter here; "" if not
	Firmware string // for Machine.Firmware: the architecture's fast one is there; "" if not
}

// Probe finds the features of a QEMU by starting it, without a kernel.
func Probe(ctx context.Context, path string, a Arch, accel Accel) Features {
	var f Features
	var all sync.WaitGroup
	all.Go(func() {
		if starts(ctx, path, "-sandbox", Sandbox, "-M", "none") {
			f.Sandbox = Sandbox
		}
	})
	if rom := a.Firmware[accel]; rom != "" {
		all.Go(func() {
			if starts(ctx, path, "-M", a.Machine, "-accel", "tcg", "-bios", rom) {
				f.Firmware = rom
			}
		})
	}
	all.Wait()
	return f
}

// starts says whether QEMU starts with some arguments, which name a machine. It
// boots nothing: QEMU sets the machine up, reads quit, and ends.
func starts(ctx context.Context, path string, args ...string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-no-user-config", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio"}, args...)...)
	cmd.Stdin = strings.NewReader("quit\n")
	cmd.WaitDelay = time.Second
	return child.Run(cmd) == nil // a monitor that loses its terminal goes on
}
