package analysis

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// version is what a kernel's name says of its version.
type version struct {
	release string // the name up to "__", without "mainline-"
	number  string // what orders it: "5.10.102-99.473", "6.1-rc3"; ".0" at the end of the mainline's part does not count
	series  string // the mainline release that it is of: "5.10"
	flavour string // the rest, the same for all builds of a kind: "cloud-amd64", "amzn.x86_64"
}

var (
	versionRE = regexp.MustCompile(`^(\d+(?:\.\d+)+)(-rc\d+)?((?:[-.]\d+)*)`)
	zeros     = regexp.MustCompile(`(?:\.0+)+$`)
	seriesRE  = regexp.MustCompile(`^\d{1,4}\.\d{1,4}\b`)
	// What a flavour carries of a version: the distribution's own.
	distroRelease = regexp.MustCompile(`(^|[.+~_-])(fc|el|deb|bpo|amzn|ph|sles|suse|lp|ubuntu)\d+(?:[._~u]\d+)*`)
	debianSuffix  = regexp.MustCompile(`^[+~](?:deb|bpo)\d*(?:\.\d+)*`)
)

// parseVersion reads a kernel's name, such as
// "5.10.102-99.473.amzn2.x86_64__0935484e" or "mainline-v6.1-rc3". ok is false
// when there is no version in it.
func parseVersion(name string) (v version, ok bool) {
	v.series = noSeries
	v.release, _, _ = strings.Cut(name, "__")
	v.release = strings.TrimPrefix(v.release, "mainline-")
	s := v.release
	at := strings.IndexFunc(s, func(r rune) bool { return '0' <= r && r <= '9' })
	if at < 0 {
		return v, false
	}
	s = s[at:]
	m := versionRE.FindStringSubmatch(s)
	if m == nil {
		return v, false
	}
	if in := seriesRE.FindString(s); in != "" {
		v.series = in
	}
	numbers, rest := m[3], s[len(m[0]):]
	// "-8u1": a number that goes on as a word is none of the version's.
	if rest != "" && numbers != "" && (letter(rest[0]) || rest[0] == '_') {
		cut := strings.LastIndexAny(numbers, "-.")
		numbers, rest = numbers[:cut], numbers[cut:]+rest
	}
	v.number = zeros.ReplaceAllString(m[1], "") + m[2] + numbers
	rest = debianSuffix.ReplaceAllString(rest, "")
	v.flavour = strings.Trim(distroRelease.ReplaceAllString(rest, "$1$2"), ".-+~_")
	return v, true
}

// compareTo orders by version alone: flavours of one version are equal. A
// release stands after its candidates.
func (v version) compareTo(w version) int { return report.CompareVersions(v.number, w.number) }

// noSeries is the series of kernels whose names hold no version.
const noSeries = "other"

// Series is the mainline release that a kernel's name says it is of, such as "5.10";
// "" if it says none.
func Series(name string) string {
	if v, ok := parseVersion(name); ok && v.series != noSeries {
		return v.series
	}
	return ""
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// Line names the kernels that succeed one another, which are those of one
// distribution and flavour: "debian cloud-amd64".
func Line(id string) string {
	like, _ := likeness(id)
	return strings.TrimSpace(like[0] + " " + like[1])
}

// CompareKernels orders the ids of a line from old to new.
func CompareKernels(a, b string) int {
	_, v := likeness(a)
	_, w := likeness(b)
	return cmp.Or(v.compareTo(w), report.CompareVersions(a, b), strings.Compare(a, b))
}
