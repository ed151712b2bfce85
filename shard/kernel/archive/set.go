package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Limits of an archive of many kernels.
const (
	maxSet      = 16 << 30  // bytes of the tar stream
	maxSetImage = 128 << 20 // bytes of one image
)

// tarSet is what an archive of many bare images holds, such as
// mainline-kernels/bzImage-v5.13.4 and, beside it, config-v5.13.4.
type tarSet struct {
	Schema int        `json:"schema"`
	Images []setImage `json:"images"` // none: as other archives have them, which is Kernels

	unpack.Found
	Package *unpack.Package `json:"package,omitempty"` // of a package: what it says of itself
}

const setSchema = 4

// setImage is one image and, where there is one, its config.
type setImage struct {
	Distro  string  `json:"distro"` // safe
	Name    string  `json:"name"`   // safe
	Digest  string  `json:"digest"` // of both files
	Release string  `json:"release,omitempty"`
	Arch    string  `json:"arch,omitempty"`
	Bad     string  `json:"bad,omitempty"` // why it is of no use
	Image   setFile `json:"image"`
	Config  setFile `json:"config,omitzero"`
}

// setFile is where a file is in the archive.
type setFile struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"` // in the tar stream
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// readSetOf returns what an archive holds whose digest is known, from the cache where
// it was looked at before.
func readSetOf(ctx context.Context, c *kernel.Cache, file, digest string) (*tarSet, error) {
	key, err := kernel.DigestHex(digest)
	if err != nil {
		return nil, err
	}
	if unpack.PackageAt(file) != nil {
		key += "-package" // one of pacman's is a tar by another name
	}
	kept := filepath.Join(c.Dir(), "sets", key+".json")
	s := new(tarSet)
	if b, err := os.ReadFile(kept); err != nil || json.Unmarshal(b, s) != nil || s.Schema != setSchema {
		if s, err = readAny(ctx, c, file); err != nil {
			return nil, err
		}
		b, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		if err := kernel.WriteAtomic(kept, 0o644, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
			c.Warnf("the index of %q could not be kept: %v", file, err)
		}
	}
	return s, nil
}

