package rpm

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Distro is a distribution of the RPM family: where its repositories are by
// default, and which keys sign them.
type Distro struct {
	Name     string         // as in specs
	title    string         // as people write it
	release  *regexp.Regexp // what may follow the colon
	expected string         // what may, in words
	distro   func(release string) string
	bases    []string // hosts that may have it, tried in order; ",url=" stands in for all
	repos    func(release string) []rpmRepo
	keys     []string // names of key files; $release is the release
}

// rpmRepo is one repository of a distribution.
type rpmRepo struct {
	name string // in locators
	path string // below a base; $basearch is "x86_64" or "aarch64"
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
	same := func(name string) func(string) string { return func(string) string { return name } }
	return []Distro{
		{
			Name: "fedora", title: "Fedora", distro: same("fedora"),
			release: regexp.MustCompile(`^([0-9]{2,3}|rawhide)$`), expected: "a number, such as 43, or rawhide",
			bases: []string{"https://dl.fedoraproject.org/pub/fedora/linux", "https://dl.fedoraproject.org/pub/archive/fedora/linux"},
			repos: func(release string) []rpmRepo {
				if release == "rawhide" {
					return []rpmRepo{{name: "rawhide", path: "development/rawhide/Everything/$basearch/os"}}
				}
				return []rpmRepo{
					{name: "releases", path: "releases/" + release + "/Everything/$basearch/os"},
					{name: "updates", path: "updates/" + release + "/Everything/$basearch", optional: true},
				}
			},
			keys: []string{"RPM-GPG-KEY-fedora-$release-*"},
		},
		{
			Name: "centos-stream", title: "CentOS Stream", distro: same("centos-stream"),
			release: regexp.MustCompile(`^[0-9]{1,2}$`), expected: "a number, such as 9",
			bases: []string{"https://mirror.stream.centos.org", "https://vault.centos.org"},
			repos: func(release string) []rpmRepo {
				return []rpmRepo{
					{name: "baseos", path: release + "-stream/BaseOS/$basearch/os"},
					{name: "rt", path: release + "-stream/RT/$basearch/os", optional: true},
				}
			},
			keys: []string{"RPM-GPG-KEY-CentOS-Official*", "RPM-GPG-KEY-centosofficial*"},
		},
		{
			Name: "rocky", title: "Rocky Linux", distro: same("rocky"),
			release: enterpriseRelease, expected: enterpriseExpected,
			bases: []string{"https://dl.rockylinux.org/pub/rocky", "https://dl.rockylinux.org/vault/rocky"},
			repos: enterpriseRepos,
			keys:  []string{"RPM-GPG-KEY-Rocky-$release", "RPM-GPG-KEY-rockyofficial"},
		},
		{
			Name: "almalinux", title: "AlmaLinux", distro: same("almalinux"),
			release: enterpriseRelease, expected: enterpriseExpected,
			bases: []string{"https://repo.almalinux.org/almalinux", "https://vault.almalinux.org"},
			repos: enterpriseRepos,
			keys:  []string{"RPM-GPG-KEY-AlmaLinux-$release", "RPM-GPG-KEY-AlmaLinux"},
		},
		{
			Name: "amazonlinux", title: "Amazon Linux", distro: func(release string) string { return "amazonlinux" + major(release) },
			release: regexp.MustCompile(`^(2|2023(\.[0-9]{1,3}\.[0-9]{8})?)$`), expected: "2, 2023, or a version of the latter, such as 2023.6.20241010",
			bases: []string{"https://cdn.amazonlinux.com"},
			repos: func(release string) []rpmRepo {
				if release == "2" {
					repos := []rpmRepo{{name: "core", path: "2/core/latest/$basearch/mirror.list", mirrorList: true}}
					for _, v := range []string{"5.4", "5.10", "5.15"} {
						repos = append(repos, rpmRepo{name: "kernel-" + v, path: "2/extras/kernel-" + v + "/latest/$basearch/mirror.list", mirrorList: true, optional: true})
					}
					return repos
				}
				version := "latest"
				if strings.Contains(release, ".") {
					version = release
				}
				return []rpmRepo{{name: "core", path: "al2023/core/mirrors/" + version + "/$basearch/mirror.list", mirrorList: true}}
			},
			keys: []string{"RPM-GPG-KEY-amazon-linux-$release"},
		},
		{
			Name: "oraclelinux", title: "Oracle Linux", distro: same("oraclelinux"),
			release: regexp.MustCompile(`^([7-9]|[1-9][0-9])$`), expected: "a number, such as 9",
			bases: []string{"https://yum.oracle.com/repo/OracleLinux"},
			repos: func(release string) []rpmRepo {
				base := "baseos/latest"
				if release == "7" {
					base = "latest"
				}
				repos := []rpmRepo{{name: "base", path: "OL" + release + "/" + base + "/$basearch"}}
				for _, uek := range []string{"UEKR5", "UEKR6", "UEKR7", "UEKR8", "UEKR9"} {
					repos = append(repos, rpmRepo{name: uek, path: "OL" + release + "/" + uek + "/$basearch", optional: true})
				}
				return repos
			},
			keys: []string{"RPM-GPG-KEY-oracle-ol$release", "RPM-GPG-KEY-oracle"},
		},
	}
}

