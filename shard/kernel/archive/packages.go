package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	var none []string // packages that are of no use
	for _, file := range files {
		base := filepath.Base(file)
		if unpack.HasNoKernel(base) {
			none = append(none, base)
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
		for _, k := range slices.Concat(p.Kernels, p.Bad) {
			modules := k.Modules != ""
			var parts []string
			for _, part := range p.partsOf(k, list) {
				part.used = true
				modules = modules || slices.Contains(part.Modules, k.Release)
				parts = append(parts, part.digest)
			}
			slices.Sort(parts)
			if !modules && k.Bad == "" {
				bare = append(bare, cmp.Or(k.Release, p.base))
			}
			locator := inLocatorOf(k.Name, slices.Insert(parts, 0, p.digest)...)
			refs = append(refs, kernel.Ref{
				Distro: distro, Name: kernel.SafeName(cmp.Or(k.Release, p.Package.Name) + "__" + p.Package.Version), Release: k.Release,
				Arch: cmp.Or(k.Arch, goarch.OfRelease(p.Package.Arch).Name), Digest: inDigest(locator), Locator: cmp.Or(badLocator(k), locator),
				Flavour: flavour(k.Release), Package: p.Package.Source + " " + p.Package.Version, Date: p.Package.Date, Modules: modules,
			})
		}
	}
	var left []string
	for _, p := range list {
		if len(p.Kernels)+len(p.Bad)+len(p.Modules) == 0 && !p.used {
			if p.Package.Binary != "" {
				p.base += " (it is in " + p.Package.Binary + ")"
			}
			none = append(none, p.base)
		}
		if len(p.Kernels)+len(p.Bad) == 0 && len(p.Modules) > 0 && !p.used {
			left = append(left, fmt.Sprintf("%s (%s)", p.base, strings.Join(p.Modules, ", ")))
		}
	}
	if s.files != nil && len(none) > 0 {
		s.cache.Warnf("no kernel and no part of one is in %s", bounded.OneLine(strings.Join(none, ", ")))
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
// kernel in p: those of p's version, or else those of the only other version. Of
// several other versions it is not known which is right.
func (p *pack) partsOf(k *unpack.Kernel, list []*pack) []*pack {
	byVersion := map[string][]*pack{}
	for _, o := range list {
		if k.Release != "" && len(o.Kernels) == 0 && o.Package.Arch == p.Package.Arch && (slices.Contains(o.Modules, k.Release) || slices.Contains(o.Configs, k.Release)) {
			byVersion[o.Package.Version] = append(byVersion[o.Package.Version], o)
		}
	}
	if parts, ok := byVersion[p.Package.Version]; ok || len(byVersion) > 1 {
		return parts
	}
	return slices.Concat(slices.Collect(maps.Values(byVersion))...)
}

var flavourRE = regexp.MustCompile(`(?:-([a-z]+(?:[0-9]*|[0-9]{2,3}[a-z]{1,2})(?:-[0-9]*[a-z]+[0-9]*)*)|\+([a-z0-9]+))$`)

// flavour returns what a release ends in: "cloud-amd64" of 6.1.0-50-cloud-amd64, "rt"
// of 5.14.0-570.el9.x86_64+rt.
func flavour(release string) string {
	if m := flavourRE.FindStringSubmatch(release); m != nil && !strings.HasPrefix(m[1], "rc") {
		return m[1] + m[2]
	}
	return ""
}
