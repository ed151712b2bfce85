package kernel

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// parser reads what follows "<scheme>:" in a spec.
type parser func(spec, rest, hostArch string, cache *Cache) (Source, error)

// schemes are the sources that are told by the word before the first colon.
func schemes() map[string]parser {
	all := map[string]parser{"debian": parseApt, "ubuntu": parseUbuntu, "rpm": parseRPM, "oci": parseOCI, "gs": parseGCS}
	for _, d := range rpmDistros() {
		all[d.name] = d.parse
	}
	return all
}

func schemeNames() []string {
	var names []string
	for name := range schemes() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// options are the ",key=value" at the end of a spec.
type options struct {
	url     string // base URL of a mirror
	key     string // file with the OpenPGP keys that have to have signed
	flavour string
}

// cutOptions splits ",url=...", ",key=..." and ",flavour=..." off, as far as
// valid names them. A comma that no valid name follows belongs to what is
// before it, as in a URL.
func cutOptions(spec, rest string, valid ...string) (head string, o options, err error) {
	head = rest
	for {
		at, name := -1, ""
		for _, v := range []string{"url", "key", "flavour"} {
			if i := strings.LastIndex(head, ","+v+"="); i > at {
				at, name = i, v
			}
		}
		if at < 0 {
			if m := misspeltRE.FindStringSubmatch(head); m != nil {
				return "", o, usagef("kernel source %q: option \",%s=\" is not known%s; valid are %s", spec, m[1], Suggest(m[1], valid), optionList(valid))
			}
			return head, o, nil
		}
		value := head[at+len(name)+2:]
		head = head[:at]
		field := map[string]*string{"url": &o.url, "key": &o.key, "flavour": &o.flavour}[name]
		switch {
		case !slices.Contains(valid, name):
			return "", o, usagef("kernel source %q: %s= has no meaning here; valid are %s", spec, name, optionList(valid))
		case value == "":
			return "", o, usagef("kernel source %q: %s= is empty", spec, name)
		case *field != "":
			return "", o, usagef("kernel source %q: %s= is given twice", spec, name)
		}
		*field = value
	}
}

// misspeltRE finds an option that is none. An address may hold a comma and an
// equals sign behind a slash or a question mark.
var misspeltRE = regexp.MustCompile(`,([a-z]{1,16})=[^,]*$`)

func optionList(names []string) string {
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf("%q", ","+n+"=..."))
	}
	return strings.Join(list, " and ")
}
