package report

import (
	"fmt"
	"path"
	"strings"
)

// CheckKernelGlob says why a glob is none that [MatchKernel] can read.
func CheckKernelGlob(glob string) error {
	text := strings.TrimPrefix(glob, "!")
	if _, err := path.Match(text, ""); err != nil || text == "" {
		return fmt.Errorf("kernel glob %q is not valid: expected *, ?, [a-z] or text, such as 'debian/6.1*' or '*cloud*', after a ! what is to be left out", glob)
	}
	return nil
}

// MatchKernel reports whether any of the globs matches the kernel's id, and
// none that starts with "!" does; where all start so, every other kernel
// matches. A glob without "/" is about the name, so that "6.1*" finds
// debian/6.1.0-56-amd64__6.1.192-2; one with "/" matches the whole id. "*"
// stays within the distro or the name; "**" crosses the "/". A glob that is not
// valid matches nothing: see [CheckKernelGlob].
//
// Whatever chooses kernels by globs does it so: the flags, lists of kernels,
// expected failures and allowed splats.
func MatchKernel(globs []string, id string) bool {
	name := id[strings.IndexByte(id, '/')+1:]
	wanted, all := false, true
	for _, g := range globs {
		g, not := strings.CutPrefix(g, "!")
		matches := matchGlob(g, id) || !strings.Contains(g, "/") && matchGlob(g, name)
		if not && matches {
			return false
		}
		if !not {
			wanted, all = wanted || matches, false
		}
	}
	return wanted || all
}

func matchGlob(glob, s string) bool {
	if strings.Contains(glob, "**") {
		return MatchAcross(glob, s)
	}
	ok, err := path.Match(glob, s)
	return ok && err == nil
}

// MatchAcross is path.Match with a "*" that crosses the "/" too.
func MatchAcross(glob, s string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x01") }
	ok, err := path.Match(flat(glob), flat(s))
	return ok && err == nil
}