// enterpriseRelease is that of the distributions that keep the point releases
// of a major one in a vault.
var enterpriseRelease = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,2})?$`)

const enterpriseExpected = "a number, such as 9, or one point release, such as 9.4"

func enterpriseRepos(release string) []rpmRepo {
	repo := func(r string) rpmRepo { return rpmRepo{name: r, path: r + "/BaseOS/$basearch/os"} }
	repos := []rpmRepo{repo(release)}
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

// keyDirs are where systems of the family keep their keys, and where the
// package distribution-gpg-keys puts those of all.
func keyDirs() []string {
	return []string{"/etc/pki/rpm-gpg", "/usr/share/distribution-gpg-keys/*"}
}

// keyPatterns returns where the keys of a release may be installed.
func (d Distro) keyPatterns(release string) []string {
	var all []string
	for _, dir := range keyDirs() {
		for _, k := range d.keys {
			all = append(all, path.Join(dir, strings.ReplaceAll(k, "$release", major(release))))
		}
	}
	return all
}

// Parse reads "<release>[:<flavour>][,url=URL][,key=FILE]".
func (d Distro) Parse(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "url", "key")
	if err != nil {
		return nil, err
	}
	release, flavour, given := strings.Cut(head, ":")
	if !d.release.MatchString(release) {
		return nil, kernel.Usagef("kernel source %q: %q is no release of %s: expected %s", spec, release, d.title, d.expected)
	}
	if given && !rpmNameRE.MatchString(flavour) {
		return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour: expected the part of a package's name that tells it from the usual kernel, such as rt or debug", spec, flavour)
	}
	s, err := newRPMSource(spec, hostArch, cache)
	if err != nil {
		return nil, err
	}
	s.title, s.distro, s.flavour = d.title+" "+release, d.distro(release), flavour
	s.bases, s.repos = d.bases, d.repos(release)
	s.keyPatterns = d.keyPatterns(release)
	return s, s.apply(o)
}

// Parse reads "<URL or directory>[,flavour=F][,key=FILE]".
func Parse(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "key", "flavour")
	if err != nil {
		return nil, err
	}
	if o.Flavour != "" && !rpmNameRE.MatchString(o.Flavour) {
		return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour", spec, o.Flavour)
	}
	s, err := newRPMSource(spec, hostArch, cache)
	if err != nil {
		return nil, err
	}
	base, err := repoBase(spec, head)
	if err != nil {
		return nil, err
	}
	s.bases = []string{base}
	s.title, s.distro, s.flavour = shownURL(head), "rpm", o.Flavour
	s.repos = []rpmRepo{{name: "repo"}}
	return s, s.apply(o)
}
