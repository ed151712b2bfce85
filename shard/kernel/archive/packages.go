package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// IsPackages says whether a spec names packages, separated by commas.
func IsPackages(spec string) bool {
	return !slices.ContainsFunc(strings.Split(spec, ","), func(s string) bool { return unpack.PackageAt(s) == nil })
}

// packageLocator marks the Ref of a kernel that comes in packages; JSON follows.
const packageLocator = "pkg:"

// packageKernel is that JSON. It has no paths: packages are found by their digests.
type packageKernel struct {
	Sums   []string `json:"sums"`             // of the packages, that of the kernel first
	Kernel string   `json:"kernel,omitempty"` // its name in the first, where that has several
}

func (k packageKernel) digest() string {
	if k.Kernel == "" {
		return kernel.DigestOfAll(k.Sums)
	}
	return kernel.DigestOfAll(append(slices.Clone(k.Sums), k.Kernel))
}

// pack is a package that can be read.
type pack struct {
	base   string
	digest string
	*tarSet
	used bool
}

// packages makes kernels of the packages of a directory, by what they hold: an
// image, and the modules and the configuration of its release. Packages of neither,
// such as those of headers, do not count.
func (s *dirSource) packages(ctx context.Context, dir string, files []string) ([]kernel.Ref, error) {
	distro := unpack.SafeDistro(filepath.Base(dir))
	var refs []kernel.Ref
	var list []*pack
	for _, file := range files {
		base := filepath.Base(file)
		if unpack.HasNoKernel(base) {
			continue
		}
		var set *tarSet
		digest, err := s.cache.DigestOf(ctx, file)
		if err == nil {
			set, err = readSetOf(ctx, s.cache, file, digest)
		}
		usage := (*kernel.UsageError)(nil)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("list kernels of %q: %w", s.spec, context.Cause(ctx))
		case errors.As(err, &usage):
			return nil, err
		case err != nil: // which kernel it belongs to is not known
			refs = append(refs, kernel.Ref{Distro: distro, Name: kernel.SafeName(base), Digest: digest, Locator: unpack.BadLocator + bounded.OneLine(err.Error())})
		default:
			list = append(list, &pack{base: base, digest: digest, tarSet: set})
		}
	}
	var bare []string
	for _, p := range list {
		for _, k := range p.Kernels {
			parts := p.partsOf(k, list)
			at := packageKernel{Sums: []string{p.digest}}
			modules := k.Modules != ""
			for _, part := range parts {
				part.used = true
				modules = modules || slices.Contains(part.Modules, k.Release)
				at.Sums = append(at.Sums, part.digest)
			}
			if len(p.Kernels) > 1 {
				at.Kernel = k.Name
			}
			if !modules {
				bare = append(bare, cmp.Or(k.Release, p.base))
			}
			locator, err := json.Marshal(at)
			if err != nil {
				return nil, err
			}
			refs = append(refs, kernel.Ref{
				Distro: distro, Name: kernel.SafeName(cmp.Or(k.Release, p.Package.Name) + "__" + p.Package.Version), Release: k.Release,
				Arch: cmp.Or(k.Arch, goarch.OfRelease(p.Package.Arch).Name), Digest: at.digest(), Locator: packageLocator + string(locator),
				Flavour: flavour(k.Release), Package: p.Package.Source + " " + p.Package.Version, Date: p.Package.Date, Modules: modules,
			})
		}
	}
	var left []string
	for _, p := range list {
		if len(p.Kernels) == 0 && len(p.Modules) > 0 && !p.used {
			left = append(left, fmt.Sprintf("%s (%s)", p.base, strings.Join(p.Modules, ", ")))
		}
	}
	if len(left) > 0 {
		s.cache.Warnf("%s: %d packages hold modules, and no package holds their kernel: %s", s.spec, len(left), bounded.OneLine(strings.Join(left, ", ")))
	}
	if len(bare) > 0 {
		s.cache.Warnf("%s: %d kernels come without modules, as no package holds them: %s", s.spec, len(bare), bounded.OneLine(strings.Join(bare, ", ")))
	}
	return refs, nil
}

// partsOf returns the packages that have the modules and the configuration of a
// kernel in p: those of p's version, if there are any. Of several other versions it
// is not known which is right.
func (p *pack) partsOf(k *unpack.Kernel, list []*pack) []*pack {
	var all, same []*pack
	versions := map[string]bool{}
	for _, o := range list {
		if k.Release == "" || len(o.Kernels) > 0 || o.Package.Arch != p.Package.Arch || !slices.Contains(o.Modules, k.Release) && !slices.Contains(o.Configs, k.Release) {
			continue
		}
		all = append(all, o)
		if versions[o.Package.Version] = true; o.Package.Version == p.Package.Version {
			same = append(same, o)
		}
	}
	if len(same) == 0 && len(versions) == 1 {
		return all
	}
	return same
}

var flavourRE = regexp.MustCompile(`(?:-([a-z]+[0-9]*(?:-[0-9]*[a-z]+[0-9]*)*)|\+([a-z0-9]+))$`)

// flavour returns what a release ends in: "cloud-amd64" of 6.1.0-50-cloud-amd64, "rt"
// of 5.14.0-570.el9.x86_64+rt.
func flavour(release string) string {
	if m := flavourRE.FindStringSubmatch(release); m != nil && !strings.HasPrefix(m[1], "rc") {
		return m[1] + m[2]
	}
	return ""
}

// openPackages opens a kernel that comes in packages.
func (s *dirSource) openPackages(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	var at packageKernel
	if err := json.Unmarshal([]byte(strings.TrimPrefix(ref.Locator, packageLocator)), &at); err != nil {
		return nil, fmt.Errorf("locator: %w", err)
	}
	if got := at.digest(); got != ref.Digest {
		return nil, &kernel.DigestError{What: "its locator", Want: ref.Digest, Got: got}
	}
	files, err := s.packageFiles()
	if err != nil {
		return nil, err
	}
	byDigest := map[string]kernel.Archive{}
	for _, file := range files {
		if digest, err := s.cache.DigestOf(ctx, file); err == nil {
			byDigest[digest] = unpack.PackageAt(file)
		}
	}
	var archives []kernel.Archive
	for _, sum := range at.Sums {
		if byDigest[sum] == nil {
			return nil, fmt.Errorf("%q holds no package with digest %s as listed: list the kernels again", s.spec, sum)
		}
		archives = append(archives, byDigest[sum])
	}
	return s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		return unpack.Packages(ctx, dir, at.Kernel, archives)
	}, func(string) []kernel.Archive { return archives })
}

// packageFiles returns the packages that the source names, or those of its directory
// and the directories in it.
func (s *dirSource) packageFiles() (files []string, err error) {
	if s.files != nil {
		return s.files, nil
	}
	for _, pattern := range []string{"*", "*/*"} {
		list, err := fs.Glob(os.DirFS(s.path), pattern)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			if unpack.PackageAt(f) != nil {
				files = append(files, filepath.Join(s.path, f))
			}
		}
	}
	return files, nil
}
