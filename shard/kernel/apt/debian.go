package apt

import (
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// debianSuites are the suites that --kernels takes, oldest first.
func debianSuites() []string {
	return []string{
		"bullseye", "bookworm", "trixie", "forky", "sid",
		"bullseye-backports", "bookworm-backports", "trixie-backports", "forky-backports",
	}
}

// debianFlavours are the kernel flavours of an architecture, as in GOARCH.
func debianFlavours(arch string) []string {
	return map[string][]string{
		"amd64":   {"amd64", "cloud-amd64", "rt-amd64"},
		"arm64":   {"arm64", "cloud-arm64", "rt-arm64", "arm64-16k"},
		"riscv64": {"riscv64"},
		"s390x":   {"s390x"},
		"ppc64le": {"powerpc64le", "powerpc64le-64k"},
	}[arch]
}

// suiteParts returns the suites of the main and of the security archive that
// together are the suite. Those after the first may be missing on a mirror.
func suiteParts(suite string) (main, security []string) {
	if suite == "sid" || strings.HasSuffix(suite, "-backports") {
		return []string{suite}, nil
	}
	return []string{suite, suite + "-updates"}, []string{suite + "-security"}
}

// ParseDebian reads "<suite>[:<flavour>][,url=URL][,key=FILE]".
func ParseDebian(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "url", "key")
	if err != nil {
		return nil, err
	}
	suite, flavour, given := strings.Cut(head, ":")
	if suite == "unstable" {
		suite = "sid"
	}
	if !slices.Contains(debianSuites(), suite) {
		return nil, kernel.Usagef("kernel source %q: unknown Debian suite %q%s; valid suites are %s",
			spec, suite, kernel.Suggest(suite, debianSuites()), strings.Join(debianSuites(), ", "))
	}
	arch, flavours := hostArch, debianFlavours(hostArch)
	if given {
		flavours = nil
		for _, a := range goarch.Names() {
			if slices.Contains(debianFlavours(a), flavour) {
				arch, flavours = a, []string{flavour}
			}
		}
	}
	switch {
	case flavours == nil && given:
		hint := kernel.Suggest(flavour, allFlavours())
		if of := debianFlavours(goarch.Named(flavour).Name); len(of) > 0 { // ppc64le
			hint = ", did you mean \"" + of[0] + "\"?"
		}
		return nil, kernel.Usagef("kernel source %q: unknown kernel flavour %q%s; valid flavours are %s", spec, flavour, hint, strings.Join(allFlavours(), ", "))
	case flavours == nil:
		return nil, kernel.Usagef("kernel source %q: Debian kernels of %s are not supported; name a flavour: %s", spec, arch, strings.Join(allFlavours(), ", "))
	}
	s, err := newSource(spec, "debian", suite, arch, cache, publicDebian(), o)
	if err == nil {
		s.flavours = flavours
	}
	return s, err
}

func allFlavours() []string {
	var all []string
	for _, arch := range goarch.Names() {
		all = append(all, debianFlavours(arch)...)
	}
	return all
}
