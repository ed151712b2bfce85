package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// testBinary builds a Go test binary with flags.
func testBinary(t *testing.T, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module x.test/x\ngo 1.21\n", "x.go": "package x\nfunc X() {}\n", "x_test.go": "package x\nimport \"testing\"\nfunc TestX(*testing.T) { X() }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-c", "-o", "x.test"}, flags...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "x.test")
}

func TestCover(t *testing.T) {
	covered, plain := testBinary(t, "-cover"), testBinary(t)
	for _, tt := range []struct {
		name    string
		program string
		args    []string
		asked   bool
		cover   string
		added   bool
		err     string
	}{
		{name: "not asked for", program: covered},
		{name: "asked for", program: covered, asked: true, cover: wire.CoverProfile, added: true},
		{name: "the argument alone", program: plain, args: []string{"-test.coverprofile=/tmp/c"}, cover: "/tmp/c"},
		{name: "both", program: covered, args: []string{"-test.run", "X", "--test.coverprofile", "c.out"}, asked: true, cover: "/d/c.out"},
		{name: "not built for it", program: plain, asked: true, err: "is not built for --cover: build it with go test -c -cover"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := TestPayload(t.Context(), tt.program, tt.args, "/d", "amd64", 0)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Cover(tt.program, "/d", tt.asked)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if p.Job.Cover != tt.cover || slices.Contains(p.Job.Args, "-test.coverprofile="+wire.CoverProfile) != tt.added {
				t.Errorf("cover %q, args %q", p.Job.Cover, p.Job.Args)
			}
			if n := len(p.Job.Args) - len(tt.args); !slices.Equal(p.Job.Args[n:], tt.args) {
				t.Errorf("args %q do not end with %q", p.Job.Args, tt.args)
			}
		})
	}
	// As well where the guest's root file system has the program.
	for _, program := range []string{covered, plain} {
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		p := InstalledPayload("/opt/x.test", b, nil, "/d", 0)
		if err := p.Cover("/opt/x.test", "/d", true); (err == nil) != (program == covered) {
			t.Errorf("%s in a root file system: %v", program, err)
		}
	}
	// Any other program gets a directory.
	p := Payload{Job: wire.Job{Args: []string{"/testrunner", "exec", "--", "/payload/x"}}}
	if err := p.Cover("x", "/", true); err != nil || p.Job.Cover != wire.CoverDir {
		t.Errorf("%v, %q", err, p.Job.Cover)
	}
}

// In a session the payload finds the directories that it writes to.
func TestCoverInASession(t *testing.T) {
	p, err := SessionPayload(t.Context(), "amd64", Payload{Job: wire.Job{Args: []string{"/x"}, Cover: wire.CoverDir, Cores: true}}, Session{Terminal: "ttyS0"})
	if err != nil || p.Job.Cover != wire.CoverDir || !p.Job.Cores {
		t.Errorf("%v, %+v", err, p.Job)
	}
}

func TestCoverProfile(t *testing.T) {
	for args, want := range map[string]string{
		"":                                        "",
		"-test.coverprofile=c":                    "/d/c",
		"-test.coverprofile c -test.v":            "/d/c",
		"-test.coverprofile=/a/../c":              "/c",
		"-test.coverprofile=c -test.outputdir=o":  "/d/o/c",
		"-test.coverprofile=c -test.outputdir=/o": "/o/c",
		"-- -test.coverprofile=c":                 "",
		"-test.coverprofile=":                     "",
		"x -test.v":                               "",
	} {
		if got := coverProfile(strings.Fields(args), "/d"); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for pattern, want := range map[string]string{
		"/tmp/*.txt": "/tmp/*.txt", "out/*": "/d/out/*", "../x": "/x", "/tmp/out/": "/tmp/out", "/a b/[x-z]?": "/a b/[x-z]?",
		"": "", "/tmp/[": "", "/a\nb": "", "/" + strings.Repeat("a", 500): "",
	} {
		got, err := CheckPattern(pattern, "/d")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", pattern, got, err, want)
		}
	}
}
