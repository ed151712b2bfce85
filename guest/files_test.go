package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"one": "1", "dir/a": "a", "dir/sub/b": "b", "dir/gha-creds-0a.json": "secret", "outside": "o", "linked/x": "", "odd:name": "", "todir/x": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"dir/link": "../outside", "linked/broken": "nowhere", "todir/dir": "../dir", "tofile": "one", "dirlink": "dir"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("empty", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("suid", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"suid": 0o755 | os.ModeSetuid, "dir/sub": 0o777 | os.ModeSticky} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	big, err := os.Create("big")
	if err == nil {
		err = big.Truncate(maxFileBytes + 1) // a hole
	}
	if err != nil {
		t.Fatal(err)
	}
	big.Close()

	tests := []struct {
		specs  []string
		tracer bool     // the payload is a check of an EventsTrace
		want   []string // path=data
		err    string   // regular expression
	}{
		{specs: []string{"one"}, want: []string{"/one=1"}},
		{specs: []string{"./dir/../one"}, want: []string{"/one=1"}},
		{specs: []string{"one:/etc/two"}, want: []string{"/etc/two=1"}},
		{specs: []string{"one:/etc/"}, want: []string{"/etc/one=1"}},
		{specs: []string{"tofile"}, want: []string{"/tofile=1"}},
		{specs: []string{"odd:name:/x"}, want: []string{"/x="}},
		{specs: []string{"dir"}, want: []string{"/dir/", "/dir/a=a", "/dir/link=o", "/dir/sub/", "/dir/sub/b=b"}},
		{specs: []string{"empty"}, want: []string{"/empty/"}},
		{specs: []string{"empty:/d", "dir:/d"}, want: []string{"/d/", "/d/a=a", "/d/link=o", "/d/sub/", "/d/sub/b=b"}},
		{specs: []string{"suid"}, want: []string{"/suid="}},
		{specs: []string{"one:/x", "dir:/x"}, err: `/x is a file already`},
		{specs: []string{"dirlink/:/data/"}, want: []string{"/data/dirlink/", "/data/dirlink/a=a", "/data/dirlink/link=o", "/data/dirlink/sub/", "/data/dirlink/sub/b=b"}},
		{specs: []string{"dir:/d", "one:/d/one", "dir/sub:/d/sub2"}, want: []string{"/d/", "/d/a=a", "/d/link=o", "/d/sub/", "/d/sub/b=b", "/d/one=1", "/d/sub2/", "/d/sub2/b=b"}},

		{specs: []string{"one:/EventsTrace", "one:/generators"}, want: []string{"/EventsTrace=1", "/generators=1"}}, // there is none
		{specs: []string{"one:/EventsTrace"}, tracer: true, err: `/EventsTrace is there already`},
		{specs: []string{"one:/generators/x"}, tracer: true, err: `/generators is a file already`},
		{specs: []string{"missing"}, err: `^"missing": missing does not exist: want a file or a directory$`},
		{specs: []string{""}, err: `no file is named: want SRC or SRC:DST`},
		{specs: []string{":/x"}, err: `no file is named`},
		{specs: []string{"/"}, err: `has no name to take`},
		{specs: []string{"one:"}, err: `no place in the guest`},
		{specs: []string{"one:two"}, err: `"two" is no place in the guest: want an absolute path`},
		{specs: []string{"one:/a/../b"}, err: `no place in the guest`},
		{specs: []string{"one:/a//b"}, err: `no place in the guest`},
		{specs: []string{"one:/init"}, err: `/init is taken by the guest's own /init: want another DST`},
		{specs: []string{"one:/job.json"}, err: `is taken`},
		{specs: []string{"one:/testrunner/x"}, err: `is taken`},
		{specs: []string{"one:/.rootfs/x"}, err: `is taken`},
		{specs: []string{"one:/.xattrs"}, err: `is taken`},
		{specs: []string{"one:/modules/devices"}, err: `is taken`},
		{specs: []string{"one:/var/run/x"}, err: `/var/run/x is hidden in the guest, whose /var/run is a link into /run`},
		{specs: []string{"one:/var/lock"}, err: `is hidden`},
		{specs: []string{"one:/var/runs"}, want: []string{"/var/runs=1"}},
		{specs: []string{"one:/tmp/x"}, err: `/tmp/x is hidden in the guest by what is mounted on /tmp`},
		{specs: []string{"one:/sys/fs/bpf/x"}, err: `is hidden`},
		{specs: []string{"one", "dir/a:/one"}, err: `/one is there already`},
		{specs: []string{"one", "dir:/one"}, err: `/one is a file already`},
		{specs: []string{"dir:/d", "one:/d"}, err: `/d is there already`},
		{specs: []string{"linked"}, err: `linked/broken cannot be read: no such file`},
		{specs: []string{"todir"}, err: `todir/dir is a link to a directory: name that directory`},
		{specs: []string{os.DevNull + ":/x"}, err: `is neither a file nor a directory`},
		{specs: []string{"big"}, err: `more than the 2048 MiB`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.specs, tt.tracer), func(t *testing.T) {
			var p Payload
			var err error
			if tt.tracer {
				p.Files = []File{{Path: "/EventsTrace"}, {Path: "/" + Generators}}
			}
			for _, spec := range tt.specs {
				if err = p.AddFile(spec); err != nil {
					break
				}
			}
			if tt.err != "" {
				if err == nil || !regexp.MustCompile(tt.err).MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want one line with %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range p.Files {
				want := os.FileMode(0o640)
				switch filepath.Base(f.Path) {
				case "suid":
					want = 0o755 | os.ModeSetuid
				case "sub", "sub2":
					want = os.ModeDir | os.ModeSticky | 0o777
				case "dir", "dirlink", "d", "empty":
					want = os.ModeDir | 0o755
				}
				if f.Mode != want {
					t.Errorf("%s has mode %v, want %v", f.Path, f.Mode, want)
				}
				if f.Mode.IsDir() {
					got = append(got, f.Path+"/")
					continue
				}
				got = append(got, f.Path+"="+string(f.Data))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			if _, err := Initramfs(nil, p); err != nil {
				t.Error(err)
			}
		})
	}
}

// An archive has the modes of files and directories as they are.
func TestModesInArchive(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "data", "empty"), 0o755), os.Chmod(filepath.Join(dir, "data", "empty"), 0o777|os.ModeSticky),
		os.WriteFile(filepath.Join(dir, "data", "suid"), []byte("x"), 0o600), os.Chmod(filepath.Join(dir, "data", "suid"), 0o755|os.ModeSetuid|os.ModeSetgid),
		os.Chmod(filepath.Join(dir, "data"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var p Payload
	if err := p.AddFile(filepath.Join(dir, "data") + ":/data"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WritePayload(&b, p); err != nil {
		t.Fatal(err)
	}
	h, err := HandOver(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range h.Files {
		got[string(f.Name)] = fmt.Sprintf("%o", f.Mode)
	}
	want := map[string]string{"data": "40700", "data/empty": "41777", "data/suid": "106755", "job.json": "100644"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestCheckEnv(t *testing.T) {
	for kv, ok := range map[string]bool{
		"A=b": true, "_a1=": true, "A=b=c": true, "": false, "A": false, "=b": false, "1A=b": false, "A B=c": false, "A=\x00": false,
		"BPF_KERNEL_CHECK_REPORT_FD=9": false,
	} {
		if err := CheckEnv(kv); (err == nil) != ok {
			t.Errorf("%q: %v", kv, err)
		}
	}
}
