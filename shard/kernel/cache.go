package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Cache keeps opened kernels, one directory per digest. Several processes may
// share one: an entry is built beside and renamed into place under a lock, so
// a half-written one is never visible.
//
//	kernels/<hex>/   entry.json, vmlinuz, config, vmlinux.zst, checked.json, 0.deb, 1.deb...
//	hashes/          digests of local files and what is known of QEMU and apt, by path, size, times and inode
//	sets/            what archives of many kernels hold, by their digest, and the
//	                 compressed ones of them unpacked
//	apt/             one private apt root per suite and architecture
//	lists/           what RPM repositories and registries had the last time
//	locks/, tmp/
type Cache struct {
	// Warn gets one line about something that went on in spite of a problem,
	// Note one that is good to know; Progress gets the bytes fetched so far. All
	// may be nil, are set before the first use, and are called from several
	// goroutines at once.
	Warn     func(msg string)
	Note     func(msg string)
	Progress func(ref Ref, done, total int64)

	dir string
}

// DefaultCacheDir returns os.UserCacheDir()/bpf-kernel-check.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory (set XDG_CACHE_HOME or HOME): %w", err)
	}
	return filepath.Join(dir, "bpf-kernel-check"), nil
}

// abandoned is the age after which a temporary file belongs to a process that
// was killed.
const abandoned = 24 * time.Hour

// NewCache opens the cache in dir and makes it when there is none.
func NewCache(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{dir: dir}
	for _, sub := range []string{kernelsDir, "hashes", "sets", "apt", "locks", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	left, _ := os.ReadDir(filepath.Join(dir, "tmp"))
	for _, e := range left {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			os.RemoveAll(filepath.Join(dir, "tmp", e.Name())) // best effort: only costs disk
		}
	}
	return c, nil
}

// Dir returns the cache's directory, an absolute path.
func (c *Cache) Dir() string { return c.dir }

// Warnf warns, as Warn does.
func (c *Cache) Warnf(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf(format, args...))
	}
}

// Notef notes, as Note does.
func (c *Cache) Notef(format string, args ...any) {
	if c.Note != nil {
		c.Note(fmt.Sprintf(format, args...))
	}
}

// Fetched tells Progress how many bytes of a kernel are there.
func (c *Cache) Fetched(ref Ref, done, total int64) {
	if c.Progress != nil {
		c.Progress(ref, done, total)
	}
}

// entry describes one directory below kernels/. It is written once, before the
// directory gets its name.
type entry struct {
	Schema  int              `json:"schema"`
	Image   image.Info       `json:"image"`
	Files   map[string]int64 `json:"files"`             // name to size in bytes, all that was there when built
	Kernel  string           `json:"kernel_digest"`     // of vmlinuz; "sha256:<hex>"
	Modules string           `json:"modules,omitempty"` // the release that ReadModules serves, "" for none

	dir string
}

const (
	entrySchema = 2
	// Versions of this program with another schema share the cache: each keeps
	// to its own entries, or they would take each other's for damaged.
	kernelsDir  = "kernels-2"
	entryFile   = "entry.json"
	vmlinuxFile = "vmlinux.zst"
)

// Names of an entry's files.
const (
	KernelFile = "vmlinuz"
	ConfigFile = "config"
)

// path returns the path of one of the entry's files, "" when it has none such.
func (e *entry) path(name string) string {
	if _, ok := e.Files[name]; !ok {
		return ""
	}
	return filepath.Join(e.dir, name)
}

// Contents is what a source has put into a directory: the kernel as KernelFile
// and, where there is one, its configuration as ConfigFile.
type Contents struct {
	Image   image.Info
	Modules string // the release that the archives hold modules of, "" for none
}

// Fill puts a kernel into an empty directory.
type Fill func(ctx context.Context, dir string) (Contents, error)

// Open returns a kernel of the cache, put there by fill when it has none or a
// damaged one. archives hold the modules; they get the kernel's directory.
func (c *Cache) Open(ctx context.Context, ref Ref, fill Fill, archives func(dir string) []Archive) (*Image, error) {
	e, err := c.entry(ctx, ref.Digest, fill)
	if err != nil {
		return nil, err
	}
	im := newImage(ref, e)
	if archives != nil {
		im.archives = archives(e.dir)
	}
	return im, nil
}

