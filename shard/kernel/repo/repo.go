// Package repo reads the kernels of RPM's and pacman's repositories, without their
// tools: those of the known distributions, or one by its address. It owns their
// metadata and their signatures, all taken as hostile. It must not know other kinds
// of sources.
package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// source lists the kernels of repositories of one format.
type source struct {
	spec        string
	format      format
	title       string // "Fedora 43", or the repository's address
	distro      string // of the Refs
	flavour     string
	arch        string   // as in GOARCH
	basearch    string   // as in RPM and pacman
	bases       []string // that each repository's path may be below of
	repos       []repository
	keyFile     string   // given
	keyPatterns []string // installed, when none is given
	unsigned    bool     // metadata need not be signed
	cache       *kernel.Cache
	fetcher     *fetch.Client
	now         func() time.Time

	mu      sync.Mutex
	mirrors map[string][]string // addresses by repository
}

// format is a kind of repository.
type format struct {
	name   string // as people write it
	index  string // that tells a repository, for an error message
	suffix string // of files of packages
	keys   string // package of distributions' keys
	read   func(ctx context.Context, s *source, at string, repo repository, keys *keyring) (list []pkg, bad []string, err error)
	find   func(list []pkg, flavour string) []build // all kernels, and packages named like the flavour
	// signed checks that one of the keys has signed the package at path.
	signed func(ctx context.Context, s *source, keys *keyring, path string, f packageFile) error
}

func rpmFormat() format {
	return format{
		name: "RPM", index: "repodata/repomd.xml", suffix: ".rpm", keys: "distribution-gpg-keys", read: readRPMs, find: findRPMs,
		signed: func(_ context.Context, _ *source, keys *keyring, path string, _ packageFile) error {
			return keys.verifyPackage(path)
		},
	}
}

func newSource(spec, hostArch string, cache *kernel.Cache, f format) (*source, error) {
	s := &source{spec: spec, format: f, arch: hostArch, cache: cache, fetcher: fetch.New(), now: time.Now, mirrors: map[string][]string{}}
	s.basearch = goarch.Lookup(hostArch).Machine
	if s.basearch == "" {
		return nil, kernel.Usagef("kernel source %q: %s kernels of %s are not supported", spec, f.name, hostArch)
	}
	// A repository may be a directory of the user's.
	s.fetcher.HTTP.Transport.(*http.Transport).RegisterProtocol("file", http.NewFileTransportFS(os.DirFS("/")))
	return s, nil
}

// apply takes a spec's options.
func (s *source) apply(o kernel.Options) error {
	if s.unsigned = o.Metadata == "unsigned"; o.Metadata != "" && !s.unsigned {
		return kernel.Usagef("kernel source %q: metadata=%s is not known: want metadata=unsigned", s.spec, o.Metadata)
	}
	if o.Key != "" {
		file, err := filepath.Abs(o.Key)
		if err != nil {
			return &kernel.UsageError{Msg: "find the OpenPGP keys", Err: err}
		}
		s.keyFile = file
	}
	if o.URL == "" {
		return nil
	}
	base, err := repoBase(s.spec, o.URL)
	s.bases = []string{base}
	return err
}

// repoBase checks an address that the user gave: a URL, or a directory, which
// becomes a file URL.
func repoBase(spec, address string) (string, error) {
	u, err := url.Parse(address)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "" {
		return strings.TrimRight(address, "/"), nil
	}
	if err == nil && u.Scheme == "file" && u.Host == "" {
		address = u.Path
	} else if scheme, _, ok := strings.Cut(address, ":"); address == "" || ok && kernel.SchemeRE.MatchString(scheme) {
		return "", kernel.Usagef("kernel source %q: %q is no address of a repository: expected http://..., https://... or a directory", spec, address)
	}
	abs, err := filepath.Abs(address)
	if err != nil {
		return "", &kernel.UsageError{Msg: "find the repository", Err: err}
	}
	return (&url.URL{Scheme: "file", Path: abs}).String(), nil
}

func (s *source) String() string { return s.spec }

// keys returns the keyring to check against, nil when there is none.
func (s *source) keys() (*keyring, error) {
	if s.keyFile != "" {
		return readKeyring(s.keyFile)
	}
	var files []string
	for _, p := range s.keyPatterns {
		found, _ := filepath.Glob(p) // its only error is a bad pattern
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, nil
	}
	slices.Sort(files)
	return readKeyring(files...)
}

// local reports whether the repositories are directories.
func (s *source) local() bool { return strings.HasPrefix(s.bases[0], "file:") }

