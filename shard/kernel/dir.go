package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

const dirLayout = "expected <distro>/<release>__<ids>.tar.gz archives (or .tar, .tar.xz, .tar.zst), or vmlinuz-*, bzImage-*, vmlinux-* or Image-* files"

// dirSource lists a directory: archives and bare images in it and in its
// sub-directories, whose names are the distros. The path may also be that of
// one archive or image.
type dirSource struct {
	spec  string
	path  string // absolute
	cache *Cache
}

func (s *dirSource) String() string { return s.spec }

// List hashes every file, or remembers its digest from an earlier listing.
// Dot files are passed over unless they look like a kernel.
func (s *dirSource) List(ctx context.Context) ([]Ref, error) {
	st, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("kernel source %q is not there: %s", s.spec, specHelp)
	}
	if err != nil {
		return nil, &UsageError{Msg: "read kernel source", Err: err}
	}
	var refs []Ref
	if !st.IsDir() {
		ref, err := s.file(ctx, "", filepath.Base(s.path), true)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	} else if refs, err = s.dir(ctx, ""); err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, usagef("kernel directory %q holds no kernels: %s", s.spec, dirLayout)
	}
	return sortRefs(refs), nil
}

// root is the directory that locators are relative to.
func (s *dirSource) root() string {
	if st, err := os.Stat(s.path); err == nil && !st.IsDir() {
		return filepath.Dir(s.path)
	}
	return s.path
}

