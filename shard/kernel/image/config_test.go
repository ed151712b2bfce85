package image

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// ikconfig is a configuration as a kernel's image holds it.
func ikconfig(text string) []byte {
	var b bytes.Buffer
	b.WriteString(configBegin)
	zw := gzip.NewWriter(&b)
	_, _ = zw.Write([]byte(text)) // a buffer takes everything
	_ = zw.Close()
	b.WriteString(configEnd)
	return b.Bytes()
}

func TestConfigInImage(t *testing.T) {
	const text = "# Linux/x86 6.1\nCONFIG_BPF=y\n# CONFIG_TTY is not set\nCONFIG_CC=\"gcc 12\"\r\nCONFIG_OVERLAY_FS=m\n"
	want := Config{"BPF": "y", "CC": "gcc 12", "OVERLAY_FS": "m"}
	filler := bytes.Repeat([]byte("\x7fELF code IKCFG_S and so on "), 20_000)
	for name, image := range map[string][]byte{
		"alone":             ikconfig(text),
		"after code":        append(bytes.Clone(filler), ikconfig(text)...),
		"across a read":     append(filler[:256<<10-3:256<<10-3], ikconfig(text)...),
		"after a mark":      append([]byte(configBegin+"not packed"), append(bytes.Clone(filler), ikconfig(text)...)...),
		"after an end mark": append([]byte(configBegin+"x"+configEnd), ikconfig(text)...),
	} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, image, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := FindConfig(path)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, image := range map[string][]byte{
		"no mark": filler, "empty": nil, "cut": ikconfig(text)[:40], "marks alone": bytes.Repeat([]byte(configBegin+configEnd), 100), "no options": ikconfig("nothing\n"),
	} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, image, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := FindConfig(path); !errors.Is(err, ErrNoConfig) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestConfigIsCapped(t *testing.T) {
	var limit *bounded.LimitError
	if _, err := ReadConfig(strings.NewReader(strings.Repeat("# comment\n", maxConfigBytes/5))); !errors.As(err, &limit) {
		t.Errorf("of many bytes: %v", err)
	}
	var b strings.Builder
	for i := range maxConfigOptions + 2 {
		b.WriteString("CONFIG_" + string(rune('A'+i%26)) + strings.Repeat("X", i/26%40) + strings.Repeat("Y", i/26/40) + "=y\n")
		if b.Len() > maxConfigBytes-200 {
			break
		}
	}
	if c, err := ReadConfig(strings.NewReader(b.String())); err == nil && len(c) > maxConfigOptions {
		t.Errorf("%d options", len(c))
	}
	// Packed, the limit counts what comes out.
	if c, ok := packedConfig(ikconfig(strings.Repeat("CONFIG_A=y\n", maxConfigBytes/5))[len(configBegin):]); ok {
		t.Errorf("%d options", len(c))
	}
}

// A complete configuration has no obstacles, and each option that is needed is
// missed.
func TestMissingOptions(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		full := Config{}
		for _, n := range needs() {
			if n.arch == "" || n.arch == arch {
				full[n.option] = "y"
			}
		}
		if got := full.MissingOptions(arch); len(got) > 0 {
			t.Errorf("%s: %v", arch, got)
		}
		for option := range full {
			c := Config{}
			for o, v := range full {
				c[o] = v
			}
			delete(c, option)
			got := c.MissingOptions(arch)
			if len(got) != 1 || got[0].What != "CONFIG_"+option+" is off" {
				t.Errorf("%s without %s: %v", arch, option, got)
				continue
			}
			boot := c.NoBoot(arch)
			if len(boot) == 1 != got[0].Fatal {
				t.Errorf("%s without %s cannot boot: %v", arch, option, boot)
			}
			c[option] = "m"
			if got := c.MissingOptions(arch); len(got) == 0 != (option == "OVERLAY_FS") {
				t.Errorf("%s with %s as a module: %v", arch, option, got)
			}
		}
	}
	if got := (Config{}).MissingOptions("amd64"); !got[0].Fatal || got[len(got)-1].Fatal {
		t.Errorf("the fatal ones are not first: %v", got)
	}
	if got := (Config{"VIRTIO": "m", "NET_9P": "y"}).Missing(ShareOptions("VIRTIO_PCI")); !cmp.Equal(got, []string{"VIRTIO_PCI", "NET_9P_VIRTIO", "9P_FS", "OVERLAY_FS"}) {
		t.Errorf("%q", got)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(ikconfig("CONFIG_A=y\n"))
	f.Add([]byte(configBegin + configBegin + configEnd))
	f.Add([]byte("CONFIG_A=y\nCONFIG_=\nCONFIG_B"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func() (Config, error){
			func() (Config, error) { return findConfig(bytes.NewReader(b), 8) },
			func() (Config, error) { return ReadConfig(bytes.NewReader(b)) },
		} {
			c, err := read()
			if (err == nil) != (len(c) > 0) || len(c) > maxConfigOptions {
				t.Fatalf("%d options, %v", len(c), err)
			}
		}
	})
}
