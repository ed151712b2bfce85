package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bpf-kernel-check": main, "bpf-kernel-check-measured": measuredMain})
}

// The scripts are the documentation of what the command says. They have a QEMU
// that starts and does nothing, which takes a hundredth of the real one's time,
// but for the doctor.
func TestScripts(t *testing.T) { runScripts(t, "[^v]*.txtar") }

// Those that boot kernels do not run beside the others, which change this
// process's environment.
func TestVMScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	runScripts(t, "vm-*.txtar")
}

func runScripts(t *testing.T, glob string) {
	cache, err := kernel.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	goDirs := goDirectories(t)
	// Looked up and absolute, for scripts change this process's directory and PATH.
	bin, err := exec.LookPath("bpf-kernel-check") // put there by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("testdata/script")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := filepath.Abs("../../shard/preflight/testdata")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := filepath.Abs("testdata/objects")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(scripts, glob))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts are named %s: %v", glob, err)
	}
	path := os.Getenv("PATH")
	slots := make(chan struct{}, 2) // VMs at a time
	idle := idleQEMU(t)
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", path) // testscript takes what another script may just have set
			if strings.Contains(e.WorkDir, "script-vm-") {
				slots <- struct{}{}
				e.Defer(func() { <-slots })
				id, err := newestKernel(t.Context(), cache)
				if err != nil {
					return err
				}
				e.Setenv("ID", id)
				e.Setenv("NAME", strings.TrimPrefix(id, "debian/"))
			} else if !strings.HasSuffix(e.WorkDir, "script-doctor") {
				e.Setenv("PATH", idle+":"+path)
			}
			e.Setenv("BIN", bin)
			e.Values[testKey{}] = t
			if strings.Contains(e.WorkDir, "script-vm-sources") {
				files := httptest.NewServer(http.FileServer(http.Dir(e.WorkDir)))
				images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
				e.Defer(func() { files.Close(); images.Close() })
				e.Setenv("URL", files.URL)
				e.Setenv("REGISTRY", strings.TrimPrefix(images.URL, "http://"))
			}
			e.Setenv("OBJECTS", objects)
			e.Setenv("SETTINGS", settings)
			e.Setenv("COSTS", filepath.Join(scripts, "../costs"))
			e.Setenv("KERNELS", cache) // the cache of the user, so that nothing is fetched twice
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "xdg"))
			e.Vars = append(e.Vars, goDirs...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode":   exitCode,
			"static":     buildStatic,
			"union":      checkUnion,
			"sameplan":   samePlan,
			"shard":      writeShard,
			"plan":       writePlan,
			"archive":    makeArchive,
			"mainline":   makeMainline,
			"bucket":     makeBucket,
			"inputs":     inputsFile,
			"smallindex": makeSmallIndex,

			"kernelarchive": makeRealArchive,
			"kernelfiles":   kernelFiles,
			"ociimage":      ociImage,
		},
	})
}

// goDirectories are the variables that go needs where the home directory is
// another one.
func goDirectories(t *testing.T) []string {
	t.Helper()
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	values := strings.Fields(string(out))
	if err != nil || len(values) != len(names) {
		t.Fatalf("go env: %v\n%s", err, out)
	}
	for i := range names {
		names[i] += "=" + values[i]
	}
	return names
}

// newestKernel is the id of the kernel that the scripts boot. Debian replaces
// it every few weeks.
func newestKernel(ctx context.Context, dir string) (string, error) {
	cache, err := kernel.NewCache(dir)
	if err != nil {
		return "", err
	}
	src, err := source.Parse("debian:bookworm:cloud-amd64", cache)
	if err != nil {
		return "", err
	}
	plan, err := plan.New(ctx, []kernel.Source{src}, []string{"debian/6.1.*"})
	if err != nil {
		return "", err
	}
	return plan.Newest().ID(), nil
}

// idleQEMU makes a QEMU that answers what is asked before the first VM, and
// returns its directory.
func idleQEMU(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "qemu-system-x86_64"), "#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n")
	return dir
}

// exitCode runs a program and checks its exit code: exitcode N PROGRAM ARGS...
// Where no VM boots, bpf-kernel-check is called in this process: its start
// takes a tenth of a second.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N PROGRAM ARGS...")
	}
	got := "0"
	if args[1] == "bpf-kernel-check" && !strings.HasPrefix(ts.Name(), "vm-") {
		got = fmt.Sprint(callHere(ts, args[2:]))
	} else if err := ts.Exec(args[1], args[2:]...); err != nil {
		if m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(err.Error()); m != nil {
			got = m[1]
		} else {
			got = err.Error()
		}
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// inputsFile sets INPUTS_FILE to what the first step of an action has left, and
// removes that step's outputs: inputs OUTPUTS
func inputsFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: inputs OUTPUTS")
	}
	file := actionOutputs(ts.ReadFile(args[0]))["inputs"]
	if file == "" {
		ts.Fatalf("%s has no output inputs", args[0])
	}
	ts.Setenv("INPUTS_FILE", file)
	ts.Check(os.Remove(ts.MkAbs(args[0])))
}

