package shard

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// What a payload leaves comes out whole, or is named, on kernels old and new.
func TestCollect(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	program := filepath.Join(t.TempDir(), "collect.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-cover", "-trimpath", "-o", program, "./testdata/collect")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	random := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	for _, c := range corpusKernels {
		t.Run(c.series, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.TestPayload(t.Context(), program, nil, "/", "amd64", far)
			if err == nil {
				err = p.Cover(program, "/", true)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Collect = []string{"/tmp/out", "/tmp/out/*.txt", "/tmp/none*", "/tmp/large/*", "/tmp/odd", "/tmp/link.txt", "/proc/version", "/*/version", "/*.json"}
			p.Job.Cores = true
			r := l.runner(t, p)
			k, console := l.run(t, r, newestOf(t, c.source, c.glob))
			if k.Verdict != report.Pass {
				t.Errorf("verdict %v: %+v", k.Verdict, k.Cause)
			}
			if at := strings.Index(console, "collected "); at >= 0 {
				t.Log(console[at : strings.IndexByte(console[at:], '\n')+at])
			}
			if err := k.Check(); err != nil {
				t.Error(err)
			}
			dir := filepath.Join(r.Out, "results", k.ID, wire.CollectRoot)
			got := map[string][]byte{}
			for _, name := range k.Files {
				b, err := os.ReadFile(filepath.Join(r.Out, name))
				if err != nil {
					t.Error(err)
				}
				got[strings.TrimPrefix(name, "results/"+k.ID+"/files/")] = b
			}
			for name, want := range map[string][]byte{
				"tmp/out/plain.txt": []byte("plain\n"), "tmp/out/deep/er/random.bin": random, "tmp/out/zeros.bin": make([]byte, 20<<20),
				"tmp/out/empty": {}, "tmp/out/Case": {},
			} {
				if b, ok := got[name]; !ok || !bytes.Equal(b, want) {
					t.Errorf("%s: %d bytes, %v; want %d", name, len(b), ok, len(want))
				}
				delete(got, name)
			}
			if b := got["proc/version"]; !bytes.HasPrefix(b, []byte("Linux version "+k.Release)) {
				t.Errorf("proc/version is %q", b)
			}
			if b := got["coverage.out"]; !bytes.Contains(b, []byte("mode: set\n")) || bytes.Contains(b, []byte(".go:6.43,8.3 1 1\n")) != (c.series == "5.10") {
				t.Errorf("coverage.out is %s", b)
			}
			delete(got, "proc/version")
			delete(got, "coverage.out")
			core := ""
			var rest []string
			for name, b := range got {
				switch {
				case strings.HasPrefix(name, "cores/"):
					core = name
				case strings.HasPrefix(name, "tmp/odd/"), strings.HasPrefix(name, "long/llll"), strings.HasPrefix(name, "tmp/out/case~"):
					rest = append(rest, string(b))
				default:
					t.Errorf("%s came, too", name)
				}
			}
			if slices.Sort(rest); strings.Join(rest, " ") != " bytes dots long newline" {
				t.Errorf("files with odd names are %q", rest)
			}
			checkCore(t, filepath.Join(dir, core))
			notes := strings.Join(k.Problems, "\n")
			for _, want := range []string{`"/tmp/none*" matches nothing`, `"/tmp/large/large.bin", 17825792 bytes: there is no room`, `"/tmp/link.txt" is no regular file`, `"/job.json" is left out`} {
				if !strings.Contains(notes, want) {
					t.Errorf("notes lack %q:\n%s", want, notes)
				}
			}
		})
	}
}

// What a program that is no test binary leaves in GOCOVERDIR comes as it is, and
// the go command makes a profile of it. A payload that has to be ended by its
// limit leaves its files too. The verdicts are as they would be.
func TestCollectOfOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	program := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-cover", "-coverpkg=./testdata/collect/...", "-trimpath", "-o", program, "./testdata/collect/program")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := theLab(t)
	for _, tt := range []struct {
		name, program string
		args          []string
		verdict       report.Verdict
		file, has     string
		note          string
	}{
		{"a program", program, nil, report.Pass, "files/coverage.out", "collect.go:6.43,8.3 1 0", ""},
		{"a program without coverage", l.hostile, []string{"pass"}, report.Pass, "files/proc/uptime", ".", "coverage: the payload wrote no data"},
		{"a payload that fails", l.hostile, []string{"exit", "7"}, report.Fail, "files/proc/uptime", ".", "coverage: the payload wrote no data"},
		{"a payload that hangs", l.hostile, []string{"sleep"}, report.Timeout, "files/proc/uptime", ".", "coverage: the payload wrote no data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := far
			if tt.verdict == report.Timeout {
				limit = 5 * time.Second
			}
			p, err := guest.TestPayload(t.Context(), tt.program, tt.args, "/", "amd64", limit)
			if err == nil {
				err = p.Cover(tt.program, "/", true)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Collect = []string{"/proc/uptime"}
			r := l.runner(t, p)
			k, _ := l.run(t, r)
			if k.Verdict != tt.verdict {
				t.Errorf("verdict %v: %+v", k.Verdict, k.Cause)
			}
			dir := filepath.Join(r.Out, "results", k.ID)
			data := filepath.Join(dir, wire.CoverDataDir)
			if tt.note == "" {
				cmd := exec.CommandContext(t.Context(), "go", "tool", "covdata", "textfmt", "-i="+data, "-o="+filepath.Join(dir, tt.file))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			} else if _, err := os.Stat(data); err == nil {
				t.Errorf("there is %s", data)
			}
			b, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil || !strings.Contains(string(b), tt.has) {
				t.Errorf("%v, %s", err, b)
			}
			if notes := strings.Join(k.Problems, "\n"); (notes == "") != (tt.note == "") || !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

// Of several programs in one VM, each one's core dumps are its own.
func TestCollectCoresOfSeveral(t *testing.T) {
	l := theLab(t)
	r := l.programsRunner(t, BootWarm, far, "kill-self", "pass", "kill-self")
	r.Payload.Job.Cores = true
	r.Payload.Job.Env = append(r.Payload.Job.Env, "GOTRACEBACK=crash")
	k, _ := l.run(t, r)
	if got := programVerdicts(k); len(got) != 3 || got[1] != "pass" || k.Verdict != report.Fail || len(k.History) > 0 {
		t.Errorf("%q, %v", got, k.Verdict)
	}
	if len(k.Problems) > 0 || len(k.LeftBehind()) > 0 {
		t.Errorf("notes %q, left behind %q", k.Problems, k.LeftBehind())
	}
	for _, name := range k.Files {
		checkCore(t, filepath.Join(r.Out, name))
	}
	if len(k.Files) != 2 || !strings.Contains(k.Files[0], "/p01/") || !strings.Contains(k.Files[1], "/p03/") {
		t.Errorf("files %q", k.Files)
	}
}

// checkCore checks that a compressed core dump is a whole one.
func checkCore(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	var b []byte
	zr, err := gzip.NewReader(f)
	if err == nil {
		b, err = io.ReadAll(zr)
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	core, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || core.Type != elf.ET_CORE {
		t.Errorf("%s: %v, %+v", name, err, core)
		return
	}
	end := uint64(0)
	for _, p := range core.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	if end != uint64(len(b)) {
		t.Errorf("%s: it has %d bytes, and its segments end at %d", name, len(b), end)
	}
	t.Logf("%s: %d bytes of %d", filepath.Base(name), len(b), end)
}
