// Package apt reads the kernels of Debian and Ubuntu through apt itself, in a
// private root: signatures, proxies and configured mirrors work as on the host.
// It owns that root, the choice of packages that make a kernel, and how a
// Debian package is read. It must not know other kinds of sources.
package apt

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// source lists the kernels of a Debian suite or an Ubuntu series: every build
// of its flavours that the suite, its updates and its security archive offer.
type source struct {
	spec     string
	distro   string // of the Refs
	suite    string
	arch     string
	flavours []string // of Ubuntu at most one; none means all
	cache    *kernel.Cache
	archive  mirrors
	now      func() time.Time // nil: the real clock

	once sync.Once // guards root
	root *privateRoot
}

func (s *source) String() string { return s.spec }

func (s *source) apt(ctx context.Context) *privateRoot {
	s.once.Do(func() {
		a := s.archive
		var unknown error
		if a.discover {
			a, unknown = a.hostMirrors(context.WithoutCancel(ctx)) // kept for later calls
		}
		now := s.now
		if now == nil {
			now = time.Now
		}
		s.root = &privateRoot{
			dir:   filepath.Join(s.cache.Dir(), "apt", s.rootName()),
			suite: s.suite, arch: s.arch, archive: a, unknown: unknown, now: now, warnf: s.cache.Warnf,
		}
	})
	return s.root
}

// lockRoot keeps two from changing one apt root at once.
func (s *source) lockRoot(ctx context.Context) (unlock func(), err error) {
	return s.cache.Lock(ctx, "apt-"+s.rootName())
}

func (s *source) rootName() string { return s.suite + "-" + s.arch }

// kernels selects the source's kernels among packages.
func (s *source) kernels(list []stanza) (kernels []build, bare []string) {
	if s.distro == "ubuntu" {
		return selectUbuntu(list, strings.Join(s.flavours, ""))
	}
	return selectKernels(list, s.flavours)
}

// List fetches the package lists, about 10 MB, unless those in the cache are
// less than an hour old.
func (s *source) List(ctx context.Context) ([]kernel.Ref, error) {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	root := s.apt(ctx)
	if err := root.refresh(ctx); err != nil {
		return nil, err
	}
	list, err := root.stanzas()
	if err != nil {
		return nil, err
	}
	kernels, bare := s.kernels(list)
	if len(bare) > 0 {
		s.cache.Warnf("%s: %d kernels come without their modules or config, which the mirror no longer has: %s", root.title(), len(bare), bounded.OneLine(strings.Join(bare, ", ")))
	}
	if len(kernels) == 0 {
		return nil, kernel.Usagef("kernel source %q: %s has no kernel of flavour %s at this time%s", s.spec, root.title(), strings.Join(s.flavours, ", "), s.others(list))
	}
	refs := make([]kernel.Ref, 0, len(kernels))
	for _, k := range kernels {
		locator, err := json.Marshal(k.Debs)
		if err != nil {
			return nil, err
		}
		ref := kernel.Ref{
			Distro: s.distro, Name: kernel.SafeName(k.Release + "__" + k.Version), Release: k.Release,
			Arch: s.arch, Digest: debsDigest(k.Debs), Locator: string(locator),
		}
		for _, d := range k.Debs {
			ref.Size += d.Size
		}
		refs = append(refs, ref)
	}
	return kernel.SortRefs(refs), nil
}

// Open fetches the kernel's packages unless the cache has them. It needs no
// package lists: the Ref says where the packages are and what they hash to.
func (s *source) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	debs, err := parseLocator(ref)
	if err != nil {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}
	return unpack.OpenPackages(ctx, s.cache, ref, func(dir string) (list []kernel.Archive) {
		for i := range debs {
			list = append(list, packageFile{filepath.Join(dir, fmt.Sprintf("%d.deb", i))})
		}
		return list
	}, func(ctx context.Context, files []kernel.Archive) error { return s.fetch(ctx, ref, debs, files) })
}

// fetch downloads the packages to files.
func (s *source) fetch(ctx context.Context, ref kernel.Ref, debs []deb, files []kernel.Archive) error {
	root := s.apt(ctx)
	if err := s.prepare(ctx, root); err != nil {
		return err
	}
	var done int64
	for i, d := range debs {
		if err := root.download(ctx, d, files[i].String()); err != nil {
			return err
		}
		done += d.Size
		s.cache.Fetched(ref, done, ref.Size)
	}
	return nil
}

// prepare writes apt's configuration if there is none yet, so that a job that
// never listed can fetch.
func (s *source) prepare(ctx context.Context, root *privateRoot) error {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return root.setUp(ctx)
}

// Needs names what apt itself takes.
func (s *source) Needs() []kernel.Need {
	return []kernel.Need{{Path: "apt-get", Package: "apt"}, {Path: "dpkg-deb", Package: "dpkg"}, {Path: "gpgv", Package: "gpgv"}, {Path: s.archive.keyring, Package: s.archive.keyPackage}}
}