// localPackages reports whether a directory has RPM packages beside each other.
func (s *source) localPackages() bool {
	u, err := url.Parse(s.bases[0])
	if err != nil || s.distro != "rpm" || !s.local() {
		return false
	}
	files, _ := os.ReadDir(u.Path)
	return slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), s.format.suffix) })
}

// List fetches the metadata of the repositories, a few to some 25 MB each,
// unless what it gave is less than an hour old. A directory is always read.
func (s *source) List(ctx context.Context) ([]kernel.Ref, error) {
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	if s.local() {
		return s.list(ctx, keys)
	}
	if keys == nil {
		s.cache.Warnf("%s: signatures are not checked, only checksums, as there is no key: name the distribution's file of keys by ,key=FILE, or install the package %s", s.title, s.format.keys)
	}
	return s.cache.Remembered(ctx, s.key(keys), s.title, s.now, func(ctx context.Context) ([]kernel.Ref, error) { return s.list(ctx, keys) })
}

// key is the same for the same lists.
func (s *source) key(keys *keyring) string {
	key := s.spec + "\x00" + s.arch + "\x00" + strings.Join(s.bases, "\x00")
	if keys != nil {
		key += "\x00" + keys.from
	}
	return key
}

// Gone implements [kernel.Prober]. Directories are not asked: they are no mirrors
// that fall behind.
func (s *source) Gone(ctx context.Context, refs []kernel.Ref, local bool) map[string]bool {
	if s.local() {
		return nil
	}
	return kernel.Probe(ctx, s.cache, s.key(nil), refs, local, s.now, s.parseLocator, func(ctx context.Context, files []packageFile) map[packageFile]bool {
		known := map[packageFile]bool{}
		for _, f := range files {
			if there, gone := s.probe(ctx, f); there || gone {
				known[f] = gone
			}
		}
		return known
	})
}

// probe says whether a mirror has a package, and whether all say that they have
// not.
func (s *source) probe(ctx context.Context, f packageFile) (there, gone bool) {
	repo, _ := s.repo(f.Repo) // parseLocator has looked
	asked, without := 0, 0
	err := s.firstOf(ctx, repo, func(at string) error {
		asked++
		uri, err := resolveHref(at, f.File)
		if err == nil {
			err = s.fetcher.Probe(ctx, uri)
		}
		if fetch.Gone(err) {
			without++
		}
		return err
	})
	return err == nil, err != nil && ctx.Err() == nil && asked > 0 && without == asked
}

func (s *source) list(ctx context.Context, keys *keyring) ([]kernel.Ref, error) {
	var all []pkg
	var missing, bad []string
	minors := 0
	for _, repo := range s.repos {
		list, wrong, err := s.readRepo(ctx, repo, keys)
		if err != nil {
			if ctx.Err() != nil || !fetch.Absent(err) {
				return nil, err
			}
			if !repo.optional {
				if s.localPackages() {
					return nil, kernel.Usagef("kernel source %q: %s has packages, but no %s: to read the packages, give the directory without \"rpm:\"", s.spec, s.title, s.format.index)
				}
				if s.local() || len(s.repos) == 1 {
					return nil, kernel.Usagef("kernel source %q: %v: expected a repository of %s, with %s in it", s.spec, err, s.format.name, s.format.index)
				}
				missing = append(missing, fmt.Sprintf("%s (%v)", repo.name, err))
			}
			if repo.minor && minors > 0 {
				break // past the newest
			}
			continue
		}
		if repo.minor {
			minors++
		}
		bad = append(bad, wrong...)
		all = append(all, list...)
	}
	if len(all) == 0 && len(missing) > 0 {
		return nil, kernel.Usagef("kernel source %q: there is no %s for %s at this time: %s", s.spec, s.title, s.basearch, strings.Join(missing, ", "))
	}
	if len(missing) > 0 {
		s.cache.Warnf("%s: the mirror does not have %s; its kernels are left out", s.title, strings.Join(missing, ", "))
	}
	if len(bad) > 0 {
		s.cache.Warnf("%s: %d packages are left out: %s", s.title, len(bad), bounded.OneLine(strings.Join(bad, "; ")))
	}
	return s.refs(all)
}

