package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// What objects.go exists for: each value becomes what the loader is told.
func TestObjectSettings(t *testing.T) {
	o := objectSettings{
		maps:         []string{"events:max_entries=0x1000,pinned", " probe/outer:type=hash_of_maps,inner=inner, key_size=4,value_size=8,flags=1"},
		variants:     []string{"a=1", `cfg.comm="a,b\",c", cfg.ports[2]=-1 ,sep=',',eq=a=b`, "probe/a=0"},
		programs:     []string{"on_*", "!probe/on_exit"},
		alternatives: []string{"a | b|c", "probe/a|b", "x|probe/y"},
		targets:      []string{"on_exit=fentry/do_exit", "probe/on_open = kprobe.multi/security_*"},
	}
	got, err := o.parse()
	if err != nil {
		t.Fatal(err)
	}
	want := wire.ObjectSettings{
		Maps: []wire.MapSetting{{Name: "events", MaxEntries: 4096, Pinned: true}, {Name: "probe/outer", Type: "hash_of_maps", Inner: "inner", KeySize: 4, ValueSize: 8, Flags: 1}},
		Variants: []wire.Variant{
			{{Name: "a", Value: "1"}},
			{{Name: "cfg.comm", Value: `"a,b\",c"`}, {Name: "cfg.ports[2]", Value: "-1"}, {Name: "sep", Value: "','"}, {Name: "eq", Value: "a=b"}},
			{{Name: "probe/a", Value: "0"}},
		},
		Programs:     []string{"on_*", "!probe/on_exit"},
		Alternatives: [][]string{{"a", "b", "c"}, {"probe/a", "probe/b"}, {"x", "probe/y"}},
		Targets:      []wire.TargetOfProg{{Program: "on_exit", Section: "fentry/do_exit"}, {Program: "probe/on_open", Section: "kprobe.multi/security_*"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The command that reproduces a result has all of them, and debug --from takes
// from it what is not given.
func TestLoadingAgain(t *testing.T) {
	was := loading{loader: "both", load: "whole", objectSettings: objectSettings{maps: []string{"m:pinned"}, variants: []string{"a=1", "a=2"}, programs: []string{"p"}, alternatives: []string{"a|b"}, targets: []string{"p=xdp"}, btf: "dir"}}
	var o debugOptions
	k := &report.Result{Reproduce: report.Command(slices.Concat([]string{"--kernels", "x", "--objects", "x.o"}, was.flags(), []string{"id"})...)}
	if err := o.restore(k, func(string) string { return "" }, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(was.flags(), o.payload.loading.flags()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	o = debugOptions{given: func(flag string) bool { return flag == "loader" }}
	o.payload.loading = loading{loader: "libbpf", objectSettings: objectSettings{variants: []string{"a=3"}}}
	if err := o.restore(k, func(string) string { return "" }, func(string) {}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(o.payload.loading.flags(), " ")
	if want := "--map m:pinned --set a=3 --programs p --alternatives a|b --target p=xdp --loader libbpf --load whole --btf dir"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is parsed can be said again, and means the same.
func FuzzObjectSettings(f *testing.F) {
	f.Add("events:max_entries=4096,type=hash,pinned", `a=1,cfg.comm="x,y"`, "a | b", "p=fentry/f", "!x*")
	f.Add("o/m:inner=i", "o/v[0].m='\\''", "o/a|b|p/c", "o/p=xdp", "[a-z]")
	f.Fuzz(func(t *testing.T, m, set, alternatives, target, program string) {
		o := objectSettings{maps: []string{m}, variants: []string{set}, alternatives: []string{alternatives}, targets: []string{target}, programs: []string{program}}
		s, err := o.parse()
		if err != nil {
			return
		}
		var set2 []string
		for _, v := range s.Variants[0] {
			if v.Name == "" || v.Value == "" {
				t.Fatalf("%q: %+v", set, v)
			}
			set2 = append(set2, v.Name+"="+v.Value)
		}
		again, err := (&objectSettings{
			variants: []string{strings.Join(set2, ",")}, alternatives: []string{strings.Join(s.Alternatives[0], "|")},
			targets: []string{s.Targets[0].Program + "=" + s.Targets[0].Section},
		}).parse()
		if err != nil {
			t.Fatal(err)
		}
		again.Maps, again.Programs = s.Maps, s.Programs
		if d := cmp.Diff(s, again); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		names := append(slices.Clone(s.Alternatives[0]), s.Maps[0].Name, s.Targets[0].Program)
		if i := slices.IndexFunc(names, func(n string) bool { return !isName(n) }); i >= 0 {
			t.Errorf("%q is no name", names[i])
		}
	})
}

// A loader and settings reach the payload, and other ones make another payload.
func TestObjectsPayloadSettings(t *testing.T) {
	digests := map[string]string{}
	for _, more := range []string{
		"", "--loader ebpf-go", "--loader both", "--load whole", "--map events:max_entries=4096", "--map events:max_entries=8192", "--set mode=1", "--set mode=0",
		"--set mode=1 --set mode=0", "--programs emit", "--programs !emit", "--alternatives on_exit_fentry|on_exit_kprobe", "--target later=fentry/do_exit",
		"--btf /dev/null",
	} {
		var o payloadOptions
		cmd := (&command{}).runCommand()
		cmd.ResetFlags()
		o.add(cmd)
		if err := cmd.ParseFlags(append([]string{"--objects", "testdata/objects/probe.bpf.o"}, strings.Fields(more)...)); err != nil {
			t.Fatal(err)
		}
		c := &command{getenv: func(string) string { return "" }, stderr: &bytes.Buffer{}}
		p, err := c.readPayload(t.Context(), o, "amd64", 0)
		if more == "--btf /dev/null" {
			if err == nil || !strings.Contains(err.Error(), `--btf "/dev/null" is no regular file`) {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", more, err)
		}
		if other, twice := digests[p.Digest()]; twice {
			t.Errorf("%q and %q are the same payload", more, other)
		}
		digests[p.Digest()] = more
	}
}

// Of an object that is none, preflight says what run does.
func TestPreflightBroken(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile("testdata/objects/probe.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	x86 := slices.Clone(good)
	x86[18], x86[19] = byte(elf.EM_X86_64), 0
	for name, b := range map[string][]byte{
		"good": good, "x86": x86, "text": []byte("no object\n"), "empty": nil,
		// An ELF header is enough to tell the order of the bytes.
		"big": slices.Concat([]byte("\x7fELF\x02\x02\x01"), make([]byte, 9), []byte{0, 1, 0, 247, 0, 0, 0, 1}, make([]byte, 28), []byte{0, 64, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".o"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dir.o"), 0o700), os.Symlink("nowhere", filepath.Join(dir, "dangling.o"))); err != nil {
		t.Fatal(err)
	}
	objects, err := readObjects([]string{filepath.Join(dir, "*.o")}, "amd64", "auto", wire.ObjectSettings{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, o := range objects {
		got[o.Name] = o.Broken
	}
	for name, want := range map[string]string{
		"good": "", "x86": "is built for amd64, not for BPF: ", "text": "is no ELF object: ", "empty": "is", "big": "is built big-endian", "dir": "is", "dangling": "does not exist: ",
	} {
		if is := got[name]; !strings.HasPrefix(is, want) || (is == "") != (want == "") {
			t.Errorf("%s: %q, want %q", name, is, want)
		}
	}
}

// With both loaders preflight has libbpf's answer, of what ebpf-go can read.
func TestPreflightBoth(t *testing.T) {
	b, err := os.ReadFile("testdata/objects/probe.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"good": b, "untyped": bytes.ReplaceAll(b, []byte(".BTF\x00"), []byte(".XXX\x00"))} {
		if err := os.WriteFile(filepath.Join(dir, name+".o"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := readObjects([]string{filepath.Join(dir, "*.o")}, "amd64", wire.LoaderBoth, wire.ObjectSettings{})
	if err != nil {
		t.Fatal(err)
	}
	if good := objects[0]; good.Broken != "" || good.Loader == wire.LoaderGo {
		t.Errorf("%q, for %s", good.Broken, good.Loader)
	}
	if untyped := objects[1]; !strings.HasPrefix(untyped.Broken, "cannot be read by ebpf-go") {
		t.Errorf("%q", untyped.Broken)
	}
}