// entry returns the entry of digest, filled in a directory of its own when the
// cache has none or a damaged one.
func (c *Cache) entry(ctx context.Context, digest string, fill Fill) (*entry, error) {
	key, err := DigestHex(digest)
	if err != nil {
		return nil, err
	}
	final := filepath.Join(c.dir, kernelsDir, key)
	if e, err := loadEntry(final); err == nil {
		return e, nil
	}
	unlock, err := c.Lock(ctx, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	e, err := loadEntry(final) // another process may have built it meanwhile
	if err == nil {
		return e, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		c.Warnf("cache entry %s is damaged and will be built again: %v", final, err)
	}
	tmp, err := os.MkdirTemp(filepath.Join(c.dir, "tmp"), key[:12]+"-")
	if err != nil {
		return nil, fmt.Errorf("make cache entry: %w", err)
	}
	defer os.RemoveAll(tmp)
	made, err := fill(ctx, tmp)
	if err != nil {
		return nil, err
	}
	e = &entry{Image: made.Image, Modules: made.Modules}
	if err := e.save(tmp); err != nil {
		return nil, fmt.Errorf("write cache entry: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil { // MkdirTemp makes it 0700
		return nil, fmt.Errorf("write cache entry: %w", err)
	}
	if err := c.Discard(final); err != nil {
		return nil, fmt.Errorf("remove damaged cache entry: %w", err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return nil, fmt.Errorf("write cache entry: %w", err)
	}
	e.dir = final
	return e, nil
}

// Discard moves a directory of the cache away before removing it, so that no one
// sees half of it.
func (c *Cache) Discard(dir string) error {
	trash, err := os.MkdirTemp(filepath.Join(c.dir, "tmp"), "trash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(trash)
	if err := os.Rename(dir, filepath.Join(trash, "x")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (e *entry) save(dir string) error {
	e.Schema, e.Files = entrySchema, map[string]int64{}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if !fromSource(f.Name()) {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		e.Files[f.Name()] = info.Size()
	}
	if e.Kernel, err = HashFile(context.Background(), filepath.Join(dir, KernelFile)); err != nil {
		return err
	}
	b, err := json.MarshalIndent(e, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, entryFile), b, 0o644)
}

// fromSource says whether a file of an entry is what its source delivered, and
// not what the cache made of that.
func fromSource(name string) bool {
	return name != entryFile && name != checkedFile && name != vmlinuxFile && !strings.HasPrefix(name, derivedPrefix)
}

func loadEntry(dir string) (*entry, error) {
	b, err := os.ReadFile(filepath.Join(dir, entryFile))
	if err != nil {
		if _, statErr := os.Stat(dir); statErr == nil {
			return nil, fmt.Errorf("no readable %s", entryFile)
		}
		return nil, err
	}
	e := &entry{dir: dir}
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("%s: %w", entryFile, err)
	}
	if e.Schema != entrySchema {
		return nil, fmt.Errorf("%s has schema %d, not %d", entryFile, e.Schema, entrySchema)
	}
	if e.path(KernelFile) == "" {
		return nil, errors.New("it holds no kernel")
	}
	for name, size := range e.Files {
		if name != filepath.Base(name) {
			return nil, fmt.Errorf("file name %q", name)
		}
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s is missing", name)
		}
		if !st.Mode().IsRegular() || st.Size() != size {
			return nil, fmt.Errorf("%s has %d bytes, not %d", name, st.Size(), size)
		}
	}
	if err := e.check(time.Now()); err != nil {
		return nil, err
	}
	return e, nil
}

// checkedFile remembers that a kernel has its digest: what is booted must be
// what was pinned.
const checkedFile = "checked.json"

// check compares the kernel with its digest.
func (e *entry) check(now time.Time) error {
	got, err := rememberedDigest(context.Background(), filepath.Join(e.dir, KernelFile), filepath.Join(e.dir, checkedFile), now)
	if err == nil && got != e.Kernel {
		err = &DigestError{What: KernelFile, Want: e.Kernel, Got: got}
	}
	return err
}

// Has says whether there is an entry of a kernel, which Open may find damaged.
func (c *Cache) Has(digest string) bool {
	key, err := DigestHex(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(c.dir, kernelsDir, key, entryFile))
	return err == nil
}
