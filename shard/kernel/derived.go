package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const derivedPrefix = "derived-"

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
	return os.Remove(path)
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

// KnowsTargets says whether HasTargets can do without the unpacked kernel.
func (im *Image) KnowsTargets() bool {
	_, ok := im.FindDerived(functionsFile)
	return ok
}
