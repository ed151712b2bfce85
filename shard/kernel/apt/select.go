package apt

import (
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

var (
	// imageRE splits the name of a package that may hold a kernel's image. In it is what
	// the kernel calls itself, or in Armbian's the name of a family of boards.
	imageRE = regexp.MustCompile(`^(?:linux-image-(unsigned-)?|(?:proxmox|pve)-kernel-)(.+?)(-signed|-unsigned)?$`)
	// noImageRE matches packages that are named so and hold no image.
	noImageRE = regexp.MustCompile(`-(dbg|dbgsym|template)$|^(proxmox|pve)-kernel-[^0-9]`)
	unameRE   = regexp.MustCompile(`^[0-9]+\.[0-9]+`)
	// releaseRE is a whole release. Packages that only depend on the newest kernel of a
	// series have the series in their names: 6.12.
	releaseRE = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+`)
	// numbersRE is what stands before the flavour: 6.8.0-45-, 6.12.107+deb13-.
	numbersRE = regexp.MustCompile(`^[0-9]+\.[0-9][^-]*(-[0-9][^-]*)*(-|$)`)
)

// partPrefixes begin the names of packages with the other parts of a kernel. From 7.x
// on, Debian's image is in linux-binary, and linux-image only depends on the parts.
func partPrefixes() []string { return []string{"linux-base-", "linux-binary-", "linux-modules-"} }

// isKernelPackage tells the packages that can be part of a kernel.
func isKernelPackage(name string) bool {
	return imageRE.MatchString(name) || slices.ContainsFunc(partPrefixes(), func(p string) bool { return strings.HasPrefix(name, p) })
}

// imageOf splits the name of a package that may hold an image. signed is the package
// that would have the same kernel signed.
func imageOf(name string) (uname, flavour, signed string, ok bool) {
	m := imageRE.FindStringSubmatch(name)
	if m == nil || noImageRE.MatchString(name) {
		return "", "", "", false
	}
	uname, signed = m[2], name+"-signed"
	if m[1] != "" || m[3] == "-unsigned" {
		signed = "linux-image-" + uname
	}
	return uname, numbersRE.ReplaceAllString(uname, ""), signed, true
}

// wants says whether a kernel is of a flavour that the source lists.
func (s *source) wants(uname, flavour string) bool {
	switch {
	case s.any == nil && !unameRE.MatchString(uname):
		return false
	case len(s.flavours) == 0:
		return s.any != nil || ubuntuFlavourRE.MatchString(flavour)
	}
	return slices.Contains(s.flavours, flavour) || s.any != nil && uname == s.flavours[0]
}

// build is one build of a flavour.
type build struct {
	Release string // uname -r
	Version string // of the package
	Flavour string
	Source  string // package, and its version
	Modules bool
	Debs    []deb // in the order to unpack them in
}

// minImage is less than any package with an image, and more than one that only
// depends on others, in bytes.
const minImage = 1 << 20

// selectKernels finds every build of the flavours that are wanted, whoever has
// packaged it: an image with its modules in it, or with packages of the same build
// beside it. Of a build that is there signed and unsigned the signed one counts, which
// is what users run. bare are the releases of those whose modules or config the list
// lacks: backports keeps old signed packages when the unsigned ones of the same build
// are gone.
func selectKernels(list []stanza, wants func(uname, flavour string) bool) (kernels []build, bare []string) {
	packages := newIndex(list)
	for name, builds := range packages {
		uname, flavour, signed, ok := imageOf(name)
		if !ok || !wants(uname, flavour) {
			continue
		}
		for _, s := range builds {
			part := func(prefix string) (p *stanza, missing bool) {
				p = packages.sameBuild(prefix+uname, s)
				return p, p == nil && s.needs(prefix+uname)
			}
			image, missing := part("linux-binary-")
			if image == nil {
				image, missing = s, missing || s.Size < minImage && !releaseRE.MatchString(uname)
			}
			if missing || packages.sameBuild(signed, s) != nil {
				continue
			}
			base, noConfig := part("linux-base-")
			modules, noModules := part("linux-modules-")
			extra, _ := part("linux-modules-extra-")
			if noConfig || noModules {
				bare = append(bare, uname)
			}
			k := build{Release: uname, Version: s.Version, Flavour: flavour, Source: s.source(), Modules: !noModules}
			for _, p := range []*stanza{base, image, modules, extra} {
				if p != nil {
					k.Debs = append(k.Debs, deb{Archive: p.Archive, File: p.Filename, SHA256: p.SHA256, Size: p.Size})
				}
			}
			kernels = append(kernels, k)
		}
	}
	slices.Sort(bare)
	slices.SortFunc(kernels, func(a, b build) int {
		return strings.Compare(a.Release+"\x00"+a.Version, b.Release+"\x00"+b.Version)
	})
	return kernels, bare
}

// noKernel is the error of a list without a kernel that is wanted.
func (s *source) noKernel(title string, list []stanza) error {
	what := ""
	if len(s.flavours) > 0 {
		what = " of flavour " + strings.Join(s.flavours, ", ")
	}
	var flavours []string
	all, _ := selectKernels(list, func(string, string) bool { return true })
	for _, k := range all {
		flavours = append(flavours, k.Flavour)
	}
	slices.Sort(flavours)
	has := "expected packages linux-image-<release>, proxmox-kernel-<release> or pve-kernel-<release>"
	if len(all) > 0 {
		has = "it has " + strings.Join(slices.Compact(flavours), ", ")
	}
	if len(s.flavours) > 0 {
		has += kernel.ArchHint(s.flavours[0], s.arch)
	}
	return kernel.Usagef("kernel source %q: %s has no kernel%s for %s at this time; %s", s.spec, title, what, s.arch, has)
}

// index finds packages by name. Of equal ones it holds the first, and the main
// archive comes first.
type index map[string][]*stanza

func newIndex(list []stanza) index {
	x := index{}
	for i := range list {
		if s := &list[i]; x.find(s.Package, s.Version) == nil {
			x[s.Package] = append(x[s.Package], s)
		}
	}
	return x
}

func (x index) find(name, version string) *stanza {
	for _, s := range x[name] {
		if s.Version == version {
			return s
		}
	}
	return nil
}

// rebuilt is what a second signing of the same kernel adds to its version.
var rebuilt = regexp.MustCompile(`\+[0-9]+$`)

// sameBuild finds a package of the same build as another. One of another version is
// only taken where signing has changed it.
func (x index) sameBuild(name string, of *stanza) *stanza {
	if s := x.find(name, of.Version); s != nil {
		return s
	}
	plain := func(s *stanza) string { return rebuilt.ReplaceAllString(s.Version, "") }
	for _, s := range x[name] {
		if plain(s) == plain(of) {
			return s
		}
	}
	return nil
}
