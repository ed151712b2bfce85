package build

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// linuxSource is the newest source package of Debian or Ubuntu on this machine.
func linuxSource(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("configures and builds Linux; -short was given")
	}
	var found []string
	for _, glob := range []string{"/usr/src/linux-source-*.tar.*", "/usr/src/linux-source-*/linux-source-*.tar.*"} {
		m, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, m...)
	}
	if len(found) == 0 {
		const missing = "there is no source of Linux in /usr/src: apt-get install linux-source"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return slices.MaxFunc(found, func(a, b string) int { return report.CompareVersions(filepath.Base(a), filepath.Base(b)) })
}

// Linux takes the whole configuration, says why where it does not, and a small
// one is built. The source is unpacked once, which takes half a minute.
func TestLinux(t *testing.T) {
	source := linuxSource(t)
	b := builder(t, new([]string), source)
	arch, err := LookupArch(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	b.Recipes = []Recipe{Mainline(arch)}
	b.Make = nil
	if err := b.CheckTools(t.Context()); err != nil {
		t.Fatal(err)
	}
	kernels, err := b.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := kernels[0]
	dir := filepath.Join(b.Scratch, "source")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := k.unpack(t.Context(), dir); err != nil {
		t.Fatal(err)
	}

	t.Run("configure", func(t *testing.T) {
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		tr := &tree{dir: dir, arch: arch, jobs: 2, log: log}
		version, err := tr.version(t.Context())
		if err != nil || !strings.Contains(source, version[:3]) {
			t.Errorf("%s is %q, %v", source, version, err)
		}
		if _, err := tr.configure(t.Context(), b.Recipes[0]); err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(filepath.Join(dir, ".config"))
		if err != nil {
			t.Fatal(err)
		}
		if b.Recipes[0].Modules == "y" && bytes.Contains(config, []byte("=m\n")) {
			t.Error("something is left to be a module")
		}

		// An option that the tree refuses is named with what it depends on.
		r := b.Recipes[0]
		r.Options = slices.DeleteFunc(slices.Clone(r.Options), func(o Option) bool {
			return slices.Contains([]string{"KPROBES", "KPROBE_EVENTS", "UPROBE_EVENTS", "PERF_EVENTS", "DEBUG_INFO_REDUCED"}, o.Name)
		})
		r.Options = append(r.Options, Option{Name: "KPROBES", Value: "n"}, Option{Name: "UPROBE_EVENTS", Value: "n"}, Option{Name: "DEBUG_INFO_REDUCED", Value: "y"}, Option{Name: "NO_SUCH_OPTION", Value: "y"})
		_, err = tr.configure(t.Context(), r)
		for _, want := range []string{
			"CONFIG_BPF_EVENTS is n, not y (kernel/trace/Kconfig:", "KPROBE_EVENTS || UPROBE_EVENTS",
			"CONFIG_BPF_LSM is n, not y (kernel/bpf/Kconfig:", "depends on BPF_EVENTS",
			"CONFIG_DEBUG_INFO_BTF is n, not y (lib/Kconfig.debug:", "!DEBUG_INFO_REDUCED",
			"CONFIG_NO_SUCH_OPTION is n, not y: this tree has no such option",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v\nwant %q", err, want)
			}
		}
	})

	t.Run("build", func(t *testing.T) {
		k.recipe = Recipe{Arch: arch, Base: "tinyconfig", Modules: "n", Options: tinyOptions(arch)}
		k.unpack = func(_ context.Context, to string) error { return errors.Join(os.Remove(to), os.Rename(dir, to)) }
		chain, err := b.toolchain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k.key = b.key(k, chain)
		store := store{dir: filepath.Join(b.Cache, "built")}
		start := time.Now()
		if err := b.build(t.Context(), k, map[string]string{}, store); err != nil {
			t.Fatal(err)
		}
		if !store.find(t.Context(), k) {
			t.Fatal("what was built is not kept")
		}
		info, err := image.ProbeFile(k.Image)
		if err != nil || info.Arch != arch.Name || "v"+info.Version != k.Name || info.Version != k.Release {
			t.Errorf("%s, release %s: %+v, %v", k.Name, k.Release, info, err)
		}
		t.Logf("%s: %d bytes in %v", k.Name, k.Size, time.Since(start))
	})
}

// tinyOptions are what a kernel of 64 bits needs beyond tinyconfig, and what
// builds faster than what tinyconfig takes.
func tinyOptions(arch Arch) []Option {
	options := []Option{{Name: "64BIT", Value: "y"}, {Name: "PRINTK", Value: "y"}}
	if arch.Name == "amd64" {
		options = append(options, Option{Name: "KERNEL_GZIP", Value: "y"}, Option{Name: "KERNEL_XZ", Value: "n"})
	}
	return options
}
