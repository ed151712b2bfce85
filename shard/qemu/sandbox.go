package qemu

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// sandbox is QEMU's seccomp filter: no obsolete system calls, no more
// privileges, no further programs, no changes of its limits. A guest that
// breaks out of its VM does not get far.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// Sandbox asks a QEMU whether it was built with the filter and runs under it
// here, and returns the value for -sandbox, "" when it does not: not every
// build and host has it.
func Sandbox(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Machine none boots nothing: QEMU starts, reads quit, and ends.
	cmd := exec.CommandContext(ctx, path, "-no-user-config", "-nodefaults", "-display", "none", "-M", "none", "-sandbox", sandbox, "-monitor", "stdio")
	cmd.Stdin = strings.NewReader("quit\n")
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return ""
	}
	return sandbox
}
