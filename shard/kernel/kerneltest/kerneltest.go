// Package kerneltest is what the tests of several kinds of sources share.
package kerneltest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// NewCache is an empty cache.
func NewCache(t testing.TB) *kernel.Cache {
	t.Helper()
	c, err := kernel.NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Modules reads all of an image's modules into a map.
func Modules(t testing.TB, im *kernel.Image) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := im.ReadModules(context.Background(), func(string) bool { return true }, func(name string, size int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		if int64(len(b)) != size {
			t.Errorf("%s: size %d, but %d bytes", name, size, len(b))
		}
		got[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// List returns the kernels of a source.
func List(t testing.TB, s kernel.Source) []kernel.Ref {
	t.Helper()
	refs, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// IDs returns the IDs of refs.
func IDs(refs []kernel.Ref) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.ID())
	}
	return out
}

// CollectWarnings returns a function that gives the warnings since its last call.
func CollectWarnings(c *kernel.Cache) func() []string {
	var mu sync.Mutex
	var got []string
	c.Warn = func(s string) { mu.Lock(); defer mu.Unlock(); got = append(got, s) }
	return func() []string { mu.Lock(); defer mu.Unlock(); w := slices.Clone(got); got = nil; return w }
}

// Command runs a program and returns what it wrote.
func Command(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// shared is the key that tests sign with where any will do.
var shared struct {
	sync.Mutex
	gnupg, keyring string
}

// Key returns the home and the exported keyring of a key that tests share.
// TestMain has to end with [RemoveKeys].
func Key(t testing.TB) (gnupg, keyring string) {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.gnupg == "" {
		shared.gnupg, shared.keyring = newKey(t, "ed25519")
	}
	return shared.gnupg, shared.keyring
}

// RemoveKeys removes what [Key] has made.
func RemoveKeys() { removeKey(shared.gnupg) }

// NewKey makes a key of an algorithm as gpg names it, and returns its home and
// its exported keyring.
func NewKey(t testing.TB, algo string) (gnupg, keyring string) {
	t.Helper()
	gnupg, keyring = newKey(t, algo)
	t.Cleanup(func() { removeKey(gnupg) })
	return gnupg, keyring
}

func newKey(t testing.TB, algo string) (gnupg, keyring string) {
	t.Helper()
	// gpg-agent's socket has to fit into 108 bytes, which t.TempDir may not.
	gnupg, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	Command(t, "gpg", "--homedir", gnupg, "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "test", algo, "sign", "never")
	keyring = filepath.Join(gnupg, "exported.gpg")
	Command(t, "gpg", "--homedir", gnupg, "--batch", "--output", keyring, "--export")
	return gnupg, keyring
}

func removeKey(gnupg string) {
	if gnupg != "" {
		_ = exec.Command("gpgconf", "--homedir", gnupg, "--kill", "all").Run()
		_ = os.RemoveAll(gnupg)
	}
}

// Sum is the SHA-256 in hex.
func Sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// SafeID matches IDs that are safe as relative paths.
var SafeID = regexp.MustCompile(`^[A-Za-z0-9_+~][A-Za-z0-9._+~-]*/[A-Za-z0-9_+~][A-Za-z0-9._+~-]*$`)

// Parse parses a spec as the host amd64 would, by what reads its scheme.
func Parse(t testing.TB, spec string, c *kernel.Cache, parse func(spec, rest, hostArch string, c *kernel.Cache) (kernel.Source, error)) kernel.Source {
	t.Helper()
	_, rest, _ := strings.Cut(spec, ":")
	s, err := parse(spec, rest, "amd64", c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
