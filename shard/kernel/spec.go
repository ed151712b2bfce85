package kernel

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// Options are the ",key=value" at the end of a spec.
type Options struct {
	URL     string // base URL of a mirror
	Key     string // file with the OpenPGP keys that have to have signed
	Flavour string
	Repo    string // name of a repository of pacman

	Metadata    string // "unsigned": only packages have to be signed
	UserProject string // that pays for reading a bucket
	Trusted     string // "yes": apt's lists need not be signed
}

// CutOptions splits ",url=..." and the other options off, as far as valid
// names them. A comma that no valid name follows belongs to what is
// before it, as in a URL.
func CutOptions(spec, rest string, valid ...string) (head string, o Options, err error) {
	head = rest
	for {
		at, name := -1, ""
		fields := map[string]*string{
			"url": &o.URL, "key": &o.Key, "flavour": &o.Flavour, "repo": &o.Repo, "metadata": &o.Metadata, "user-project": &o.UserProject, "trusted": &o.Trusted,
		}
		for v := range fields {
			if i := strings.LastIndex(head, ","+v+"="); i > at {
				at, name = i, v
			}
		}
		if at < 0 {
			if m := misspeltRE.FindStringSubmatch(head); m != nil {
				return "", o, Usagef("kernel source %q: option \",%s=\" is not known%s; valid are %s", spec, m[1], Suggest(m[1], valid), optionList(valid))
			}
			return head, o, nil
		}
		value := head[at+len(name)+2:]
		head = head[:at]
		field := fields[name]
		switch {
		case !slices.Contains(valid, name):
			return "", o, Usagef("kernel source %q: %s= has no meaning here; valid are %s", spec, name, optionList(valid))
		case value == "":
			return "", o, Usagef("kernel source %q: %s= is empty", spec, name)
		case *field != "":
			return "", o, Usagef("kernel source %q: %s= is given twice", spec, name)
		}
		*field = value
	}
}

// misspeltRE finds an option that is none. An address may hold a comma and an
// equals sign behind a slash or a question mark.
var misspeltRE = regexp.MustCompile(`,([a-z-]{1,16})=[^,]*$`)

func optionList(names []string) string {
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf("%q", ","+n+"=..."))
	}
	return strings.Join(list, " and ")
}

// Suggest returns `, did you mean "x"?` for the nearest of the valid words, ""
// when none is near.
func Suggest(word string, valid []string) string {
	best, dist := "", 3
	for _, v := range valid {
		// Of two that are as near, a letter is changed in one and missing in the
		// other: the first is likelier.
		d := editDistance(word, v)
		if d < len(v) && (d < dist || d == dist && best != "" && len(best) != len(word) && len(v) == len(word)) {
			best, dist = v, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean \"" + best + "\"?"
}

func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost++
			}
			prev = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// ArchHint is for an error about a flavour of kernels of arch: if the flavour is
// another architecture, it says how to ask for that.
func ArchHint(flavour, arch string) string {
	a := goarch.Named(flavour)
	if a.Name == "" || a.Name == arch {
		return ""
	}
	return fmt.Sprintf("; %q is an architecture: use --arch %s", flavour, a.Name)
}

// SpecHelp says what a --kernels value may be.
const SpecHelp = "expected debian:<suite>[:<flavour>], such as debian:bookworm:cloud-amd64, another distribution such as ubuntu:noble, fedora:43, opensuse:tumbleweed or arch:lts, gs://<bucket>[/<prefix>], rpm:<URL>, \"apt:<URL> <suite> <component>\", oci://<registry>/<repository>, a directory of kernels, kernel packages, or a kernel image"

// SchemeRE matches what may come before the first colon of a spec or URL.
var SchemeRE = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)
