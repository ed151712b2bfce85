package repo

import (
	"regexp"
	"slices"
	"strings"
)

// build is one build of a kernel, with the packages that a system gets with
// it, in the order to unpack them in.
type build struct {
	release  string // uname -r
	packages []*pkg
}

// minInstalled is less than any kernel, and more than a package that only
// depends on others, in bytes.
const minInstalled = 1 << 20

// imageStemRE tells the packages that can hold a kernel image without being
// called -core: those of Amazon Linux, EL 7, ELRepo, and older UEKs. AL2023
// has kernel6.12 beside kernel.
var imageStemRE = regexp.MustCompile(`^kernel([0-9]+\.[0-9]+)?(-(uek|rt|debug|lt|ml|64k))?$`)

// imageStemOf returns the first part of the names of a kernel's packages:
// "kernel" of kernel-core, "kernel-rt" of kernel-rt-core, "kernel" of a kernel
// that is one package.
func imageStemOf(name string) (stem string, core, ok bool) {
	if stem, ok := strings.CutSuffix(name, "-core"); ok {
		// kernel-modules-core, kernel-debug-modules-core, kernel-debuginfo...
		if strings.Contains(stem, "-modules") || strings.Contains(stem, "-devel") {
			return "", false, false
		}
		return stem, true, true
	}
	return name, false, imageStemRE.MatchString(name)
}

// isDefaultStem tells a distribution's usual kernels from its variants.
func isDefaultStem(stem string) bool {
	variant := strings.TrimLeft(strings.TrimPrefix(stem, "kernel"), "0123456789.")
	return variant == "" || variant == "-uek" || variant == "-lt" || variant == "-ml"
}

// selectKernels finds every build of a flavour: "" for the usual kernels, "rt" for
// kernel-rt-core, "kernel" for kernel-core alone. Of a package that several
// repositories have, the first counts. bare are the releases that come without
// modules.
func selectKernels(list []pkg, flavour string) (kernels []build, bare []string) {
	byName := map[string]*pkg{}
	for i := range list {
		if n := list[i].nevra(); byName[n] == nil {
			byName[n] = &list[i]
		}
	}
	sibling := func(p *pkg, name string) *pkg {
		s := *p
		s.Name = name
		return byName[s.nevra()]
	}
	for _, p := range byName {
		stem, core, ok := imageStemOf(p.Name)
		if !ok || p.Size.Installed < minInstalled {
			continue
		}
		if flavour == "" && !isDefaultStem(stem) || flavour != "" && stem != flavour && stem != "kernel-"+flavour {
			continue
		}
		if !core && sibling(p, stem+"-core") != nil {
			continue // only depends on the others
		}
		k := build{release: p.uname(stem), packages: []*pkg{p}}
		for _, suffix := range []string{"-modules-core", "-modules"} {
			if m := sibling(p, stem+suffix); m != nil {
				k.packages = append(k.packages, m)
			}
		}
		if core && len(k.packages) == 1 {
			bare = append(bare, k.release)
		}
		kernels = append(kernels, k)
	}
	slices.Sort(bare)
	slices.SortFunc(kernels, func(a, b build) int {
		return strings.Compare(a.release+"\x00"+a.packages[0].nevra(), b.release+"\x00"+b.packages[0].nevra())
	})
	return kernels, bare
}

// uname returns what the kernel calls itself: what the package says it
// provides, such as "6.11.4-301.fc41.x86_64+debug", else its version.
func (p *pkg) uname(stem string) string {
	for _, want := range []string{stem + "-uname-r", "kernel-uname-r"} {
		for _, e := range p.Provides {
			if e.Name == want && e.Version != "" {
				release := e.Version
				if e.Release != "" {
					release += "-" + e.Release
				}
				return release
			}
		}
	}
	release := p.Version.Version + "-" + p.Version.Release + "." + p.Arch
	if variant, ok := strings.CutPrefix(stem, "kernel-"); ok && !isDefaultStem(stem) {
		release += "+" + variant
	}
	return release
}

// flavoursOf names the flavours of the kernels in list, for an error message.
func flavoursOf(list []pkg) []string {
	var all []string
	for _, p := range list {
		if stem, _, ok := imageStemOf(p.Name); ok && p.Size.Installed >= minInstalled {
			all = append(all, strings.TrimPrefix(stem, "kernel-"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
