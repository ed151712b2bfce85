package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const derivedPrefix = "derived-"

// Derived returns the path of a file made from this kernel, such as an archive
// of the modules that a test needs, and has write make it the first time. The
// file lives as long as the kernel's cache entry; name is the caller's, and has
// to change when what write would make does.
func (im *Image) Derived(ctx context.Context, c *Cache, name string, write func(io.Writer) error) (string, error) {
	path := filepath.Join(im.entry.dir, derivedPrefix+SafeName(name))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := c.Lock(ctx, filepath.Base(im.entry.dir)+"-derived")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := WriteAtomic(path, 0o644, write); err != nil {
		return "", fmt.Errorf("make %s of kernel %s: %w", name, im.ID(), err)
	}
	return path, nil
}

// DerivedChecked is Derived for what has no checksum of its own: a file that is
// damaged is made again.
func (im *Image) DerivedChecked(ctx context.Context, c *Cache, name string, write func(io.Writer) error) (string, error) {
	const sumSuffix = ".sum"
	for again := false; ; again = true {
		path, err := im.Derived(ctx, c, name, write)
		if err != nil {
			return "", err
		}
		got, err := HashFile(ctx, path)
		if err != nil {
			return "", err
		}
		sumPath, err := im.Derived(ctx, c, name+sumSuffix, func(w io.Writer) error {
			_, err := io.WriteString(w, got)
			return err
		})
		if err != nil {
			return "", err
		}
		want, err := os.ReadFile(sumPath)
		if err == nil && string(want) == got {
			return path, nil
		}
		if again {
			return "", fmt.Errorf("%s of kernel %s does not keep its bytes", name, im.ID())
		}
		c.Warnf("%s of kernel %s is damaged in the cache and will be made again", name, im.ID())
		if err := errors.Join(im.DropDerived(name), im.DropDerived(name+sumSuffix)); err != nil {
			return "", err
		}
	}
}

// FindDerived returns the path of a file that Derived has made, and whether it
// is there.
func (im *Image) FindDerived(name string) (string, bool) {
	path := filepath.Join(im.entry.dir, derivedPrefix+SafeName(name))
	info, err := os.Stat(path)
	return path, err == nil && info.Mode().IsRegular()
}

// DropDerived removes a file that Derived has made, so that it is made again.
func (im *Image) DropDerived(name string) error {
	path, ok := im.FindDerived(name)
	if !ok {
		return nil
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) { // another process may have been faster
		return err
	}
	return nil
}

// KeepNewestDerived removes those files whose names begin with prefix, but for
// the n that were made last. What cannot be removed only costs disk.
func (im *Image) KeepNewestDerived(prefix string, n int) {
	list, err := os.ReadDir(im.entry.dir)
	if err != nil {
		return
	}
	type aged struct {
		name string
		made int64
	}
	var found []aged
	for _, e := range list {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), derivedPrefix+SafeName(prefix)) {
			found = append(found, aged{e.Name(), info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(found, func(a, b aged) int { return int(min(1, max(-1, b.made-a.made))) })
	for _, f := range found[min(n, len(found)):] {
		_ = os.Remove(filepath.Join(im.entry.dir, f.name))
	}
}

// KernelDigest is that of the image file as shipped, "sha256:<hex>".
func (im *Image) KernelDigest() string { return im.entry.Kernel }
