package repo

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
)

// Distro is a distribution of the RPM family: where its repositories are by
// default, and which keys sign them.
type Distro struct {
	Name     string         // as in specs
	title    string         // as people write it
	release  *regexp.Regexp // what may follow the colon
	expected string         // what may, in words
	bases    []string       // hosts that may have it, tried in order; ",url=" stands in for all
	repos    func(release string) []repository
	keys     []string // names of key files; $release is the release
}

// repository is one repository of a distribution.
type repository struct {
	name string // in locators
	path string // below a base; $basearch is "x86_64" or "aarch64"
	// ports is the path for all architectures but x86_64, "" where it is the same.
	ports string
	// mirrorList says that path is a list of addresses of the repository.
	mirrorList bool
	// optional says that the distribution may not have it, at this time or for
	// this architecture.
	optional bool
	// minor is set in a run of point releases, of which the last one ends the
	// search: nobody publishes how many there are.
	minor bool
}

// maxMinor is more point releases than any major one has had.
const maxMinor = 12

// Distros are the distributions whose repositories are known.
func Distros() []Distro {
	return []Distro{
		{
			Name: "fedora", title: "Fedora",
			release: regexp.MustCompile(`^([0-9]{2,3}|rawhide)$`), expected: "a number, such as 43, or rawhide",
			bases: []string{"https://dl.fedoraproject.org/pub/fedora/linux", "https://dl.fedoraproject.org/pub/archive/fedora/linux", "https://dl.fedoraproject.org/pub/fedora-secondary"},
			repos: fedoraRepos,
			keys:  []string{"RPM-GPG-KEY-fedora-$release-*"},
		},
		{
			Name: "centos-stream", title: "CentOS Stream",
			release: regexp.MustCompile(`^[0-9]{1,2}$`), expected: "a number, such as 9",
			bases: []string{"https://mirror.stream.centos.org", "https://vault.centos.org"},
			repos: func(release string) []repository {
				return []repository{
					{name: "baseos", path: release + "-stream/BaseOS/$basearch/os"},
					{name: "rt", path: release + "-stream/RT/$basearch/os", optional: true},
				}
			},
			keys: []string{"RPM-GPG-KEY-CentOS-Official*", "RPM-GPG-KEY-centosofficial*"},
		},
		{
			Name: "rocky", title: "Rocky Linux",
			release: enterpriseRelease, expected: enterpriseExpected,
			bases: []string{"https://dl.rockylinux.org/pub/rocky", "https://dl.rockylinux.org/vault/rocky"},
			repos: enterpriseRepos,
			keys:  []string{"RPM-GPG-KEY-Rocky-$release", "RPM-GPG-KEY-rockyofficial"},
		},
		{
			Name: "almalinux", title: "AlmaLinux",
			release: enterpriseRelease, expected: enterpriseExpected,
			bases: []string{"https://repo.almalinux.org/almalinux", "https://vault.almalinux.org"},
			repos: enterpriseRepos,
			keys:  []string{"RPM-GPG-KEY-AlmaLinux-$release", "RPM-GPG-KEY-AlmaLinux"},
		},
		{
			Name: "amazonlinux", title: "Amazon Linux",
			release: regexp.MustCompile(`^(2|2023(\.[0-9]{1,3}\.[0-9]{8})?)$`), expected: "2, 2023, or a version of the latter, such as 2023.6.20241010",
			bases: []string{"https://cdn.amazonlinux.com"},
			repos: amazonRepos,
			keys:  []string{"RPM-GPG-KEY-amazon-linux-$release"},
		},
		{
			Name: "oraclelinux", title: "Oracle Linux",
			release: regexp.MustCompile(`^([7-9]|[1-9][0-9])$`), expected: "a number, such as 9",
			bases: []string{"https://yum.oracle.com/repo/OracleLinux"},
			repos: oracleRepos,
			keys:  []string{"RPM-GPG-KEY-oracle-ol$release", "RPM-GPG-KEY-oracle"},
		},
		{
			Name: "opensuse", title: "openSUSE",
			release: regexp.MustCompile(`^(leap-[0-9]{2}\.[0-9]|tumbleweed)$`), expected: "leap-15.6 or the like, or tumbleweed",
			bases: []string{"https://download.opensuse.org"},
			repos: openSUSERepos,
			keys:  suseKeys(),
		},
		{
			Name: "suse", title: "SUSE Linux Enterprise",
			release: regexp.MustCompile(`^1[0-9](-SP[0-9]|\.[0-9])?$`), expected: "a version, such as 15-SP6 or 16.0",
			repos: suseRepos, // of those who have a subscription: their own mirror's
			keys:  suseKeys(),
		},
	}
}

func fedoraRepos(release string) []repository {
	if release == "rawhide" {
		return []repository{{name: "rawhide", path: "development/rawhide/Everything/$basearch/os"}}
	}
	return []repository{
		{name: "releases", path: "releases/" + release + "/Everything/$basearch/os"},
		{name: "updates", path: "updates/" + release + "/Everything/$basearch", optional: true},
	}
}

func amazonRepos(release string) []repository {
	list := func(name, dir string) repository {
		return repository{name: name, path: dir + "/$basearch/mirror.list", mirrorList: true, optional: name != "core"}
	}
	switch {
	case release == "2":
		return []repository{
			list("core", "2/core/latest"),
			list("kernel-5.4", "2/extras/kernel-5.4/latest"),
			list("kernel-5.10", "2/extras/kernel-5.10/latest"),
			list("kernel-5.15", "2/extras/kernel-5.15/latest"),
		}
	case strings.Contains(release, "."):
		return []repository{list("core", "al2023/core/mirrors/"+release)}
	}
	return []repository{list("core", "al2023/core/mirrors/latest")}
}

