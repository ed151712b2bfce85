package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Trim removes everything but the kernels of the given digests ("sha256:<hex>",
// as of Ref), and of those the largest until the rest has at most max bytes. It
// returns how many bytes are left. It is for a cache that is stored between
// jobs, and that nobody else uses at the time.
func (c *Cache) Trim(keep []string, max int64) (int64, error) {
	wanted := map[string]bool{}
	for _, digest := range keep {
		key, err := DigestHex(digest)
		if err != nil {
			return 0, err
		}
		wanted[key] = true
	}
	dir := filepath.Join(c.dir, kernelsDir)
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("read the cache: %w", err)
	}
	type sized struct {
		path  string
		bytes int64
	}
	var left []sized
	var sum int64
	var errs []error
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		if !wanted[e.Name()] {
			errs = append(errs, os.RemoveAll(path))
			continue
		}
		n, err := treeSize(path)
		errs = append(errs, err)
		left = append(left, sized{path, n})
		sum += n
	}
	slices.SortFunc(left, func(a, b sized) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.path, b.path))
	})
	for _, k := range left {
		if sum <= max {
			break
		}
		errs = append(errs, os.RemoveAll(k.path))
		sum -= k.bytes
	}
	others, err := os.ReadDir(c.dir)
	errs = append(errs, err)
	for _, e := range others {
		if e.Name() != kernelsDir {
			errs = append(errs, os.RemoveAll(filepath.Join(c.dir, e.Name())))
		}
	}
	return sum, errors.Join(errs...)
}

func treeSize(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
