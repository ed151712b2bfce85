package apt

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
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
	if goarch.Lookup(hostArch).Name == "" {
		return nil, kernel.Usagef("kernel source %q: Ubuntu kernels of %s are not supported", spec, hostArch)
	}
	s := &source{spec: spec, distro: "ubuntu", suite: series, arch: hostArch, cache: cache, now: time.Now, archive: publicUbuntu(hostArch)}
	if given {
		if !ubuntuFlavourRE.MatchString(flavour) {
			return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour: expected generic, aws, azure, gcp, oracle or the like", spec, flavour)
		}
		s.flavours = []string{flavour}
	}
	return s, s.setOptions(o)
}

// setOptions takes url= and key=.
func (s *source) setOptions(o kernel.Options) (err error) {
	if o.URL != "" {
		url := strings.TrimRight(o.URL, "/")
		if !validMirror(url) {
			return kernel.Usagef("kernel source %q: %q is no mirror that apt can read: expected http://..., https://... or file:///...", s.spec, o.URL)
		}
		s.archive.main, s.archive.security, s.archive.discover = url, url, false
	}
	if o.Key != "" {
		if s.archive.keyring, err = filepath.Abs(o.Key); err != nil {
			return &kernel.UsageError{Msg: "find the OpenPGP keys", Err: err}
		}
	}
	return nil
}

var ubuntuImageRE = regexp.MustCompile(`^linux-image-(unsigned-)?([0-9]+\.[0-9]+\.[0-9]+-[0-9]+)-([a-z][a-z0-9-]*)$`)

// ubuntuImage splits linux-image-[unsigned-]<release>-<flavour>: the release is
// that of a build, 6.8.0-45; meta packages have none.
func ubuntuImage(name string) (uname, flavour string, unsigned, ok bool) {
	m := ubuntuImageRE.FindStringSubmatch(name)
	if m == nil || strings.HasSuffix(name, "-dbgsym") {
		return "", "", false, false
	}
	return m[2] + "-" + m[3], m[3], m[1] != "", true
}

// rebuilt is what a second signing of the same kernel adds to its version.
var rebuilt = regexp.MustCompile(`\+[0-9]+$`)

// selectUbuntu finds every build of a flavour, "" for all. A kernel is in three
// packages: linux-image-<uname>, or linux-image-unsigned-<uname> where it is
// not signed, holds the image; linux-modules-<uname> the config and most
// modules; linux-modules-extra-<uname>, which not all have, the others. bare
// are the kernels listed without their modules.
func selectUbuntu(list []stanza, flavour string) (kernels []build, bare []string) {
	packages := newIndex(list)
	for name, builds := range packages {
		uname, its, unsigned, ok := ubuntuImage(name)
		if !ok || flavour != "" && its != flavour {
			continue
		}
		for _, image := range builds {
			if unsigned && packages.sameBuild("linux-image-"+uname, image) != nil {
				continue // signed, which is what users run
			}
			parts, modules := []*stanza{image}, true
			for _, prefix := range []string{"linux-modules-", "linux-modules-extra-"} {
				if p := packages.sameBuild(prefix+uname, image); p != nil {
					parts = append(parts, p)
				} else if prefix == "linux-modules-" {
					bare, modules = append(bare, uname), false
				}
			}
			k := newBuild(uname, image.Version, parts)
			k.Flavour, k.Modules = its, modules
			kernels = append(kernels, k)
		}
	}
	slices.Sort(bare)
	sortBuilds(kernels)
	return kernels, bare
}

// plain is a package's version without what a rebuild has added.
func (s *stanza) plain() string { return rebuilt.ReplaceAllString(s.Version, "") }

// sameBuild finds a package of the same build as another. The release has a number
// of its own for each upload, so one of another version is only taken where a
// rebuild has changed it.
func (x index) sameBuild(name string, of *stanza) *stanza {
	if s := x.find(name, of.Version); s != nil {
		return s
	}
	for _, s := range x[name] {
		if s.plain() == of.plain() {
			return s
		}
	}
	return nil
}

// others names the flavours that a list has, for an error message; "" for
// Debian, whose flavours are known.
func (s *source) others(list []stanza) string {
	var all []string
	kernels, _ := s.choose(list, nil)
	if s.distro == "debian" {
		kernels = nil
	}
	for _, k := range kernels {
		all = append(all, k.Flavour)
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return "; it has " + strings.Join(slices.Compact(all), ", ")
}
