package build

import (
	"bytes"
	"strings"
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
		if a.Name == "" {
			continue // goarch does not have it
		}
		for _, name := range []string{
			"BPF_SYSCALL", "BPF_JIT", "BPF_JIT_ALWAYS_ON", "DEBUG_INFO", "DEBUG_INFO_BTF", "FUNCTION_TRACER", "FTRACE_SYSCALLS", "SECURITYFS", "BPF_LSM", "OVERLAY_FS",
			"VIRTIO", "NET_9P", "NET_9P_VIRTIO", "9P_FS", "VIRTIO_NET", "VIRTIO_CONSOLE", "SCSI_VIRTIO",
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

func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"a.config": "# words\n\nCONFIG_A=m\nCONFIG_N=5\nCONFIG_BOTH=y\n", "b/a.config": "CONFIG_A=y\n", "off.config": "# CONFIG_BOTH is not set\nCONFIG_TEXT=\"a b\"\n",
		"bad": "CONFIG_A=y\nA=y\n", "empty": "# CONFIG\n",
		".config": "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.192 Kernel Configuration\n#\nCONFIG_A=m\nCONFIG_B=y\n",
	})
	base := Recipe{Arch: arches[0], Base: "defconfig", Modules: "y", Options: []Option{{Name: "BOTH", Value: "n"}, {Name: "OURS", Value: "y"}}}
	at := func(names ...string) string {
		for i, n := range names {
			names[i] = dir + "/" + n
		}
		return strings.Join(names, ",")
	}
	kasan := []Option{{Name: "KASAN", Value: "y"}, {Name: "KASAN_GENERIC", Value: "y"}, {Name: "KASAN_INLINE", Value: "y"}}
	for _, tt := range []struct {
		config, debug, name string
		base                string
		options             []Option
		err                 string
	}{
		{"", "", "", "defconfig", base.Options, ""},
		{"", "kasan", "-kasan", "defconfig", append(base.Options[:2:2], kasan...), ""},
		{at("a.config"), "", "-a", "defconfig", []Option{{Name: "OURS", Value: "y"}, {Name: "A", Value: "y"}, {Name: "N", Value: "5"}, {Name: "BOTH", Value: "y"}}, ""},
		// What depends on what is turned off goes with it, but for what was asked for.
		{at("a.config", "off.config"), "", "-a-off", "defconfig", []Option{
			{Name: "OURS", Value: "y", Helper: true}, {Name: "A", Value: "y"}, {Name: "N", Value: "5"}, {Name: "BOTH", Value: "n"}, {Name: "TEXT", Value: `"a b"`},
		}, ""},
		{at(".config", "a.config"), "", "-config-a", "", []Option{
			{Name: "B", Value: "y", Helper: true}, {Name: "A", Value: "y"}, {Name: "N", Value: "5"}, {Name: "BOTH", Value: "y"},
		}, ""},
		{at("a.config", ".config"), "", "", "", nil, "is a whole configuration: name it before the fragments that change it"},
		{at("bad"), "", "", "", nil, `bad: line 2 is "A=y": want CONFIG_NAME=VALUE or # CONFIG_NAME is not set`},
		{at("empty"), "", "", "", nil, "empty: it sets no option"},
		{at("none"), "", "", "", nil, "no such file"},
		{"", "ksan", "", "", nil, `there is no "ksan": want kasan, lockdep, rcu, objects, ubsan`},
	} {
		var configs, debug []string
		if tt.config != "" {
			configs = []string{tt.config}
		}
		if tt.debug != "" {
			debug = []string{tt.debug}
		}
		got, err := Configurations(base, configs, debug)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.config, err, tt.err)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0].Name != tt.name || got[0].Base != tt.base {
			t.Errorf("%s: %+v, %v", tt.config, got, err)
			continue
		}
		if diff := cmp.Diff(tt.options, got[0].Options); diff != "" {
			t.Errorf("%s: %s", tt.config, diff)
		}
	}
	if _, err := Configurations(base, []string{at("a.config"), at("b/a.config")}, nil); err == nil || !strings.Contains(err.Error(), `two configurations make kernels that are called "-a"`) {
		t.Error(err)
	}
	if base.Options[1].Helper {
		t.Error("the recipe has changed")
	}
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte("CONFIG_A=m\n# CONFIG_B is not set\r\nCONFIG_C=\"x\"\nCONFIG_A=0x1f\n"))
	f.Add([]byte("# Automatically generated file; DO NOT EDIT.\nCONFIG_A=m"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseFragment(text)
		if err != nil {
			return
		}
		r := Recipe{Modules: "y", Options: []Option{{Name: "A", Value: "y"}}}.with(p)
		c := readConfig(t, merge([]byte("CONFIG_=y\nCONFIG_BASE_OF_ALL=y\n"), r))
		if missing := unmet(c, r.Options); len(missing) > 0 {
			t.Fatalf("not as wanted: %v", missing)
		}
	})
}
