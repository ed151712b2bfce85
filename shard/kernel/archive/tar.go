package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// What marks the Ref of one image of many, which the file's name in the archive
// follows, and of a kernel in an archive of several or in packages, see inLocatorOf.
const (
	setLocator = "set:"
	inLocator  = "in:"
)

// inLocatorOf is the locator of a kernel by the name of its file and the digests of
// what holds it, its modules and its configuration. There is no path in it.
func inLocatorOf(name string, digests ...string) string {
	return inLocator + strings.Join(digests, ",") + "#" + name
}

// badLocator is the locator of what should be a kernel and is none, "" of a kernel.
func badLocator(k *unpack.Kernel) string {
	if k.Bad == "" {
		return ""
	}
	return unpack.BadLocator + k.Bad
}

// inDigest is the digest of the kernel with a locator.
func inDigest(locator string) string { return kernel.DigestPrefix + hexSum([]byte(locator)) }

// archive lists the kernels of an archive: many bare images, or those of a root file
// system. It reads the archive to its end the first time, and hashes it.
func (s *dirSource) archive(ctx context.Context) (refs []kernel.Ref, err error) {
	set, digest, err := s.set(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("list kernels of %q: %w", s.spec, context.Cause(ctx))
	}
	if errors.Is(err, errBroken) {
		// What is missing has no names, and would be tested by nobody.
		return nil, kernel.Usagef("kernel source %q is not whole: %s; make or fetch it again", s.spec, bounded.OneLine(err.Error()))
	}
	if err != nil || len(set.Images) == 0 && len(set.Kernels)+len(set.Bad) < 2 {
		// An archive of one kernel that is broken is listed and fails in Open.
		ref, err := s.file(ctx, "", filepath.Base(s.path))
		return []kernel.Ref{ref}, err
	}
	for _, im := range set.Images {
		ref := kernel.Ref{Distro: im.Distro, Name: im.Name, Release: im.Release, Arch: im.Arch, Digest: im.Digest, Locator: setLocator + im.Image.Name}
		if im.Bad != "" {
			ref.Locator = unpack.BadLocator + im.Bad
		}
		refs = append(refs, ref)
	}
	stem := unpack.RefOf(filepath.Base(s.root()), filepath.Base(s.path))
	for _, k := range slices.Concat(set.Kernels, set.Bad) {
		ref := stem
		ref.Name, ref.Release, ref.Arch, ref.Modules = kernel.SafeName(cmp.Or(k.Release, path.Base(k.Name))+"__"+stem.Name), k.Release, k.Arch, k.Modules != ""
		locator := inLocatorOf(k.Name, digest)
		ref.Digest, ref.Locator = inDigest(locator), cmp.Or(ref.Locator, badLocator(k), locator)
		refs = append(refs, ref)
	}
	return refs, nil
}

// set returns what the archive holds, and its digest.
func (s *dirSource) set(ctx context.Context) (*tarSet, string, error) {
	digest, err := s.cache.DigestOf(ctx, s.path)
	if err != nil {
		return nil, "", err
	}
	set, err := readSetOf(ctx, s.cache, s.path, digest)
	return set, digest, err
}

// openImage takes one image of many out of the archive, or finds it in the
// cache.
func (s *dirSource) openImage(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	set, digest, err := s.set(ctx)
	if err != nil {
		return nil, err
	}
	for _, im := range set.Images {
		if im.Digest == ref.Digest && im.Bad == "" {
			return openSetImage(ctx, s.cache, ref, s.path, digest, im)
		}
	}
	return nil, fmt.Errorf("%q holds no image with digest %s as listed: list the kernels again", filepath.Base(s.path), ref.Digest)
}

// openIn opens a kernel in an archive of several or in packages.
func (s *dirSource) openIn(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	if got := inDigest(ref.Locator); got != ref.Digest {
		return nil, &kernel.DigestError{What: "its locator", Want: ref.Digest, Got: got}
	}
	digests, name, _ := strings.Cut(strings.TrimPrefix(ref.Locator, inLocator), "#")
	byDigest := map[string]kernel.Archive{}
	for _, file := range s.holders() {
		if digest, err := s.cache.DigestOf(ctx, file); err == nil {
			byDigest[digest] = unpack.Tar(file)
			if p := unpack.PackageAt(file); p != nil {
				byDigest[digest] = p
			}
		}
	}
	var archives []kernel.Archive
	for digest := range strings.SplitSeq(digests, ",") {
		if byDigest[digest] == nil {
			return nil, fmt.Errorf("%q holds no file with digest %s as listed: list the kernels again", s.spec, digest)
		}
		archives = append(archives, byDigest[digest])
	}
	return s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		return unpack.Packages(ctx, dir, name, archives)
	}, func(string) []kernel.Archive { return archives })
}

// holders returns the files that the source names, or the packages of its directory
// and of those in it.
func (s *dirSource) holders() []string {
	if s.files != nil {
		return s.files
	}
	files := []string{s.path}
	for _, pattern := range []string{"*", "*/*"} {
		list, _ := fs.Glob(os.DirFS(s.path), pattern) // no bad pattern
		for _, f := range list {
			if unpack.PackageAt(f) != nil {
				files = append(files, filepath.Join(s.path, f))
			}
		}
	}
	return files
}
