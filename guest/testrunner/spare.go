package testrunner

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/thrift"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// waitForStart returns when there is something to do: at once, but in a spare.
func waitForStart() error {
	fd, err := strconv.Atoi(os.Getenv(wire.SpareFDEnv))
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(fd)
	// What is a spare's alone.
	for _, k := range []string{wire.SpareFDEnv, "GODEBUG"} {
		if err := os.Unsetenv(k); err != nil {
			return err
		}
	}
	// What encoding finds out of the types it keeps.
	rep := wire.NewReporter(io.Discard) // nothing is read of it
	rep.Test("", wire.TestPass, 1, "")
	rep.Run("", false)
	_ = rep.Done()
	thrift.Prepare()
	oomBefore()
	start, err := readStart(fd)
	if err != nil {
		return fmt.Errorf("wait for something to do: %w", err)
	}
	os.Args = start.Args
	return setEnviron(start.Env)
}

func readStart(fd int) (wire.Start, error) {
	b, err := thrift.ReadAll(fd)
	unix.Close(fd)
	if err != nil {
		return wire.Start{}, err
	}
	return wire.ParseStart(b)
}

// setEnviron makes the environment env. What is so already is let be: under
// emulation a change takes long.
func setEnviron(env []string) error {
	set := func() error {
		for _, kv := range env {
			k, v, _ := strings.Cut(kv, "=")
			if had, ok := os.LookupEnv(k); ok && had == v {
				continue
			}
			if err := os.Setenv(k, v); err != nil {
				return fmt.Errorf("set %s: %w", k, err)
			}
		}
		return nil
	}
	if err := set(); err != nil || slices.Equal(os.Environ(), env) {
		return err
	}
	os.Clearenv() // there is one that is not in env, or in another place
	return set()
}
