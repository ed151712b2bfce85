// Package apt reads the kernels of Debian, Ubuntu and any other repository of apt's,
// through apt itself, in a private root: signatures, proxies and configured mirrors
// work as on the host. It owns that root and the choice of packages that make a
// kernel. It must not know other kinds of sources.
package apt

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
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
	flavours []string // at most one, but of Debian; none means all
	cache    *kernel.Cache
	archive  mirrors
	any      *anyRepository // in place of a distribution
	now      func() time.Time

	once sync.Once // guards root and err
	root *privateRoot
	err  error // why it is not known which mirrors the root should have
}

// newSource takes the options url= and key=.
func newSource(spec, distro, suite, arch string, cache *kernel.Cache, archive mirrors, o kernel.Options) (*source, error) {
	s := &source{spec: spec, distro: distro, suite: suite, arch: arch, cache: cache, archive: archive, now: time.Now}
	if goarch.Lookup(arch).Name == "" {
		return nil, kernel.Usagef("kernel source %q: kernels of %s are not supported", spec, arch)
	}
	if o.URL != "" {
		url := strings.TrimRight(o.URL, "/")
		if !validMirror(url) {
			return nil, kernel.Usagef("kernel source %q: %q is no mirror that apt can read: expected http://..., https://... or file:///...", spec, o.URL)
		}
		s.archive.main, s.archive.security, s.archive.discover = url, url, false
	}
	if o.Key != "" {
		key, err := filepath.Abs(o.Key)
		if err != nil {
			return nil, &kernel.UsageError{Msg: "find the OpenPGP keys", Err: err}
		}
		s.archive.keyring = key
	}
	return s, nil
}

func (s *source) String() string { return s.spec }

func (s *source) apt(ctx context.Context) (*privateRoot, error) {
	s.once.Do(func() {
		dir := filepath.Join(s.cache.Dir(), "apt")
		if s.archive.discover {
			s.archive, s.err = s.archive.hostMirrors(context.WithoutCancel(ctx), s.cache, s.now()) // kept for later calls
		}
		s.root = &privateRoot{dir: filepath.Join(dir, s.rootName()), suite: s.suite, arch: goarch.Lookup(s.arch).Debian, archive: s.archive, any: s.any, cache: s.cache}
	})
	return s.root, s.err
}

// lockRoot keeps two from changing one apt root at once.
func (s *source) lockRoot(ctx context.Context) (unlock func(), err error) {
	return s.cache.Lock(ctx, "apt-"+s.rootName())
}

func (s *source) rootName() string {
	if s.any != nil {
		return s.any.name(s.archive.main+" "+s.suite) + "-" + s.arch
	}
	return s.suite + "-" + s.arch
}

// List fetches the package lists, about 10 MB, unless it did so less than an
// hour ago from the same mirrors.
func (s *source) List(ctx context.Context) ([]kernel.Ref, error) {
	root, err := s.apt(ctx)
	if err != nil {
		return nil, err
	}
	return s.cache.Remembered(ctx, s.key(root), root.title(), s.now, func(ctx context.Context) ([]kernel.Ref, error) { return s.list(ctx, root) })
}

// key is the same for the same lists.
func (s *source) key(root *privateRoot) string {
	return s.spec + "\x00" + s.arch + "\x00" + root.sources(root.parts()) + "\x00" + root.archive.keyring
}

// Gone implements [kernel.Prober].
func (s *source) Gone(ctx context.Context, refs []kernel.Ref, local bool) map[string]bool {
	root, err := s.apt(ctx)
	if err != nil {
		return nil // List says why
	}
	setUp := sync.OnceValue(func() error { return s.setUp(ctx, root) })
	return kernel.Probe(ctx, s.cache, s.key(root), refs, local, s.now, parseLocator, func(ctx context.Context, debs []deb) map[deb]bool {
		if setUp() != nil {
			return nil // as for a mirror that does not answer; Open will say why
		}
		return root.probe(ctx, debs)
	})
}

func (s *source) list(ctx context.Context, root *privateRoot) ([]kernel.Ref, error) {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := root.update(ctx); err != nil {
		return nil, err
	}
	list, err := root.stanzas()
	if err != nil {
		return nil, err
	}
	distro := s.distro
	if s.any != nil && s.any.trusted {
		s.cache.Warnf("%s: signatures are not checked, as ,trusted=yes says", root.title())
	}
	if s.any != nil {
		distro = root.origin()
	}
	kernels, bare := selectKernels(list, s.wants)
	if len(bare) > 0 {
		s.cache.Warnf("%s: %d kernels come without their modules or config, which the mirror no longer has: %s", root.title(), len(bare), bounded.OneLine(strings.Join(bare, ", ")))
	}
	if len(kernels) == 0 {
		return nil, s.noKernel(root.title(), list)
	}
	refs := make([]kernel.Ref, 0, len(kernels))
	for _, k := range kernels {
		locator, err := json.Marshal(k.Debs)
		if err != nil {
			return nil, err
		}
		ref := kernel.Ref{
			Distro: distro, Name: kernel.SafeName(k.Release + "__" + k.Version), Release: k.Release,
			Arch: s.arch, Digest: debsDigest(k.Debs), Locator: string(locator),
			Flavour: k.Flavour, Package: k.Source, Modules: k.Modules,
		}
		if !unameRE.MatchString(k.Release) { // Armbian's: a board's
			ref.Release = ""
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
			list = append(list, unpack.Deb(filepath.Join(dir, fmt.Sprintf("%d.deb", i))))
		}
		return list
	}, func(ctx context.Context, files []kernel.Archive) error { return s.fetch(ctx, ref, debs, files) })
}

// fetch downloads the packages to files.
func (s *source) fetch(ctx context.Context, ref kernel.Ref, debs []deb, files []kernel.Archive) error {
	root, err := s.apt(ctx)
	if err != nil {
		return err
	}
	if err := s.setUp(ctx, root); err != nil {
		return err
	}
	var done int64
	for i, d := range debs {
		if err := root.download(ctx, []deb{d}, []string{files[i].String()}); err != nil {
			return err
		}
		done += d.Size
		s.cache.Fetched(ref, done, ref.Size)
	}
	return nil
}

// setUp configures apt: a job that never listed has no configuration yet.
func (s *source) setUp(ctx context.Context, root *privateRoot) error {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return root.setUp(ctx)
}

// Needs names what apt itself takes.
func (s *source) Needs() []kernel.Need {
	return []kernel.Need{{Path: "apt-get", Package: "apt"}, {Path: "dpkg-deb", Package: "dpkg"}, {Path: "gpgv", Package: "gpgv"}}
}