func oracleRepos(release string) []repository {
	base := "baseos/latest"
	if release == "7" {
		base = "latest"
	}
	repos := []repository{{name: "base", path: "OL" + release + "/" + base + "/$basearch"}}
	for _, uek := range []string{"UEKR5", "UEKR6", "UEKR7", "UEKR8", "UEKR9"} {
		repos = append(repos, repository{name: uek, path: "OL" + release + "/" + uek + "/$basearch", optional: true})
	}
	return repos
}

// suseKeys also has the names by which SUSE's systems keep their keys.
func suseKeys() []string {
	return []string{"RPM-GPG-KEY-openSUSE*", "RPM-GPG-KEY-SuSE-SLE-1[2-9]*", "gpg-pubkey-*.asc"}
}

func openSUSERepos(release string) []repository {
	version, leap := strings.CutPrefix(release, "leap-")
	switch {
	case !leap: // other architectures than x86_64 are ports, in a tree of their own
		return []repository{{name: "oss", path: "tumbleweed/repo/oss", ports: "ports/$ports/tumbleweed/repo/oss"}}
	case major(version) == "15": // SUSE's own kernels, with what SUSE updates
		return []repository{
			{name: "oss", path: "distribution/leap/" + version + "/repo/oss"},
			{name: "update-oss", path: "update/leap/" + version + "/oss", optional: true},
			{name: "update-sle", path: "update/leap/" + version + "/sle", optional: true},
		}
	}
	return []repository{{name: "oss", path: "distribution/leap/" + version + "/repo/oss/$basearch"}}
}

// suseRepos are those that SUSE's registration servers have, and RMT's below its
// directory repo. The kernel is the base system's, and that of clouds and the
// real-time one are in modules of their own.
func suseRepos(release string) []repository {
	of := func(product string, optional bool) []repository {
		at := product + "/" + release + "/$basearch/"
		return []repository{
			{name: product, path: "SUSE/Products/" + at + "product", optional: optional},
			{name: product + "-updates", path: "SUSE/Updates/" + at + "update", optional: true},
		}
	}
	switch major(strings.ReplaceAll(release, "-", ".")) {
	case "15":
		return slices.Concat(of("SLE-Module-Basesystem", false), of("SLE-Module-Public-Cloud", true), of("SLE-Module-RT", true))
	case "16":
		return of("SLES", false)
	}
	return of("SLE-SERVER", false)
}

// enterpriseRelease is that of the distributions that keep the point releases
// of a major one in a vault.
var enterpriseRelease = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,2})?$`)

const enterpriseExpected = "a number, such as 9, or one point release, such as 9.4"

func enterpriseRepos(release string) []repository {
	repo := func(r string) repository { return repository{name: r, path: r + "/BaseOS/$basearch/os"} }
	repos := []repository{repo(release)}
	if strings.Contains(release, ".") {
		return repos
	}
	for n := range maxMinor + 1 {
		r := repo(fmt.Sprintf("%s.%d", release, n))
		r.optional, r.minor = true, true
		repos = append(repos, r)
	}
	return repos
}

func major(release string) string {
	m, _, _ := strings.Cut(release, ".")
	return m
}

// keyPatterns returns where the keys of a release may be installed: where systems
// of the family keep them, and where the package distribution-gpg-keys puts those
// of all.
func (d Distro) keyPatterns(release string) []string {
	var all []string
	for _, dir := range []string{"/etc/pki/rpm-gpg", "/usr/share/distribution-gpg-keys/*", "/usr/lib/rpm/gnupg/keys"} {
		for _, k := range d.keys {
			all = append(all, path.Join(dir, strings.ReplaceAll(k, "$release", major(release))))
		}
	}
	return all
}

// Parse reads "<release>[:<flavour>][,url=URL][,key=FILE][,metadata=unsigned]".
func (d Distro) Parse(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "url", "key", "metadata")
	if err != nil {
		return nil, err
	}
	release, flavour, given := strings.Cut(head, ":")
	if !d.release.MatchString(release) {
		return nil, kernel.Usagef("kernel source %q: %q is no release of %s: expected %s", spec, release, d.title, d.expected)
	}
	if given && !nameRE.MatchString(flavour) {
		return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour: expected the part of a package's name that tells it from the usual kernel, such as rt or debug", spec, flavour)
	}
	s, err := newSource(spec, hostArch, cache, rpmFormat())
	if err != nil {
		return nil, err
	}
	s.title, s.distro, s.flavour = d.title+" "+release, d.Name, flavour
	if d.Name == "amazonlinux" {
		s.distro += major(release) // another system
	}
	s.bases, s.repos = d.bases, d.repos(release)
	if s.bases == nil && o.URL == "" {
		return nil, kernel.Usagef("kernel source %q: the repositories of %s need a subscription: name a mirror that has them by ,url=URL, such as https://rmt.example.org/repo", spec, d.title)
	}
	s.keyPatterns = d.keyPatterns(release)
	return s, s.apply(o)
}

// ParseRPM reads "<URL or directory>[,flavour=F][,key=FILE][,metadata=unsigned]".
func ParseRPM(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "key", "flavour", "metadata")
	if err != nil {
		return nil, err
	}
	if o.Flavour != "" && !nameRE.MatchString(o.Flavour) {
		return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour", spec, o.Flavour)
	}
	s, err := newSource(spec, hostArch, cache, rpmFormat())
	if err != nil {
		return nil, err
	}
	base, err := repoBase(spec, head)
	if err != nil {
		return nil, err
	}
	s.bases = []string{base}
	s.title, s.distro, s.flavour = fetch.ShownURL(head), "rpm", o.Flavour
	s.repos = []repository{{name: "repo"}}
	return s, s.apply(o)
}
