package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
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

const functionsFile = "functions-1.txt"

// HasTargets says for each of targets, which are section names such as
// "fentry/vfs_unlink", whether this kernel has what it attaches to. vmlinux is
// the unpacked kernel. The names are kept beside the kernel in the cache.
func (im *Image) HasTargets(ctx context.Context, c *Cache, vmlinux string, targets []string) (map[string]bool, error) {
	path, err := im.Derived(ctx, c, functionsFile, func(w io.Writer) error {
		names, err := image.Functions(vmlinux)
		if err != nil {
			return err
		}
		bw := bufio.NewWriter(w)
		for _, n := range names {
			_, _ = bw.WriteString(n + "\n")
		}
		return bw.Flush()
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the functions of %s: %w", im.ID(), err)
	}
	names := strings.Split(string(b), "\n")
	has := make(map[string]bool, len(targets))
	for _, t := range targets {
		_, has[t] = slices.BinarySearch(names, image.TargetFunction(t))
	}
	return has, nil
}

// KnowsTargets says whether HasTargets can do without the unpacked kernel.
func (im *Image) KnowsTargets() bool {
	_, ok := im.FindDerived(functionsFile)
	return ok
}
