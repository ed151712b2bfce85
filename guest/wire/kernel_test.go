package wire

import (
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig(strings.NewReader("# comment\nCONFIG_BPF_SYSCALL=y\nCONFIG_OVERLAY_FS=m\n# CONFIG_BPF_LSM is not set\nCONFIG_LSM=\"lockdown,bpf\"\nCONFIG_OTHER=7\n CONFIG_KPROBES=y\nCONFIG_XDP_SOCKETS=y"))
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[string]string{
		"BPF_SYSCALL": "y", "OVERLAY_FS": "m", "BPF_LSM": "n", "LSM": "lockdown,bpf",
		"KPROBES":     "n", // not at the start of a line: no such file is made by the kernel's build
		"XDP_SOCKETS": "y", // without a newline at the end
	} {
		if got[o] != want {
			t.Errorf("%s is %q, want %q", o, got[o], want)
		}
	}
	if len(got) != len(ConfigOptions()) {
		t.Errorf("%d options, want %d", len(got), len(ConfigOptions()))
	}
	for _, bad := range []string{"", "\x00\x01", "no config"} {
		if got, err := ParseConfig(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("CONFIG_BPF=y\nCONFIG_LSM=\"a\"\n# CONFIG_X is not set\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseConfig(strings.NewReader(in))
		if (got == nil) != (err != nil) {
			t.Fatalf("%v, %v", got, err)
		}
		for o, v := range got {
			if len(v) > 200 || o == "" {
				t.Fatalf("%q=%q", o, v)
			}
		}
	})
}
