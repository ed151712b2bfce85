package shard

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// rareLabs are of the newest kernels that Debian has for the architectures that are
// not usual.
var rareLabs = map[string]func() (*lab, error){
	"riscv64": sync.OnceValues(func() (*lab, error) { return newLab("riscv64", "debian:sid:riscv64", "debian/[7-9].*") }),
	"s390x":   sync.OnceValues(func() (*lab, error) { return newLab("s390x", "debian:sid:s390x", "debian/[7-9].*") }),
	"ppc64le": sync.OnceValues(func() (*lab, error) { return newLab("ppc64le", "debian:sid:powerpc64le", "debian/[7-9].*") }),
}

func rareLab(t *testing.T, arch string) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs")
	}
	l, err := rareLabs[arch]()
	if err != nil {
		t.Fatalf("set up the VM tests for %s: %v", arch, err)
	}
	return l
}

// On each architecture the embedded tracer passes all of its tests, and a panic is
// seen, through whatever the console and the results come on there.
func TestRareArches(t *testing.T) {
	for arch := range rareLabs {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			l := rareLab(t, arch)
			tracerPasses(t, l, arch)

			p, err := guest.TestPayload(t.Context(), l.hostile, strings.Fields("sysrq-loop-c"), "/", arch, far)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, l.runner(t, p))
			if k.Verdict != report.Crash || k.Cause == nil || !regexp.MustCompile(`Kernel panic - not syncing: sysrq triggered crash`).MatchString(k.Cause.Title) {
				t.Errorf("verdict %v, want a crash: %+v", k.Verdict, k.Cause)
			}
		})
	}
}

// Both loaders load big-endian objects with constants, variables that are set, maps
// and CO-RE, and say what a kernel without the JIT compiler refuses.
func TestBigEndianObjects(t *testing.T) {
	t.Parallel()
	l := rareLab(t, "s390x")
	paths, err := filepath.Glob("../guest/loader/testdata/bpfeb/*.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	var values wire.Variant
	for _, v := range strings.Fields(`config.mode=MODE_GOOD config.on=true config.inner[1].name="a" config.inner[1].numbers[2]=-3`) {
		name, value, _ := strings.Cut(v, "=")
		values = append(values, wire.Variable{Name: name, Value: value})
	}
	p, err := guest.ObjectsPayload(t.Context(), "s390x", readObjectsFor(t, "s390x", paths), wire.Objects{
		Loader: wire.LoaderBoth, Load: wire.LoadEach, Attach: true, Unsupported: wire.TestFail,
		Settings: wire.ObjectSettings{
			Maps:     []wire.MapSetting{{Name: "settings/outer", Inner: "inner_map"}},
			Variants: []wire.Variant{values},
			Targets:  []wire.TargetOfProg{{Program: "settings/no_target", Section: "fentry/do_exit"}},
		},
	}, far)
	if err != nil {
		t.Fatal(err)
	}
	const noJIT = "rejected: cannot allocate memory: this kernel is built without the BPF JIT compiler"
	wants := map[string]want{}
	for _, name := range strings.Fields("net/egress net/filter net/pass ringbuf/emit ringbuf/map:unused settings/map:inner_map settings/maps settings/variables " +
		"trace/on_kprobe trace/on_kretprobe trace/on_raw_tracepoint trace/on_tp_btf trace/on_tracepoint") {
		wants[name] = want{wire.TestPass, "", ""}
	}
	for _, name := range strings.Fields("settings/no_target trace/on_fentry trace/on_fexit") {
		wants[name] = want{wire.TestFail, noJIT, ""}
	}
	k, _ := l.run(t, l.runner(t, p))
	for _, test := range k.Tests {
		w, ok := wants[test.Name]
		delete(wants, test.Name)
		if both := strings.Contains(test.Name, "map:") || test.Loader == "libbpf 1.8, ebpf-go v0.22.0"; !both {
			t.Errorf("%s was loaded by %s", test.Name, test.Loader)
		}
		if !ok || test.Verdict != w.verdict || !strings.Contains(test.Output, w.output) {
			t.Errorf("%s: %s, %q; want %s, %q", test.Name, test.Verdict, test.Output, w.verdict, w.output)
		}
	}
	for name := range wants {
		t.Errorf("%s: not reported", name)
	}
	ofSettings := func(name string) bool { return strings.HasPrefix(filepath.Base(name), "settings") }
	k.Tests = slices.DeleteFunc(k.Tests, func(test report.Test) bool { return strings.HasPrefix(test.Name, "settings/") })
	agrees(t, l, slices.DeleteFunc(paths, ofSettings), l.entry, k)
}
