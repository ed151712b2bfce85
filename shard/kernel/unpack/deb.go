package unpack

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Deb is a Debian package, by the path of its file.
type Deb string

// String returns the package's path.
func (p Deb) String() string { return string(p) }

// Walk implements [kernel.Archive].
func (p Deb) Walk(ctx context.Context, fn kernel.WalkFunc) error {
	return p.Tar(ctx, "--fsys-tarfile", func(r io.Reader) error { return WalkTar(ctx, r, fn) })
}

// Tar calls fn with one of the package's tars. It leaves the package to dpkg-deb,
// which also decompresses xz faster than Go.
func (p Deb) Tar(ctx context.Context, which string, fn func(io.Reader) error) error {
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
			return kernel.Usagef("dpkg-deb is not installed: install the package dpkg")
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

// maxControl caps a file about a package, in bytes.
const maxControl = 1 << 20

// Control reads a file about the package, where it has it.
func (p Deb) Control(ctx context.Context, name string) (text string, err error) {
	err = p.Tar(ctx, "--ctrl-tarfile", func(r io.Reader) error {
		for files := tar.NewReader(r); ; {
			hdr, err := files.Next()
			if errors.Is(err, io.EOF) {
				_, err := bounded.Copy(ctx, io.Discard, r, MaxArchive, "size of the package")
				return err
			}
			if err != nil {
				return err
			}
			if n, ok := MemberName(hdr.Name); ok && n == name {
				var b strings.Builder
				if _, err := bounded.Copy(ctx, &b, files, maxControl, "size of "+name); err != nil {
					return err
				}
				text = b.String()
			}
		}
	})
	return text, err
}
