package rootfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/oci"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// SpecHelp says what a --rootfs value may be.
const SpecHelp = "expected a directory, a tar, an OCI layout or archive, oci://<registry>/<repository>[:<tag>], or debian:<suite>[+<package>...], such as debian:bookworm+bpftrace"

// splitSpec tells the kind of a spec: "oci", "debian", or "" for a path.
// A path that has a colon needs a slash before it.
func splitSpec(spec string) (kind, rest string, err error) {
	kind, rest, ok := strings.Cut(spec, ":")
	switch {
	case spec == "":
		return "", "", kernel.Usagef("--rootfs is empty: %s", SpecHelp)
	case strings.ContainsRune(spec, 0):
		return "", "", kernel.Usagef("--rootfs %q is no name that a file can have: %s", spec, SpecHelp)
	case !ok || !kernel.SchemeRE.MatchString(kind):
		return "", spec, nil
	}
	known := []string{"oci", "debian"}
	for _, k := range known {
		if kind == k {
			return kind, rest, nil
		}
	}
	return "", "", kernel.Usagef("--rootfs %q: %q is no kind of root%s: %s", spec, kind+":", kernel.Suggest(kind, known), SpecHelp)
}

// open returns what spec names; shown is spec without secrets.
func open(c *kernel.Cache, spec, shown, arch string) (source, error) {
	kind, rest, err := splitSpec(spec)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "oci":
		return &imageSource{c: c, spec: shown, rest: rest, arch: arch}, nil
	case "debian":
		return &debianSource{c: c, spec: shown, rest: rest, arch: arch}, nil
	}
	info, err := os.Stat(rest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, kernel.Usagef("--rootfs %q does not exist: %s", spec, SpecHelp)
	case err != nil:
		return nil, &kernel.UsageError{Msg: "--rootfs", Err: err}
	case info.IsDir():
		path, err := filepath.EvalSymlinks(rest)
		return &dirSource{c: c, path: path, arch: arch}, err
	case !info.Mode().IsRegular():
		return nil, kernel.Usagef("--rootfs %q is neither a directory nor a file: %s", spec, SpecHelp)
	}
	return &tarSource{c: c, path: rest, arch: arch}, nil
}

// dirSource is a directory of this machine.
type dirSource struct {
	c          *kernel.Cache
	path, arch string
	tree       *tree
	sum        string // of its tar
}

// key reads all of the directory: nothing else tells whether it has changed.
func (s *dirSource) key(ctx context.Context) ([]string, error) {
	s.tree = newTree()
	if err := s.tree.addDir(ctx, s.c, s.path); err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := s.tree.write(ctx, h); err != nil {
		return nil, err
	}
	s.sum = hex.EncodeToString(h.Sum(nil))
	return []string{"tree", s.sum, s.arch}, nil
}

// fill reads the directory again: most times the root is there, so that key writes
// nothing.
func (s *dirSource) fill(ctx context.Context, t *tree) (string, error) {
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		_, err := s.tree.write(ctx, w)
		w.CloseWithError(err)
	}()
	h := sha256.New()
	arch, err := t.fillTar(ctx, io.TeeReader(r, h), s.arch)
	if err == nil && hex.EncodeToString(h.Sum(nil)) != s.sum {
		err = errors.New("a file of it has changed while it was read; try again")
	}
	return arch, err
}

// fillTar makes the tree that is in a tar, or that is of an image in it.
func (t *tree) fillTar(ctx context.Context, r io.Reader, arch string) (string, error) {
	files := newTree()
	files.tmp = t.tmp
	stored, err := files.spool(ctx, r)
	t.also = files.file
	if err == nil {
		err = files.apply(ctx, stored)
	}
	if err != nil {
		return "", err
	}
	image, err := oci.LocalRoot(func(name string) (io.ReadCloser, error) {
		n, err := files.find(name)
		if err != nil {
			return nil, err
		}
		return n.read(name)
	}, arch)
	if err != nil {
		return "", &kernel.UsageError{Msg: "read the image in it", Err: err}
	}
	if image == nil {
		t.root = files.root
		return "", nil
	}
	return t.fillImage(ctx, image)
}

