package kernel

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
	Images []setImage `json:"images"` // none: the archive is of one kernel, or of none
}

const setSchema = 1

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

// set returns what an archive holds whose digest is known, from the cache where
// it was looked at before.
func (c *Cache) set(ctx context.Context, file, digest string) (*tarSet, error) {
	key, err := digestHex(digest)
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(c.dir, "sets", key+".json")
	if b, err := os.ReadFile(kept); err == nil {
		s := new(tarSet)
		if json.Unmarshal(b, s) == nil && s.Schema == setSchema {
			return s, nil
		}
	}
	r, err := archive{path: file}.open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s, err := readSet(ctx, r)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if err := writeAtomic(kept, 0o644, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		c.warnf("the index of %q could not be kept: %v", file, err)
	}
	return s, nil
}

// brokenSetError is the error of an archive that holds many images, not all of
// which can be read.
type brokenSetError struct {
	images int // that came before
	err    error
}

func (e *brokenSetError) Error() string {
	return fmt.Sprintf("it breaks off after %d images: %v", e.images, e.err)
}

func (e *brokenSetError) Unwrap() error { return e.err }

// readSet reads a tar stream to its end, unless it turns out to be the archive
// of one kernel, whose first file of a kernel tells.
func readSet(ctx context.Context, r io.Reader) (*tarSet, error) {
	s := &tarSet{Schema: setSchema}
	configs := map[string]setFile{} // by directory and stem
	pos := &countReader{r: r}
	many := false
	err := walkTarUpTo(ctx, pos, maxSet, func(name string, size int64, r io.Reader) error {
		dir, base := path.Split(name)
		file := setFile{Name: name, Offset: pos.n, Size: size}
		if stem, ok := strings.CutPrefix(base, "config-"); ok && size <= maxConfig && strings.Count(dir, "/") <= 1 {
			b, err := readMember(ctx, &file, r, maxConfig)
			if err == nil {
				file.SHA256 = hexSum(b)
				configs[dir+stem] = file
			}
			return err
		}
		distro, stem, ok := setName(name)
		if !ok {
			if _, _, module := splitModule(name); len(s.Images) == 0 && (module || isKernelName(name)) {
				return fs.SkipAll
			}
			return nil
		}
		many = true
		b, err := readMember(ctx, &file, r, maxSetImage)
		if err != nil {
			return err
		}
		file.SHA256 = hexSum(b)
		im := setImage{Distro: distro, Name: stem, Image: file, Release: releaseOf(stem)}
		if im.Name = stem; distro == "mainline" && !strings.HasPrefix(stem, "mainline-") {
			im.Name = "mainline-" + stem
		}
		im.Name = SafeName(im.Name)
		info, err := Probe(bytes.NewReader(b), int64(len(b)))
		if reason := unsafeName(base); reason != "" {
			im.Bad = fmt.Sprintf("its file name %q %s: rename it", name, reason)
		} else if err != nil {
			im.Bad = fmt.Sprintf("%q: %s", name, oneLine(err.Error()))
		}
		if im.Arch = info.Arch; info.Version != "" {
			im.Release = info.Version
		}
		s.Images = append(s.Images, im)
		return nil
	})
	if err != nil && many && ctx.Err() == nil {
		return nil, &brokenSetError{images: len(s.Images), err: err}
	}
	if err != nil {
		return nil, err
	}
	for i := range s.Images {
		im := &s.Images[i]
		dir, base := path.Split(im.Image.Name)
		im.Digest = digestPrefix + im.Image.SHA256
		if config, ok := configs[dir+imageStem(base)]; ok {
			im.Config = config
			both := []string{im.Image.SHA256, config.SHA256}
			slices.Sort(both)
			im.Digest = digestPrefix + hexSum([]byte(strings.Join(both, "\n")))
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
	stem = imageStem(base)
	mainline := strings.HasPrefix(base, "bzImage-v") && releaseOf(stem) != ""
	switch {
	case stem == "" || dir == "boot" || strings.Contains(dir, "/") || dir == "" && !mainline:
		return "", "", false
	case mainline:
		return "mainline", stem, true
	}
	return safeDistro(dir), stem, true
}

func readMember(ctx context.Context, f *setFile, r io.Reader, limit int64) ([]byte, error) {
	what := fmt.Sprintf("size of %q", f.Name)
	if f.Size > limit {
		return nil, &LimitError{What: what, Limit: limit}
	}
	var b bytes.Buffer
	b.Grow(int(min(f.Size, 16<<20)))
	if _, err := copyCapped(ctx, &b, r, limit, what); err != nil {
		return nil, fmt.Errorf("read %q: %w", f.Name, err)
	}
	return b.Bytes(), nil
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

// unpackSet brings one image of a set into the cache. Out of a plain tar it is
// read where it lies; a compressed one is read once, from its start, and all of
// its images go into the cache, because coming back for each would take the
// square of the time.
func (c *Cache) unpackSet(ctx context.Context, file, digest string, s *tarSet, want setImage) (*entry, error) {
	if e, err := c.haveEntry(want.Digest); err == nil {
		return e, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 8)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	if compressionOf(head) == NoCompression {
		return c.entry(ctx, want.Digest, func(ctx context.Context, dir string) (*entry, error) {
			return want.build(ctx, dir, func(m setFile) io.Reader { return io.NewSectionReader(f, m.Offset, m.Size) })
		})
	}
	key, err := digestHex(digest)
	if err != nil {
		return nil, err
	}
	unlock, err := c.lock(ctx, "set-"+key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if e, err := c.haveEntry(want.Digest); err == nil { // another may have done it all meanwhile
		return e, nil
	}
	if err := c.unpackWholeSet(ctx, file, s); err != nil {
		return nil, err
	}
	return c.haveEntry(want.Digest)
}

func (c *Cache) unpackWholeSet(ctx context.Context, file string, s *tarSet) error {
	scratch, err := os.MkdirTemp(filepath.Join(c.dir, "tmp"), "set-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	place := func(m setFile) string { return filepath.Join(scratch, fmt.Sprint(m.Offset)) }
	wanted := map[int64]setFile{} // files by offset
	for _, im := range s.Images {
		if _, err := c.haveEntry(im.Digest); err == nil || im.Bad != "" {
			continue
		}
		wanted[im.Image.Offset] = im.Image
		wanted[im.Config.Offset] = im.Config
	}
	r, err := archive{path: file}.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	pos := &countReader{r: r}
	err = walkTarUpTo(ctx, pos, maxSet, func(name string, size int64, r io.Reader) error {
		m, ok := wanted[pos.n]
		if !ok || m.Name != name {
			return nil
		}
		return writeAtomic(place(m), 0o644, func(w io.Writer) error {
			_, err := copyCapped(ctx, w, r, maxSetImage, fmt.Sprintf("size of %q", name))
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, im := range s.Images {
		if im.Bad != "" {
			continue
		}
		_, err := c.entry(ctx, im.Digest, func(ctx context.Context, dir string) (*entry, error) {
			return im.build(ctx, dir, func(m setFile) io.Reader { return &fileReader{path: place(m)} })
		})
		if err != nil {
			return err
		}
		os.Remove(place(im.Image)) // early, because there are many; the rest goes with scratch
	}
	return nil
}

// build makes the cache entry of an image whose files open reads.
func (im setImage) build(ctx context.Context, dir string, open func(setFile) io.Reader) (*entry, error) {
	for _, f := range []struct {
		as string
		setFile
	}{{kernelFile, im.Image}, {configFile, im.Config}} {
		if f.Name == "" {
			continue
		}
		u := &unpacker{dir: dir}
		r := open(f.setFile)
		err := u.write(ctx, f.as, f.Name, f.Size, maxSetImage, r)
		if c, ok := r.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			return nil, err
		}
		got, err := hashFile(ctx, filepath.Join(dir, f.as))
		if err != nil {
			return nil, err
		}
		if want := digestPrefix + f.SHA256; got != want {
			return nil, &DigestError{What: fmt.Sprintf("%q", f.Name), Want: want, Got: got}
		}
	}
	info, err := ProbeFile(filepath.Join(dir, kernelFile))
	return &entry{Image: info}, err
}

// fileReader opens its file at the first read: a set has more images than a
// process may have files open.
type fileReader struct {
	path string
	f    *os.File
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.f == nil {
		var err error
		if r.f, err = os.Open(r.path); err != nil {
			return 0, err
		}
	}
	return r.f.Read(p)
}

func (r *fileReader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
