// Package rootfs makes the guest's root file system from what users have: a
// directory, a tar, an image or a list of packages.
//
// Each source becomes a tree of files in memory, whose bytes stay where they are,
// and the tree one tar in the cache. The forms that a guest can have as its root
// are made of that tar. Nothing is ever unpacked onto this machine.
package rootfs

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Root is a root file system in the cache.
type Root struct {
	Spec   string `json:"-"`      // as the user gave it, without secrets
	Digest string `json:"digest"` // of its content, "sha256:<hex>"
	Arch   string `json:"arch"`   // GOARCH's name; "" if not known
	// Unpacked is the memory that its files take where they are unpacked into it,
	// in bytes: each in whole pages, and one at least, as directories and links do.
	Unpacked int64 `json:"unpacked"`

	cache *kernel.Cache
	dir   string
	file  *os.File // its tar, locked: nobody removes a root that is in use
	once  sync.Once
	tree  *tree // see files
	err   error
}

// Files of a root in the cache.
const (
	rootsDir   = "roots-1" // another number when what is made of a source changes
	tarFile    = "root.tar"
	recordFile = "root.json"
	keepRoots  = 4       // that are not in use, the last used first
	keepBytes  = 8 << 30 // of these, though the last is kept whatever it takes
)

// source is what a root is made of.
type source interface {
	// key changes when the content does. Its parts are hashed.
	key(ctx context.Context) ([]string, error)
	// fill makes the tree. arch is "" where the source does not know it.
	fill(ctx context.Context, t *tree) (arch string, err error)
}

// Open returns the root that spec names, and makes it the first time. arch, as
// GOARCH names it, chooses where a source has several. An error that the user has
// to mend is a [kernel.UsageError]; other errors may pass.
func Open(ctx context.Context, c *kernel.Cache, spec, arch string) (*Root, error) {
	shown := report.Redact(spec)
	src, err := open(c, spec, shown, arch)
	if err != nil {
		return nil, redacted{err}
	}
	r, err := openSource(ctx, c, src)
	if err != nil {
		return nil, redacted{fmt.Errorf("--rootfs %q: %w", shown, err)}
	}
	r.Spec = shown
	return r, nil
}

// redacted is an error that shows no secrets of addresses.
type redacted struct{ error }

func (e redacted) Error() string { return report.Redact(e.error.Error()) }
func (e redacted) Unwrap() error { return e.error }

func openSource(ctx context.Context, c *kernel.Cache, src source) (*Root, error) {
	parts, err := src.key(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	key := hex.EncodeToString(sum[:])
	dir := filepath.Join(c.Dir(), rootsDir, key)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	unlock, err := c.Lock(ctx, "root-"+key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := load(ctx, c, dir)
	if err == nil {
		return r, nil
	}
	_, there := os.Stat(dir)
	if there == nil && !errors.As(err, new(*damagedError)) {
		return nil, err // it may be whole, and in use
	}
	if there == nil {
		c.Warnf("%s will be made again: %v", dir, err)
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.Dir(), "tmp"), "root-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := build(ctx, src, tmp); err != nil {
		return nil, err
	}
	held, err := hold(tmp)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if err := errors.Join(c.Discard(dir), os.Rename(tmp, dir), os.Chmod(dir, 0o755)); err != nil { // MkdirTemp makes it 0700
		return nil, err
	}
	return load(ctx, c, dir)
}

// build makes the files of a root in an empty directory.
func build(ctx context.Context, src source, dir string) error {
	t := newTree()
	defer t.close()
	t.tmp = dir
	arch, err := src.fill(ctx, t)
	if err != nil {
		return err
	}
	r := Root{Arch: arch}
	if r.Arch == "" {
		r.Arch = t.arch(ctx)
	}
	h := sha256.New()
	err = kernel.WriteAtomic(filepath.Join(dir, tarFile), 0o644, func(w io.Writer) (err error) {
		r.Unpacked, err = t.write(ctx, io.MultiWriter(w, h))
		return err
	})
	if err != nil {
		return err
	}
	r.Digest = kernel.DigestPrefix + hex.EncodeToString(h.Sum(nil))
	b, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recordFile), b, 0o644)
}

