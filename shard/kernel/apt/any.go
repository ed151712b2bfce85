package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// anyRepository is what the spec of any repository has beside its address and suite.
type anyRepository struct {
	components []string // of a flat repository, one without suites: none
	trusted    bool     // it need not be signed
}

var (
	suiteRE = regexp.MustCompile(`^[A-Za-z0-9./][A-Za-z0-9._+~/-]{0,200}$`)
	wordRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~/-]{0,200}$`)
)

// ParseAny reads "<URL> <suite> <component>...[,flavour=F][,key=FILE][,trusted=yes]", as
// in a line of sources.list. A flat repository has a directory that ends in a slash
// in place of suite and components.
func ParseAny(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	head, o, err := kernel.CutOptions(spec, rest, "flavour", "key", "trusted")
	if err != nil {
		return nil, err
	}
	words := strings.Fields(head)
	fits := len(words) >= 2 && suiteRE.MatchString(words[1]) && strings.HasSuffix(words[1], "/") == (len(words) == 2)
	if !fits || slices.ContainsFunc(words[2:], func(w string) bool { return !wordRE.MatchString(w) }) {
		return nil, kernel.Usagef("kernel source %q: expected \"apt:<URL> <suite> <component>...\", in quotes, or \"apt:<URL> ./\" for a repository without suites", spec)
	}
	switch {
	case o.Trusted != "" && o.Trusted != "yes":
		return nil, kernel.Usagef("kernel source %q: trusted=%s is not known: want trusted=yes", spec, o.Trusted)
	case o.Trusted != "" && o.Key != "":
		return nil, kernel.Usagef("kernel source %q: trusted=yes does not check the signatures that key= is for: leave one of them out", spec)
	case o.Flavour != "" && !wordRE.MatchString(o.Flavour):
		return nil, kernel.Usagef("kernel source %q: %q is no kernel flavour", spec, o.Flavour)
	}
	o.URL = words[0]
	s, err := newSource(spec, "apt", words[1], hostArch, cache, mirrors{vendor: report.Redact(o.URL), hostKeyring: "/etc/apt/trusted.gpg.d/*"}, o)
	if err != nil {
		return nil, err
	}
	s.any = &anyRepository{components: words[2:], trusted: o.Trusted != ""}
	if o.Flavour != "" {
		s.flavours = []string{o.Flavour}
	}
	return s, nil
}

// name returns the name of the private root.
func (a *anyRepository) name(where string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %v", where, a.components, a.trusted))
	return "any-" + hex.EncodeToString(sum[:8])
}

// fields returns the lines that a deb822 source has of it.
func (a *anyRepository) fields() (lines string) {
	if len(a.components) > 0 {
		lines = "Components: " + strings.Join(a.components, " ") + "\n"
	}
	if a.trusted {
		lines += "Trusted: yes\n"
	}
	return lines
}

// origin returns the Origin of the repository's Release file, safe as a part of an
// id, or "apt" if it has none.
func (r *privateRoot) origin() string {
	if origin := r.releaseField("Origin"); origin != "" {
		return kernel.SafeName(strings.ReplaceAll(strings.ToLower(origin), " ", "-"))
	}
	return "apt"
}

// releaseField returns a field of the suite's Release file, "" if there is none.
func (r *privateRoot) releaseField(name string) string {
	pattern := "*_dists_" + r.suite + "_*Release"
	if r.any != nil {
		pattern = "*Release" // apt keeps none but that of its source
	}
	found, _ := filepath.Glob(filepath.Join(r.lists(), pattern)) // its only error is a bad pattern
	for _, file := range found {
		b, err := os.ReadFile(file) // apt limits its size
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(line, name+":"); ok && strings.TrimSpace(value) != "" {
				return strings.TrimSpace(value)
			}
		}
	}
	return ""
}
