package kernel

import (
	"path"
	"strings"
)

// CheckGlobs returns a *UsageError for the first glob that [Match] cannot read.
func CheckGlobs(globs []string) error {
	for _, g := range globs {
		text := strings.TrimPrefix(g, "!")
		if _, err := path.Match(text, ""); err != nil || text == "" {
			return usagef("kernel glob %q is not valid: expected *, ?, [a-z] or text, such as 'debian/6.1*' or '*cloud*', after a ! what is to be left out", g)
		}
	}
	return nil
}

// Match reports whether any of the globs matches the kernel's id, and none that
// starts with "!" does; where all start so, every other kernel matches. A glob
// without "/" matches the name or the whole id, so that "6.1*" finds
// debian/6.1.0-56-amd64__6.1.192-2; one with "/" matches the whole id. "*"
// stays within the distro or the name; "**" crosses the "/". A glob that is not
// valid matches nothing: see [CheckGlobs].
func Match(globs []string, id string) bool {
	name := id[strings.IndexByte(id, '/')+1:]
	wanted, all := false, true
	for _, g := range globs {
		g, not := strings.CutPrefix(g, "!")
		matches := matchOne(g, id) || !strings.Contains(g, "/") && matchOne(g, name)
		if not && matches {
			return false
		}
		if !not {
			wanted, all = wanted || matches, false
		}
	}
	return wanted || all
}

func matchOne(glob, s string) bool {
	if strings.Contains(glob, "**") {
		// path.Match knows no "**", but its "*" crosses anything but a "/".
		glob, s = strings.ReplaceAll(glob, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01")
	}
	ok, err := path.Match(glob, s)
	return ok && err == nil
}