// dir lists the source's directory, or sub of it.
func (s *dirSource) dir(ctx context.Context, sub string) ([]Ref, error) {
	list, err := os.ReadDir(filepath.Join(s.path, sub))
	if err != nil {
		return nil, &UsageError{Msg: "read kernel directory", Err: err}
	}
	var refs []Ref
	for _, e := range list {
		name := e.Name()
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			if st, err := os.Stat(filepath.Join(s.path, sub, name)); err == nil {
				isDir = st.IsDir()
			}
		}
		switch {
		case isDir && sub == "" && !strings.HasPrefix(name, "."):
			more, err := s.dir(ctx, name)
			if err != nil {
				return nil, err
			}
			refs = append(refs, more...)
		case !isDir && (archiveStem(name) != "" || imageStem(name) != ""):
			ref, err := s.file(ctx, sub, name, false)
			if err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// file makes the Ref of one file. Only a bare image that is none is an error;
// whatever else is wrong with the file is left to Open.
func (s *dirSource) file(ctx context.Context, sub, base string, only bool) (Ref, error) {
	distroName := sub
	if sub == "" {
		distroName = filepath.Base(s.root())
	}
	ref := Ref{Distro: safeDistro(distroName)}
	file := filepath.Join(s.root(), sub, base)
	stem := archiveStem(base)
	bare := stem == ""
	if bare {
		if stem = imageStem(base); stem == "" {
			if stem = base; !only {
				return Ref{}, fmt.Errorf("%q is no kernel file", file)
			}
		}
	}
	ref.Name = stem
	if ref.Distro == "mainline" && !strings.HasPrefix(stem, "mainline-") {
		ref.Name = "mainline-" + stem
	}
	ref.Name = SafeName(ref.Name)
	if !bare {
		ref.Release = releaseOf(stem)
		ref.Arch = archOf(stem)
	}
	ref.Locator = path.Join(sub, base)
	for _, part := range []string{sub, base} {
		if reason := unsafeName(part); reason != "" {
			ref.Locator = badLocator + fmt.Sprintf("its file name %q %s: rename it", path.Join(sub, base), reason)
			ref.Release = ""
		}
	}
	if bare {
		info, err := s.probe(file)
		if err != nil {
			return Ref{}, err
		}
		ref.Release, ref.Arch = info.Version, info.Arch
	}
	var err error
	if ref.Digest, err = s.cache.digestOf(ctx, file); err != nil {
		if ctx.Err() != nil {
			return Ref{}, fmt.Errorf("list kernels of %q: %w", s.spec, context.Cause(ctx))
		}
		if !strings.HasPrefix(ref.Locator, badLocator) {
			ref.Locator = badLocator + oneLine(err.Error())
		}
	}
	return ref, nil
}

// probe recognises a bare image; what is none is the user's mistake.
func (s *dirSource) probe(file string) (Info, error) {
	st, err := os.Stat(file)
	if err == nil && !st.Mode().IsRegular() { // opening a FIFO would block
		err = &NotKernelError{File: file, Reason: "it is not a regular file"}
	}
	var info Info
	if err == nil {
		info, err = ProbeFile(file)
	}
	if err != nil {
		return Info{}, &UsageError{Msg: fmt.Sprintf("kernel source %q", s.spec), Err: err}
	}
	return info, nil
}

// badLocator marks the Ref of a file that cannot be opened; the reason follows.
const badLocator = "!"

// Open unpacks the kernel and its config into the cache. Modules stay in the
// archive and are read from there.
func (s *dirSource) Open(ctx context.Context, ref Ref) (*Image, error) {
	im, err := s.open(ctx, ref)
	if err == nil {
		return im, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("open kernel %s: %w", ref.ID(), err)
	}
	return nil, &BadKernelError{ID: ref.ID(), Err: err}
}

func (s *dirSource) open(ctx context.Context, ref Ref) (*Image, error) {
	if reason, bad := strings.CutPrefix(ref.Locator, badLocator); bad {
		return nil, errors.New(reason)
	}
	// The Ref may come from a plan that someone else wrote.
	if !fs.ValidPath(ref.Locator) || strings.Count(ref.Locator, "/") > 1 {
		return nil, fmt.Errorf("path %q leads out of %q", ref.Locator, s.spec)
	}
	file := filepath.Join(s.root(), filepath.FromSlash(ref.Locator))
	digest, err := s.cache.digestOf(ctx, file)
	if err != nil {
		return nil, err
	}
	if digest != ref.Digest {
		return nil, &DigestError{What: fmt.Sprintf("%q", file), Want: ref.Digest, Got: digest}
	}
	base := path.Base(ref.Locator)
	if archiveStem(base) != "" {
		a := archive{path: file}
		e, err := s.cache.entry(ctx, digest, func(ctx context.Context, dir string) (*entry, error) {
			return unpack(ctx, dir, a)
		})
		if err != nil {
			return nil, err
		}
		return newImage(ref, e, []archive{a}), nil
	}
	e, err := s.cache.entry(ctx, digest, func(ctx context.Context, dir string) (*entry, error) {
		return copyImage(ctx, dir, file)
	})
	if err != nil {
		return nil, err
	}
	im := newImage(ref, e, nil)
	// The config beside an image is not part of its digest, so it is not cached.
	config := filepath.Join(filepath.Dir(file), "config-"+imageStem(base))
	if st, err := os.Stat(config); err == nil && st.Mode().IsRegular() && st.Size() <= maxConfig {
		im.Config = config
	}
	return im, nil
}

func copyImage(ctx context.Context, dir, file string) (*entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u := &unpacker{dir: dir}
	if err := u.write(ctx, kernelFile, filepath.Base(file), 0, maxMember, f); err != nil {
		return nil, err
	}
	info, err := ProbeFile(filepath.Join(dir, kernelFile))
	if nk := (*NotKernelError)(nil); errors.As(err, &nk) {
		nk.File = file
	}
	if err != nil {
		return nil, err
	}
	return &entry{Image: info}, nil
}

// archiveStem returns an archive's name without its suffix, "" for what is not
// named like an archive.
func archiveStem(base string) string {
	for _, suffix := range []string{".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tar.lz4", ".tar"} {
		if stem, ok := strings.CutSuffix(base, suffix); ok {
			return stem
		}
	}
	return ""
}

// imageStem returns what follows vmlinuz- and the like, "" for what is not
// named like a kernel image.
func imageStem(base string) string {
	for _, prefix := range []string{"vmlinuz-", "bzImage-", "vmlinux-", "Image-"} {
		if stem, ok := strings.CutPrefix(base, prefix); ok {
			return stem
		}
	}
	return ""
}

// safeDistro returns the distro that a directory's name stands for.
func safeDistro(dir string) string {
	switch dir {
	case "", ".", "/":
		return "local"
	case "mainline-kernels":
		return "mainline"
	}
	return SafeName(dir)
}

// unsafeName says what is wrong with a file name, "" when nothing is.
func unsafeName(name string) string {
	switch {
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.HasPrefix(name, "-"), strings.HasPrefix(name, "."):
		return fmt.Sprintf("starts with %q", name[:1])
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return "holds control characters"
	}
	return ""
}

// releaseOf returns the release that a kernel's name starts with, without what
// makes a mainline kernel's name; "" when it starts with none.
func releaseOf(stem string) string {
	stem, _, _ = strings.Cut(strings.TrimPrefix(stem, "mainline-"), "__")
	if len(stem) > 1 && stem[0] == 'v' {
		stem = stem[1:]
	}
	return versionToken([]byte(stem))
}

// archOf guesses the architecture from a release, as distributions write it.
func archOf(release string) string {
	switch {
	case strings.Contains(release, "x86_64"), strings.Contains(release, "amd64"):
		return "amd64"
	case strings.Contains(release, "aarch64"), strings.Contains(release, "arm64"):
		return "arm64"
	}
	return ""
}
