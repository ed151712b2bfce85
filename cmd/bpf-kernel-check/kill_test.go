package main

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/reliabilitytest"
)

// numberFrom is what a variable of the environment says, or n.
func numberFrom(t *testing.T, name string, n int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return n
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 {
		t.Fatalf("%s=%q", name, s)
	}
	return v
}

// A run that is killed at random moments and resumed each time ends with every
// result, once, and leaves no process. KILLS=20 KILL_KERNELS=10 is the whole of
// it; with a run that has ended another one is begun.
func TestKilledRunsAreResumed(t *testing.T) {
	reliabilitytest.Check(t, "kills", []reliabilitytest.Row{{
		Test: "TestKilledRunsAreResumed", Act: "the command is killed by SIGKILL at random moments, and resumed each time",
		Verdict: "pass, each kernel once; no process is left",
	}})
	t.Run("real", func(t *testing.T) {
		k := killing{kernels: numberFrom(t, "KILL_KERNELS", 3), kills: numberFrom(t, "KILLS", 4), within: 6 * time.Second, verdict: report.Pass, code: report.ExitPass}
		k.test(t, newStand(t, k.kernels))
	})
	// Without the time that VMs take, moments of the rest are hit more often.
	t.Run("broken QEMU", func(t *testing.T) {
		k := killing{kernels: 10, kills: 12, within: 1300 * time.Millisecond, verdict: report.Infra, code: report.ExitNotTested}
		s := newStand(t, k.kernels)
		s.fakeQEMU(t, "echo it is broken >&2; sleep 0.1; exit 1")
		s.args = []string{"--retries", "0"}
		k.test(t, s)
	})
}

type killing struct {
	kernels, kills int
	within         time.Duration // of the start each run is killed
	verdict        report.Verdict
	code           int // of a run that ends
}

func (k killing) test(t *testing.T, s *stand) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var lines []byte                // whole lines of the shard file when it was seen last
	consoles := map[string]string{} // of kernels that have a result
	look := func() (done int) {
		b, err := os.ReadFile(filepath.Join(s.out, ownShard))
		if err != nil {
			return 0 // killed before it was there
		}
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		if !bytes.HasPrefix(whole, lines) {
			t.Fatalf("results have changed:\n%s\nwas\n%s", whole, lines)
		}
		lines = whole
		f, err := report.ReadShardFile(bytes.NewReader(whole))
		if err != nil {
			return 0 // killed in its first line
		}
		for _, res := range f.Kernels {
			c, err := os.ReadFile(filepath.Join(s.out, res.Console))
			if err != nil {
				t.Fatal(err)
			}
			if old, ok := consoles[res.ID]; ok && old != string(c) {
				t.Errorf("the console of %s has changed: it was booted again", res.ID)
			}
			consoles[res.ID] = string(c)
		}
		return len(f.Kernels)
	}
	// finish ends the run in hand and begins a new one.
	whole := 0
	finish := func() {
		whole++
		r := s.run(t, "--resume")
		if r.code != k.code {
			t.Fatalf("exit code %d", r.code)
		}
		s.gone(t)
		if look() != k.kernels {
			t.Errorf("%d of %d results", len(consoles), k.kernels)
		}
		s.want(t, k.kernels, k.verdict, "")
		s.empty(t)
		if out, err := exec.Command(s.bin, "merge", s.out, "--out", t.TempDir()).CombinedOutput(); (err == nil) != (k.code == report.ExitPass) || bytes.Contains(out, []byte("cut short")) {
			t.Errorf("merge: %v\n%s", err, out)
		}
		if err := os.RemoveAll(s.out); err != nil {
			t.Fatal(err)
		}
		lines, consoles = nil, map[string]string{}
	}
	var moments []string
	for kill := 0; kill < k.kills; {
		after := time.Duration(random.Int64N(int64(k.within)))
		further := random.IntN(2) // results that it has before: a busy machine has none in any time
		r := s.command(t, "--resume").start(t)
		ended := make(chan struct{})
		go func() { defer close(ended); r.wait(t) }()
		if further > 0 {
			s.grows(max(1, bytes.Count(lines, []byte("\n")))+further, ended)
		}
		select {
		case <-ended: // before it could be killed
			if r.code != k.code {
				t.Fatalf("exit code %d", r.code)
			}
			look()
			finish()
			continue
		case <-time.After(after):
		}
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		s.gone(t)
		kill++
		moments = append(moments, strconv.Itoa(further)+"+"+after.Round(10*time.Millisecond).String()+":"+strconv.Itoa(look()))
	}
	finish()
	t.Logf("%d kills, %d runs of %d kernels ended with all results; killed so many results and so long after the start, with so many results in all: %s", k.kills, whole, k.kernels, strings.Join(moments, " "))
}

// grows waits until the shard file has so many lines, or the run has ended.
func (s *stand) grows(lines int, ended <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(filepath.Join(s.out, ownShard)); err == nil && bytes.Count(b, []byte("\n")) >= lines {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// The documentation's table is of the tests that there are.
func TestReliabilityTable(t *testing.T) {
	const page = "../../.github/docs/reliability.md"
	const begin, end = "<!-- rows: begin -->\n", "<!-- rows: end -->\n"
	tables := map[string][]reliabilitytest.Row{}
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "/"+reliabilitytest.File) {
			return err
		}
		some, err := reliabilitytest.Read(path)
		maps.Copy(tables, some)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	rows := 0
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		rows += len(tables[name])
		b.WriteString("\n## " + strings.ToUpper(name[:1]) + name[1:] + "\n\n" + reliabilitytest.Markdown(tables[name]))
	}
	if rows < 40 {
		t.Errorf("%d rows", rows)
	}
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", page, begin, end)
	}
	text := head + begin + b.String() + "\n" + end + tail
	if text == string(old) {
		return
	}
	if !*update {
		t.Errorf("%s is not of the tests' rows: go test -run TestReliabilityTable -update writes it", page)
		return
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
