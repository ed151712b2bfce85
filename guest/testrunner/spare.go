package testrunner

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// waitForStart returns when there is something to do: at once, but in a spare.
func waitForStart() error {
	fd, err := strconv.Atoi(os.Getenv(wire.SpareFDEnv))
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(fd)
	// What encoding finds out of the types it keeps.
	rep := wire.NewReporter(io.Discard)
	rep.Test("", wire.TestPass, 1, "")
	rep.Run("", false)
	_ = rep.Done() // nothing is read of it
	wire.Room()
	oomBefore()
	// Whether the kernel has descriptors of processes is found out with a process.
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Release()
	}
	start, err := readStart(os.NewFile(uintptr(fd), "start"))
	if err != nil {
		return fmt.Errorf("wait for something to do: %w", err)
	}
	os.Args = start.Args
	os.Clearenv()
	for _, kv := range start.Env {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return fmt.Errorf("set %s: %w", k, err)
		}
	}
	return nil
}

func readStart(f io.ReadCloser) (wire.Start, error) {
	defer f.Close()
	var s wire.Start
	b, err := io.ReadAll(f)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if len(s.Args) == 0 {
		return s, fmt.Errorf("no arguments came")
	}
	return s, nil
}
