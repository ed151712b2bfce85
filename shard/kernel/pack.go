package kernel

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// ModulesPrefix begins the names of archives of modules that [Image.DerivedChecked]
// makes. Of all that is derived, they alone are packed: they cost a second each,
// and have their checksum beside them.
const ModulesPrefix = "modules-"

// PackName names the format and the kernel of what Pack writes.
func PackName(digest string) (string, error) {
	key, err := DigestHex(digest)
	return kernelsDir + "-" + key, err
}

// Smallest returns the digests of as many of the cache's kernels, smallest first,
// as have at most max bytes together.
func (c *Cache) Smallest(max int64) (digests []string, err error) {
	list, err := os.ReadDir(filepath.Join(c.dir, kernelsDir))
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	size := map[string]int64{}
	for _, f := range list {
		e, err := loadEntry(filepath.Join(c.dir, kernelsDir, f.Name()))
		if _, bad := DigestHex(DigestPrefix + f.Name()); err != nil || bad != nil {
			continue
		}
		digests = append(digests, DigestPrefix+f.Name())
		for _, n := range e.Files {
			size[DigestPrefix+f.Name()] += n
		}
	}
	slices.SortStableFunc(digests, func(a, b string) int { return cmp.Compare(size[a], size[b]) })
	for i, d := range digests {
		if max -= size[d]; max < 0 {
			return digests[:i], nil
		}
	}
	return digests, nil
}

// Pack writes a kernel of the cache as a tar archive for Unpack: what its source
// delivered, and archives of modules. Saved VMs and results stay here.
func (c *Cache) Pack(digest string, w io.Writer) error {
	name, err := PackName(digest)
	if err != nil {
		return err
	}
	e, err := loadEntry(filepath.Join(c.dir, kernelsDir, strings.TrimPrefix(digest, DigestPrefix)))
	if err != nil {
		return fmt.Errorf("pack kernel %s: %w", digest, err)
	}
	list, err := os.ReadDir(e.dir)
	if err != nil {
		return err
	}
	files := []string{entryFile} // first: it says what may follow
	for _, f := range list {
		if e.packs(f.Name()) {
			files = append(files, f.Name())
		}
	}
	tw := tar.NewWriter(w)
	for _, file := range files {
		f, err := os.Open(filepath.Join(e.dir, file))
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			err = tw.WriteHeader(&tar.Header{Name: name + "/" + file, Typeflag: tar.TypeReg, Mode: 0o644, Size: info.Size()})
		}
		if err == nil {
			_, err = io.Copy(tw, f)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("pack kernel %s: %w", digest, err)
		}
	}
	return tw.Close()
}

// packs says whether a file of an entry is packed.
func (e *entry) packs(name string) bool {
	return fromSource(name) && e.path(name) != "" || strings.HasPrefix(name, derivedPrefix+ModulesPrefix)
}

// Unpack puts a kernel that Pack wrote into the cache unless it is there. walk
// calls its function for each file of the archive, which comes from elsewhere: it
// must be of this kernel, whole, and the image must have its digest.
func (c *Cache) Unpack(ctx context.Context, digest string, walk func(WalkFunc) error) error {
	prefix, err := PackName(digest)
	if err != nil {
		return err
	}
	_, err = c.entry(ctx, digest, func(ctx context.Context, dir string) (Contents, error) {
		var said entry // by the archive's first file
		left := int64(maxUnpacked)
		err := walk(func(name string, size int64, r io.Reader) error {
			if left -= size; left < 0 { // a sparse file takes little room in the archive
				return fmt.Errorf("its files have more than %d MiB", maxUnpacked>>20)
			}
			file, ok := strings.CutPrefix(name, prefix+"/")
			first := said.Files == nil && file == entryFile
			if !ok || file != filepath.Base(file) || !first && !said.packs(file) {
				return fmt.Errorf("%.200q is no file of it", name)
			}
			if first {
				var b bytes.Buffer
				if _, err := bounded.Copy(ctx, &b, r, maxEntryFile, "size of "+entryFile); err != nil {
					return err
				}
				if err := json.Unmarshal(b.Bytes(), &said); err != nil {
					return err
				}
				r = &b
			}
			return WriteAtomic(filepath.Join(dir, file), 0o644, func(w io.Writer) error {
				_, err := bounded.Copy(ctx, w, r, MaxMember, "size of "+file)
				return err
			})
		})
		if err != nil {
			return Contents{}, err
		}
		if _, err := loadEntry(dir); err != nil {
			return Contents{}, err
		}
		info, err := image.ProbeFile(filepath.Join(dir, KernelFile))
		return Contents{Image: info, Modules: said.Modules}, err
	})
	if err != nil {
		return fmt.Errorf("unpack kernel %s: %w", digest, err)
	}
	return nil
}

const (
	maxEntryFile = 1 << 20 // bytes
	maxUnpacked  = 2 << 30
)
