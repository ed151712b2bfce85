package child

import (
	"os"
	"slices"
	"strings"
)

// What a program needs to be found, to find its files and to reach a mirror.
var (
	passed = []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH",
		"APT_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH",
	}
	passedPrefixes = []string{"LC_", "XDG_", "QEMU_", "CCACHE_", "PKG_CONFIG_", "NIX_"}
)

// Environ is os.Environ without what programs of others have no business with: a
// job's token and inputs, a cloud's credentials. Start gives it to a command that
// has no environment of its own.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return !slices.Contains(passed, name) && !strings.HasSuffix(strings.ToLower(name), "_proxy") &&
			!slices.ContainsFunc(passedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	})
}
