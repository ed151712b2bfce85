package shard

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// notSeen are the programs that load otherwise than preflight says, and why it
// cannot see that.
func notSeen() map[string]string {
	return map[string]string{
		"rejected/endless_loop": "the verifier rejects what it does, not what it depends on",
		"rejected/long_loop":    "the verifier rejects what it does, not what it depends on",
		"rejected/late_mistake": "the verifier rejects what it does, not what it depends on",
		"odd/wrong_helper":      "BTF does not tell which types of programs may call a helper",
	}
}

// objectPaths are the objects that TestObjects loads, and more that are made
// of what changes between versions.
func objectPaths(t *testing.T) []string {
	t.Helper()
	paths, err := guest.FindObjects([]string{"../guest/loader/testdata/*.bpf.o", "preflight/testdata/*.bpf.o"})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func readObjects(t testing.TB, paths []string) []guest.ObjectFile {
	t.Helper()
	return readObjectsFor(t, "amd64", paths)
}

func readObjectsFor(t testing.TB, arch string, paths []string) []guest.ObjectFile {
	t.Helper()
	files, err := guest.ReadObjects(paths, arch)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ofPreflight says whether a test is of an object that is there for preflight.
func ofPreflight(test string) bool {
	object, _, _ := strings.Cut(test, "/")
	_, err := os.Stat("preflight/testdata/" + object + ".bpf.o")
	return err == nil
}

// What preflight says of each program is what loading and attaching it in a VM
// shows. TestObjects does the same for 5.10 and 7.x, and with the object that
// keeps the verifier busy for half a minute, of which preflight knows nothing.
func TestPreflightAgrees(t *testing.T) {
	for _, tt := range []struct{ name, source, glob string }{
		{"6.1", "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"6.12", "debian:trixie:cloud-amd64", "debian/6.12.*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			paths := slices.DeleteFunc(objectPaths(t), func(p string) bool { return filepath.Base(p) == "rejected.bpf.o" })
			payload, err := guest.ObjectsPayload(t.Context(), "amd64", readObjects(t, paths), wire.Objects{Loader: wire.LoaderGo, Load: wire.LoadEach, Attach: true, Unsupported: wire.TestFail}, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			entry := newestOf(t, tt.source, tt.glob)
			k, _ := l.run(t, l.runner(t, payload), entry)
			agrees(t, l, paths, entry, k)
		})
	}
}

// agrees holds what preflight says of a kernel against what a VM has shown.
func agrees(t *testing.T, l *lab, paths []string, entry plan.Entry, k report.Result) {
	t.Helper()
	if k.Verdict != report.Fail {
		t.Fatalf("verdict %v, want fail", k.Verdict)
	}
	im, err := entry.Source.Open(t.Context(), entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	on, err := preflight.Load(t.Context(), im, l.cache, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]preflight.Program{}
	why := map[string]string{}
	for _, f := range readObjectsFor(t, l.arch.Name, paths) {
		o, err := preflight.Read(f.Name, f.Data, l.arch.Name)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(f.Path), err)
		}
		o.Loader = wire.LoaderGo
		result := preflight.Check(o, on)
		for _, p := range result.Programs {
			said[p.Name] = p
		}
		for i, a := range result.Answers {
			for _, p := range a.Breaks {
				why[p] += o.Deps[i].String() + "; "
			}
		}
	}
	exceptions := notSeen()
	maps.DeleteFunc(exceptions, func(name, _ string) bool { _, loaded := said[name]; return !loaded })
	for _, test := range k.Tests {
		p, ok := said[test.Name]
		delete(said, test.Name)
		t.Logf("%-28s preflight %-7s %-7s VM %-4s %s %.100q", test.Name, p.Loads, p.Attaches, test.Verdict, why[test.Name], test.Output)
		reason := exceptions[test.Name]
		delete(exceptions, test.Name)
		var agree bool
		switch {
		case !ok:
			t.Errorf("%s: not known to preflight", test.Name)
			continue
		case p.Skip != "":
			agree = test.Verdict == wire.TestSkip
		case p.Loads == preflight.MayLoad || p.Loads == preflight.WillLoad && p.Attaches == preflight.MayLoad:
			agree = true
		case p.Loads == preflight.WillNot:
			// Or skipped, where the runner was told to skip what is unsupported.
			agree = test.Verdict == wire.TestFail || test.Verdict == wire.TestSkip
		case p.Attaches == preflight.WillNot:
			agree = test.Verdict != wire.TestPass || strings.HasPrefix(test.Output, "loaded only")
		default:
			agree = test.Verdict == wire.TestPass
		}
		if agree == (reason != "") {
			t.Errorf("%s: preflight says %v, attached %v (%s%s), the VM %s: %s; named difference: %q", test.Name, p.Loads, p.Attaches, p.Skip, why[test.Name], test.Verdict, test.Output, reason)
		}
	}
	if len(said) > 0 {
		t.Errorf("without a test: %s", strings.Join(slices.Sorted(maps.Keys(said)), ", "))
	}
	if len(exceptions) > 0 {
		t.Errorf("differences that are none: %s", strings.Join(slices.Sorted(maps.Keys(exceptions)), ", "))
	}
}

// A kernel whose VM is to be restored is looked at as one that is booted, and
// stands in the survey once.
func TestPreflightOfSavedVM(t *testing.T) {
	l := theLab(t)
	payload, err := guest.ObjectsPayload(t.Context(), "amd64", readObjects(t, objectPaths(t)[:2]), wire.Objects{Loader: wire.LoaderGo, Load: wire.LoadEach, Unsupported: wire.TestFail}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r := l.runner(t, payload)
	r.Boot, r.QEMUDigest = BootAuto, "preflight"
	im := l.image(t)
	saved := forget(t, r, im)
	if _, err := im.Derived(t.Context(), l.cache, "vm-"+saved.Key(im)[:16], func(w io.Writer) error {
		_, err := io.WriteString(w, "saved")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer forget(t, r, im)
	run := r.newRun()
	cold := run.unpack(t.Context(), fetched{entry: l.entry, image: im})
	run.snapshots = saved
	warm := run.unpack(t.Context(), fetched{entry: l.entry, image: im})
	defer cold.cleanup()
	if cold.err != nil || warm.err != nil || cold.boot == "" || warm.boot != "" {
		t.Fatalf("%v, %v, unpacked %q and %q", cold.err, warm.err, cold.boot, warm.boot)
	}
	if diff := cmp.Diff(cold.facts, warm.facts); diff != "" || len(warm.facts.Deps) == 0 {
		t.Errorf("%d dependencies (-cold +warm):\n%s", len(warm.facts.Deps), diff)
	}
	if err := run.preflight.write(r.Out); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(r.Out, PreflightName)); err != nil || len(run.preflight.kernels) != 1 || !strings.Contains(string(b), "missing on all 1:") {
		t.Errorf("%v, %d kernels:\n%s", err, len(run.preflight.kernels), b)
	}
}
