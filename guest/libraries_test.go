package guest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// compile makes a program or library of C with gcc.
func compile(t *testing.T, out, text string, flags ...string) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "x.c")
	if err := errors.Join(os.MkdirAll(filepath.Dir(out), 0o755), os.WriteFile(src, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command("gcc", append([]string{"-o", out, src}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

// A dynamic program brings its libraries; one that is missing is named.
func TestAddLibraries(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	compile(t, at("sub/libinner.so.2"), "int inner(void) { return 0; }", "-shared", "-fPIC", "-Wl,-soname,libinner.so.2")
	compile(t, at("sub/libouter.so.1"), "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC", "-Wl,-soname,libouter.so.1", at("sub/libinner.so.2"))
	const main = "int outer(void); int main(void) { return outer(); }"
	missing := compile(t, at("missing"), main, at("sub/libouter.so.1"), "-Wl,-rpath-link,"+at("sub"))
	origin := compile(t, at("origin"), main, at("sub/libouter.so.1"), "-Wl,--disable-new-dtags,-rpath,$ORIGIN/sub", "-Wl,-rpath-link,"+at("sub"))
	static := compile(t, at("static"), "int main(void) { return 0; }", "-static")
	data := compile(t, at("data"), main, at("sub/libouter.so.1"), "-Wl,-rpath-link,"+at("sub"))
	if err := os.Chmod(data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, program string
		files         []string
		libs          Libraries
		want          string // regular expression of the paths that are added
		err, warning  string
	}{
		{name: "static", program: static, want: `^$`},
		{name: "missing", program: missing, err: `^payload "\S+/missing" needs libouter\.so\.1, which this machine does not have: install it, give --library-path DIR, or link the program statically$`},
		{name: "--library-path", program: missing, libs: Libraries{Path: []string{at("sub")}}, want: `^/lib\S*/ld-\S+ /\S+/libouter\.so\.1 /\S+/libc\.so\.6 /\S+/libinner\.so\.2( /\S+/libgcc_s\.so\.1)?$`},
		{name: "$ORIGIN and RPATH", program: origin, want: `^/lib\S*/ld-\S+ /payload/sub/libouter\.so\.1 /\S+/libc\.so\.6 /payload/sub/libinner\.so\.2( |$)`},
		{name: "--file", program: static, files: []string{origin + ":/opt/p"}, want: `^/opt/p /lib\S*/ld-\S+ /opt/sub/libouter`},
		{name: "a directory, of which one program lacks something", program: static, files: []string{dir + ":/d"}, want: `^/d/sub/libinner\S* /d/sub/libouter\S* /lib\S*/ld-\S+ /\S+/libc\.so\.6`, warning: `^--file: payload "\S+/missing" needs libouter`},
		{name: "no program, no libraries", program: static, files: []string{data + ":/d"}, want: `^/d$`},
		{name: "in a root", program: missing, libs: Libraries{Has: func(p string) bool { return strings.Contains(p, "/ld-") }}, want: `^$`},
		{name: "the user's own stays", program: origin, files: []string{at("data") + ":/payload/sub/libouter.so.1"}, want: `^/payload/sub/libouter\.so\.1 /lib\S*/ld-`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := TestPayload(t.Context(), tt.program, nil, "/", "amd64", 0)
			for _, f := range tt.files {
				err = errors.Join(err, p.AddFile(f))
			}
			if err != nil {
				t.Fatal(err)
			}
			warned := ""
			tt.libs.Programs, tt.libs.Warn = []string{tt.program}, func(s string) { warned += s + "\n" }
			err = p.AddLibraries("amd64", tt.libs)
			if tt.err != "" {
				if err == nil || !regexp.MustCompile(tt.err).MatchString(err.Error()) {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.warning == "" && warned != "" || !regexp.MustCompile(tt.warning).MatchString(warned) || strings.Count(warned, "\n") > 1 {
				t.Errorf("warned %q, want %s", warned, tt.warning)
			}
			var added []string
			for _, f := range p.Files[1:] {
				if !f.Mode.IsDir() && f.Path != "/d/missing" && f.Path != "/d/origin" && f.Path != "/d/static" && f.Path != "/d/data" {
					added = append(added, f.Path)
				}
			}
			if got := strings.Join(added, " "); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("added %s, want %s", got, tt.want)
			}
			again := Payload{Job: p.Job, Files: slices.Clone(p.Files)}
			if err := again.AddLibraries("amd64", tt.libs); err != nil || again.ContentDigest() != (&Payload{Job: p.Job, Files: p.Files}).ContentDigest() {
				t.Errorf("added once more, %v", err)
			}
		})
	}
}
