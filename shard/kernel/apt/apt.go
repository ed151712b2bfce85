// Package apt reads the kernels of Debian and Ubuntu through apt itself, in a
// private root: signatures, proxies and configured mirrors work as on the host.
// It owns that root, the choice of packages that make a kernel, and how a
// Debian package is read. It must not know other kinds of sources.
package apt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// aptSource lists the kernels of a Debian suite or an Ubuntu series: every build
// of its flavours that the suite, its updates and its security archive offer.
type aptSource struct {
	spec     string
	distro   string // of the Refs
	suite    string
	arch     string
	flavours []string // of Ubuntu at most one; none means all
	cache    *kernel.Cache
	archive  aptArchive
	now      func() time.Time // nil: the real clock

	once sync.Once // guards root
	root *aptRoot
}

func (s *aptSource) String() string { return s.spec }

func (s *aptSource) apt(ctx context.Context) *aptRoot {
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
		s.root = &aptRoot{
			dir:   filepath.Join(s.cache.Dir(), "apt", s.rootName()),
			suite: s.suite, arch: s.arch, archive: a, unknown: unknown, now: now, warnf: s.cache.Warnf,
		}
	})
	return s.root
}

// lockRoot keeps two from changing one apt root at once.
func (s *aptSource) lockRoot(ctx context.Context) (unlock func(), err error) {
	return s.cache.Lock(ctx, "apt-"+s.rootName())
}

func (s *aptSource) rootName() string { return s.suite + "-" + s.arch }

// kernels selects the source's kernels among packages.
func (s *aptSource) kernels(list []stanza) (kernels []aptKernel, bare []string) {
	if s.distro == "ubuntu" {
		return selectUbuntu(list, strings.Join(s.flavours, ""))
	}
	return selectKernels(list, s.flavours)
}

// List fetches the package lists, about 10 MB, unless those in the cache are
// less than an hour old.
func (s *aptSource) List(ctx context.Context) ([]kernel.Ref, error) {
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
func (s *aptSource) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	debs, err := parseLocator(ref)
	if err != nil {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}
	archives := func(dir string) (list []kernel.Archive) {
		for i := range debs {
			list = append(list, debFile{filepath.Join(dir, fmt.Sprintf("%d.deb", i))})
		}
		return list
	}
	im, err := s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		files := archives(dir)
		if err := s.fetch(ctx, ref, debs, files); err != nil {
			return kernel.Contents{}, err
		}
		made, err := unpack.FromPackages(ctx, dir, files)
		if err != nil && ctx.Err() == nil {
			err = &kernel.BadKernelError{ID: ref.ID(), Err: err}
		}
		return made, err
	}, archives)
	if err != nil {
		return nil, kernel.OpenError(ref, err)
	}
	return im, nil
}

// fetch downloads the packages to files.
func (s *aptSource) fetch(ctx context.Context, ref kernel.Ref, debs []deb, files []kernel.Archive) error {
	root := s.apt(ctx)
	if err := s.prepare(ctx, root); err != nil {
		return err
	}
	var done int64
	for i, d := range debs {
		stop := s.watch(ref, files[i].String(), done)
		err := root.download(ctx, d, files[i].String())
		stop()
		if err != nil {
			return err
		}
		done += d.Size
		s.cache.Fetched(ref, done, ref.Size)
	}
	return nil
}

// prepare writes apt's configuration if there is none yet, so that a job that
// never listed can fetch.
func (s *aptSource) prepare(ctx context.Context, root *aptRoot) error {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return root.setUp(ctx)
}

// watch reports a growing file as progress until stop is called.
func (s *aptSource) watch(ref kernel.Ref, path string, before int64) (stop func()) {
	if s.cache.Progress == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				// The end is told by who has checked the package.
				if st, err := os.Stat(path); err == nil && before+st.Size() < ref.Size {
					s.cache.Fetched(ref, before+st.Size(), ref.Size)
				}
			}
		}
	}()
	return func() { close(end); <-ended }
}

// Needs names what apt itself takes.
func (s *aptSource) Needs() []kernel.Need {
	return []kernel.Need{{Path: "apt-get", Package: "apt"}, {Path: "dpkg-deb", Package: "dpkg"}, {Path: "gpgv", Package: "gpgv"}, {Path: s.archive.keyring, Package: s.archive.keyPackage}}
}
