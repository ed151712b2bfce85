package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/reliabilitytest"
)

// bench is what the tests of faults share: the command, a kernel as a file, and
// programs to run in it.
type bench struct {
	bin     string
	vmlinuz []byte
	dir     string // holds the programs pass and sleep
}

var openBench = sync.OnceValues(func() (*bench, error) {
	b := &bench{}
	var err error
	if b.bin, err = exec.LookPath("bpf-kernel-check"); err != nil {
		return nil, err
	}
	dir, err := kernel.DefaultCacheDir()
	if err != nil {
		return nil, err
	}
	cache, err := kernel.NewCache(dir)
	if err != nil {
		return nil, err
	}
	src, err := source.Parse("debian:bookworm:cloud-amd64", cache)
	if err != nil {
		return nil, err
	}
	plan, err := plan.New(context.Background(), []kernel.Source{src}, []string{"debian/6.1.*"})
	if err != nil {
		return nil, err
	}
	im, err := src.Open(context.Background(), plan.Newest().Ref)
	if err != nil {
		return nil, err
	}
	if b.vmlinuz, err = os.ReadFile(im.Kernel); err != nil {
		return nil, err
	}
	// Beside the command, which TestMain removes.
	if b.dir, err = os.MkdirTemp(filepath.Dir(b.bin), "bench-"); err != nil {
		return nil, err
	}
	for name, body := range map[string]string{"pass": `println("hello")`, "sleep": `println("the payload sleeps"); time.Sleep(time.Hour)`} {
		path := filepath.Join(b.dir, name)
		source := "package main\n\nimport \"time\"\n\nfunc main() { " + body + "; _ = time.Now }\n"
		if err := os.WriteFile(path+".go", []byte(source), 0o644); err != nil {
			return nil, err
		}
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, path+".go")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GO111MODULE=off")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	return b, nil
})

// stand is one test's: kernels as files, and a cache, an output directory and a
// directory for temporary files of its own.
type stand struct {
	*bench
	kernels, out, cache, tmp string
	path                     string // PATH
	payload                  string
	args                     []string // more of run's
}

func newStand(t *testing.T, kernels int) *stand {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs")
	}
	b, err := openBench()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &stand{
		bench: b, payload: "pass", path: os.Getenv("PATH"),
		kernels: filepath.Join(dir, "kernels"), out: filepath.Join(dir, "out"), cache: filepath.Join(dir, "cache"), tmp: filepath.Join(dir, "tmp"),
	}
	for _, d := range []string{s.tmp, filepath.Join(s.kernels, "debian")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range kernels {
		if err := os.WriteFile(filepath.Join(s.kernels, "debian", fmt.Sprintf("vmlinuz-6.1.%d", i)), b.vmlinuz, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// command is a run that has not been started.
func (s *stand) command(t *testing.T, args ...string) *ran {
	t.Helper()
	all := slices.Concat([]string{"run", "--cache", s.cache, "--kernels", s.kernels, "--test", filepath.Join(s.dir, s.payload), "--out", s.out, "--accel", "tcg", "-j", "2"}, s.args, args)
	r := &ran{cmd: exec.Command(s.bin, all...)}
	r.cmd.Env = append(os.Environ(), "TMPDIR="+s.tmp, "PATH="+s.path)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	t.Cleanup(func() {
		if t.Failed() && r.cmd.Process != nil {
			t.Logf("%v\n%s%s", r.cmd.Args, r.stdout.String(), r.stderr.String())
		}
	})
	return r
}

type ran struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	code           int // -1: a signal
}

func (r *ran) start(t *testing.T) *ran {
	t.Helper()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *ran) wait(t *testing.T) *ran {
	t.Helper()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r.code = r.cmd.ProcessState.ExitCode()
	return r
}

func (s *stand) run(t *testing.T, args ...string) *ran {
	t.Helper()
	return s.command(t, args...).start(t).wait(t)
}

const ownShard = "shard-001-of-001.attempt-1.ndjson"

// results reads the shard file.
func (s *stand) results(t *testing.T) *report.ShardFile {
	t.Helper()
	f, err := os.Open(filepath.Join(s.out, ownShard))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sf, err := report.ReadShardFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return sf
}

// want checks the results of all kernels: the verdict and cause of the first n,
// and a pass of the others.
func (s *stand) want(t *testing.T, n int, v report.Verdict, cause string) {
	t.Helper()
	f := s.results(t)
	if f.Problem != "" || len(f.Kernels) != len(f.Plan.Kernels) {
		t.Errorf("the shard file: %d of %d kernels; %s", len(f.Kernels), len(f.Plan.Kernels), f.Problem)
	}
	odd := 0
	for _, k := range f.Kernels {
		switch {
		case k.Verdict == v && (v == report.Pass || k.Cause != nil && regexp.MustCompile(cause).MatchString(k.Cause.Title)):
			odd++
		case k.Verdict != report.Pass:
			t.Errorf("%s: %v, %+v; want %v, %s", k.ID, k.Verdict, k.Cause, v, cause)
		}
	}
	if odd != n && v != report.Pass {
		t.Errorf("%d kernels are %v, want %d", odd, v, n)
	}
}

// processes are those that have the stand's directory for temporary files in
// their environment or arguments, which the command and all of its children
// have, and nobody else.
func (s *stand) processes(t *testing.T) (found []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if filepath.Base(d) == strconv.Itoa(os.Getpid()) {
			continue
		}
		env, _ := os.ReadFile(d + "/environ") // one that has ended has none
		args, _ := os.ReadFile(d + "/cmdline")
		if bytes.Contains(env, []byte("TMPDIR="+s.tmp+"\x00")) || bytes.Contains(args, []byte(s.tmp+"/")) {
			found = append(found, fmt.Sprintf("%s %.200q", d, args))
		}
	}
	return found
}

// gone waits until no process of the stand is left: the kernel ends them side
// by side.
func (s *stand) gone(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		left := s.processes(t)
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still there: %v", left)
		}
	}
}

