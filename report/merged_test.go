package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func reportSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, m *Merged) error {
	t.Helper()
	var b bytes.Buffer
	if err := WriteReport(&b, m); err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// fullKernel has a value in each member.
func fullKernel() Result {
	id := "debian/6.1.0-56-cloud-amd64__6.1.192-2"
	return Result{
		ID: id, Digest: "sha256:1", Verdict: Fail, Cause: &Cause{Title: "x", Excerpt: "\x1b<&>\n", Location: "a.c:1"},
		Tests:    []Test{{Name: "a", Verdict: "fail", Duration: 5, Output: "o", Insns: 7, Loader: "libbpf 1.8"}},
		Programs: []Program{{Name: "p", Verdict: Crash, Cause: &Cause{Title: "x", Excerpt: "e", Location: "a.c:1"}, Tests: 1, TestsOnly: true, Duration: 3, Left: []string{"pin"}, Console: "results/" + id + ".txt"}},
		Phases:   map[string]int64{"boot": 1, "vm": 2}, Accel: "kvm", Boot: "warm", Machine: "pc", Attempts: 2, Console: "results/" + id + ".txt", Release: "6.1.0",
		Facts: &Facts{
			BTF: true, Lockdown: "none", LSMs: []string{"bpf"}, PreemptRT: true, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0",
			Config: map[string]string{"BPF_LSM": "y"}, Targets: map[string]bool{"kprobe/x": false}, Kind: "k",
			Deps: []Dep{{Kind: "fentry", Name: "x", Status: "changed", Signature: "int x(int a)", Note: "n", Programs: []string{"o/p"}, Breaks: []string{"o/p"}}},
		},
		Mounts: []string{"m"}, Modules: []string{"m"}, Files: []string{"results/" + id + "/verifier/a.log"}, Problems: []string{"p"},
		Splats:  []Splat{{Title: "s", Location: "b.c:2", Allowed: AllowEntry{Pattern: "s", Kernels: "*", Reason: "r", Link: "https://x"}}},
		History: []Attempt{{Repeat: 1, VM: 2, Rerun: 3, Attempt: 1, Verdict: NoBoot, Cause: "c", Accel: "kvm", Console: "results/" + id + ".repeat-1.vm-2.attempt-1.txt"}},
		Repeats: 2, Flaky: []Flaky{{Name: "a", Failed: 1, Runs: 2}}, Running: []string{"a"}, TestsOnly: true,
		Expected:          []Expected{{Test: "a", Verdict: Crash, Reason: "r", Link: "l", Expires: "2027-01-31"}},
		StaleExpectations: []string{"s"},
		AccelNote:         "n",
		BPF:               []BPFProgram{{Name: "handle_exec", Type: "kprobe", Tag: "0123456789abcdef", Program: "p", Test: "a", Insns: 7, States: 6, PeakStates: 5, Stack: 4, Jited: 3, MapMemory: 2}},
		Reproduce:         "bpf-kernel-check debug --kernels ./kernels " + id,
	}
}

// reusedKernel has what only a pass can have.
func reusedKernel() Result {
	id := "debian/6.12.0__1"
	return Result{
		ID: id, Digest: "sha256:2", Verdict: Pass, Attempts: 1, Accel: "tcg", Boot: "cold", Console: "results/" + id + ".txt",
		Reused: &Reused{At: time.Date(2026, 7, 3, 1, 2, 3, 0, time.UTC), RunID: "9", HeadSHA: "abc", Key: "sha256:" + strings.Repeat("a", 64)},
	}
}

// flakyKernel passed though a test is flaky.
func flakyKernel() Result {
	return Result{
		ID: "debian/6.13.0__1", Digest: "sha256:3", Verdict: Pass, Attempts: 1, FlakyOK: true, Flaky: []Flaky{{Name: "a", Failed: 1, Runs: 2}},
		History: []Attempt{{Attempt: 1, Verdict: Fail, Cause: "c"}, {Rerun: 1, Attempt: 1, Verdict: Pass}},
	}
}

func fullReport() *Merged {
	return &Merged{
		Schema: MergedSchema, Tool: "v1", At: time.Date(2026, 7, 4, 5, 6, 7, 8, time.UTC), Verdict: Fail, List: "sha256:2", Arch: "amd64",
		Algorithm: "rendezvous", Shards: 3, RunID: "1", Attempt: 2, HeadSHA: "abc", Kernels: []Result{fullKernel(), reusedKernel(), flakyKernel()},
		Refusals: []Refusal{{Shard: 1, Kernel: "a/b", Reason: "r"}},
		Change: &Change{
			BaseSHA: "def", NewlyFail: []string{"a/1"}, Fixed: []string{"a/2"}, New: []string{"a/3"}, Gone: []string{"a/4"},
			Rebuilt: []string{"a/5"}, FirstTested: []string{"a/6"}, TestedBefore: []string{"a/7"},
			Costs:         []CostChange{{Name: "handle_exec", Type: "kprobe", Before: 1, After: 2, Limit: 3, Kernels: []string{"a/1"}, Against: "a/0", TooMuch: true}},
			CostsCompared: 4, CostsUnknown: 5, MaxInsnsGrowth: 20,
		},
		Gone: []string{"a/5"}, Represented: []Represented{{ID: "a/5", By: "debian/6.13.0__1", Kind: "k"}}, Advisory: true, NotCompared: "n",
		Picks: &Picks{Base: true, HeadSHA: "abc", Kernels: 9, Boots: 3, Kinds: 2, Failures: 5, Found: 4, Mixed: []string{"a/5"}, MixedKinds: 1},
		Earlier: &Earlier{
			Kernels:     []Result{fullKernel(), reusedKernel(), flakyKernel()},
			Represented: []Represented{{ID: "a/9", By: "debian/6.13.0__1", Kind: "k"}},
		},
		Unused: []AllowEntry{{Pattern: "p", Kernels: "*", Reason: "r", Link: "https://x"}},
		Coverage: &Coverage{
			Kernels: 4, Of: 5, Statements: 9, Covered: 8, Some: 7, Problems: []string{"the profile of a/6 is left out: x"},
			Places: []string{"7 in a.go:1-2 (only on a/1)"},
		},
	}
}

// noZero fails for members without a value, so that a member that is new must
// be put into fullReport, and so into the schema.
func noZero(t *testing.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			noZero(t, path, v.Elem())
			return
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range v.NumField() {
			noZero(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
		return
	case reflect.Slice:
		if v.Len() > 0 {
			noZero(t, path+"[0]", v.Index(0))
			return
		}
	}
	if v.IsZero() && !strings.HasSuffix(path, "Kernels[0].Reused") && !strings.HasSuffix(path, "Kernels[0].FlakyOK") { // others have them
		t.Errorf("%s has no value in the sample", path)
	}
}

func TestReportSchema(t *testing.T) {
	s := reportSchema(t)
	full := fullReport()
	noZero(t, "Merged", reflect.ValueOf(full))
	noZero(t, "Reused", reflect.ValueOf(full.Kernels[1].Reused))
	if err := validate(t, s, full); err != nil {
		t.Errorf("full report: %v", err)
	}
	var b bytes.Buffer
	if err := WriteReport(&b, full); err != nil {
		t.Fatal(err)
	}
	again, err := ReadReport(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(full, again); d != "" {
		t.Error(d)
	}

	// The schema is no formality.
	for name, change := range map[string]func(*Merged){
		"schema":           func(m *Merged) { m.Schema = 2 },
		"verdict":          func(m *Merged) { m.Verdict = Crash },
		"pass and refused": func(m *Merged) { m.Verdict = Pass; m.Kernels[0].Verdict, m.Kernels[0].Cause = Pass, nil },
		"pass and failed":  func(m *Merged) { m.Verdict = Pass; m.Refusals = nil },
		"pass of nothing":  func(m *Merged) { m.Verdict = Pass; m.Refusals = nil; m.Kernels = []Result{} },
		"null":             func(m *Merged) { m.Kernels = nil },
		"id":               func(m *Merged) { m.Kernels[0].ID = "../x" },
		"duration":         func(m *Merged) { m.Kernels[0].Tests[0].Duration = -1 },
		"test's verdict":   func(m *Merged) { m.Kernels[0].Tests[0].Verdict = "ok" },
		"pass for a cause": func(m *Merged) { m.Kernels[0].Verdict = Pass },
		"reason":           func(m *Merged) { m.Refusals[0].Reason = "a\nb" },
	} {
		m := fullReport()
		change(m)
		if err := validate(t, s, m); err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(mustJSON(t, full), `"tool"`, `"tol":1,"tool"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Validate(v) == nil {
		t.Error("the schema takes a member that it does not name")
	}
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadReportRefuses(t *testing.T) {
	good := mustJSON(t, fullReport())
	for want, text := range map[string]string{
		"unexpected EOF":                    good[:strings.Index(good, `"digest"`)+4],
		"its schema is 7":                   strings.Replace(good, `"schema":1`, `"schema":7`, 1),
		"it names no schema":                `{"kernels":"of another time"}`,
		"is no kernel's id":                 strings.Replace(good, `"id":"debian/`, `"id":"../`, 1),
		"verdict is none of":                strings.Replace(good, `"verdict":"fail","list`, `"verdict":"crash","list`, 1),
		"something follows":                 good + good,
		`head_sha: "abc\n"`:                 strings.Replace(good, `"abc"`, `"abc\n"`, 1),
		"is not in its place, or stands tw": strings.Replace(good, `"kernels":[`, `"kernels":[`+mustJSON(t, fullKernel())+",", 1),
		"invalid character":                 "<html>",
	} {
		if _, err := ReadReport(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestTimings(t *testing.T) {
	ks := []Result{
		{ID: "a/1", Verdict: Pass, Accel: "tcg", Phases: map[string]int64{"vm": 5}},
		{ID: "a/2", Verdict: Crash, Accel: "kvm", Phases: map[string]int64{"vm": 6, "boot": 1}},
		{ID: "a/3", Verdict: Infra, Phases: map[string]int64{"vm": 7}},
		{ID: "a/4", Verdict: Pass, Phases: map[string]int64{"boot": 7}},
		{ID: "a/5", Verdict: Missing},
	}
	var b strings.Builder
	if err := WriteTimings(&b, NewTimings(ks)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTimings(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := Timings{Schema: 1, Kernels: map[string]Timing{"a/1": {5, "tcg"}, "a/2": {6, "kvm"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for want, text := range map[string]string{
		"its schema is 3":             `{"schema":3}`,
		"took 0 ns":                   `{"schema":1,"kernels":{"a/1":{}}}`,
		"-1: want 0":                  `{"schema":1,"kernels":{"a/1":{"total_ns":-1}}}`,
		"is no kernel's id":           `{"schema":1,"kernels":{"/etc":{"total_ns":1}}}`,
		"no printable word":           `{"schema":1,"kernels":{"a/1":{"total_ns":1,"accel":"\u001b"}}}`,
		"which cannot be":             `{"schema":1,"kernels":{"a/1":{"total_ns":1.5}}}`,
		"stands twice":                `{"schema":1,"kernels":{"a/1":{"total_ns":1},"a/1":{"total_ns":2}}}`,
		"the JSON ends":               ``,
		"nested deeper":               strings.Repeat("[", 100),
		"9223372036854775807: want 0": fmt.Sprintf(`{"schema":1,"kernels":{"a/1":{"total_ns":%d}}}`, int64(1<<63-1)),
	} {
		if _, err := ReadTimings(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestPlanFile(t *testing.T) {
	write := func(p *PlanFile) string { return mustJSON(t, p) }
	var b strings.Builder
	if err := WritePlanFile(&b, testPlan(3, 7)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadPlanFile(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testPlan(3, 7), got); d != "" {
		t.Error(d)
	}
	if k, ok := got.Kernel("debian/6.1.003"); !ok || k.Digest != testDigest("debian/6.1.003") {
		t.Errorf("%v %v", k, ok)
	}
	if _, ok := got.Kernel("debian/6.1.0035"); ok {
		t.Error("found a kernel that is not there")
	}
	for want, change := range map[string]func(*PlanFile){
		"its schema is 2":               func(p *PlanFile) { p.Schema = 2 },
		"it holds no kernel":            func(p *PlanFile) { p.Kernels = nil },
		"it has 0 shards":               func(p *PlanFile) { p.Shards = nil },
		"its list's digest is":          func(p *PlanFile) { p.Kernels[0].Digest = "sha256:0" },
		"in no shard":                   func(p *PlanFile) { p.Shards[0].Kernels = p.Shards[0].Kernels[1:] },
		"in another shard too":          func(p *PlanFile) { p.Shards[0].Kernels = append(p.Shards[0].Kernels, p.Shards[1].Kernels[0]) },
		"which is not in the list":      func(p *PlanFile) { p.Shards[0].Kernels = append(p.Shards[0].Kernels, "a/b") },
		"shard 3 stands where 2":        func(p *PlanFile) { p.Shards[1].Shard = 3 },
		"not in its place":              func(p *PlanFile) { p.Kernels[0], p.Kernels[1] = p.Kernels[1], p.Kernels[0] },
		"or stands twice":               func(p *PlanFile) { p.Kernels[1] = p.Kernels[0] },
		"is no kernel's id":             func(p *PlanFile) { p.Kernels[0].ID = "/etc/passwd" },
		"is no printable word":          func(p *PlanFile) { p.Algorithm = "a\nb" },
		"size: -1":                      func(p *PlanFile) { p.Kernels[0].Size = -1 },
		"locator: a text of 5000 bytes": func(p *PlanFile) { p.Kernels[0].Locator = strings.Repeat("x", 5000) },
	} {
		p := testPlan(3, 7)
		change(p)
		if _, err := ReadPlanFile(strings.NewReader(write(p))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if p.Schema == PlanSchema {
			if err := WritePlanFile(&strings.Builder{}, p); err == nil {
				t.Errorf("%s: it was written", want)
			}
		}
	}
}

// What is said to be of an earlier run has to be a plain pass of one VM, in a
// file whose plan takes such results.
func TestReusedResults(t *testing.T) {
	write := func(reuse time.Duration, change func(*Result)) (*ShardFile, error) {
		t.Helper()
		p := Plan{Tool: "t", List: "sha256:1", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Arch: "amd64", Kernels: []string{"a/b"}, Reuse: reuse}
		k := Result{
			ID: "a/b", Verdict: Pass, Attempts: 1, Accel: "tcg", Boot: "cold", Console: "results/a/b.txt",
			Tests: []Test{{Name: "x", Verdict: "pass"}}, Reused: &Reused{At: time.Unix(1, 0).UTC(), RunID: "9", Key: "sha256:" + strings.Repeat("a", 64)},
		}
		change(&k)
		dir := t.TempDir()
		w, err := CreateShardFile(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		// As someone writes it who does not keep to the rules.
		b, err := encodeLine(Record{Type: "kernel", Kernel: &k})
		if err == nil {
			err = w.write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.count(k)
		if err := w.Close(true); err != nil {
			t.Fatal(err)
		}
		b, err = os.ReadFile(filepath.Join(dir, p.ShardFileName()))
		if err != nil {
			t.Fatal(err)
		}
		return ReadShardFile(bytes.NewReader(b))
	}
	f, err := write(time.Hour, func(*Result) {})
	if err != nil || f.Problem != "" || f.Kernels[0].Reused == nil {
		t.Fatalf("a reused pass: %v, %+v", err, f)
	}
	if f, err = write(time.Hour, func(k *Result) { k.History = []Attempt{{Attempt: 1, Verdict: Infra, Cause: "fetch: x"}} }); err != nil || f.Problem != "" {
		t.Errorf("it was fetched twice: %v, %+v", err, f)
	}
	if f, err = write(time.Hour, func(k *Result) { k.StaleExpectations = []string{"stale"} }); err != nil || f.Problem != "" {
		t.Errorf("an expectation is stale: %v, %+v", err, f)
	}
	if f, err := write(0, func(*Result) {}); err != nil || !f.Damaged {
		t.Errorf("a plan that takes none: %v, %+v", err, f)
	}
	for name, change := range map[string]func(*Result){
		"failed":     func(k *Result) { k.Verdict, k.Cause = Fail, &Cause{Title: "x"} },
		"missing":    func(k *Result) { k.Verdict, k.Cause = Missing, &Cause{Title: "x"} },
		"attempts":   func(k *Result) { k.Attempts = 2 },
		"kvm":        func(k *Result) { k.Accel = "kvm" },
		"no vm":      func(k *Result) { k.Accel = "" },
		"repeats":    func(k *Result) { k.Repeats = 2 },
		"a vm":       func(k *Result) { k.History = []Attempt{{Attempt: 1, Verdict: Infra, Accel: "tcg"}} },
		"splats":     func(k *Result) { k.Splats = []Splat{{Title: "x", Allowed: AllowEntry{Pattern: "x", Reason: "y"}}} },
		"no time":    func(k *Result) { k.Reused.At = time.Time{} },
		"no key":     func(k *Result) { k.Reused.Key = "" },
		"fell back":  func(k *Result) { k.Boot = "cold after a failed restore" },
		"odd run id": func(k *Result) { k.Reused.RunID = strings.Repeat("x", maxWord+1) },
	} {
		if f, err := write(time.Hour, change); err == nil && f.Problem == "" {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// What a large run writes can be read: 88 kernels with the kernel's own selftests.
func TestLargeReport(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MiB of JSON take 6 s")
	}
	m := &Merged{Schema: MergedSchema, Verdict: Pass}
	k := Result{Verdict: Pass}
	for n := range 2700 {
		name := fmt.Sprintf("selftest_%d/program_%d", n/5, n)
		k.Tests = append(k.Tests, Test{Name: name, Verdict: TestPass, Duration: time.Millisecond, Insns: n + 1, Loader: "libbpf 1.8"})
		k.BPF = append(k.BPF, BPFProgram{Name: fmt.Sprint("program_", n), Type: "kprobe", Tag: "0123456789abcdef", Test: name, Insns: n + 1, States: 6, PeakStates: 5, Stack: 4, Jited: 3, MapMemory: 2})
	}
	for n := range 88 {
		k.ID = fmt.Sprintf("debian/6.1.0-%02d", n)
		m.Kernels = append(m.Kernels, k)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(WriteReport(w, m)) }()
	got, err := ReadReport(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Kernels); n != 88 || len(got.Kernels[87].BPF) != 2700 {
		t.Errorf("%d kernels", n)
	}
	list := "[" + strings.Repeat("0,", maxKernels-1) + "0]"
	if err := CheckJSON([]byte("[" + strings.Repeat(list+",", maxValues/maxKernels) + "0]")); err == nil || !strings.Contains(err.Error(), "more than 20000000 JSON values") {
		t.Errorf("too many values: %v", err)
	}
}
