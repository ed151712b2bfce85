package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestDigestIsOfWhatIsAsked(t *testing.T) {
	payload := func(change func(*Payload)) string {
		p := Payload{
			Job:   wire.Job{Args: []string{"/payload/a", "-v"}, Name: "a", Timeout: time.Second},
			Files: []File{{Path: "/payload/a", Mode: 0o755, Data: []byte("one")}},
		}
		change(&p)
		return p.Digest()
	}
	was := payload(func(*Payload) {})
	for name, tt := range map[string]struct {
		change func(*Payload)
		same   bool
	}{
		"other bytes":    {func(p *Payload) { p.Files[0].Data = []byte("two") }, true},
		"other timeout":  {func(p *Payload) { p.Job.Timeout = time.Minute }, true},
		"other program":  {func(p *Payload) { p.Job.Args[0] = "/payload/b" }, false},
		"other argument": {func(p *Payload) { p.Job.Args[1] = "-w" }, false},
		"environment":    {func(p *Payload) { p.Job.Env = []string{"A=1"} }, false},
		"another file":   {func(p *Payload) { p.Files = append(p.Files, File{Path: "/x"}) }, false},
		"module":         {func(p *Payload) { p.Modules = []string{"overlay"} }, false},
		"root":           {func(p *Payload) { p.Root = "debian:bookworm" }, false},
		"skips pass":     {func(p *Payload) { p.SkipsPass = true }, false},
	} {
		if got := payload(tt.change) == was; got != tt.same {
			t.Errorf("%s: the same digest: %v", name, got)
		}
	}
}

// Digests are published: the values of the environment are not in them.
func TestDigestHasNoSecrets(t *testing.T) {
	with := func(env ...string) *Payload {
		return &Payload{Job: wire.Job{Args: []string{"/payload/a"}, Env: env}}
	}
	a, b := with("PIN=1234", "B"), with("PIN=4321", "B")
	if a.Digest() != b.Digest() || a.ContentDigest() != b.ContentDigest() {
		t.Error("a digest depends on a value")
	}
	if c := with("NIP=1234", "B"); a.Digest() == c.Digest() {
		t.Error("the digest does not depend on a name")
	}
	if a.Job.Env[0] != "PIN=1234" {
		t.Errorf("the payload's environment is now %q", a.Job.Env)
	}
}

// A Go test binary's lines have marks, however -test.v is spelled.
func TestVerbose(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"-test.v":                 "V",
		"--test.v":                "V",
		"-test.v=true":            "V",
		"--test.v=1":              "V",
		"-test.v=t -test.v=T":     "V V",
		"-test.v=test2json":       "-test.v=test2json",
		"-test.v=false":           "-test.v=false",
		"-test.v=0":               "-test.v=0",
		"-test.v=":                "-test.v=",
		"-test.vet -v test.v":     "-test.vet -v test.v",
		"-test.run X -test.v":     "-test.run X V",
		"-test.v -- -test.v":      "V -- -test.v",
		"-test.count=2 ---test.v": "-test.count=2 ---test.v",
	} {
		args := strings.Fields(in)
		kept := slices.Clone(args)
		if got := strings.Join(verboseAs("V", args), " "); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if !slices.Equal(args, kept) {
			t.Errorf("%q was changed", in)
		}
	}
}

// What a root file system holds is of a payload's content, and not of what it is
// asked to do.
func TestDigestsOfARoot(t *testing.T) {
	a, b := Payload{Root: "./dir", RootDigest: "sha256:1"}, Payload{Root: "./dir", RootDigest: "sha256:2"}
	if a.Digest() != b.Digest() || a.ContentDigest() == b.ContentDigest() {
		t.Errorf("digests %s and %s, of content %s and %s", a.Digest(), b.Digest(), a.ContentDigest(), b.ContentDigest())
	}
}

// A Go test binary of a root file system is run as one that is brought along.
func TestInstalledGoTest(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	p := InstalledPayload("/usr/bin/a.test", b, []string{"-test.v", "x"}, "/src", time.Second)
	if got, want := strings.Join(p.Job.Args, " "), "/testrunner exec --name a.test --dir /src --go-test -- /usr/bin/a.test -test.paniconexit0 -test.v=test2json -test.v=test2json x"; got != want || len(p.Files) > 0 {
		t.Errorf("%s, %d files, want %s", got, len(p.Files), want)
	}
	if arch, err := CheckProgram("x", b); err != nil || arch != runtime.GOARCH {
		t.Errorf("this program: %q, %v", arch, err)
	}
	if arch, err := CheckProgram("x", []byte("#!/bin/sh\n")); err != nil || arch != "" {
		t.Errorf("a script: %q, %v", arch, err)
	}
	for _, text := range []string{"", "echo", "\x7fELF"} {
		if _, err := CheckProgram("x", []byte(text)); err == nil {
			t.Errorf("%q is a program", text)
		}
	}
}

// The test binary of a main package has the package's path, and yet is no other
// program: without its guards os.Exit(0) in a test would pass for all of them.
func TestGoTestOfMainPackage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/tool\ngo 1.21\n", "main.go": "package main\nfunc main() {}\n", "main_test.go": "package main\nimport \"testing\"\nfunc TestX(*testing.T) {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"test", "-c", "-o", "out"}, true},
		{[]string{"test", "-c", "-ldflags=-s -w", "-o", "out"}, true},
		{[]string{"build", "-o", "out"}, false},
	} {
		cmd := exec.CommandContext(t.Context(), "go", tt.args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got := goTest(b); got != tt.want {
			t.Errorf("go %v makes a Go test: %v, want %v", tt.args, got, tt.want)
		}
	}
}
