package apt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// packageFile is a Debian package.
type packageFile struct{ path string }

// String returns the package's path.
func (d packageFile) String() string { return d.path }

// Walk implements [kernel.Archive].
func (d packageFile) Walk(ctx context.Context, fn kernel.WalkFunc) error {
	r, err := openDeb(ctx, d.path)
	if err != nil {
		return err
	}
	defer r.Close()
	return unpack.WalkTar(ctx, r, fn)
}

// openDeb leaves packages to dpkg-deb, which also decompresses xz faster than Go.
func openDeb(ctx context.Context, path string) (io.ReadCloser, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	child.Group(cmd) // dpkg-deb forks its decompressor, which holds the pipes too
	d := &debReader{ctx: ctx, cmd: cmd}
	cmd.Stderr = &d.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReaderSize(out, 256<<10)
	if err := child.Start(cmd); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("dpkg-deb is not installed: install the package dpkg")
		}
		return nil, err
	}
	return d, nil
}

type debReader struct {
	ctx    context.Context
	cmd    *exec.Cmd
	out    *bufio.Reader
	stderr tail
	waited bool
}

// Read returns dpkg-deb's own error where the stream ends because of one.
func (d *debReader) Read(p []byte) (int, error) {
	n, err := d.out.Read(p)
	if err == nil || n > 0 {
		return n, nil
	}
	if !d.waited {
		d.waited = true
		if werr := d.cmd.Wait(); werr != nil {
			if d.ctx.Err() != nil {
				return 0, context.Cause(d.ctx)
			}
			return 0, fmt.Errorf("dpkg-deb: %w: %s", werr, d.stderr.line())
		}
	}
	return 0, err
}

func (d *debReader) Close() error {
	if !d.waited {
		d.waited = true
		_ = d.cmd.Cancel() // it may have ended by itself
		_ = d.cmd.Wait()   // killed on purpose: its status says nothing
	}
	return nil
}

// tail keeps the end of a program's error output.
type tail struct{ b []byte }

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

// line returns the output on one line, without control characters, cut to a
// length that a log line bears.
func (t *tail) line() string { return bounded.OneLine(string(t.b)) }
