package build

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

func TestMerge(t *testing.T) {
	base := `#
# Automatically generated file
#
CONFIG_64BIT=y
CONFIG_EFIVAR_FS=m
CONFIG_DEBUG_INFO_NONE=y
# CONFIG_BPF_SYSCALL is not set
CONFIG_LOCALVERSION="-x"
CONFIG_HZ=250
# CONFIG_ is not set
CONFIG_A-B=y
`
	options := []Option{
		{Name: "BPF_SYSCALL", Value: "y"},
		{Name: "DEBUG_INFO_NONE", Value: "n"},
		{Name: "LOCALVERSION", Value: `""`},
	}
	for modules, want := range map[string]string{
		"y": "CONFIG_64BIT=y\nCONFIG_EFIVAR_FS=y\nCONFIG_HZ=250\n",
		"n": "CONFIG_64BIT=y\n# CONFIG_EFIVAR_FS is not set\nCONFIG_HZ=250\n",
	} {
		want += "CONFIG_BPF_SYSCALL=y\n# CONFIG_DEBUG_INFO_NONE is not set\nCONFIG_LOCALVERSION=\"\"\n"
		if diff := cmp.Diff(want, string(merge([]byte(base), Recipe{Modules: modules, Options: options}))); diff != "" {
			t.Errorf("modules to %s: %s", modules, diff)
		}
	}
}

func readConfig(t *testing.T, text []byte) image.Config {
	t.Helper()
	c, err := image.ReadConfig(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUnmet(t *testing.T) {
	c := readConfig(t, []byte("CONFIG_YES=y\nCONFIG_MOD=m\n# CONFIG_NO is not set\nCONFIG_TEXT=\"\"\n"))
	met := []Option{{Name: "YES", Value: "y"}, {Name: "NO", Value: "n"}, {Name: "ABSENT", Value: "n"}, {Name: "TEXT", Value: `""`}, {Name: "NO", Value: "y", Helper: true}}
	not := []Option{{Name: "YES", Value: "n"}, {Name: "MOD", Value: "y"}, {Name: "MOD", Value: "n"}, {Name: "NO", Value: "y"}, {Name: "ABSENT", Value: "y"}, {Name: "TEXT", Value: `"-x"`}}
	if diff := cmp.Diff(not, unmet(c, append(met, not...))); diff != "" {
		t.Error(diff)
	}
}

// What is merged has every option exactly as the recipe wants it, and merging
// again changes nothing.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("CONFIG_A=m\n# CONFIG_BPF_SYSCALL is not set\nCONFIG_BPF_JIT=y"))
	f.Add([]byte("CONFIG_DEBUG_INFO_NONE=y\r\nCONFIG_X=\"=\"\n\nCONFIG_=y"))
	r := Mainline(arches[0])
	f.Fuzz(func(t *testing.T, base []byte) {
		once := merge(base, r)
		c := readConfig(t, once)
		if missing := unmet(c, r.Options); len(missing) > 0 {
			t.Fatalf("not as wanted: %v", missing)
		}
		for name, value := range c {
			if value == "m" {
				t.Fatalf("%s is a module", name)
			}
		}
		if diff := cmp.Diff(readConfig(t, merge(once, r)), c); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The options that the documentation promises.
func TestMainlineRecipe(t *testing.T) {
	for _, a := range arches {
		r := Mainline(a)
		for _, name := range []string{
			"BPF_SYSCALL", "BPF_JIT", "BPF_JIT_ALWAYS_ON", "DEBUG_INFO", "DEBUG_INFO_BTF", "FUNCTION_TRACER", "FTRACE_SYSCALLS", "SECURITYFS", "BPF_LSM", "OVERLAY_FS",
			"VIRTIO", "VIRTIO_PCI", "NET_9P", "NET_9P_VIRTIO", "9P_FS", "VIRTIO_NET", "VIRTIO_CONSOLE", "SCSI_VIRTIO",
		} {
			if !r.wants(name) {
				t.Errorf("%s: %s is not wanted", a.Name, name)
			}
		}
		seen := make(map[string]bool)
		for _, o := range r.Options {
			if seen[o.Name] {
				t.Errorf("%s: %s stands there twice", a.Name, o.Name)
			}
			seen[o.Name] = true
		}
	}
}
