package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// What marks the Ref of one image of many, and of one of the kernels of an archive
// that may have modules; the file's name in the archive follows.
const (
	setLocator    = "set:"
	memberLocator = "in:"
)

// archive lists the kernels of an archive: many bare images, or those of a root file
// system. It reads the archive to its end the first time, and hashes it.
func (s *dirSource) archive(ctx context.Context) (refs []kernel.Ref, err error) {
	set, digest, err := s.set(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("list kernels of %q: %w", s.spec, context.Cause(ctx))
	}
	if broken := (*brokenSetError)(nil); errors.As(err, &broken) {
		// What is missing has no names, and would be tested by nobody.
		return nil, kernel.Usagef("kernel source %q is not whole: %s; make or fetch it again", s.spec, bounded.OneLine(broken.Error()))
	}
	if err != nil || len(set.Images) == 0 && len(set.Kernels) < 2 {
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
	for _, k := range set.Kernels {
		ref := stem
		ref.Name, ref.Release, ref.Arch, ref.Modules = kernel.SafeName(cmp.Or(k.Release, path.Base(k.Name))+"__"+stem.Name), k.Release, k.Arch, k.Modules != ""
		ref.Digest, ref.Locator = memberDigest(digest, k.Name), cmp.Or(ref.Locator, memberLocator+k.Name)
		refs = append(refs, ref)
	}
	return refs, nil
}

// memberDigest is that of one of the kernels of an archive.
func memberDigest(archive, name string) string {
	return kernel.DigestPrefix + hexSum([]byte(archive+"\n"+name))
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
