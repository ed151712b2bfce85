package apt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// packageFile is a Debian package, by the path of its file.
type packageFile string

// String returns the package's path.
func (p packageFile) String() string { return string(p) }

// Walk implements [kernel.Archive].
func (p packageFile) Walk(ctx context.Context, fn kernel.WalkFunc) error {
	return p.tar(ctx, "--fsys-tarfile", func(r io.Reader) error { return unpack.WalkTar(ctx, r, fn) })
}

// tar calls fn with one of the package's tars. It leaves the package to dpkg-deb,
// which also decompresses xz faster than Go.
func (p packageFile) tar(ctx context.Context, which string, fn func(io.Reader) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", which, string(p))
	cmd.Env = append(child.Environ(), "LC_ALL=C")
	child.Group(cmd) // dpkg-deb forks its decompressor, which holds the pipes too
	var stderr bounded.Tail
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(cmd); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("dpkg-deb is not installed: install the package dpkg")
		}
		return err
	}
	r := &endReader{Reader: bufio.NewReaderSize(out, 256<<10)}
	err = fn(r)
	if !r.ended {
		_ = cmd.Cancel() // it may have ended by itself
		_ = cmd.Wait()   // killed on purpose: its status says nothing
		return err
	}
	// The stream may have ended because of an error of dpkg-deb's own.
	if werr := cmd.Wait(); werr != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	} else if werr != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", werr, bounded.OneLine(stderr.String()))
	}
	return err
}

// endReader notes that its reader has ended.
type endReader struct {
	io.Reader
	ended bool
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.ended = e.ended || err != nil
	return n, err
}
