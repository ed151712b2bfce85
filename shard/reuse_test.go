package shard

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/expect"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/resultcache"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// bareImage is the smallest file that counts as a bzImage; there is nothing in
// it to unpack.
func bareImage(release string) []byte {
	b := make([]byte, 5*512)
	b[0x1f1] = 4
	copy(b[0x1fe:], "\x55\xaa")
	copy(b[0x202:], "HdrS\x0f\x02")
	b[0x236] = 1
	copy(b[0x20e:], "\x00\x03")
	copy(b[0x500:], release+" (someone) #1\x00")
	return b
}

// fakeQEMU builds the program that stands in for QEMU in tests of what becomes
// of results, which no kernel has a part in.
func fakeQEMU(t testing.TB) string {
	t.Helper()
	built, err := buildFakeQEMU()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(built)
	path := filepath.Join(t.TempDir(), "qemu-system-x86_64") // tests replace it
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildFakeQEMU puts it where TestMain removes it.
var buildFakeQEMU = sync.OnceValues(func() (string, error) {
	path := filepath.Join(hostileDir(), "fakeqemu")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/fakeqemu")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// reuser runs one bare image on the fake QEMU, with a cache of its own.
type reuser struct {
	qemu, kernels string
	cache         *kernel.Cache
	now           time.Time
	out           string // of the last run
	booted        int    // VMs of the last run
	file          *report.ShardFile
}

func newReuser(t *testing.T) *reuser {
	t.Helper()
	u := &reuser{qemu: fakeQEMU(t), kernels: t.TempDir(), now: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	if err := os.MkdirAll(filepath.Join(u.kernels, "debian"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.kernels, "debian", "vmlinuz-6.1.0"), bareImage("6.1.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if u.cache, err = kernel.NewCache(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return u
}

// runner makes the runner of a run like all others of the test.
func (u *reuser) runner(t *testing.T) *Runner {
	t.Helper()
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	u.booted = 0
	var mu sync.Mutex
	return &Runner{
		Config: Config{
			Out: t.TempDir(), Arch: arch, Jobs: 1, Limits: vm.DefaultLimits(qemu.TCG, 90*time.Second, time.Minute), Reuse: 24 * time.Hour,
			Payload: guest.Payload{Job: wire.Job{Args: []string{"/payload"}, Name: "payload", Reports: true}, Files: []guest.File{{Path: "/payload", Mode: 0o755, Data: []byte("payload")}}},
			Tool:    "test", RunID: "17", HeadSHA: "abc",
			Report: func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.State == Booting {
					u.booted++
				}
			},
		},
		Host: Host{
			Scratch: t.TempDir(), QEMU: u.qemu, Accel: qemu.TCG, Cache: u.cache, InitProgram: []byte("init"),
			Now: func() time.Time { return u.now }, Random: rand.Reader,
			Program: "sha256:program", QEMUDigest: "7.2.0", ROMs: "sha256:roms",
		},
	}
}

func (u *reuser) run(t *testing.T, r *Runner) report.Result {
	t.Helper()
	src, err := source.Parse(u.kernels, u.cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	u.out = r.Out
	f, err := os.Open(filepath.Join(r.Out, "shard-001-of-001.attempt-1.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if u.file, err = report.ReadShardFile(f); err != nil || u.file.Problem != "" || len(u.file.Kernels) != 1 {
		t.Fatalf("%v, %+v", err, u.file)
	}
	return results[0]
}

// kept is the path of the one result in the cache.
func (u *reuser) kept(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(u.cache.Dir(), "*", "*", "derived-pass-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the cache has %v, %v", found, err)
	}
	return found[0]
}

func TestReuse(t *testing.T) {
	u := newReuser(t)
	first := u.run(t, u.runner(t))
	if first.Verdict != report.Pass || first.Reused != nil || u.booted != 1 {
		t.Fatalf("first: %+v, %d VMs", first, u.booted)
	}
	console := readTree(t, u.out)

	u.now = u.now.Add(23 * time.Hour)
	second := u.run(t, u.runner(t))
	if second.Reused == nil || u.booted != 0 {
		t.Fatalf("second: %+v, %d VMs", second, u.booted)
	}
	if r := second.Reused; !r.At.Equal(u.now.Add(-23*time.Hour)) || r.RunID != "17" || r.HeadSHA != "abc" {
		t.Errorf("it says of its origin: %+v", r)
	}
	if d := cmp.Diff(second, u.file.Kernels[0]); d != "" || u.file.Plan.Reuse != 24*time.Hour {
		t.Errorf("the shard file says %v and %s", u.file.Plan.Reuse, d)
	}
	if d := cmp.Diff(console, readTree(t, u.out)); d != "" {
		t.Errorf("the evidence is another: %s", d)
	}
	second.Reused = nil
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("the result is another: %s", d)
	}

	// A reused result does not get younger, and one that is too old is replaced.
	u.now = u.now.Add(2 * time.Hour)
	if k := u.run(t, u.runner(t)); k.Reused != nil || u.booted != 1 {
		t.Errorf("too old: %+v, %d VMs", k, u.booted)
	}
	if k := u.run(t, u.runner(t)); k.Reused == nil || !k.Reused.At.Equal(u.now) {
		t.Errorf("after that: %+v", k.Reused)
	}
	// A result of the future is none.
	u.now = u.now.Add(-time.Hour)
	if k := u.run(t, u.runner(t)); k.Reused != nil {
		t.Errorf("of the future: %+v", k.Reused)
	}
	// Nobody asks.
	r := u.runner(t)
	r.Reuse = 0
	if k := u.run(t, r); k.Reused != nil || u.booted != 1 {
		t.Errorf("not asked for: %+v, %d VMs", k.Reused, u.booted)
	}
}

// readTree reads the results directory.
func readTree(t *testing.T, out string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(out), "results", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var b []byte
			b, err = os.ReadFile(filepath.Join(out, p))
			files[p] = string(b)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	return files
}

// What was made under other circumstances is not taken, and what is damaged is
// booted and kept anew.
func TestReuseOfDamagedResults(t *testing.T) {
	whole := func(change func(*resultcache.Entry)) func([]byte) []byte {
		return func(b []byte) []byte {
			p, err := resultcache.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			change(p)
			var w bytes.Buffer
			if err := p.Write(&w); err != nil {
				t.Fatal(err)
			}
			return w.Bytes()
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"cut short":          func(b []byte) []byte { return b[:len(b)-1] },
		"cut in its digest":  func(b []byte) []byte { return b[:20] },
		"one bit":            func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"a bit of its end":   func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
		"longer":             func(b []byte) []byte { return append(b, 'x') },
		"too long":           func(b []byte) []byte { return append(b, make([]byte, 8<<20)...) },
		"another schema":     whole(func(p *resultcache.Entry) { p.Schema++ }),
		"another key":        whole(func(p *resultcache.Entry) { p.Key = "sha256:" + strings.Repeat("0", 64) }),
		"another kernel":     whole(func(p *resultcache.Entry) { p.Kernel.ID = "debian/6.1.1" }),
		"other bytes":        whole(func(p *resultcache.Entry) { p.Kernel.Digest = "sha256:" + strings.Repeat("0", 64) }),
		"a failure":          whole(func(p *resultcache.Entry) { p.Kernel.Verdict = report.Fail; p.Kernel.Cause = &report.Cause{Title: "x"} }),
		"a failed test":      whole(func(p *resultcache.Entry) { p.Kernel.Tests[3].Verdict = wire.TestFail }),
		"a second attempt":   whole(func(p *resultcache.Entry) { p.Kernel.Attempts = 2 }),
		"an allowed splat":   whole(func(p *resultcache.Entry) { p.Kernel.Splats = []report.Splat{{Title: "x"}} }),
		"under KVM":          whole(func(p *resultcache.Entry) { p.Kernel.Accel = "kvm" }),
		"after a bad warmth": whole(func(p *resultcache.Entry) { p.Kernel.Boot = "cold after a failed restore" }),
		"flaky":              whole(func(p *resultcache.Entry) { p.Kernel.Flaky = []report.Flaky{{Name: "x", Failed: 1, Runs: 2}} }),
		"expected":           whole(func(p *resultcache.Entry) { p.Kernel.Expected = []report.Expected{{Reason: "x"}} }),
		"reused before":      whole(func(p *resultcache.Entry) { p.Kernel.Reused = &report.Reused{At: p.At, Key: p.Key} }),
		"no evidence":        whole(func(p *resultcache.Entry) { p.Kernel.Console = "" }),
		"evidence elsewhere": whole(func(p *resultcache.Entry) { p.Kernel.Console = "results/../../x.txt" }),
		"files elsewhere":    whole(func(p *resultcache.Entry) { p.Kernel.Files = []string{"results/x"}; p.Files = [][]byte{nil} }),
		"files that lack":    whole(func(p *resultcache.Entry) { p.Kernel.Files = []string{"results/" + p.Kernel.ID + "/verifier/a.log"} }),
		"no time":            whole(func(p *resultcache.Entry) { p.At = time.Time{} }),
	} {
		t.Run(name, func(t *testing.T) {
			u := newReuser(t)
			u.run(t, u.runner(t))
			path := u.kept(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(b), 0o644); err != nil {
				t.Fatal(err)
			}
			if k := u.run(t, u.runner(t)); k.Reused != nil || k.Verdict != report.Pass || u.booted != 1 {
				t.Errorf("it was taken: %+v", k)
			}
			if k := u.run(t, u.runner(t)); k.Reused == nil {
				t.Error("it was not kept anew")
			}
		})
	}
}

// Every input of a run is in the key, or stands in the list of those that need
// not be, with the reason. A field that is new fails this test.
func TestPassKeyHasEveryInput(t *testing.T) {
	u := newReuser(t)
	src, err := source.Parse(u.kernels, u.cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := src.Open(t.Context(), list.Entries[0].Ref)
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(t.TempDir(), "modules")
	config := filepath.Join(t.TempDir(), "config")
	for _, f := range []string{modules, config} {
		if err := os.WriteFile(f, []byte("one"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	opened.Config = config
	base := job{fetched: fetched{entry: list.Entries[0], image: opened}, modules: modules, boot: "boot", initrd: "initrd"}
	key := func(r *Runner, j job) string {
		t.Helper()
		run := r.newRun()
		run.cached = &resultcache.Cache{}
		k, ok := run.reuseKey(t.Context(), &j)
		if !ok {
			t.Fatal("no key")
		}
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := key(u.runner(t), base)
	if again := key(u.runner(t), base); again != want {
		t.Fatal("the same inputs have two keys")
	}
	other := func(what string, r *Runner, j job) {
		t.Helper()
		if key(r, j) == want {
			t.Errorf("%s is not in the key", what)
		}
	}

	needless := map[string]string{
		"Out": "where results go", "Scratch": "where files are unpacked", "QEMU": "a path; QEMUDigest is in the key",
		"TSC":  "the host's clock rate, which the guest is told: only whether",
		"Jobs": "how many VMs there are beside it", "Retries": "one VM was enough", "Cache": "where kernels are kept",
		"Tool": "a name; Program is in the key", "RunID": "whose result", "Attempt": "whose result", "HeadSHA": "whose result",
		"Now": "time: Reuse bounds it", "Random": "chance", "Report": "progress", "Repeated": "progress",
		"Reruns": "only a pass in the first VM is kept", "FlakyOK": "the same",
		"Repeats": "with more nothing is reused", "NoEmulation": "of KVM, under which nothing is reused", "Net": "with it nothing is reused", "HostRoot": "with it nothing is reused",
		"Stream": "with it nothing is reused", "ProgramName": "what is printed",
		"BTF":  "the types that a kernel without BTF gets are in the archive of its modules, which is in the key",
		"Root": "its digest is in the payload", "RootUnpacked": "of Root's files", "noDisk": "the kernel's parameters tell how it gets a root",
		"bootLimits":   "how long a method is tried that tells nothing then",
		"PayloadFlags": "what is printed", "ProgramFlags": "what is printed", "Isolate": "with it nothing is reused", "Resumed": "what is not run", "Earlier": "the same", "Reuse": "the age",
		"Index": "what is known without it, too", "Kinds": "a reused result's kind is found anew",
	}
	changes := map[string]func(*Runner){
		"Arch":        func(r *Runner) { r.Arch, _ = qemu.LookupArch("arm64") },
		"Accel":       func(r *Runner) { r.Accel = qemu.KVM },
		"Memory":      func(r *Runner) { r.Memory = 512 },
		"Limits":      func(r *Runner) { r.Limits.Off++ },
		"InitProgram": func(r *Runner) { r.InitProgram = []byte("another") },
		"Payload":     func(r *Runner) { r.Payload.Files[0].Data = []byte("another") },
		"Allowed":     func(r *Runner) { r.Allowed = allowedOf(t, "- {pattern: 'WARNING in foo', reason: x}") },
		"Append":      func(r *Runner) { r.Append = []string{"x=1"} },
		"CPUs":        func(r *Runner) { r.CPUs = 2 },
		"Expect":      func(r *Runner) { r.Expect = &expect.List{Entries: []expect.Entry{{Reason: "x"}}} },
		"Sandbox":     func(r *Runner) { r.Sandbox = "on" },
		"Firmware":    func(r *Runner) { r.Firmware = "qboot.rom" },
		"Boot":        func(r *Runner) { r.Boot = BootCold },
		"QEMUDigest":  func(r *Runner) { r.QEMUDigest = "7.2.1" },
		"Program":     func(r *Runner) { r.Program = "sha256:another" },
		"ROMs":        func(r *Runner) { r.ROMs = "sha256:another" },
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Host](), reflect.TypeFor[qemu.Features](), reflect.TypeFor[overrides]()} {
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			if typ.Field(i).Anonymous {
				continue
			}
			change := changes[name]
			if _, ok := needless[name]; ok == (change != nil) {
				t.Errorf("%v.%s: want a change of it that changes the key, or a reason why it need not be in it", typ, name)
			}
			if change != nil {
				r := u.runner(t)
				change(r)
				other(name, r, base)
			}
		}
	}
	r := u.runner(t)
	r.TSC = 1
	other("whether there is a TSC", r, base)

	// The CPU and what is avoided on it, for results and for saved VMs.
	saved := func(r *Runner) string {
		t.Helper()
		r.Boot = BootAuto
		return store(t, r).Key(base.image)
	}
	for name, change := range map[string]func(*qemu.Arch){
		"CPU":   func(a *qemu.Arch) { a.CPU = map[qemu.Accel]string{qemu.TCG: "max"} },
		"Avoid": func(a *qemu.Arch) { a.Avoid = nil },
	} {
		r := u.runner(t)
		change(&r.Arch)
		other("Arch."+name, r, base)
		if saved(r) == saved(u.runner(t)) {
			t.Errorf("Arch.%s is not in the key of saved VMs", name)
		}
	}

	// Whatever the payload and the limits are made of.
	for _, part := range []struct {
		name string
		of   func(*Runner) any
	}{
		{"Limits", func(r *Runner) any { return &r.Limits }},
		{"Payload", func(r *Runner) any { return &r.Payload }},
		{"Payload.Job", func(r *Runner) any { return &r.Payload.Job }},
		{"Payload.Files[0]", func(r *Runner) any { return &r.Payload.Files[0] }},
	} {
		typ := reflect.TypeOf(part.of(u.runner(t))).Elem()
		for i := range typ.NumField() {
			r := u.runner(t)
			f := typ.Field(i)
			words := part.name == "Payload" && (f.Name == "Notes" || f.Name == "Warnings") // for people, about what is in the key
			if !f.IsExported() || part.name == "Limits" && f.Name == "Sign" || f.Name == "Source" || words {
				continue // of KVM's trial; where a file was
			}
			mutate(t, reflect.ValueOf(part.of(r)).Elem().Field(i))
			other(part.name+"."+f.Name, r, base)
		}
	}

	// What belongs to the kernel.
	for name, change := range map[string]func(*job){
		"id":               func(j *job) { j.entry.Name += "x" },
		"digest of source": func(j *job) { j.entry.Ref.Digest = "sha256:another" },
		"modules":          func(j *job) { j.modules = "" },
		"config":           func(j *job) { im := *j.image; im.Config = ""; j.image = &im },
		"format":           func(j *job) { im := *j.image; im.Info.Format = image.FormatVmlinux; j.image = &im },
	} {
		j := base
		change(&j)
		other(name, u.runner(t), j)
	}
	for name, path := range map[string]string{"content of modules": modules, "content of config": config} {
		if err := os.WriteFile(path, []byte("two"), 0o644); err != nil {
			t.Fatal(err)
		}
		other(name, u.runner(t), base)
		if err := os.WriteFile(path, []byte("one"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	second := bareImage("6.1.0")
	second[len(second)-1] = 1
	if err := os.WriteFile(filepath.Join(u.kernels, "debian", "vmlinuz-6.1.0"), second, 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err = plan.New(t.Context(), []kernel.Source{src}, nil); err != nil {
		t.Fatal(err)
	}
	j := base
	if j.image, err = src.Open(t.Context(), list.Entries[0].Ref); err != nil {
		t.Fatal(err)
	}
	j.image.Config = config
	other("the image", u.runner(t), j)
	if got := key(u.runner(t), base); got != want {
		t.Error("the key is another at the end")
	}
}

func allowedOf(t *testing.T, text string) *vm.Allowed {
	t.Helper()
	a := &vm.Allowed{}
	if err := a.Read("allow.yml", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return a
}

// mutate gives a field another value.
func mutate(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(v.Uint() ^ 1)
	case reflect.Slice:
		if v.Len() > 0 {
			c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(c, v)
			v.Set(c)
			mutate(t, v.Index(0))
			return
		}
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	case reflect.Struct:
		mutate(t, v.Field(0))
	default:
		t.Fatalf("a field of type %v: say how to change it", v.Type())
	}
}

// Results that must not stand for later ones are not kept.
func TestOnlyPlainPassesAreKept(t *testing.T) {
	u := newReuser(t)
	for name, change := range map[string]func(*Runner){
		"kvm": func(r *Runner) { r.Accel = qemu.KVM }, "net": func(r *Runner) { r.Net = true },
		"streamed": func(r *Runner) { r.Stream = func(string) *vm.Stream { return nil } },
		"repeats":  func(r *Runner) { r.Repeats = 2 }, "no program": func(r *Runner) { r.Program = "" },
		"no QEMU": func(r *Runner) { r.QEMUDigest = "" }, "no firmware": func(r *Runner) { r.ROMs = "" },
	} {
		r := u.runner(t)
		change(r)
		run := r.newRun()
		if err := run.prepare(); err != nil || r.NoReuse() == "" || run.cached != nil {
			t.Errorf("%s: results are reused", name)
		}
	}
	good := func() report.Result {
		return report.Result{ID: "a/b", Verdict: report.Pass, Attempts: 1, Accel: "tcg", Boot: "cold", Console: "results/a/b.txt", Tests: []report.Test{{Name: "x", Verdict: "pass"}}}
	}
	k := good()
	if err := k.Reusable(); err != nil {
		t.Error(err)
	}
	for _, v := range []report.Verdict{report.Unknown, report.Fail, report.Crash, report.Timeout, report.NoBoot, report.Infra, report.Missing} {
		k := good()
		k.Verdict = v
		if k.Reusable() == nil {
			t.Errorf("%v is kept", v)
		}
	}
	for name, change := range map[string]func(*report.Result){
		"retried": func(k *report.Result) { k.Attempts = 2 }, "fetched twice": func(k *report.Result) { k.History = []report.Attempt{{Attempt: 1, Verdict: report.Infra}} },
		"repeated": func(k *report.Result) { k.Repeats = 3 }, "flaky": func(k *report.Result) { k.Flaky = []report.Flaky{{}} },
		"warned": func(k *report.Result) { k.Splats = []report.Splat{{}} }, "expected": func(k *report.Result) { k.Expected = []report.Expected{{}} },
		"stale": func(k *report.Result) { k.StaleExpectations = []string{"x"} }, "kvm": func(k *report.Result) { k.Accel = "kvm" },
		"fell back": func(k *report.Result) { k.AccelNote = "x" }, "cold after": func(k *report.Result) { k.Boot = "cold after x" },
		"a cause": func(k *report.Result) { k.Cause = &report.Cause{} }, "a skipped console": func(k *report.Result) { k.Console = "" },
		"cut files": func(k *report.Result) { k.Problems = []string{"x"} }, "a failed test": func(k *report.Result) { k.Tests[0].Verdict = "fail" },
		"running": func(k *report.Result) { k.Running = []string{"x"} },
	} {
		k := good()
		change(&k)
		if k.Reusable() == nil {
			t.Errorf("%s: it is kept", name)
		}
	}
}

// A QEMU that was replaced while the run went on made nobody knows what.
func TestReuseWhenQEMUChanges(t *testing.T) {
	u := newReuser(t)
	r := u.runner(t)
	report := r.Report
	r.Report = func(e Event) {
		report(e)
		if e.State == Booting {
			b, err := os.ReadFile(u.qemu)
			if err == nil {
				err = errors.Join(os.Remove(u.qemu), os.WriteFile(u.qemu, b, 0o755))
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	u.run(t, r)
	if k := u.run(t, u.runner(t)); k.Reused != nil {
		t.Error("the result is taken")
	}
}

// Two runs that keep one result leave a whole one.
func TestReuseOfTwoRunsAtOnce(t *testing.T) {
	u := newReuser(t)
	u.run(t, u.runner(t))
	path := u.kept(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := resultcache.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(u.kernels, u.cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	image, err := src.Open(t.Context(), list.Entries[0].Ref)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(filepath.Base(path), "derived-")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				_ = image.DropDerived(name)
				if _, err := image.Derived(context.Background(), u.cache, name, p.Write); err != nil {
					t.Error(err)
				}
				if b, err := os.ReadFile(path); err == nil { // it may be gone just now
					if _, err := resultcache.Parse(b); err != nil {
						t.Errorf("half a result: %v", err)
					}
				}
			}
		})
	}
	all.Wait()
	if k := u.run(t, u.runner(t)); k.Reused == nil {
		t.Error("nothing was kept")
	}
}

// Of one kernel a few results are kept, the newest.
func TestReuseKeepsFew(t *testing.T) {
	const kept = 8
	u := newReuser(t)
	for i := range kept + 3 {
		r := u.runner(t)
		r.Payload.Job.Env = []string{fmt.Sprintf("N=%d", i)}
		if k := u.run(t, r); k.Verdict != report.Pass {
			t.Fatalf("%+v", k)
		}
	}
	found, err := filepath.Glob(filepath.Join(u.cache.Dir(), "*", "*", "derived-pass-*"))
	if err != nil || len(found) != kept {
		t.Errorf("%d results are kept, %v", len(found), err)
	}
}

// What is stale is found though no VM runs.
func TestReuseAndExpectations(t *testing.T) {
	u := newReuser(t)
	expect := func() *expect.List {
		entries, err := expect.Read(strings.NewReader("- kernels: 'debian/*'\n  tests: [test_1]\n  reason: it fails\n  expires: 2026-11-28\n"), "x.yml")
		if err != nil {
			t.Fatal(err)
		}
		return &expect.List{Entries: entries}
	}
	for range 2 { // an expected failure that does not come fails the run, each time
		r := u.runner(t)
		r.Expect = expect()
		if k := u.run(t, r); k.Reused != nil || len(k.StaleExpectations) != 1 || u.booted != 1 {
			t.Errorf("%+v, %d VMs", k, u.booted)
		}
	}
}

// A real VM's result, with its console, stands for the next.
func TestReuseOfARealVM(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	im := l.image(t)
	p, err := guest.TestPayload(t.Context(), l.hostile, []string{"tests", "slow"}, "/", "amd64", 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	roms, err := qemu.ROMDigest(t.Context(), l.qemu)
	if err != nil {
		t.Fatal(err)
	}
	program := rand.Text() // of no other run
	runner := func() *Runner {
		r := l.runner(t, p)
		r.Reuse, r.Program, r.QEMUDigest, r.ROMs, r.HeadSHA = time.Hour, program, "test", roms, program
		return r
	}
	t.Cleanup(func() {
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(im.Kernel), "derived-pass-*"))
		for _, f := range found {
			b, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			if p, err := resultcache.Parse(b); err == nil && p.HeadSHA == program {
				os.Remove(f)
			}
		}
	})
	first, console := l.run(t, runner())
	second, again := l.run(t, runner())
	if first.Reused != nil || second.Reused == nil || first.Verdict != report.Pass {
		t.Fatalf("%+v\n%+v", first, second)
	}
	if console != again || len(again) < 100 {
		t.Errorf("the console is another: %d and %d bytes", len(console), len(again))
	}
	second.Reused = nil
	second.Phases["fetch"] = first.Phases["fetch"]
	if d := cmp.Diff(first, second); d != "" {
		t.Error(d)
	}
}
