package kernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"unicode"

	"github.com/elastic/bpf-kernel-check/shard/child"
)

// Limits of an archive. The largest distribution package unpacks to about 1
// GiB, in about 10,000 files.
const (
	maxArchive   = 8 << 30 // bytes of the tar stream
	maxMember    = 1 << 30 // bytes of one file that is looked at
	maxMembers   = 1 << 20 // count
	maxConfig    = 16 << 20
	maxModuleSet = 64 // releases in one archive, count
)

// archive is a file that holds a kernel's files.
type archive struct {
	path string
	deb  bool // a Debian package
	rpm  bool // an RPM package; when neither, a tar archive of any compression
}

// walk calls fn for each regular file whose name is a clean relative path;
// fn returns fs.SkipAll to end the walk.
func (a archive) walk(ctx context.Context, fn func(name string, size int64, r io.Reader) error) error {
	if a.rpm {
		return walkRPM(ctx, a.path, fn)
	}
	r, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return walkTar(ctx, r, fn)
}

// open returns a Debian package or a tar archive as a plain tar stream. Close
// ends it early.
func (a archive) open(ctx context.Context) (io.ReadCloser, error) {
	if a.deb {
		return openDeb(ctx, a.path)
	}
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	r, err := openTar(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &closers{Reader: ctxReader{ctx, r}, list: []io.Closer{r, f}}, nil
}

type closers struct {
	io.Reader
	list []io.Closer
}

func (c *closers) Close() error {
	var err error
	for _, x := range c.list {
		err = errors.Join(err, x.Close())
	}
	return err
}

// openTar finds the compression by content: names lie.
func openTar(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	head, err := br.Peek(512)
	if len(head) == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errors.New("the archive is empty")
	}
	c := compressionOf(head)
	if c == NoCompression {
		if len(head) < 512 || !bytes.Equal(head[257:262], []byte("ustar")) {
			return nil, errors.New("not a tar archive, plain or compressed by gzip, xz, zstd, bzip2, lzma or lz4")
		}
		return io.NopCloser(br), nil
	}
	return decompress(c, br)
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

// walkTar calls fn for each regular file whose name is a clean relative path.
// Links, devices, and names that are absolute, hold ".." or control characters
// are passed over. fn returns fs.SkipAll to end the walk.
func walkTar(ctx context.Context, r io.Reader, fn func(name string, size int64, r io.Reader) error) error {
	return walkTarUpTo(ctx, r, maxArchive, fn)
}

// walkTarUpTo is walkTar with a limit in bytes of the stream. It reads r no
// further than the member that fn gets, and so r's position is where that
// starts.
func walkTarUpTo(ctx context.Context, r io.Reader, limit int64, fn func(name string, size int64, r io.Reader) error) error {
	limited := &io.LimitedReader{R: ctxReader{ctx, r}, N: limit}
	tr := tar.NewReader(limited)
	for count := 0; ; count++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if limited.N <= 0 {
			return &LimitError{What: "unpacked size of the archive", Limit: limit}
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if count >= maxMembers {
			return &LimitError{What: "number of files in the archive", Limit: maxMembers}
		}
		name, ok := memberName(hdr.Name)
		if !ok || hdr.Typeflag != tar.TypeReg {
			continue
		}
		if err := fn(name, hdr.Size, tr); errors.Is(err, fs.SkipAll) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func memberName(s string) (string, bool) {
	for strings.HasPrefix(s, "./") {
		s = s[2:]
	}
	ok := fs.ValidPath(s) && s != "." && len(s) < 4096 && !strings.ContainsFunc(s, unicode.IsControl) && !strings.Contains(s, `\`)
	return s, ok
}

// splitModule splits "usr/lib/modules/6.1.0/kernel/x.ko" into "6.1.0" and
// "kernel/x.ko".
func splitModule(name string) (release, file string, ok bool) {
	name = strings.TrimPrefix(name, "usr/")
	name, ok = strings.CutPrefix(name, "lib/modules/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(name, "/")
}

func isModule(file string) bool {
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if strings.HasSuffix(file, suffix) {
			return true
		}
	}
	return false
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
func (t *tail) line() string { return oneLine(string(t.b)) }

func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 600 {
		s = strings.ToValidUTF8(s[:600], "") + "..."
	}
	return s
}
