package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// onDemandPayload is testdata/ondemand with some of its steps.
func onDemandPayload(t *testing.T, steps ...string) guest.Payload {
	t.Helper()
	out := filepath.Join(t.TempDir(), "ondemand")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/ondemand")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOAMD64=v2")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	p, err := guest.TestPayload(t.Context(), out, steps, "/", "amd64", far)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What the kernel asks for comes by itself, booted and restored, and what it
// would have met had it come along is named.
func TestModulesComeByThemselves(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	for _, k := range []struct {
		source, glob string
		boots        []Boot
	}{
		{"debian:bullseye:amd64", "debian/5.10.*-amd64*", []Boot{BootCold}}, // crc32c is a module
		{vmSource, vmGlob, []Boot{BootCold, BootWarm}},
		{"debian:trixie:cloud-amd64", "debian/6.12.*", []Boot{BootCold}},
		{"debian:sid:cloud-amd64", "debian/7.*", []Boot{BootCold}},
	} {
		for _, boot := range k.boots {
			t.Run(k.glob+", "+boot.String(), func(t *testing.T) {
				t.Parallel()
				src, err := source.Parse(k.source, l.cache)
				if err != nil {
					t.Fatal(err)
				}
				list, err := plan.New(t.Context(), []kernel.Source{src}, []string{k.glob})
				if err != nil {
					t.Fatal(err)
				}
				r := l.runner(t, onDemandPayload(t))
				r.Boot, r.QEMUDigest = boot, "test"
				got, console := l.run(t, r, list.Newest())
				if got.Verdict != report.Pass || len(got.Tests) != 15 || got.Boot != boot.String() {
					t.Fatalf("%v %+v, boot %q\n%s", got.Verdict, got.Cause, got.Boot, console)
				}
				if d := cmp.Diff([]string{"macsec: the kernel asked for rtnl-link-macsec: --module macsec"}, got.Modules); d != "" {
					t.Errorf("modules (-want +got):\n%s", d)
				}
				if _, loaded, _ := strings.Cut(console, "init: modules loaded on demand: "); !strings.Contains(strings.SplitN(loaded, "\n", 2)[0], "vxlan") {
					t.Error("the console does not say what was loaded")
				}
			})
		}
	}
}

// Without the set nothing comes, and nobody tells of it.
func TestNoModulesOnDemand(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	p := onDemandPayload(t, "vxlan", "sctp")
	p.OnDemand = guest.OnDemandNone
	if k, console := l.run(t, l.runner(t, p)); k.Verdict != report.Fail || len(k.Modules) > 0 || len(k.Tests) != 2 || k.Tests[0].Verdict != "fail" || k.Tests[1].Verdict != "fail" {
		t.Errorf("%v, modules %q, tests %+v\n%s", k.Verdict, k.Modules, k.Tests, console)
	}
}

// A user's own module is loaded with its parameters. A kernel that does not take
// it fails with the reason, before the payload runs.
func TestOwnModule(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	found, err := l.image(t).Modules(t.Context(), []string{"dummy"}, nil)
	if err != nil || len(found.First) != 1 {
		t.Fatalf("%v, %v", found.First, err)
	}
	info := found.Info["dummy"]
	for _, tt := range []struct {
		name     string
		own      string
		params   string
		vermagic string
		spoil    func(b []byte)
		verdict  report.Verdict
		cause    string
	}{
		{name: "loads", own: "dummy", params: "numdummies=2", verdict: report.Pass},
		{name: "refused", own: "dummy", spoil: func(b []byte) { clear(b[:16]) }, verdict: report.Fail, cause: "the kernel does not load the module dummy: "}, // its signature is none any more, either,
		{name: "parameters", own: "dummy", params: "numdummies=many", verdict: report.Fail, cause: "the kernel does not load the module dummy: invalid argument: dummy: `many' invalid for parameter `numdummies'"},
		{name: "of another kernel", own: "dummy", vermagic: "5.4.0 SMP mod_unload ", verdict: report.Infra, cause: "the module dummy is built for 5.4.0, and this kernel is "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := slices.Clone(found.First[0].Data)
			if tt.spoil != nil {
				tt.spoil(data)
			}
			if tt.vermagic == "" {
				tt.vermagic = info.Vermagic
			}
			p := onDemandPayload(t, "dummy1")
			p.Modules = []string{"dummy"} // the kernel's own would be in the way
			p.AddOwnModule(guest.OwnModule{OwnModule: wire.OwnModule{Name: tt.own, Params: tt.params}, Vermagic: tt.vermagic}, data)
			r := l.runner(t, p)
			k, console := l.run(t, r)
			if k.Verdict != tt.verdict || (tt.cause == "") != (k.Cause == nil) || k.Cause != nil && !strings.HasPrefix(k.Cause.Title, tt.cause) {
				t.Errorf("%v %+v, want %v %q\n%s", k.Verdict, k.Cause, tt.verdict, tt.cause, console)
			}
			if tt.verdict != report.Pass && strings.Contains(console, "init: run ") {
				t.Error("the payload runs without the module")
			}
		})
	}
}
