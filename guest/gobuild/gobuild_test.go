package gobuild

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// The modules of testdata, built by the real go command.
func TestBuild(t *testing.T) {
	type program struct{ pkg, dir string }
	tests := []struct {
		name     string // of the archive in testdata
		dir      string // where the command is started
		patterns []string
		set      func(*Options)
		env      []string // alternating names and values
		want     []program
		files    []string // in the guest
		warn     string   // the warnings match
		err      string   // the error matches
	}{
		{
			name: "several", patterns: []string{"./..."},
			want: []program{
				{"example.com/several", "/src"},
				{"example.com/several/a/same", "/src/a/same"},
				{"example.com/several/b/same", "/src/b/same"},
				{"example.com/several/cmd/tool-x.y", "/src/cmd/tool-x.y"},
				{"example.com/several/ext", "/src/ext"},
				{"example.com/several/tm", "/src/tm"},
			},
			files: []string{
				"/src/a/same/same_test.go", "/src/b/same/same_test.go", "/src/b/same/v2.bin", "/src/bench/bench_test.go", "/src/cmd/tool-x.y/main.go", "/src/cmd/tool-x.y/main_test.go",
				"/src/ext/deep/embedded.txt", "/src/ext/export_test.go", "/src/ext/ext.go", "/src/ext/ext_test.go", "/src/go.mod", "/src/none/none.go", "/src/several.go", "/src/several_test.go",
				"/src/testdata/data.txt", "/src/testdata/sub/.hidden", "/src/testdata/sub/more.txt", "/src/tm/tm_test.go",
			},
		},
		{
			name: "several", patterns: []string{"./a/...", "./b/same"},
			want: []program{{"example.com/several/a/same", "/src/a/same"}, {"example.com/several/b/same", "/src/b/same"}},
		},
		{name: "several", dir: "a", patterns: []string{"./..."}, want: []program{{"example.com/several/a/same", "/src/a/same"}}},
		{
			name: "several", patterns: []string{"./..."}, set: func(o *Options) { o.Args = []string{"-test.run=^TestDeep/x"} },
			want: []program{{"example.com/several/ext", "/src/ext"}},
		},
		{
			name: "several", patterns: []string{"./..."}, set: func(o *Options) { o.Args = []string{"-test.skip", "TestA|TestB|ExampleRoot"} },
			want: []program{{"example.com/several/cmd/tool-x.y", "/src/cmd/tool-x.y"}, {"example.com/several/ext", "/src/ext"}, {"example.com/several/tm", "/src/tm"}},
		},
		{name: "several", patterns: []string{"./none"}, err: "^no package has a test, or none that the arguments choose: name packages with tests$"},
		{name: "several", patterns: []string{"./testdata/..."}, err: `(?s)^no package has a test, .*: name packages with tests\ngo: warning: "./testdata/..." matched no packages$`},
		{
			name: "several", patterns: []string{"./a/...", "./other/..."}, want: []program{{"example.com/several/a/same", "/src/a/same"}},
			warn: `^go: warning: "./other/..." matched no packages$`,
		},
		{name: "several", patterns: []string{"./bench"}, err: "^no package has a test"},
		{name: "several", patterns: []string{"./a/..."}, set: func(o *Options) { o.Tags = "extra" }, want: []program{{"example.com/several/a/same", "/src/a/same"}, {"example.com/several/a/tagged", "/src/a/tagged"}}},
		{name: "several", patterns: []string{"./a/..."}, env: []string{"GOFLAGS", "-tags=extra -mod=mod"}, want: []program{{"example.com/several/a/same", "/src/a/same"}, {"example.com/several/a/tagged", "/src/a/tagged"}}},
		{name: "several", patterns: []string{"./a/..."}, set: func(o *Options) { o.Arch = "arm64" }, want: []program{{"example.com/several/a/same", "/src/a/same"}}},
		{name: "several", patterns: []string{"fmt"}, err: "^package fmt is not of a module here: "},
		{name: "several", patterns: []string{"-toolexec=false"}, err: `^the packages cannot be listed.*:\n.*-toolexec`},
		{name: "several", patterns: []string{"./absent"}, err: `^the packages cannot be listed.*:\n.*absent`},
		{name: "several", patterns: []string{"./a/..."}, env: []string{"GOFLAGS", "-race"}, err: "^-race: the race detector needs cgo.*: run go test -race on this machine$"},
		{name: "several", patterns: []string{"./a/..."}, set: func(o *Options) { o.Args = []string{"-race"} }, err: "^-race: "},
		{name: "several", patterns: []string{"./a/..."}, env: []string{"PATH", "/nowhere"}, err: "^the go command is not in PATH: install Go"},
		{name: "broken", patterns: []string{"./compile", "./type/..."}, err: `^the tests do not build, and nothing was booted:\n(?s:.*compile_test.go:5:.*undefined: nothing.*other.*undefined: neither)`},
		{name: "broken", patterns: []string{"./syntax"}, err: `^the packages cannot be listed(?s:.*)syntax_test.go:3:`},
		{name: "broken", patterns: []string{"./missing"}, err: `(?s)^the packages cannot be listed.*example.org/none`},
		{name: "broken", patterns: []string{"./vet"}, want: []program{{"example.com/broken/vet", "/src/vet"}}},
		{name: "outside", patterns: []string{"./..."}, err: `^the packages cannot be listed \(run this in a module's directory, or name one below it, as in ./probe/...\), and nothing was booted:\n`},
		{
			name: "workspace", patterns: []string{"./one/...", "./two/..."},
			want:  []program{{"example.com/one", "/src/one"}, {"example.com/two/sub", "/src/two/sub"}},
			files: []string{"/src/one/go.mod", "/src/one/one_test.go", "/src/two/go.mod", "/src/two/lib/lib.go", "/src/two/lib/testdata/x", "/src/two/sub/sub_test.go"},
		},
		{name: "workspace", patterns: []string{"./one/...", "./two/..."}, env: []string{"GOWORK", "off"}, err: "(?s)^the packages cannot be listed.*example.com/two"},
		{name: "modules", patterns: []string{"./one/...", "./two/..."}, want: []program{{"example.com/m1", "/src/one"}, {"example.com/m2", "/src/two"}}},
		{
			name: "links", patterns: []string{"./..."}, want: []program{{"example.com/links", "/src"}},
			files: []string{"/src/go.mod", "/src/in.txt", "/src/links_test.go", "/src/testdata/d/in.txt", "/src/testdata/in.txt"},
			warn:  `^left out of the guest, since it cannot be read, or is a link that leads nowhere or out of the module: \S+/out.txt, \S+/testdata/dangling, \S+/testdata/etc; --file brings what tests need\nleft out of the guest, since it is no file: \S+/testdata/fifo; .*\nleft out of the guest, since it may have passwords or keys: \S+/testdata/.ssh, \S+/testdata/sub/.env; `,
		},
		{name: "several", patterns: []string{"./ext"}, set: func(o *Options) { o.Cover = true }, want: []program{{"example.com/several/ext", "/src/ext"}}},
	}
	for _, test := range tests {
		t.Run(strings.Join(append([]string{test.name}, test.patterns...), " "), func(t *testing.T) {
			dir := unpack(t, test.name)
			t.Chdir(filepath.Join(dir, test.dir))
			t.Setenv("GOFLAGS", "")
			for i := 0; i < len(test.env); i += 2 {
				t.Setenv(test.env[i], test.env[i+1])
			}
			var warned []string
			o := Options{Patterns: test.patterns, Arch: runtime.GOARCH, Warn: func(s string) { warned = append(warned, s) }}
			if test.set != nil {
				test.set(&o)
			}
			got, err := Build(t.Context(), o)
			if (err == nil) != (test.err == "") || err != nil && !regexp.MustCompile(test.err).MatchString(err.Error()) {
				t.Fatalf("error %v, want a match of %q", err, test.err)
			}
			slices.Sort(warned)
			if w := strings.Join(warned, "\n"); (w == "") != (test.warn == "") || !regexp.MustCompile(test.warn).MatchString(w) {
				t.Errorf("warnings %q, want a match of %q", w, test.warn)
			}
			if err != nil {
				return
			}
			var programs []program
			for _, p := range got.Programs {
				programs = append(programs, program{p.Package, p.Dir})
				checkBinary(t, p, o)
			}
			if d := cmp.Diff(test.want, programs, cmp.AllowUnexported(program{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			var files []string
			for _, f := range got.Files {
				if f.Mode.IsRegular() {
					files = append(files, f.Path)
					if b, err := os.ReadFile(f.Source); err != nil || !bytes.Equal(b, f.Data) {
						t.Errorf("%s is not what %s is: %v", f.Path, f.Source, err)
					}
				}
			}
			slices.Sort(files)
			if test.files != nil {
				if d := cmp.Diff(test.files, files); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			}
			if ran, err := filepath.Glob(filepath.Join(dir, "ran*")); err != nil || len(ran) > 0 {
				t.Errorf("tests ran on this machine: %v, %v", ran, err)
			}
		})
	}
}

// checkBinary checks that a program is the static test binary of its package, with
// symbols.
func checkBinary(t *testing.T, p Program, o Options) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(p.Data))
	if err != nil {
		t.Fatalf("%s: %v", p.Package, err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	// That of a main package has the package's path.
	if want := p.Package + ".test"; info.Path != want && info.Path+".test" != want || settings["GOARCH"] != o.Arch || settings["GOOS"] != "linux" || settings["CGO_ENABLED"] != "0" || (settings["-cover"] == "true") != o.Cover {
		t.Errorf("%s is %s, built with %v", p.Package, info.Path, settings)
	}
	f, err := elf.NewFile(bytes.NewReader(p.Data))
	if err != nil {
		t.Fatal(err)
	}
	if symbols, err := f.Symbols(); err != nil || len(symbols) == 0 || f.Section(".debug_info") != nil || f.Section(".zdebug_info") != nil {
		t.Errorf("%s: %d symbols, %v; debug sections are there or not", p.Package, len(symbols), err)
	}
	if strings.Contains(p.Path, os.TempDir()+"/bpf-kernel-check") || !strings.HasSuffix(p.Path, ".test") {
		t.Errorf("%s has the path %s", p.Package, p.Path)
	}
}

// unpack writes an archive of testdata, and what txtar has no words for.
func unpack(t *testing.T, name string) string {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		file := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(string(f.Data), "link to "); ok {
			err = os.Symlink(strings.TrimSpace(to), file)
		} else if string(f.Data) == "fifo\n" {
			err = exec.Command("mkfifo", file).Run()
		} else {
			err = os.WriteFile(file, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestArgs(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"-run X -short", "-test.run X -test.short"},
		{"--run=X -test.v -count=2", "-test.run=X -test.v -test.count=2"},
		{"-config x -update", "-config x -update"},
		{"-v -args -v -x", "-test.v -v -x"},
		{"run -", "run -"},
	} {
		if got := strings.Join(Args(strings.Fields(test.in)), " "); got != test.want {
			t.Errorf("Args(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

// A test is chosen as package testing chooses it, or where that cannot be told.
func TestTopLevel(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		run, skip     bool
	}{
		{"", "TestA", true, false},
		{"A", "TestA", true, true},
		{"B", "TestA", false, false},
		{"TestA/sub", "TestA", true, false},
		{"TestB/sub", "TestA", false, false},
		{"TestB/sub|TestC", "TestA", true, false},
		{"Test(A|B)$", "TestB", true, true},
		{"Test[/]", "TestA", true, false},
		{`Test\/`, "TestA", true, false},
		{"(", "TestA", true, false},
	} {
		re, whole := topLevel(test.pattern)
		if run, skip := re == nil || re.MatchString(test.name), whole && re.MatchString(test.name); run != test.run || skip != test.skip {
			t.Errorf("%q, %s: chosen %v, excluded %v, want %v, %v", test.pattern, test.name, run, skip, test.run, test.skip)
		}
	}
}

// Whatever a pattern is, nothing is left out that package testing would run.
func FuzzTopLevel(f *testing.F) {
	for _, s := range []string{"", "A|B", "A/b|C", "(A|B)/c", "[/]", `\/`, "A(", ")|(", "[]|a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		re, whole := topLevel(pattern)
		if whole && re == nil {
			t.Fatal("a pattern that is none has no subtests")
		}
		if all, err := regexp.Compile(pattern); err == nil && re != nil && !strings.Contains(pattern, "/") && all.MatchString("TestA") != re.MatchString("TestA") {
			t.Fatalf("%q matches otherwise than as a whole", pattern)
		}
	})
}
