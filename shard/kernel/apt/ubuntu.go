package apt

import (
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// ubuntuSeries are those that are known, oldest first. Each year brings two
// more, so one that is not known is not refused, unless it looks like a slip.
func ubuntuSeries() []string {
	return []string{"bionic", "focal", "jammy", "noble", "plucky", "questing", "resolute"}
}

var ubuntuWordRE = regexp.MustCompile(`^[a-z]{3,30}$`)

var ubuntuFlavourRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

// ParseUbuntu reads "<series>[:<flavour>][,url=URL][,key=FILE]".
func ParseUbuntu(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "url", "key")
	if err != nil {
		return nil, err
	}
	series, flavour, given := strings.Cut(head, ":")
	if known := ubuntuSeries(); !slices.Contains(known, series) {
		hint := kernel.Suggest(series, known)
		if hint != "" || !ubuntuWordRE.MatchString(series) {
			return nil, kernel.Usagef("kernel source %q: unknown Ubuntu series %q%s; known are %s", spec, series, hint, strings.Join(known, ", "))
		}
	}
	s, err := newSource(spec, "ubuntu", series, hostArch, cache, publicUbuntu(hostArch), o)
	if err == nil && given {
		if !ubuntuFlavourRE.MatchString(flavour) {
			return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour: expected generic, aws, azure, gcp, oracle or the like", spec, flavour)
		}
		s.flavours = []string{flavour}
	}
	return s, err
}
