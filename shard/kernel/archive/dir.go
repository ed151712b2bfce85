// Package archive reads kernels from local files: a directory, one archive, one
// image, or an archive of many images. It must not know other kinds of sources.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const layout = "expected <distro>/<release>__<ids>.tar.gz archives (or .tar, .tar.xz, .tar.zst), or vmlinuz, bzImage, vmlinux or Image files, also with -<release>, or .deb, .rpm or .pkg.tar.zst packages with a kernel"

// dirSource lists a directory: archives, packages and bare images in it and in its
// sub-directories, whose names are the distros. The path may also be that of
// one archive or image.
type dirSource struct {
	spec  string
	path  string   // absolute
	files []string // packages that the spec names, absolute; path is the first
	cache *kernel.Cache
}

// New returns the source of a directory, an archive or an image, or of packages
// separated by commas.
func New(spec string, cache *kernel.Cache) (kernel.Source, error) {
	paths := []string{spec}
	if IsPackages(spec) {
		paths = strings.Split(spec, ",")
	}
	for i, p := range paths {
		var err error
		if paths[i], err = filepath.Abs(p); err != nil {
			return nil, &kernel.UsageError{Msg: "find the kernel directory", Err: err}
		}
	}
	s := &dirSource{spec: spec, path: paths[0], cache: cache}
	if IsPackages(spec) {
		s.files = paths
	}
	return s, nil
}

func (s *dirSource) String() string { return s.spec }

// List hashes every file, or remembers its digest from an earlier listing.
// Dot files are passed over unless they look like a kernel.
func (s *dirSource) List(ctx context.Context) ([]kernel.Ref, error) {
	var st fs.FileInfo
	for _, p := range append(s.files, s.path) {
		var err error
		if st, err = os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			name := fmt.Sprintf("%q", s.spec)
			if len(s.files) > 1 {
				name += fmt.Sprintf(": %q", p)
			}
			return nil, kernel.Usagef("kernel source %s is not there: %s", name, kernel.SpecHelp)
		}
		if err == nil && s.files != nil && !st.Mode().IsRegular() { // opening a FIFO would block
			err = fmt.Errorf("package %q is not a regular file", p)
		}
		if err != nil {
			return nil, &kernel.UsageError{Msg: "read kernel source", Err: err}
		}
	}
	var refs []kernel.Ref
	var err error
	switch {
	case s.files != nil:
		refs, err = s.packages(ctx, filepath.Dir(s.path), s.files)
	case st.IsDir():
		refs, err = s.dir(ctx, "")
	case st.Mode().IsRegular() && unpack.ArchiveStem(filepath.Base(s.path)) != "":
		refs, err = s.archive(ctx)
	default:
		refs = make([]kernel.Ref, 1)
		refs[0], err = s.file(ctx, "", filepath.Base(s.path))
	}
	if err == nil && len(refs) == 0 {
		err = kernel.Usagef("kernel source %q holds no kernels: %s", s.spec, layout)
	}
	if err != nil {
		return nil, err
	}
	return kernel.SortRefs(refs), nil
}

// root is the directory that locators are relative to.
func (s *dirSource) root() string {
	if st, err := os.Stat(s.path); err == nil && !st.IsDir() {
		return filepath.Dir(s.path)
	}
	return s.path
}

// dir lists the source's directory, or sub of it.
func (s *dirSource) dir(ctx context.Context, sub string) ([]kernel.Ref, error) {
	list, err := os.ReadDir(filepath.Join(s.path, sub))
	if err != nil {
		return nil, &kernel.UsageError{Msg: "read kernel directory", Err: err}
	}
	var refs []kernel.Ref
	var packages []string
	for _, e := range list {
		name := e.Name()
		st, err := os.Stat(filepath.Join(s.path, sub, name))
		isDir := err == nil && st.IsDir()
		switch {
		case isDir && sub == "" && !strings.HasPrefix(name, "."):
			more, err := s.dir(ctx, name)
			if err != nil {
				return nil, err
			}
			refs = append(refs, more...)
		case !isDir && unpack.PackageAt(name) != nil:
			packages = append(packages, filepath.Join(s.path, sub, name))
		case !isDir && (unpack.ArchiveStem(name) != "" || unpack.IsImage(name)):
			ref, err := s.file(ctx, sub, name)
			if nk := (*image.NotKernelError)(nil); unpack.IsEFI(name) && errors.As(err, &nk) {
				if nk.Other {
					continue
				}
				// It may be a kernel that was cut, and has an id as one.
				ref.Locator = unpack.BadLocator + bounded.OneLine(nk.Error())
				ref.Digest, err = s.cache.DigestOf(ctx, filepath.Join(s.path, sub, name))
			}
			if err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		}
	}
	more, err := s.packages(ctx, filepath.Join(s.path, sub), packages)
	return append(refs, more...), err
}