func (t *tree) fillImage(ctx context.Context, image *oci.Root) (arch string, err error) {
	t.layers = true
	return image.Layers(ctx, func(r io.Reader) error {
		f, err := t.spool(ctx, r)
		if err != nil {
			return err
		}
		return t.apply(ctx, f)
	})
}

// imageSource is an image of a registry.
type imageSource struct {
	c                *kernel.Cache
	spec, rest, arch string
	image            *oci.Root
}

func (s *imageSource) key(ctx context.Context) (_ []string, err error) {
	s.image, err = oci.FindRoot(ctx, s.spec, s.rest, s.arch, s.c)
	if err != nil {
		return nil, err
	}
	return []string{"image", s.image.Digest, s.arch}, nil
}

func (s *imageSource) fill(ctx context.Context, t *tree) (string, error) {
	return t.fillImage(ctx, s.image)
}

// tarSource is a tar of a root file system, or an archive of an image.
type tarSource struct {
	c          *kernel.Cache
	path, arch string
	digest     string
}

func (s *tarSource) key(ctx context.Context) (_ []string, err error) {
	s.digest, err = s.c.DigestOf(ctx, s.path)
	return []string{"tar", s.digest, s.arch}, err
}

func (s *tarSource) fill(ctx context.Context, t *tree) (arch string, err error) {
	r, err := unpack.Tar(s.path).Open(ctx)
	if err != nil {
		return "", &kernel.UsageError{Msg: "read it", Err: err}
	}
	defer r.Close()
	if arch, err = t.fillTar(ctx, r, s.arch); err != nil {
		return "", err
	}
	return arch, s.unchanged(ctx)
}

// unchanged says whether the file still is what the key is of.
func (s *tarSource) unchanged(ctx context.Context) error {
	if now, err := s.c.DigestOf(ctx, s.path); err != nil || now != s.digest {
		return errors.Join(errors.New("the file has changed while it was read; try again"), err)
	}
	return nil
}

// spool adds a stream to a file that lives as long as the tree. All layers of an
// image, and all packages, share what there may be of it.
func (t *tree) spool(ctx context.Context, r io.Reader) (_ *io.SectionReader, err error) {
	if t.file == nil {
		if t.file, err = os.CreateTemp(t.tmp, "spool-"); err != nil {
			return nil, err
		}
		if err := os.Remove(t.file.Name()); err != nil {
			return nil, err
		}
	}
	at := t.spooled
	n, err := bounded.Copy(ctx, io.NewOffsetWriter(t.file, at), r, unpack.MaxArchive-at, "")
	if t.spooled += n; t.spooled > unpack.MaxArchive {
		err = tooLarge("unpacked size of the archives", unpack.MaxArchive)
	}
	return io.NewSectionReader(t.file, at, n), err
}

func (t *tree) close() {
	t.file.Close() // a nil file is none to close
	t.also.Close()
}

// arch returns the architecture of the root's programs, "" where that cannot be
// told.
func (t *tree) arch(ctx context.Context) string {
	for _, name := range []string{"/bin/sh", "/usr/bin/env"} {
		if n, err := t.find(name); err == nil {
			if a := archOf(n); a != "" {
				return a
			}
		}
	}
	found := ""
	_ = t.walk(ctx, func(_ string, n *node, _ string) error {
		if n.hdr.Mode&0o111 != 0 {
			found = archOf(n)
		}
		if found != "" {
			return fs.SkipAll
		}
		return nil
	})
	return found
}

func archOf(n *node) string {
	head := make([]byte, 64)
	if n.open == nil || n.hdr.Size < int64(len(head)) {
		return ""
	}
	f, err := n.open()
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := io.ReadFull(f, head); err != nil || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return ""
	}
	return goarch.OfHeader(head).Name
}
