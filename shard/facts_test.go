package shard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// What a real kernel has and has not, from its BTF alone.
func TestTargetsOfARealKernel(t *testing.T) {
	l := theLab(t)
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	vmlinux := filepath.Join(t.TempDir(), "vmlinux")
	if err := im.Vmlinux(t.Context(), vmlinux); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"fentry/vfs_unlink":         true,
		"kprobe/no_such_function":   false,
		"tp_btf/sched_process_fork": true,
		"tp_btf/no_such_tracepoint": false,
		"lsm/file_open":             true,
		"lsm.s/no_such_hook":        false,
	}
	var targets []string
	for target := range want {
		targets = append(targets, target)
	}
	f := hostFacts(im)
	(&preflightRun{targets: targets}).look(t.Context(), im, l.cache, t.TempDir(), vmlinux, &f)
	if d := cmp.Diff(want, f.Targets); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if f.Config["BPF_SYSCALL"] != "y" || f.Config["DEBUG_INFO_BTF"] != "y" {
		t.Errorf("config: %v", f.Config)
	}
	if d := cmp.Diff([]string{"kprobe/no_such_function", "lsm.s/no_such_hook", "tp_btf/no_such_tracepoint"}, missingTargets(&f)); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
}

func TestHeadConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.txt")
	if err := os.WriteFile(path, []byte("console\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	k := report.Result{
		ID: "a/b", Verdict: report.Fail, Cause: &report.Cause{Title: "A failed"},
		Facts: &report.Facts{Targets: map[string]bool{"fentry/x": false, "fentry/y": true}, Config: map[string]string{"BPF_LSM": "n"}},
	}
	if err := headConsole(path, k); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bpf-kernel-check: a/b: fail: A failed\n", "BTF: fentry/x\n", "BPF_LSM=n\n\nconsole\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is missing in\n%s", want, b)
		}
	}
}

func TestLSMNote(t *testing.T) {
	payload := func(objects string, targets ...string) guest.Payload {
		p := guest.Payload{Targets: targets}
		if objects != "" {
			p.Job.Name, p.Files = guest.ObjectsName, []guest.File{{Path: wire.ObjectsPath, Data: []byte(objects)}}
		}
		return p
	}
	lacks := &report.Facts{LSMs: []string{"capability", "lockdown", "yama"}}
	for _, tt := range []struct {
		name string
		p    guest.Payload
		f    *report.Facts
		want bool
	}{
		{"a program with one", payload("", "kprobe/x", "lsm/file_open"), lacks, true},
		{"a sleepable one", payload("", "lsm.s/bprm_committed_creds"), lacks, true},
		{"objects that are attached", payload(`{"attach":true}`, "lsm/file_open"), lacks, true},
		{"objects that are loaded", payload(`{"attach":false}`, "lsm/file_open"), lacks, false},
		{"none", payload("", "kprobe/lsm"), lacks, false},
		{"it is active", payload("", "lsm/file_open"), &report.Facts{LSMs: []string{"lockdown", "bpf"}}, false},
		{"it cannot be", payload("", "lsm/file_open"), &report.Facts{LSMs: []string{"lockdown"}, Config: map[string]string{"BPF_LSM": "n"}}, false},
		{"not known", payload("", "lsm/file_open"), &report.Facts{}, false},
		{"nothing known", payload("", "lsm/file_open"), nil, false},
	} {
		got := lsmNote(tt.p, tt.f)
		if (got != "") != tt.want || tt.want && !strings.HasSuffix(got, ": --append lsm=lockdown,yama,bpf") {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// Programs that nothing was there to attach to are named.
func TestLoadedOnlyNote(t *testing.T) {
	tests := []report.Test{
		{Name: "o/a", Verdict: report.TestPass, Loader: "libbpf 1.8", Output: "a note\nloaded only: needs /bin/x, which the guest has not\n"},
		{Name: "o/b", Verdict: report.TestPass, Loader: "libbpf 1.8", Output: "attached to kprobe do_exit\n"},
		{Name: "o/c", Verdict: report.TestFail, Loader: "libbpf 1.8", Output: "loaded only: no\n"},
		{Name: "not/objects", Verdict: report.TestPass, Output: "loaded only: says a program\n"},
	}
	if got, want := loadedOnlyNote(tests), "1 program only loaded, not attached, as the tests say: o/a"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := loadedOnlyNote(tests[1:]); got != "" {
		t.Errorf("of none: %q", got)
	}
}