// file makes the Ref of one file. Only a bare image that is none is an error;
// whatever else is wrong with the file is left to Open.
func (s *dirSource) file(ctx context.Context, sub, base string) (kernel.Ref, error) {
	distro := sub
	if sub == "" {
		distro = filepath.Base(s.root())
	}
	file := filepath.Join(s.root(), sub, base)
	ref := unpack.RefOf(distro, path.Join(sub, base))
	if ref.Locator == "" {
		ref.Locator = path.Join(sub, base)
	}
	if unpack.ArchiveStem(base) == "" {
		info, err := image.ProbeFile(file)
		if err != nil {
			return ref, &kernel.UsageError{Msg: fmt.Sprintf("kernel source %q", s.spec), Err: err}
		}
		ref.Release, ref.Arch = info.Version, info.Arch
	}
	var err error
	if ref.Digest, err = s.cache.DigestOf(ctx, file); err != nil {
		if ctx.Err() != nil {
			return kernel.Ref{}, fmt.Errorf("list kernels of %q: %w", s.spec, context.Cause(ctx))
		}
		if !strings.HasPrefix(ref.Locator, unpack.BadLocator) {
			ref.Locator = unpack.BadLocator + bounded.OneLine(err.Error())
		}
	}
	return ref, nil
}

// Open unpacks the kernel and its config into the cache. Modules stay in the
// archive and are read from there.
func (s *dirSource) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	im, err := s.open(ctx, ref)
	if err == nil {
		return im, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("open kernel %s: %w", ref.ID(), err)
	}
	return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
}

func (s *dirSource) open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	if reason, bad := strings.CutPrefix(ref.Locator, unpack.BadLocator); bad {
		return nil, errors.New(reason)
	}
	if strings.HasPrefix(ref.Locator, setLocator) {
		return s.openImage(ctx, ref)
	}
	if strings.HasPrefix(ref.Locator, inLocator) {
		return s.openIn(ctx, ref)
	}
	// The Ref may come from a plan that someone else wrote.
	if !fs.ValidPath(ref.Locator) || strings.Count(ref.Locator, "/") > 1 {
		return nil, fmt.Errorf("path %q leads out of %q", ref.Locator, s.spec)
	}
	file := filepath.Join(s.root(), filepath.FromSlash(ref.Locator))
	digest, err := s.cache.DigestOf(ctx, file)
	if err != nil {
		return nil, err
	}
	if digest != ref.Digest {
		return nil, &kernel.DigestError{What: fmt.Sprintf("%q", file), Want: ref.Digest, Got: digest}
	}
	base := path.Base(ref.Locator)
	if unpack.ArchiveStem(base) != "" {
		return s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
			made, err := unpack.Tar(file).Unpack(ctx, dir, "")
			if several := (*unpack.SeveralError)(nil); errors.As(err, &several) {
				err = fmt.Errorf("%w: name the archive itself as a source, which lists each of them", err)
			}
			return made, err
		}, func(string) []kernel.Archive { return []kernel.Archive{unpack.Tar(file)} })
	}
	im, err := s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		return copyImage(ctx, dir, file)
	}, nil)
	if err != nil {
		return nil, err
	}
	// The config beside an image is not part of its digest, so it is not cached.
	config := filepath.Join(filepath.Dir(file), "config-"+unpack.ImageStem(base))
	if st, err := os.Stat(config); err == nil && st.Mode().IsRegular() && st.Size() <= unpack.MaxConfig {
		im.Config = config
	}
	return im, nil
}

func copyImage(ctx context.Context, dir, file string) (kernel.Contents, error) {
	f, err := os.Open(file)
	if err != nil {
		return kernel.Contents{}, err
	}
	defer f.Close()
	info, err := unpack.WriteKernel(ctx, filepath.Join(dir, kernel.KernelFile), file, 0, f)
	return kernel.Contents{Image: info}, err
}
