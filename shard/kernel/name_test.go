package kernel

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"6.1.0-56-cloud-amd64__6.1.192-2": "6.1.0-56-cloud-amd64__6.1.192-2",
		"6.12+deb13~rc1":                  "6.12+deb13~rc1",
		"":                                "_",
		"1:2.3":                           "1_3a2.3",
		"../x":                            "_2e._2fx",
		"-rf":                             "_2drf",
		"a\nb\x00é":                       "a_0ab_00_c3_a9",
	} {
		if got := SafeName(in); got != want {
			t.Errorf("SafeName(%q) = %q, want %q", in, got, want)
		}
	}
	a, b := SafeName(strings.Repeat("x", 300)), SafeName(strings.Repeat("x", 301))
	if len(a) != MaxName || a == b {
		t.Errorf("long names: %q, %q", a, b)
	}
}

func FuzzSafeName(f *testing.F) {
	f.Add("6.1.0-9")
	f.Add("~")
	f.Fuzz(func(t *testing.T, a string) {
		if n := SafeName(a); SafeName(n) != n || !strings.ContainsAny(n[:1], "_+~") && !isAlnum(n[0]) {
			t.Fatalf("SafeName(%q) = %q", a, n)
		}
	})
}

func isAlnum(c byte) bool { return c != '.' && c != '-' && image.SafeByte(c) }
