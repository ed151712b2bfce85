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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Root is a root file system in the cache.
type Root struct {
	Spec   string `json:"-"`      // as the user gave it
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
	keepRoots  = 4 // that are not in use, the last used first
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
	src, err := open(c, spec, arch)
	if err != nil {
		return nil, err
	}
	r, err := openSource(ctx, c, src)
	if err != nil {
		return nil, fmt.Errorf("root file system %q: %w", spec, err)
	}
	r.Spec = spec
	return r, nil
}

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
	if _, there := os.Stat(dir); there == nil {
		c.Warnf("%s is damaged and will be made again: %v", dir, err)
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.Dir(), "tmp"), "root-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := build(ctx, src, tmp); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(tmp, dir), os.Chmod(dir, 0o755)); err != nil { // MkdirTemp makes it 0700
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

// load opens a root of the cache, whose lock the caller has.
func load(ctx context.Context, c *kernel.Cache, dir string) (r *Root, err error) {
	unlock, err := c.Lock(ctx, rootsDir) // against the one who removes
	if err != nil {
		return nil, err
	}
	defer unlock()
	r = &Root{cache: c, dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordFile, err)
	}
	path := filepath.Join(dir, tarFile)
	if r.file, err = os.Open(path); err != nil {
		return nil, err
	}
	got, err := c.DigestOf(ctx, path)
	if err == nil && got != r.Digest {
		err = &kernel.DigestError{What: tarFile, Want: r.Digest, Got: got}
	}
	if err == nil {
		err = syscall.Flock(int(r.file.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		r.file.Close()
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // at worst it is removed too early
	prune(filepath.Dir(dir))
	return r, nil
}

// prune removes the roots that were not used for the longest time. What cannot be
// removed only costs disk.
func prune(dir string) {
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
	for _, e := range list[min(keepRoots, len(list)):] {
		if f, err := os.Open(filepath.Join(dir, e.Name(), tarFile)); err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			f.Close()
			if err != nil {
				continue
			}
		}
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
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
	err = kernel.WriteAtomic(path, 0o644, func(w io.Writer) error { return write(w.(*os.File)) })
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
		return tar2ext4.ConvertTarToExt4(bounded.Reader(ctx, io.NewSectionReader(r.file, 0, 2*unpack.MaxArchive)), f)
	})
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

// List returns the names in a directory, in no order. Links are followed within the
// root.
func (r *Root) List(dir string) ([]string, error) {
	t, err := r.files()
	if err != nil {
		return nil, err
	}
	n, err := t.find(dir)
	if err == nil && !n.isDir() {
		err = &fs.PathError{Op: "list", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(n.kids)), nil
}

// files reads the root's tar, the first time that it is called.
func (r *Root) files() (*tree, error) {
	r.once.Do(func() {
		r.tree = newTree()
		r.err = r.tree.apply(context.Background(), r.file)
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
