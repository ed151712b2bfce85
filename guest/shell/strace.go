//go:build amd64 || arm64 || riscv64

package main

import (
	"os/exec"

	ustrace "github.com/u-root/u-root/pkg/strace"
)

func init() {
	strace = func(args []string, std stdio) error {
		if len(args) == 0 {
			return errUsage
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = std.in, std.out, std.err
		return ustrace.Strace(cmd, std.err)
	}
}