// damagedError says that a root of the cache cannot be used, not that it could not
// be looked at.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return "it is damaged: " + e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// hold opens the tar of a root, which is not removed while that is open.
func hold(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, tarFile))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// load opens a root of the cache, whose lock the caller has.
func load(ctx context.Context, c *kernel.Cache, dir string) (r *Root, err error) {
	unlock, err := c.Lock(ctx, rootsDir) // against the one who removes
	if err != nil {
		return nil, err
	}
	defer unlock()
	r = &Root{cache: c, dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err == nil {
		r.file, err = hold(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &damagedError{err}
	}
	if err != nil {
		return nil, err
	}
	got, err := c.DigestOf(ctx, r.file.Name())
	if err == nil {
		if jerr := json.Unmarshal(b, r); jerr != nil {
			err = &damagedError{fmt.Errorf("%s: %w", recordFile, jerr)}
		} else if got != r.Digest {
			err = &damagedError{&kernel.DigestError{What: tarFile, Want: r.Digest, Got: got}}
		}
	}
	if err != nil {
		r.file.Close()
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // at worst it is removed too early
	prune(c)
	return r, nil
}

// prune removes the roots that were not used for the longest time. What cannot be
// removed only costs disk.
func prune(c *kernel.Cache) {
	dir := filepath.Join(c.Dir(), rootsDir)
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	used := func(e os.DirEntry) time.Time {
		info, err := e.Info()
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int { return used(b).Compare(used(a)) })
	var sum int64
	for i, e := range list {
		files, _ := os.ReadDir(filepath.Join(dir, e.Name()))
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				sum += info.Size()
			}
		}
		if i == 0 || i < keepRoots && sum <= keepBytes {
			continue
		}
		if f, err := os.Open(filepath.Join(dir, e.Name(), tarFile)); err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			f.Close()
			if err != nil {
				continue
			}
		}
		_ = c.Discard(filepath.Join(dir, e.Name()))
	}
}

// made returns the path of a file that is made of the root, which write makes the
// first time and when it is damaged.
func (r *Root) made(ctx context.Context, name string, write func(f *os.File) error) (string, error) {
	unlock, err := r.cache.Lock(ctx, "root-"+filepath.Base(r.dir))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(r.dir, name)
	sum := path + ".sum"
	if want, err := os.ReadFile(sum); err == nil {
		got, err := r.cache.DigestOf(ctx, path)
		if err == nil && got == string(want) {
			return path, nil
		}
		r.cache.Warnf("%s is damaged and will be made again", path)
	}
	// What a process that is killed leaves is removed from the directory tmp.
	part := filepath.Join(r.cache.Dir(), "tmp", filepath.Base(r.dir)+"-"+name)
	err = kernel.WriteAtomic(part, 0o644, func(w io.Writer) error { return write(w.(*os.File)) })
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return "", fmt.Errorf("root file system %q: make %s: %w", r.Spec, name, err)
	}
	got, err := kernel.HashFile(ctx, path)
	if err != nil {
		return "", err
	}
	return path, kernel.WriteAtomic(sum, 0o644, func(w io.Writer) error { _, err := io.WriteString(w, got); return err })
}

// Image returns the path of the root as a read-only ext4 image, which is made the
// first time.
func (r *Root) Image(ctx context.Context) (string, error) {
	return r.made(ctx, "root.ext4", func(f *os.File) error {
		return tar2ext4.ConvertTarToExt4(bounded.Reader(ctx, r.bytes()), f)
	})
}

// bytes reads the root's tar from its start.
func (r *Root) bytes() *io.SectionReader {
	return io.NewSectionReader(r.file, 0, 2*unpack.MaxArchive)
}

// Archive returns the path of the root as a cpio archive, for kernels that cannot
// mount Image: its files are below [wire.RootDir]. Such an archive has no extended
// attributes: they stand in its file [wire.XattrsPath], which is the first, as JSON of []wire.Xattr with absolute
// paths.
func (r *Root) Archive(ctx context.Context) (string, error) {
	t, err := r.files()
	if err != nil {
		return "", err
	}
	return r.made(ctx, "root.cpio", func(f *os.File) error { return t.writeCPIO(ctx, f) })
}

// ReadFile returns a file of at most max bytes. Links are followed within the
// root. A file that is not there is fs.ErrNotExist.
func (r *Root) ReadFile(name string, max int64) ([]byte, error) {
	t, err := r.files()
	if err != nil {
		return nil, err
	}
	return t.readFile(name, max)
}

// IsDir says whether a name is that of a directory. Links are followed within the
// root.
func (r *Root) IsDir(name string) bool {
	t, err := r.files()
	if err != nil {
		return false
	}
	n, err := t.find(name)
	return err == nil && n.isDir()
}

// files reads the root's tar, the first time that it is called.
func (r *Root) files() (*tree, error) {
	r.once.Do(func() {
		r.tree = newTree()
		r.err = r.tree.apply(context.Background(), r.bytes())
	})
	return r.tree, r.err
}

func (t *tree) readFile(name string, max int64) ([]byte, error) {
	n, err := t.find(name)
	if err != nil {
		return nil, err
	}
	f, err := n.read(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if n.hdr.Size > max {
		return nil, &fs.PathError{Op: "read", Path: name, Err: &bounded.LimitError{What: "its size in bytes", Limit: max}}
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// read opens a regular file.
func (n *node) read(name string) (io.ReadCloser, error) {
	if n.hdr.Typeflag != tar.TypeReg {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is not a regular file")}
	}
	return n.open()
}
