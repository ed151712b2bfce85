package analysis

import (
	"cmp"
	"regexp"
	"strings"
)

// version is what a kernel's name says of its version.
type version struct {
	release string   // the name up to "__", without "mainline-"
	base    []string // numbers: 5, 10, 102
	rc      string   // number of the release candidate; "": none
	abi     []string // the distribution's numbers behind them: 99, 473
	flavour string   // the rest, the same for all builds of a kind: "cloud-amd64", "amzn.x86_64"
}

var (
	versionRE = regexp.MustCompile(`^(\d+(?:\.\d+)+)(?:-rc(\d+))?((?:[-.]\d+)*)`)
	// What a flavour carries of a version: the distribution's own.
	distroRelease = regexp.MustCompile(`(^|[.+~_-])(fc|el|deb|bpo|amzn|ph|sles|suse|lp|ubuntu)\d+(?:[._~u]\d+)*`)
	debianSuffix  = regexp.MustCompile(`^[+~](?:deb|bpo)\d*`)
)

// parseVersion reads a kernel's name, such as
// "5.10.102-99.473.amzn2.x86_64__0935484e" or "mainline-v6.1-rc3". ok is false
// when there is no version in it.
func parseVersion(name string) (v version, ok bool) {
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
	v.base, v.rc = strings.Split(m[1], "."), m[2]
	numbers, rest := m[3], s[len(m[0]):]
	// "-8u1": a number that goes on as a word is none of the version's.
	if rest != "" && numbers != "" && (letter(rest[0]) || rest[0] == '_') {
		cut := strings.LastIndexAny(numbers, "-.")
		numbers, rest = numbers[:cut], numbers[cut:]+rest
	}
	if numbers != "" {
		v.abi = strings.FieldsFunc(numbers, func(r rune) bool { return r == '-' || r == '.' })
	}
	rest = debianSuffix.ReplaceAllString(rest, "")
	v.flavour = strings.Trim(distroRelease.ReplaceAllString(rest, "$1$2"), ".-+~_")
	return v, true
}

// CompareVersions orders names of kernels by their versions alone.
func CompareVersions(a, b string) int {
	v, _ := parseVersion(a)
	w, _ := parseVersion(b)
	return v.compareTo(w)
}

// compareTo orders by version alone: flavours of one version are equal. A
// release stands after its candidates.
func (v version) compareTo(w version) int {
	return cmp.Or(
		compareNumbers(v.base, w.base),
		compareCandidates(v.rc, w.rc),
		compareNumbers(v.abi, w.abi),
	)
}

func compareCandidates(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return compareNumber(a, b)
}

// compareNumbers compares piece by piece; a missing piece is 0.
func compareNumbers(a, b []string) int {
	for i := range max(len(a), len(b)) {
		x, y := "0", "0"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := compareNumber(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareNumber compares digits of any length.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// noSeries is the series of kernels whose names hold no version.
const noSeries = "other"

// series is the mainline release that a kernel is of: "5.10".
func (v version) series() string {
	if len(v.base) < 2 || len(v.base[0]) > 4 || len(v.base[1]) > 4 {
		return noSeries
	}
	return v.base[0] + "." + v.base[1]
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