// callLock is held while the process has the directory and environment of a
// script.
var callLock sync.Mutex

// callHere calls the command in this process as the script would start it, and
// returns its exit code.
func callHere(ts *testscript.TestScript, args []string) int {
	callLock.Lock()
	defer callLock.Unlock()
	back, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	defer os.Chdir(back) //nolint:errcheck // it was there before
	// What is looked up without getenv.
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "GOPATH"} {
		defer os.Setenv(name, os.Getenv(name)) //nolint:errcheck // the name is valid
		ts.Check(os.Setenv(name, ts.Getenv(name)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return run(ctx, args, strings.NewReader(""), ts.Stdout(), ts.Stderr(), ts.Getenv)
}

// shardPlans reads the plan records of the shard files in a directory, by file.
func shardPlans(ts *testscript.TestScript, dir string) map[string]report.Plan {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(dir), "shard-*.ndjson"))
	ts.Check(err)
	plans := map[string]report.Plan{}
	for _, f := range files {
		first, _, _ := strings.Cut(ts.ReadFile(f), "\n")
		var rec struct{ Plan report.Plan }
		ts.Check(json.Unmarshal([]byte(first), &rec))
		plans[filepath.Base(f)] = rec.Plan
	}
	return plans
}

// checkUnion checks that the shards of a directory are all there, are a
// partition of a list of N kernels, and reported each of them: union N DIR
func checkUnion(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: union N DIR")
	}
	plans := shardPlans(ts, args[1])
	all := map[string]bool{}
	for name, p := range plans {
		if p.Shards != len(plans) {
			ts.Fatalf("%s is one of %d, and there are %d", name, p.Shards, len(plans))
		}
		file := ts.ReadFile(filepath.Join(args[1], name))
		for _, id := range p.Kernels {
			if all[id] {
				ts.Fatalf("kernel %s is in two shards", id)
			}
			all[id] = true
			if !strings.Contains(file, `{"type":"kernel","kernel":{"id":"`+id+`"`) {
				ts.Fatalf("kernel %s is not in %s", id, name)
			}
		}
		if !strings.Contains(file, `{"type":"end"`) {
			ts.Fatalf("%s has no end", name)
		}
	}
	if fmt.Sprint(len(all)) != args[0] {
		ts.Fatalf("%d kernels, want %s", len(all), args[0])
	}
}

// samePlan checks that the shards of two directories were to do the same:
// sameplan DIR DIR
func samePlan(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sameplan DIR DIR")
	}
	if d := cmp.Diff(shardPlans(ts, args[0]), shardPlans(ts, args[1])); d != "" {
		ts.Fatalf("-%s +%s:\n%s", args[0], args[1], d)
	}
}

// buildStatic compiles a Go file to a static program: static ARCH FILE OUT
func buildStatic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: static ARCH FILE OUT")
	}
	callLock.Lock() // for PATH
	defer callLock.Unlock()
	cmd := exec.Command("go", "build", "-o", ts.MkAbs(args[2]), ts.MkAbs(args[1]))
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+args[0], "GO111MODULE=off")
	if b, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%v\n%s", err, b)
	}
}

// The demo is the first thing that people run: four kernels, all of which
// pass, and the summary in its format.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"demo", "--out", out, "-j", "2"}, nil, &stdout, &stderr, os.Getenv)
	t.Logf("stdout:\n%s\nstderr:\n%s", stdout.String(), stderr.String())
	if code != report.ExitPass {
		t.Fatalf("exit code %d", code)
	}
	summary, err := os.ReadFile(filepath.Join(out, summary.Name))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^BPF check run at \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}

debian \(4 kernel\(s\) to test\)
\[PASS\] 5\.10\.\S+-cloud-amd64__\S+
\[PASS\] 6\.1\.\S+-cloud-amd64__\S+
\[PASS\] 6\.12\.\S+-cloud-amd64__\S+
\[PASS\] 7\.\S+-cloud-amd64__\S+
$`)
	if !want.Match(summary) {
		t.Errorf("summary:\n%s", summary)
	}
	if !strings.HasSuffix(stdout.String(), string(summary)) {
		t.Error("the screen does not end with the summary")
	}
	consoles, err := filepath.Glob(filepath.Join(out, "results", "debian", "*.txt"))
	if err != nil || len(consoles) != 4 {
		t.Errorf("consoles: %v, %v", consoles, err)
	}
	shard, err := os.ReadFile(filepath.Join(out, "shard-001-of-001.attempt-1.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	types := ""
	for line := range bytes.Lines(shard) {
		var rec struct{ Type string }
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		types += rec.Type + " "
	}
	if types != "plan kernel kernel kernel kernel end " {
		t.Errorf("records of the shard file: %s", types)
	}
}

func TestInterruptedExitsWithTheSignal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted{15})
	var stderr bytes.Buffer
	code := run(ctx, []string{"list", "--kernels", t.TempDir()}, nil, &bytes.Buffer{}, &stderr, os.Getenv)
	if code != 143 || !strings.Contains(stderr.String(), "interrupted by SIGTERM") {
		t.Errorf("code %d, %s", code, stderr.String())
	}
}