// empty says that nothing is left behind in the directory for temporary files.
func (s *stand) empty(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(s.tmp)
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool {
		// A released command holds the guest's programs. This one builds them,
		// and the go command's work is left where that is killed.
		return strings.HasPrefix(e.Name(), "bpf-kernel-check-build-") || strings.HasPrefix(e.Name(), "go-build")
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// vm waits until n VMs of the stand run and returns the pid of one.
func (s *stand) vm(t *testing.T, not ...int) int {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Minute)
	for {
		for _, p := range s.processes(t) {
			dir, args, _ := strings.Cut(p, " ")
			pid, _ := strconv.Atoi(filepath.Base(dir))
			if strings.Contains(args, "qemu-system-x86_64") && strings.Contains(args, "-no-reboot") && !slices.Contains(not, pid) {
				return pid
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no VM runs")
		}
	}
}

// says waits until a console of the stand has the text.
func (s *stand) says(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Minute)
	for {
		consoles, _ := filepath.Glob(filepath.Join(s.out, "results", "*", "*.txt"))
		for _, c := range consoles {
			if b, err := os.ReadFile(c); err == nil && bytes.Contains(b, []byte(text)) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no console says %q", text)
		}
	}
}

// smallDisk mounts a file system of a few bytes.
func smallDisk(t *testing.T, dir string, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", dir, "tmpfs", 0, "size="+size); errors.Is(err, unix.EPERM) {
		t.Skip("this container may not mount")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// fakeQEMU puts a script before QEMU in the PATH. It answers as QEMU does when
// it is asked what it is and has; $real is QEMU.
func (s *stand) fakeQEMU(t *testing.T, script string) {
	t.Helper()
	real, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(s.tmp), "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\nreal=" + real + "\n[ \"$1\" = --version ] && exec $real --version\ncase \"$*\" in *'-monitor stdio'*) exec $real \"$@\";; esac\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	s.path = dir + ":" + s.path
}

// fault is one thing that goes wrong with a run.
type fault struct {
	act     string // for the documentation
	verdict string // what comes of it, in words
	cause   string // regular expression, for the test and the documentation
	test    func(t *testing.T, cause string)
}

func faults() []fault {
	return []fault{
		{"the output directory's disk is full", "infra, exit code 3", `no space left on device`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			smallDisk(t, s.out, "16k")
			r := s.run(t)
			if r.code != report.ExitNotTested || !regexp.MustCompile(cause).MatchString(r.stdout.String()+r.stderr.String()) {
				t.Errorf("exit code %d", r.code)
			}
			s.empty(t)
		}},
		{"the scratch directory's disk is full", "infra", `no space left on device`, func(t *testing.T, cause string) {
			s := newStand(t, 2)
			smallDisk(t, s.tmp, "20m")
			if r := s.run(t, "--retries", "0"); r.code != report.ExitNotTested {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 2, report.Infra, cause)
			s.empty(t)
		}},
		{"the cache's disk is full", "infra", `no space left on device`, func(t *testing.T, cause string) {
			s := newStand(t, 2)
			smallDisk(t, s.cache, "2m")
			if r := s.run(t, "--retries", "0"); r.code != report.ExitNotTested {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 2, report.Infra, cause)
			s.empty(t)
		}},
		{"VMs want more memory than there is", "infra", `(?i)memory`, func(t *testing.T, cause string) {
			s := newStand(t, 2)
			r := s.run(t, "--memory", "1048576", "--retries", "0")
			if r.code != report.ExitNotTested || !strings.Contains(r.stderr.String(), "1 VM at a time instead of 2") {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 2, report.Infra, cause)
			s.empty(t)
		}},
		{"the payload's files do not fit into a VM's memory", "exit code 2", `do not fit a VM of 256 MiB: give --memory 576`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			large := filepath.Join(t.TempDir(), "large")
			if err := os.WriteFile(large, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(large, 150<<20); err != nil {
				t.Fatal(err)
			}
			// Restored, it would fit; a first boot is cold. What init says of files that
			// this does not see: TestPayloadThatDoesNotFit.
			for _, boot := range []string{"cold", "auto"} {
				r := s.run(t, "--memory", "256", "--boot", boot, "--file", large+":/z/large")
				if r.code != report.ExitUsage || !strings.Contains(r.stderr.String(), cause) {
					t.Errorf("%s: exit code %d, %s", boot, r.code, r.stderr.String())
				}
			}
			s.empty(t)
		}},
		{"QEMU is killed from outside, once", "pass, on attempt 2", ``, func(t *testing.T, _ string) {
			s := newStand(t, 1)
			r := s.command(t).start(t)
			_ = unix.Kill(s.vm(t), unix.SIGKILL)
			if r.wait(t); r.code != report.ExitPass || !strings.Contains(r.stdout.String(), "on attempt 2") {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 0, report.Pass, "")
			s.empty(t)
		}},
		{"QEMU is killed from outside, each time", "infra", `^QEMU: killed by SIGKILL, by the kernel for want of memory`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			r := s.command(t).start(t)
			first := s.vm(t)
			_ = unix.Kill(first, unix.SIGKILL)
			_ = unix.Kill(s.vm(t, first), unix.SIGKILL)
			if r.wait(t); r.code != report.ExitNotTested {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 1, report.Infra, cause)
			s.empty(t)
		}},
		{"QEMU ends at once", "infra", `^QEMU: exit status 1: it is broken$`, func(t *testing.T, cause string) {
			s := newStand(t, 2)
			s.fakeQEMU(t, "echo it is broken >&2; exit 1")
			if r := s.run(t); r.code != report.ExitNotTested {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 2, report.Infra, cause)
		}},
		{"QEMU is removed while kernels are tested", "infra for those that follow", `no such file or directory`, func(t *testing.T, cause string) {
			s := newStand(t, 2)
			s.fakeQEMU(t, `rm "$0"; exec $real "$@"`)
			if r := s.run(t, "-j", "1"); r.code != report.ExitNotTested {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 1, report.Infra, cause)
		}},
		{"the output directory cannot be made", "refused, exit code 2", `--out: .*not a directory`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			s.out = filepath.Join(s.kernels, "debian", "vmlinuz-6.1.0", "out")
			if r := s.run(t); r.code != report.ExitUsage || !regexp.MustCompile(cause).MatchString(r.stderr.String()) {
				t.Errorf("exit code %d", r.code)
			}
			s.empty(t)
		}},
		{"two runs have one output directory", "the second is refused, exit code 2", `another run writes to it`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			s.payload = "sleep"
			first := s.command(t).start(t)
			s.vm(t)
			if r := s.run(t); r.code != report.ExitUsage || !strings.Contains(r.stderr.String(), cause) {
				t.Errorf("exit code %d", r.code)
			}
			if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if first.wait(t); first.code != 128+int(syscall.SIGTERM) {
				t.Errorf("the first: exit code %d", first.code)
			}
			s.gone(t)
			s.empty(t)
		}},
		{"two runs have one cache, which is empty", "pass", ``, func(t *testing.T, _ string) {
			s := newStand(t, 1)
			other := *s
			other.out += "-2"
			a, b := s.command(t, "-j", "1").start(t), other.command(t, "-j", "1").start(t)
			if a.wait(t); a.code != report.ExitPass {
				t.Errorf("exit code %d", a.code)
			}
			if b.wait(t); b.code != report.ExitPass {
				t.Errorf("exit code %d", b.code)
			}
			s.want(t, 0, report.Pass, "")
			other.want(t, 0, report.Pass, "")
			s.empty(t)
		}},
		{"the cache is damaged between runs", "pass, after the kernel was fetched again", ``, func(t *testing.T, _ string) {
			s := newStand(t, 1)
			if r := s.run(t); r.code != report.ExitPass {
				t.Fatalf("exit code %d", r.code)
			}
			n := 0
			err := filepath.WalkDir(s.cache, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.Name() != "vmlinuz" {
					return err
				}
				n++
				return os.WriteFile(path, bytes.Repeat([]byte("?"), len(s.vmlinuz)), 0o644)
			})
			if n == 0 || err != nil {
				t.Fatalf("%d kernels in the cache, %v", n, err)
			}
			if r := s.run(t); r.code != report.ExitPass || !strings.Contains(r.stderr.String(), "is damaged and will be built again") {
				t.Errorf("exit code %d", r.code)
			}
			s.want(t, 0, report.Pass, "")
			s.empty(t)
		}},
		{"nobody reads what the command prints", "pass, and all is written", ``, func(t *testing.T, _ string) {
			s := newStand(t, 1)
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r := s.command(t)
			r.cmd.Stdout, r.cmd.Stderr = write, write
			r.start(t)
			write.Close()
			read.Close()
			if r.wait(t); r.code != report.ExitPass {
				t.Errorf("exit code %d, %v", r.code, r.cmd.ProcessState)
			}
			s.want(t, 0, report.Pass, "")
			s.empty(t)
		}},
		{"the command is ended by SIGTERM at any moment", "exit code 143, the rest is missing", ``, func(t *testing.T, _ string) {
			s := newStand(t, 2)
			s.payload = "sleep"
			for _, after := range []time.Duration{0, 100, 300, 700, 1500, 3000} {
				r := s.command(t).start(t)
				<-time.After(after * time.Millisecond)
				if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				r.wait(t)
				t.Logf("after %v ms: exit code %d in %v", int(after), r.code, time.Since(start))
				// Before main is reached the signal ends any program: on a busy
				// machine that takes a while, and nothing was begun then.
				_, err := os.Stat(s.out)
				begun := err == nil || r.stdout.Len() > 0 || r.stderr.Len() > 0
				if r.code != 128+int(syscall.SIGTERM) && (r.code != -1 || begun) {
					t.Errorf("after %v ms: exit code %d, output directory: %v", int(after), r.code, err)
				}
				s.gone(t)
				s.empty(t)
			}
		}},
		{"a run is resumed with another payload", "refused, exit code 2", `the payload was sha256:[0-9a-f]{12} and is sha256:[0-9a-f]{12}`, func(t *testing.T, cause string) {
			s := newStand(t, 1)
			if r := s.run(t, "--resume"); r.code != report.ExitPass { // there is nothing to resume
				t.Fatalf("exit code %d", r.code)
			}
			before := filesUnder(t, s.out)
			if r := s.run(t, "--resume"); r.code != report.ExitPass || !strings.Contains(r.stdout.String(), "of 1 kernel has its result already") {
				t.Errorf("a finished run: exit code %d", r.code)
			}
			s.payload = "sleep"
			if r := s.run(t, "--resume"); r.code != report.ExitUsage || !regexp.MustCompile(cause).MatchString(r.stderr.String()) {
				t.Errorf("exit code %d", r.code)
			}
			after := filesUnder(t, s.out)
			for name, b := range before {
				if (strings.HasSuffix(name, ".ndjson") || strings.Contains(name, "results")) && after[name] != b {
					t.Errorf("%s was changed", name)
				}
			}
			s.empty(t)
		}},
	}
}

// filesUnder reads all files below a directory.
func filesUnder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFaults(t *testing.T) {
	var rows []reliabilitytest.Row
	for _, f := range faults() {
		rows = append(rows, reliabilitytest.Row{Test: "TestFaults/" + f.act, Act: f.act, Verdict: f.verdict, Cause: f.cause})
	}
	reliabilitytest.Check(t, "faults", rows)
	for _, f := range faults() {
		t.Run(f.act, func(t *testing.T) { f.test(t, f.cause) })
	}
}
