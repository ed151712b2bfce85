package repo

import (
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// build is one build of a kernel, with the packages that a system gets with
// it, in the order to unpack them in.
type build struct {
	release  string // uname -r, "" when it is not known
	name     string // of the Ref, the release if empty
	stem     string // that its packages' names start with
	usual    bool   // it counts where no flavour is named
	modules  bool
	packages []*pkg
}

// minInstalled is less than any kernel, and more than a package that only
// depends on others, in bytes.
const minInstalled = 1 << 20

// imageStemRE tells kernels that need not say in their metadata that they are, nor
// be called -core: those of Amazon Linux, EL 7, ELRepo, Photon, Azure Linux, and
// older UEKs. AL2023 has kernel6.12 beside kernel.
var imageStemRE = regexp.MustCompile(`^(kernel([0-9]+\.[0-9]+)?(-(uek|rt|debug|lt|ml|64k|hwe|mshv))?|linux(-(esx|rt|aws|secure))?)$`)

// partRE tells packages that hold no image, whatever they provide.
var partRE = regexp.MustCompile(`-(modules|devel|headers|docs?|tools|libs|debuginfo|debugsource|firmware|sources?|syms|macros|extra|optional|internal|livepatch|obs|kmp|drivers|dbg)(-|$)`)

// mageiaRE splits names of Mageia's packages, of which some hold the kernel's version:
// kernel-desktop-5.15.23-1.mga8-1-1.mga8.
var mageiaRE = regexp.MustCompile(`^(kernel-)([a-z]+)-([0-9][^-]*)-([0-9][^-]*\.mga[0-9]+)`)

// suseKernel is what all packages of SUSE's kernels provide, so that several
// versions can be installed, and nobody else's.
const suseKernel = "multiversion(kernel)"

// imageStem returns the first part of the names of a kernel's packages: "kernel"
// of kernel-core, "kernel-rt" of kernel-rt-core, "kernel" of a kernel that is one
// package. named says that the user names it, which is as good as what it
// provides.
func (p *pkg) imageStem(named bool) (stem string, core, ok bool) {
	if p.Size.Installed < minInstalled || partRE.MatchString(p.Name) {
		return "", false, false
	}
	if stem, ok := strings.CutSuffix(p.Name, "-core"); ok {
		return stem, true, true
	}
	if m := mageiaRE.FindStringSubmatch(p.nevra()); m != nil {
		return m[1] + m[2], false, true
	}
	for _, what := range []string{"kernel", "kernel-uname-r", p.Name + "-uname-r"} {
		_, provides := p.provided(what)
		ok = ok || provides
	}
	return p.Name, false, ok || named || imageStemRE.MatchString(p.Name)
}

// flavourOf is what tells a stem from others, as users name it: "rt", or the whole
// name of what has no such part.
func flavourOf(stem string) string {
	for _, prefix := range []string{"kernel-", "linux-"} {
		if f, ok := strings.CutPrefix(stem, prefix); ok {
			return f
		}
	}
	return stem
}

// isFlavour says whether the user names a stem.
func isFlavour(stem, flavour string) bool {
	return flavour != "" && (stem == flavour || flavourOf(stem) == flavour)
}

// isDefaultStem tells a distribution's usual kernels from its variants.
func isDefaultStem(stem string) bool {
	variant := strings.TrimLeft(strings.TrimPrefix(stem, "kernel"), "0123456789.")
	return slices.Contains([]string{"", "-uek", "-lt", "-ml", "-default", "-desktop", "linux"}, variant)
}

// choose returns the kernels of a flavour among packages: "" for the usual ones, "rt"
// for kernel-rt-core or linux-rt, "kernel" for kernel-core alone. If there is none,
// others names the flavours that there are, or else packages that are no kernels.
func (f format) choose(list []pkg, flavour string) (kernels []build, others string) {
	for _, k := range f.find(list, flavour) {
		if flavour == "" && k.usual || isFlavour(k.stem, flavour) {
			kernels = append(kernels, k)
		}
	}
	if len(kernels) > 0 {
		return kernels, ""
	}
	var all []string
	for _, k := range f.find(list, "") {
		all = append(all, flavourOf(k.stem))
	}
	if len(all) == 0 {
		for i := range list {
			all = append(all, list[i].Name)
		}
	}
	slices.Sort(all)
	return nil, bounded.OneLine(strings.Join(slices.Compact(all), ", "))
}

// findRPMs finds every kernel, and whatever package is named like the flavour. Of a
// package that several repositories have, the first counts.
func findRPMs(list []pkg, flavour string) (kernels []build) {
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
		stem, core, ok := p.imageStem(isFlavour(p.Name, flavour))
		if !ok || !core && sibling(p, stem+"-core") != nil { // which it only depends on
			continue
		}
		k := build{release: p.uname(stem), stem: stem, usual: isDefaultStem(stem), modules: !core, packages: []*pkg{p}}
		suffixes := []string{"-modules-core", "-modules"}
		if _, suse := p.provided(suseKernel); suse {
			suffixes = []string{"-extra", "-optional"}
		}
		for _, suffix := range suffixes {
			if m := sibling(p, stem+suffix); m != nil {
				k.packages, k.modules = append(k.packages, m), true
			}
		}
		kernels = append(kernels, k)
	}
	slices.SortFunc(kernels, func(a, b build) int {
		return strings.Compare(a.release+"\x00"+a.packages[0].nevra(), b.release+"\x00"+b.packages[0].nevra())
	})
	return kernels
}

// noArch are the dists of those who do not put the architecture into what the
// kernel calls itself: Azure Linux and CBL-Mariner.
var noArch = regexp.MustCompile(`\.(azl|cm)[0-9]+$`)

// uname returns what the kernel calls itself: what the package says it
// provides, such as "6.11.4-301.fc41.x86_64+debug", else what follows from its
// version.
func (p *pkg) uname(stem string) string {
	for _, provided := range []string{stem + "-uname-r", "kernel-uname-r"} {
		if release, _ := p.provided(provided); release != "" {
			return release
		}
	}
	if m := mageiaRE.FindStringSubmatch(p.nevra()); m != nil {
		return m[3] + "-" + m[2] + "-" + m[4]
	}
	release := p.Version.Version + "-" + p.Version.Release
	// SUSE's has the flavour, and not the number of the last rebuild, which the
	// kernel that it provides does not have either: 6.4.0-150600.23.47-default.
	if version, _ := p.provided("kernel"); version != "" {
		if _, suse := p.provided(suseKernel); suse {
			return version + "-" + strings.TrimSuffix(flavourOf(stem), "-base")
		}
	}
	switch variant, ok := strings.CutPrefix(stem, "kernel-"); {
	case strings.HasPrefix(stem, "linux-"): // Photon's: 6.1.83-2.ph5-esx
		return release + strings.TrimPrefix(stem, "linux")
	case stem == "linux" || noArch.MatchString(release):
		return release
	case ok && !isDefaultStem(stem):
		return release + "." + p.Arch + "+" + variant
	}
	return release + "." + p.Arch
}
