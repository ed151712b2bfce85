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

func open(c *kernel.Cache, spec, arch string) (source, error) {
	kind, rest, err := splitSpec(spec)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "oci":
		return &imageSource{c: c, spec: spec, rest: rest, arch: arch}, nil
	case "debian":
		return &debianSource{c: c, spec: spec, rest: rest, arch: arch}, nil
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
	return []string{"tree", hex.EncodeToString(h.Sum(nil)), s.arch}, nil
}

func (s *dirSource) fill(ctx context.Context, t *tree) (string, error) {
	return t.fillFrom(ctx, s.tree, s.arch)
}

// fillFrom makes the tree that files are, or hold the image of.
func (t *tree) fillFrom(ctx context.Context, files *tree, arch string) (string, error) {
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
	files := newTree()
	f, err := t.spool(ctx, r)
	if err == nil {
		err = files.apply(ctx, f)
	}
	if err == nil {
		arch, err = t.fillFrom(ctx, files, s.arch)
	}
	if err != nil {
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

// spool writes a stream to a file that lives as long as the tree.
func (t *tree) spool(ctx context.Context, r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(t.tmp, "spool-")
	if err != nil {
		return nil, err
	}
	t.files = append(t.files, f)
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	_, err = bounded.Copy(ctx, f, r, unpack.MaxArchive, "unpacked size of the archive")
	return f, err
}

func (t *tree) close() {
	for _, f := range t.files {
		f.Close()
	}
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
	if _, err := io.ReadFull(f, head); err != nil || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) || head[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return ""
	}
	return map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[elf.Machine(uint16(head[18])|uint16(head[19])<<8)]
}
