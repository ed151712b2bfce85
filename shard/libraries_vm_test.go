package shard

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
)

// dynamicPayload is a payload of the machine's own programs with their libraries.
func dynamicPayload(t *testing.T, program string, args []string, files ...string) guest.Payload {
	t.Helper()
	p, err := guest.TestPayload(t.Context(), program, args, "/", "amd64", far)
	for _, f := range files {
		err = errors.Join(err, p.AddFile(f))
	}
	err = errors.Join(err, p.AddLibraries("amd64", guest.Libraries{Programs: []string{program}, Warn: func(msg string) { t.Error(msg) }}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Programs of a distribution run with nothing but their libraries.
func TestDynamicPrograms(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "test.sh")
	if err := os.WriteFile(script, []byte(`set -e
ip link show lo | grep LOOPBACK
ip addr add 10.9.9.1/24 dev lo
tc qdisc show dev lo
bpftool prog
bpftool map
bpftool btf list
perf --version
echo "all of bash $BASH_VERSION"
`), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []string{script}
	for _, name := range []string{"ip", "tc", "bpftool", "perf", "grep"} {
		at, err := exec.LookPath(name)
		if err == nil && guest.ExecutableArch(at) == "" {
			err = errors.New("it is a script") // Ubuntu's
		}
		if err != nil && name != "bpftool" && name != "perf" {
			t.Fatalf("%s: %v", name, err)
		}
		if err != nil {
			t.Logf("%s is left out: %v", name, err)
			b, _ := os.ReadFile(script)
			lines := slices.DeleteFunc(strings.SplitAfter(string(b), "\n"), func(l string) bool { return strings.HasPrefix(l, name) })
			if err := os.WriteFile(script, []byte(strings.Join(lines, "")), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		files = append(files, at+":/bin/")
	}
	for _, tt := range []struct{ name, source, glob string }{
		{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*"},
		{"6.1", vmSource, vmGlob},
		{"6.12", "debian:trixie:cloud-amd64", "debian/6.12.*"},
		{"7.x", "debian:sid:cloud-amd64", "debian/7.*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p := dynamicPayload(t, "/bin/bash", []string{"/test.sh"}, files...)
			k, console := l.run(t, l.runner(t, p), newestOf(t, tt.source, tt.glob))
			if k.Verdict != report.Pass || !strings.Contains(console, "all of bash") {
				t.Errorf("verdict %v", k.Verdict)
			}
		})
	}
}

// A Go test binary with cgo's resolver and user database runs, booted and restored.
func TestCgoTestBinary(t *testing.T) {
	l := theLab(t)
	binary := filepath.Join(t.TempDir(), "cgo.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "./testdata/cgotest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	etc := filepath.Join(t.TempDir(), "etc")
	for name, text := range map[string]string{"passwd": "root:x:0:0:root:/root:/bin/sh\n", "hosts": "127.0.0.1 localhost\n", "nsswitch.conf": "passwd: files\nhosts: files\n"} {
		if err := errors.Join(os.MkdirAll(etc, 0o755), os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	p := dynamicPayload(t, binary, nil, etc+":/etc")
	p.Job.Env = append(p.Job.Env, "GODEBUG=netdns=cgo")
	for _, boot := range []Boot{BootCold, BootWarm} {
		r := l.runner(t, p)
		r.Boot, r.QEMUDigest = boot, "test"
		k, _ := l.run(t, r)
		var tests []string
		for _, x := range k.Tests {
			tests = append(tests, x.Verdict+" "+x.Name)
		}
		if got := strings.Join(tests, ", "); k.Verdict != report.Pass || got != "pass TestNet, pass TestUser" {
			t.Errorf("%v: verdict %v, tests %s", boot, k.Verdict, got)
		}
	}
}

// Files of more than a few hundred MiB arrive whole, in a VM that was booted and
// in one that was restored.
func TestLargePayload(t *testing.T) {
	l := theLab(t)
	large := filepath.Join(t.TempDir(), "large")
	const size = 600 << 20
	f, err := os.Create(large)
	if err == nil {
		_, err = f.WriteAt([]byte("the end"), size-7) // the rest is a hole
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	p, err := guest.TestPayload(t.Context(), buildC(t, "testdata/large.c"), []string{"/large", "629145600", "the end"}, "/", "amd64", far)
	err = errors.Join(err, p.AddFile(large))
	if err != nil {
		t.Fatal(err)
	}
	for boot, memory := range map[Boot]int{BootCold: 2048, BootWarm: 1024} {
		r := l.runner(t, p)
		r.Boot, r.QEMUDigest, r.Memory = boot, "test", memory
		if err := p.Memory().Check(memory, boot == BootWarm); err != nil {
			t.Error(err)
		}
		if k, _ := l.run(t, r); k.Verdict != report.Pass {
			t.Errorf("%v: verdict %v", boot, k.Verdict)
		}
	}
}

// A kernel that cannot unpack all files is not tested, whatever was counted before.
func TestPayloadThatDoesNotFit(t *testing.T) {
	l := theLab(t)
	large := filepath.Join(t.TempDir(), "large")
	p, err := guest.TestPayload(t.Context(), buildC(t, "testdata/large.c"), nil, "/", "amd64", far)
	// Its name is the last: all that a payload needs to start with is there.
	err = errors.Join(err, os.WriteFile(large, nil, 0o600), os.Truncate(large, 150<<20), p.AddFile(large+":/z/large"))
	if err != nil {
		t.Fatal(err)
	}
	r := l.runner(t, p)
	r.Memory, r.Retries = 256, 0
	if k, _ := l.run(t, r); k.Verdict != report.Infra || k.Cause == nil || !strings.Contains(k.Cause.Title, "do not fit into the VM's memory") {
		t.Errorf("verdict %v, cause %+v", k.Verdict, k.Cause)
	}
}
