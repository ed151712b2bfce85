package report

import (
	"regexp"
	"slices"
	"strings"
)

// Hidden stands in a secret's place.
const Hidden = "xxxxx"

var (
	// authorityRE is what may have a name and password, or a token, in an address.
	// It does not reach into a path, as image names have an @ too.
	authorityRE = regexp.MustCompile(`://[^/?#\s]*`)
	// optionRE begins an option of a source of kernels.
	optionRE = regexp.MustCompile(`,[a-z-]+=`)
	// queryRE is a parameter of an address.
	queryRE = regexp.MustCompile(`([?&;])([^?&;=#\s]*)=([^&;#\s"'),]+)`)
	// secretRE tells by its name what is a secret: X-Amz-Signature, sig,
	// access_token, api-token.
	secretRE = regexp.MustCompile(`(?i)token|secret|passw|passphrase|pwd|credential|signature|(api|access|private)[-_]?key|(^|[-_.])(auth|bearer|jwt|key|sig)$`)
)

// Redact returns a text, such as a source of kernels or an error, without the
// secrets of the addresses in it. It is the one form that is shown and stored;
// what only differs in a password becomes equal.
func Redact(text string) string {
	text = authorityRE.ReplaceAllStringFunc(text, func(s string) string {
		end := len(s)
		if i := optionRE.FindStringIndex(s); i != nil {
			end = i[0]
		}
		i := strings.LastIndex(s[:end], "@")
		if i < 0 || strings.HasPrefix(s[i:], "@sha256:") { // an image's digest
			return s
		}
		return "://" + s[i+1:]
	})
	return queryRE.ReplaceAllStringFunc(text, func(p string) string {
		if m := queryRE.FindStringSubmatch(p); secretRE.MatchString(m[2]) {
			return m[1] + m[2] + "=" + Hidden
		}
		return p
	})
}

// RedactWords is [Redact] for a command line: the values of flags and variables
// whose names say that they are secrets are left out, as in --api-token=T,
// --api-token T and TOKEN=T.
func RedactWords(words []string) []string {
	words = slices.Clone(words)
	after := false // a flag whose value is the next word
	for i, w := range words {
		name, _, joined := strings.Cut(w, "=")
		flag := strings.HasPrefix(w, "-")
		secret := secretRE.MatchString(strings.TrimLeft(name, "-")) && !strings.ContainsAny(name, "/: ")
		switch {
		case joined && secret:
			words[i] = name + "=" + Hidden
		case after && !flag:
			words[i] = Hidden
		default:
			words[i] = Redact(w)
		}
		after = flag && !joined && secret
	}
	return words
}
