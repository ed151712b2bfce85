package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// coverText makes a coverage profile of what a guest's programs left in their
// GOCOVERDIR, with the go command, as its format is Go's own affair. What the
// guest wrote is hostile: time, memory and output have limits.
func coverText(ctx context.Context, dir string) (err error) {
	gocmd, err := exec.LookPath("go")
	if err != nil {
		return errors.New("there is no go command here, whose go tool covdata reads it")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	said := &lines.Clip{Head: 300}
	cmd := exec.CommandContext(ctx, gocmd, "tool", "covdata", "textfmt", "-i="+filepath.Join(dir, filepath.FromSlash(wire.CoverDataDir)), "-o=/dev/stdout")
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = os.TempDir(), said, time.Second
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	const memory = 4 << 30 // of its children, each
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: memory, Max: memory}, nil)
	f, err := os.Create(filepath.Join(dir, filepath.FromSlash(wire.CoverProfileName)))
	if err == nil {
		var n int64
		n, err = io.Copy(f, io.LimitReader(out, wire.MaxFileSize+1))
		if err == nil && n > wire.MaxFileSize {
			err = fmt.Errorf("it is more than %d MiB of text", wire.MaxFileSize>>20)
			cancel()
		}
		err = errors.Join(err, f.Close())
	}
	if werr := cmd.Wait(); werr != nil && err == nil {
		err = fmt.Errorf("go tool covdata: %w: %s", werr, strings.TrimSpace(said.String()))
	}
	if err != nil && f != nil {
		os.Remove(f.Name())
	}
	return err
}