// readAny reads what a package or an archive holds.
func readAny(ctx context.Context, c *kernel.Cache, file string) (s *tarSet, err error) {
	var of kernel.Archive = unpack.PackageAt(file)
	p, isPackage := of.(unpack.PackageFile)
	if !isPackage {
		r, err := unpack.Tar(file).Open(ctx)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		if s, err = readSet(ctx, r); err != nil || len(s.Images) > 0 {
			return s, err
		}
		of = unpack.Tar(file)
	}
	dir, err := os.MkdirTemp(filepath.Join(c.Dir(), "tmp"), "scan-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s = &tarSet{Schema: setSchema}
	if isPackage {
		if s.Package, err = p.Package(ctx); err != nil {
			return nil, err
		}
	}
	s.Found, err = unpack.Scan(ctx, dir, of)
	return s, err
}

// errBroken is of an archive that holds many images, not all of which can be read.
var errBroken = errors.New("it breaks off")

// readSet reads a tar stream to its end, unless it turns out to be the archive
// of one kernel, whose first file of a kernel tells.
func readSet(ctx context.Context, r io.Reader) (*tarSet, error) {
	s := &tarSet{Schema: setSchema}
	configs := map[string]setFile{} // by directory and stem
	pos := &countReader{r: r}
	many := false
	err := unpack.WalkTarUpTo(ctx, pos, maxSet, func(name string, size int64, r io.Reader) error {
		dir, base := path.Split(name)
		file := setFile{Name: name, Offset: pos.n, Size: size}
		if stem, ok := strings.CutPrefix(base, "config-"); ok && size <= unpack.MaxConfig && strings.Count(dir, "/") <= 1 {
			b, err := io.ReadAll(r)
			file.SHA256 = hexSum(b)
			configs[dir+stem] = file
			return err
		}
		distro, stem, ok := setName(name)
		if !ok {
			_, _, module := image.SplitModule(name)
			if _, sure := unpack.IsKernelName(name); len(s.Images) == 0 && (module || sure) {
				return fs.SkipAll
			}
			return nil
		}
		many = true
		if size > maxSetImage {
			return &bounded.LimitError{What: fmt.Sprintf("size of %q", name), Limit: maxSetImage}
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		file.SHA256 = hexSum(b)
		ref := unpack.RefOf(distro, base)
		im := setImage{Distro: ref.Distro, Name: ref.Name, Image: file, Release: unpack.ReleaseOf(stem)}
		info, err := image.Probe(bytes.NewReader(b), int64(len(b)))
		if bad, ok := strings.CutPrefix(ref.Locator, unpack.BadLocator); ok {
			im.Bad = bad
		} else if err != nil {
			im.Bad = fmt.Sprintf("%q: %s", name, bounded.OneLine(err.Error()))
		}
		if im.Arch = info.Arch; info.Version != "" {
			im.Release = info.Version
		}
		s.Images = append(s.Images, im)
		return nil
	})
	if err != nil && many && ctx.Err() == nil {
		return nil, fmt.Errorf("%w after %d images: %w", errBroken, len(s.Images), err)
	}
	if err != nil {
		return nil, err
	}
	for i := range s.Images {
		im := &s.Images[i]
		dir, base := path.Split(im.Image.Name)
		im.Digest = kernel.DigestPrefix + im.Image.SHA256
		if config, ok := configs[dir+unpack.ImageStem(base)]; ok {
			im.Config = config
			both := []string{im.Image.SHA256, config.SHA256}
			slices.Sort(both)
			im.Digest = kernel.DigestPrefix + hexSum([]byte(strings.Join(both, "\n")))
		}
	}
	return s, nil
}

// setName says whether a file is one image of many: in a directory of its own
// kind, or named as mainline images are. An archive of one kernel has it at
// the top, in boot or in lib/modules.
func setName(name string) (distro, stem string, ok bool) {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	stem = unpack.ImageStem(base)
	mainline := strings.HasPrefix(base, "bzImage-v") && unpack.ReleaseOf(stem) != ""
	switch {
	case stem == "" || unpack.IsEFI(base) || dir == "boot" || strings.Contains(dir, "/") || dir == "" && !mainline:
		return "", "", false
	case mainline:
		return "mainline", stem, true
	}
	return dir, stem, true
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// openSetImage brings one image of a set into the cache.
func openSetImage(ctx context.Context, c *kernel.Cache, ref kernel.Ref, file, digest string, want setImage) (*kernel.Image, error) {
	return c.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		plain, err := plainSet(ctx, c, file, digest)
		if err != nil {
			return kernel.Contents{}, err
		}
		f, err := os.Open(plain)
		if err != nil {
			return kernel.Contents{}, err
		}
		defer f.Close()
		made, err := want.build(ctx, dir, f)
		if changed := (*kernel.DigestError)(nil); errors.As(err, &changed) && plain != file {
			os.Remove(plain) // of an archive that was another when it was unpacked
		}
		return made, err
	}, nil)
}

// plainSet returns the path of the archive without compression: starting anew for
// each image would take the square of the time.
func plainSet(ctx context.Context, c *kernel.Cache, file, digest string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 8)
	if _, err := io.ReadFull(f, head); err != nil {
		return "", err
	}
	if image.CompressionOf(head) == image.NoCompression {
		return file, nil
	}
	key, err := kernel.DigestHex(digest)
	if err != nil {
		return "", err
	}
	unlock, err := c.Lock(ctx, "set-"+key)
	if err != nil {
		return "", err
	}
	defer unlock()
	plain := filepath.Join(c.Dir(), "sets", key+".tar")
	if _, err := os.Stat(plain); err == nil {
		return plain, nil
	}
	r, err := unpack.Tar(file).Open(ctx)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return plain, kernel.WriteAtomic(plain, 0o644, func(w io.Writer) error {
		_, err := bounded.Copy(ctx, w, r, maxSet, "size of the archive")
		return err
	})
}

// build makes the cache entry of an image of the archive f, a plain tar.
func (im setImage) build(ctx context.Context, dir string, f io.ReaderAt) (kernel.Contents, error) {
	for as, m := range map[string]setFile{kernel.KernelFile: im.Image, kernel.ConfigFile: im.Config} {
		if m.Name == "" {
			continue
		}
		path := filepath.Join(dir, as)
		if err := unpack.WriteMember(ctx, path, m.Name, m.Size, maxSetImage, io.NewSectionReader(f, m.Offset, m.Size)); err != nil {
			return kernel.Contents{}, err
		}
		got, err := kernel.HashFile(ctx, path)
		if err != nil {
			return kernel.Contents{}, err
		}
		if want := kernel.DigestPrefix + m.SHA256; got != want {
			return kernel.Contents{}, &kernel.DigestError{What: fmt.Sprintf("%q", m.Name), Want: want, Got: got}
		}
	}
	info, err := image.Unwrap(filepath.Join(dir, kernel.KernelFile), im.Image.Name)
	return kernel.Contents{Image: info}, err
}