// refs makes the Refs of the kernels among packages.
func (s *source) refs(packages []pkg) ([]kernel.Ref, error) {
	kernels, others := s.format.choose(packages, s.flavour)
	if len(kernels) == 0 {
		if others != "" {
			others = "; it has " + others
		}
		return nil, kernel.Usagef("kernel source %q: %s has no kernel of flavour %s for %s%s", s.spec, s.title, cmp.Or(s.flavour, "kernel"), s.basearch, others+kernel.ArchHint(s.flavour, s.arch))
	}
	var bare []string
	for _, k := range kernels {
		if !k.modules {
			bare = append(bare, k.release)
		}
	}
	if len(bare) > 0 {
		s.cache.Warnf("%s: %d kernels come without their modules, which the repository does not have: %s", s.title, len(bare), bounded.OneLine(strings.Join(bare, ", ")))
	}
	refs := make([]kernel.Ref, 0, len(kernels))
	for _, k := range kernels {
		ref := kernel.Ref{Distro: kernel.SafeName(s.distro), Name: kernel.SafeName(cmp.Or(k.name, k.release)), Release: k.release, Arch: s.arch, Flavour: flavourOf(k.stem), Modules: k.modules}
		ref.Package, ref.Date = k.packages[0].source()
		var files []packageFile
		for _, p := range k.packages {
			files = append(files, packageFile{Repo: p.repo, File: p.Location.Href, Sum: p.Checksum.String(), Size: p.Size.Package, Package: p.nevra(), Signature: p.signature})
			ref.Size += p.Size.Package
		}
		locator, err := json.Marshal(files)
		if err != nil {
			return nil, err
		}
		ref.Digest, ref.Locator = digestOf(files), string(locator)
		refs = append(refs, ref)
	}
	return kernel.SortRefs(refs), nil
}

// Open fetches the kernel's packages unless the cache has them. It needs no
// metadata: the Ref says where the packages are and what they hash to.
func (s *source) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	files, err := s.parseLocator(ref)
	if err != nil {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	var archives []kernel.Archive
	im, err := unpack.OpenPackages(ctx, s.cache, ref, func(dir string) []kernel.Archive {
		archives = nil
		for i := range files {
			archives = append(archives, unpack.PackageAt(filepath.Join(dir, strconv.Itoa(i)+s.format.suffix)))
		}
		return archives
	}, func(ctx context.Context, paths []kernel.Archive) error {
		var done int64
		for i, f := range files {
			if err := s.fetch(ctx, ref, f, paths[i].String(), done); err != nil {
				return err
			}
			done += f.Size
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if keys != nil {
		// Not only when they are fetched: that may have been without a key.
		if err := s.checkSignatures(ctx, im, keys, archives, files); errors.Is(err, kernel.ErrSignature) {
			return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
		} else if err != nil { // such as a signature that could not be fetched
			return nil, kernel.OpenError(ref, err)
		}
	}
	return im, nil
}

// checkSignatures remembers beside the packages that they are signed.
func (s *source) checkSignatures(ctx context.Context, im *kernel.Image, keys *keyring, archives []kernel.Archive, files []packageFile) error {
	var bad error
	_, err := im.Derived(ctx, s.cache, "signed-by-"+keys.id, func(w io.Writer) error {
		for i, a := range archives {
			if err := s.format.signed(ctx, s, keys, a.String(), files[i]); err != nil {
				bad = fmt.Errorf("package %q: %w", files[i].Package, err)
				return bad
			}
		}
		_, err := io.WriteString(w, keys.from+"\n")
		return err
	})
	if bad != nil {
		return bad
	}
	return err
}

// fetch downloads a package to path and checks all that is known about it.
func (s *source) fetch(ctx context.Context, ref kernel.Ref, f packageFile, path string, before int64) error {
	bad := func(err error) error { return &kernel.BadKernelError{ID: ref.ID(), Err: err} }
	repo, err := s.repo(f.Repo)
	if err != nil {
		return bad(err)
	}
	sum, err := parseChecksum(f.Sum)
	if err != nil {
		return bad(err)
	}
	err = s.firstOf(ctx, repo, func(at string) error {
		return s.fetchFrom(ctx, at, f, path, sum, func(done int64) { s.cache.Fetched(ref, before+done, ref.Size) })
	})
	if fetch.Absent(err) {
		return fmt.Errorf("%w: the mirror no longer has it; list the kernels again", err)
	}
	if err != nil {
		return err
	}
	p, err := unpack.PackageAt(path).Package(ctx)
	if err != nil {
		return bad(fmt.Errorf("package %q: %w", f.Package, err))
	}
	version := p.Version[strings.Index(p.Version, ":")+1:] // without pacman's epoch
	if got := p.Name + "-" + version + "." + p.Arch; got != f.Package {
		return bad(fmt.Errorf("package %q is listed as %q", got, f.Package))
	}
	return nil
}
