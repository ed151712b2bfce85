package qemu

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/child"
)

// sandbox is QEMU's seccomp filter: no obsolete system calls, no more
// privileges, no further programs, no changes of its limits. A guest that
// breaks out of its VM does not get far.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// Abilities asks a QEMU what not every build and host has: whether it runs under
// its seccomp filter here, whether the architecture's quick firmware came with
// it, and whether it has the lean machine. It returns the values for Machine's
// Sandbox and Firmware, "" for what it has not, and whether Lean may be set.
func Abilities(ctx context.Context, path string, a Arch, accel Accel) (filter, firmware string, lean bool) {
	var both sync.WaitGroup
	if l := a.Lean; l.Machine != "" && accel == TCG {
		both.Go(func() {
			lean = starts(ctx, path, "-M", l.Machine, "-accel", "tcg", "-chardev", "null,id=results", "-device", l.Results+",chardev=results")
		})
	}
	filter, firmware = sandboxAndFirmware(ctx, path, a, accel)
	both.Wait()
	return filter, firmware, lean
}

func sandboxAndFirmware(ctx context.Context, path string, a Arch, accel Accel) (filter, firmware string) {
	withFilter := []string{"-sandbox", sandbox}
	var withFirmware []string
	if f := a.Firmware[accel]; f != "" {
		firmware, withFirmware = f, []string{"-M", a.Machine, "-accel", "tcg", "-bios", f}
		// Mostly it has both, and is started only once.
		if starts(ctx, path, append(withFilter, withFirmware...)...) {
			return sandbox, firmware
		}
		if !starts(ctx, path, withFirmware...) {
			firmware = ""
		}
	}
	if starts(ctx, path, append(withFilter, "-M", "none")...) {
		filter = sandbox
	}
	return filter, firmware
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
