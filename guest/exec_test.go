package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestExecPayload(t *testing.T) {
	test, err := os.ReadFile(testBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		b          []byte
		args       []string
		installed  bool
		want       string // arguments of testrunner
		file       string
	}{
		{"in the directory", "/src/build/x", nil, []string{"-a", "b c"}, false, "--name n --dir /src -- /src/build/x -a b c", "/src/build/x"},
		{"elsewhere", "/opt/x", nil, nil, false, "--name n --dir /src -- /opt/x", "/opt/x"},
		{"where the guest hides it", "/tmp/go-build1/b001/x.test", nil, nil, false, "--name n --dir /src -- /payload/x.test", "/payload/x.test"},
		{"a Go test binary", "/opt/x.test", test, []string{"-test.timeout=10m0s"}, false, "--name n --dir /src --go-test -- /opt/x.test -test.timeout=10m0s", "/opt/x.test"},
		{"one that lists its tests", "/opt/x.test", test, []string{"-test.list=."}, false, "--name n --dir /src -- /opt/x.test -test.list=.", "/opt/x.test"},
		{"installed", "/usr/bin/bash", nil, nil, true, "--name n --dir /src -- /usr/bin/bash", ""},
	} {
		p := ExecPayload("n", tt.path, tt.b, tt.args, "/src", tt.installed)
		if got := strings.Join(p.Job.Args, " "); got != wire.TestrunnerPath+" exec --stream "+tt.want {
			t.Errorf("%s: %s", tt.name, got)
		}
		file := ""
		for _, f := range p.Files {
			file += f.Path
		}
		if file != tt.file || !p.Job.Stream || !p.Job.Reports || !p.SkipsPass {
			t.Errorf("%s: file %q, job %+v", tt.name, file, p.Job)
		}
	}
}

func TestAddHere(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "d/b", "d/empty/x", "prog", ".git/config", "node_modules/m/x", "sub/.git/HEAD", "target/debug/x", "nottarget/x", "out/old", "gha-creds-1234.json"} {
		write(name, name)
	}
	write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# by cargo\n")
	write("nottarget/CACHEDIR.TAG", "Signature: other")
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "a", "out-of-it": filepath.Join(outside, "secret"), "up": "../" + filepath.Base(outside) + "/secret", "dirlink": "d", "dangling": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	p := Payload{Files: []File{{Path: filepath.Join(dir, "prog"), Mode: 0o755, Data: []byte("as it was read")}, {Path: "/opt/x"}}}
	left, err := p.AddHere(dir, []string{filepath.Join(dir, "out")})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(left)
	if diff := cmp.Diff([]string{"dangling", "dirlink", "out-of-it", "up"}, left); diff != "" {
		t.Error(diff)
	}
	if err := p.PlaceHere(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range p.Files {
		if strings.Contains(string(f.Data), "secret") {
			t.Errorf("%s leaked", f.Path)
		}
		if !f.Mode.IsDir() {
			got[f.Path] = string(f.Data)
		}
	}
	want := map[string]string{"/opt/x": "", wire.HereDir + "/prog": "as it was read", wire.HereDir + "/link": "a", wire.HereDir + "/nottarget/CACHEDIR.TAG": "Signature: other"}
	for _, name := range []string{"a", "d/b", "d/empty/x", "nottarget/x"} {
		want[wire.HereDir+"/"+name] = name
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p.Job.Here != dir {
		t.Errorf("the files are to be seen at %q", p.Job.Here)
	}
}

func TestAddHereIsBounded(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = f.Truncate(maxHereBytes + 1)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var p Payload
	if _, err := p.AddHere(dir, nil); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "large")+"): leave some out with --exclude") {
		t.Errorf("%v", err)
	}
	for _, dir := range []string{"/", "/proc/self", "/run/x"} {
		p := Payload{here: dir}
		if err := p.PlaceHere(); err == nil || !strings.Contains(err.Error(), "change to") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
