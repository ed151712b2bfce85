package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// entry is an entry of a tar; body is a file's content or where a link leads.
type entry struct {
	kind byte
	name string
	mode int64
	body string
	more func(*tar.Header)
}

func file(name, body string) entry {
	return entry{kind: tar.TypeReg, name: name, mode: 0o644, body: body}
}
func dir(name string) entry { return entry{kind: tar.TypeDir, name: name, mode: 0o755} }
func symlink(name, to string) entry {
	return entry{kind: tar.TypeSymlink, name: name, mode: 0o777, body: to}
}
func hardlink(name, to string) entry { return entry{kind: tar.TypeLink, name: name, body: to} }

func xattr(name, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrPrefix+name] = value
	}
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Mode: e.mode}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.body))
		} else {
			h.Linkname = e.body
		}
		if e.more != nil {
			e.more(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := io.WriteString(w, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layered applies layers, the lowest first.
func layered(t testing.TB, layers ...[]byte) (*tree, error) {
	t.Helper()
	tr := newTree()
	tr.tmp, tr.layers = t.TempDir(), true
	t.Cleanup(tr.close)
	for _, l := range layers {
		f, err := tr.spool(t.Context(), bytes.NewReader(l))
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.apply(t.Context(), f); err != nil {
			return tr, err
		}
	}
	return tr, nil
}

// show returns a line for each file of a tree, without the root.
func show(t testing.TB, tr *tree) (lines []string) {
	t.Helper()
	err := tr.walk(t.Context(), func(name string, n *node, first string) error {
		if n == tr.root {
			return nil
		}
		line := fmt.Sprintf("%c %o %d:%d %s", n.hdr.Typeflag, n.hdr.Mode, n.hdr.Uid, n.hdr.Gid, name)
		switch {
		case first != "":
			line = "same as " + first + " " + name
		case n.hdr.Typeflag == tar.TypeReg:
			b, err := tr.readFile(name, 1<<20)
			if err != nil {
				return err
			}
			line += " " + string(b)
		case n.isLink():
			line += " -> " + n.hdr.Linkname
		case n.hdr.Devmajor != 0:
			line += fmt.Sprintf(" %d,%d", n.hdr.Devmajor, n.hdr.Devminor)
		}
		for k, v := range n.hdr.PAXRecords {
			line += fmt.Sprintf(" %s=%q", strings.TrimPrefix(k, xattrPrefix), v)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestLayers(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers [][]entry
		want   []string
	}{
		{"an upper file replaces a lower one", [][]entry{{file("a", "1")}, {file("a", "2")}}, []string{"0 644 0:0 a 2"}},
		{"a whiteout hides a file and a directory", [][]entry{{file("a", "1"), file("d/x", "1"), file("b", "1")}, {file(".wh.a", ""), file(".wh.d", "")}}, []string{"0 644 0:0 b 1"}},
		{"a whiteout hides nothing of its own layer", [][]entry{{file("a", "1")}, {file("a", "2"), file(".wh.a", "")}}, []string{"0 644 0:0 a 2"}},
		{"an opaque directory keeps what its layer has, in any order", [][]entry{
			{file("d/x", "1"), file("d/e/y", "1"), file("d/e/z", "1")},
			{file("d/e/y", "2"), file("d/.wh..wh..opq", ""), file("d/new", "2")},
		}, []string{"5 755 0:0 d", "5 755 0:0 d/e", "0 644 0:0 d/e/y 2", "0 644 0:0 d/new 2"}},
		{"a hard link across layers keeps the bytes of its time", [][]entry{{file("a", "1")}, {hardlink("b", "a")}, {file("a", "3")}}, []string{"0 644 0:0 a 3", "0 644 0:0 b 1"}},
		{"a file renamed by a link and a whiteout", [][]entry{{file("a", "1")}, {hardlink("b", "a"), file(".wh.a", "")}}, []string{"0 644 0:0 b 1"}},
		{"hard links stay links", [][]entry{{file("a", "1"), hardlink("b", "a"), hardlink("c/d", "/b")}}, []string{"0 644 0:0 a 1", "same as a b", "5 755 0:0 c", "same as a c/d"}},
		{"a name below a linked directory lands where the link leads", [][]entry{
			{dir("usr/bin"), symlink("bin", "usr/bin"), symlink("sbin", "/bin"), file("bin/sh", "1")},
			{file("sbin/tool", "2"), file("bin/.wh.sh", "")},
		}, []string{"2 777 0:0 bin -> usr/bin", "2 777 0:0 sbin -> /bin", "5 755 0:0 usr", "5 755 0:0 usr/bin", "0 644 0:0 usr/bin/tool 2"}},
		{"a link out of the root leads to the root", [][]entry{{symlink("up", "../../.."), file("up/etc/passwd", "guest's")}}, []string{"5 755 0:0 etc", "0 644 0:0 etc/passwd guest's", "2 777 0:0 up -> ../../.."}},
		{"modes, owners, devices and attributes", [][]entry{{
			{kind: tar.TypeReg, name: "su", mode: 0o104755, body: "x", more: func(h *tar.Header) { h.Uid, h.Gid = 7, 70000 }},
			{kind: tar.TypeReg, name: "ping", mode: 0o755, more: xattr("security.capability", "\x01\x00\x00\x02\x00")},
			{kind: tar.TypeReg, name: "se", mode: 0o755, more: xattr("security.selinux", "label")},
			{kind: tar.TypeChar, name: "dev/null", mode: 0o666, more: func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }},
			{kind: tar.TypeBlock, name: "dev/loop300", mode: 0o660, more: func(h *tar.Header) { h.Devmajor, h.Devminor = 7, 300 }},
			{kind: tar.TypeFifo, name: "fifo", mode: 0o600},
			{kind: tar.TypeDir, name: "tmp/", mode: 0o1777},
		}}, []string{
			"5 755 0:0 dev", "4 660 0:0 dev/loop300 7,300", "3 666 0:0 dev/null 1,3", "6 600 0:0 fifo", `0 755 0:0 ping  security.capability="\x01\x00\x00\x02\x00"`,
			"0 755 0:0 se ", "0 4755 7:70000 su x", "5 1777 0:0 tmp",
		}},
		{"a file takes a directory's place", [][]entry{{file("d/x", "1")}, {file("d", "2")}}, []string{"0 644 0:0 d 2"}},
		{"a directory takes a link's place", [][]entry{{dir("to"), symlink("d", "to")}, {dir("d"), file("d/x", "2")}}, []string{"5 755 0:0 d", "0 644 0:0 d/x 2", "5 755 0:0 to"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range test.layers {
				layers = append(layers, makeTar(t, l...))
			}
			tr, err := layered(t, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, show(t, tr)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			again := rewritten(t, tr)
			if diff := cmp.Diff(test.want, show(t, again)); diff != "" {
				t.Errorf("written and read again (-want +got)\n%s", diff)
			}
		})
	}
}

// rewritten returns what reading the tree's own tar gives.
func rewritten(t testing.TB, tr *tree) *tree {
	t.Helper()
	var b bytes.Buffer
	if _, err := tr.write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	again := newTree()
	again.tmp = t.TempDir()
	t.Cleanup(again.close)
	f, err := again.spool(t.Context(), &b)
	if err == nil {
		err = again.apply(t.Context(), f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestHostileArchives(t *testing.T) {
	deep := strings.Repeat("d/", 2000)
	for name, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"dot dot":              {[]entry{file("../etc/passwd", "x")}, "leads out of the root"},
		"dot dot inside":       {[]entry{file("a/../../etc/passwd", "x")}, "leads out of the root"},
		"link loop":            {[]entry{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, "too many levels of symbolic links"},
		"link to nothing":      {[]entry{hardlink("a", "b")}, "no file before it"},
		"link to a directory":  {[]entry{dir("d"), hardlink("a", "d")}, "no file before it"},
		"below a file":         {[]entry{file("a", "x"), file("a/b", "x")}, "not a directory"},
		"long component":       {[]entry{file(strings.Repeat("x", 256), "")}, "file name too long"},
		"deeper than any path": {[]entry{dir(deep), symlink("l", deep), dir("l/e"), symlink("m", "l/e"), file("m/"+deep+"x", "")}, ""},
		"no owner":             {[]entry{{kind: tar.TypeReg, name: "a", more: func(h *tar.Header) { h.Uid = 1<<32 - 1 }}}, "owner"},
		"no device":            {[]entry{{kind: tar.TypeChar, name: "a", more: func(h *tar.Header) { h.Devmajor = 1 << 12 }}}, "device number"},
		"large attributes":     {[]entry{{kind: tar.TypeReg, name: "a", more: xattr("user.x", strings.Repeat("x", maxXattr))}}, "extended attributes"},
		"the name of ours":     {[]entry{file(wire.XattrsPath, "[]")}, "meaning of its own"},
		"a root that is none":  {[]entry{symlink("./", "etc")}, "that of a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := layered(t, makeTar(t, test.entries...))
			if err == nil && test.want == "" {
				_, err = tr.write(t.Context(), io.Discard)
				test.want = "too long"
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, test.want)
			}
		})
	}
	t.Run("more than there may be", func(t *testing.T) {
		tr := newTree()
		tr.bytes = 8<<30 - 1
		if err := tr.add(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 2}, nil); err == nil || !strings.Contains(err.Error(), "size of the root") {
			t.Error(err)
		}
		tr.bytes, tr.entries = 0, 1<<20
		if err := tr.add(&tar.Header{Typeflag: tar.TypeDir, Name: "a"}, nil); err == nil || !strings.Contains(err.Error(), "number of files") {
			t.Error(err)
		}
	})
}

func testCache(t testing.TB) (*kernel.Cache, *[]string) {
	t.Helper()
	c, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	c.Warn = func(s string) { warnings = append(warnings, s) }
	return c, &warnings
}

func mustOpen(t testing.TB, c *kernel.Cache, spec string) *Root {
	t.Helper()
	r, err := Open(t.Context(), c, spec, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample has one of each kind of file.
func sample() []entry {
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + "\x3e\x00" + strings.Repeat("\x00", 100)
	return []entry{
		dir("./"), dir("./usr/"), dir("./usr/bin/"), symlink("./bin", "usr/bin"),
		{kind: tar.TypeReg, name: "./bin/sh", mode: 0o755, body: elf},
		hardlink("./usr/bin/bash", "./usr/bin/sh"),
		{kind: tar.TypeReg, name: "./bin/ping", mode: 0o4755, body: "ping", more: xattr("security.capability", "\x01\x00")},
		{kind: tar.TypeReg, name: "./home/file", mode: 0o640, body: strings.Repeat("0123456789abcdef", 1<<16), more: func(h *tar.Header) {
			h.Uid, h.Gid = 1000, 70000
			xattr("user.x", "y")(h)
		}},
		{kind: tar.TypeChar, name: "./dev/null", mode: 0o666, more: func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }},
		{kind: tar.TypeBlock, name: "./dev/loop300", mode: 0o660, more: func(h *tar.Header) { h.Devmajor, h.Devminor = 7, 300 }},
		{kind: tar.TypeFifo, name: "./fifo", mode: 0o600},
		symlink("./etc/absolute", "/usr/bin/ping"), symlink("./etc/long", strings.Repeat("x", 300)), symlink("./etc/out", "../../../../etc/shadow"),
		file("./empty", ""),
	}
}

func TestOpenTar(t *testing.T) {
	c, _ := testCache(t)
	plain := makeTar(t, sample()...)
	compress := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		var b bytes.Buffer
		w, err := open(&b)
		if err == nil {
			_, err = w.Write(plain)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	digests := map[string]bool{}
	for name, data := range map[string][]byte{
		"plain.tar": plain,
		"x.tar.gz":  compress(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"x.tar.zst": compress(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		r := mustOpen(t, c, path)
		digests[r.Digest] = true
		if r.Arch != "amd64" || r.Unpacked != 16*4096+(1<<20) || r.Spec != path {
			t.Errorf("%s: %+v", name, r)
		}
		if b, err := r.ReadFile("/etc/absolute", 10); string(b) != "ping" || err != nil {
			t.Errorf("%s: read %q, %v", name, b, err)
		}
		if _, err := r.ReadFile("/etc/absolute", 3); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("%s: a file above the limit: %v", name, err)
		}
		for _, missing := range []string{"/nothing", "/usr/nothing/x", "/etc/out"} {
			if _, err := r.ReadFile(missing, 10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s: %v", name, missing, err)
			}
		}
		for _, other := range []string{"/usr", "/dev/null", "/fifo"} {
			if _, err := r.ReadFile(other, 10); err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%s: %s: %v", name, other, err)
			}
		}
	}
	if len(digests) != 1 {
		t.Errorf("digests %v: how a tar is compressed changes what is in it", digests)
	}
}

func sampleRoot(t testing.TB, c *kernel.Cache) *Root {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.tar")
	if err := os.WriteFile(path, makeTar(t, sample()...), 0o644); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, c, path)
}

func TestArchive(t *testing.T) {
	c, _ := testCache(t)
	path, err := sampleRoot(t, c).Archive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	var xattrs []wire.Xattr
	if b, _ := io.ReadAll(io.NewSectionReader(records[0], 0, 1<<20)); records[0].Name != ".xattrs" || json.Unmarshal(b, &xattrs) != nil {
		t.Errorf("the first record is %s: %q", records[0].Name, b)
	}
	if diff := cmp.Diff([]wire.Xattr{
		{Path: []byte("/home/file"), Name: "user.x", Value: []byte("y")},
		{Path: []byte("/usr/bin/ping"), Name: "security.capability", Value: []byte("\x01\x00")},
	}, xattrs); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	got := map[string]cpio.Record{}
	if top := records[1].Name; "/"+top != wire.RootDir {
		t.Errorf("the root is %s", top)
	}
	for _, r := range records[2:] {
		got[strings.TrimPrefix("/"+r.Name, wire.RootDir+"/")] = r
	}
	bash, sh := got["usr/bin/bash"], got["usr/bin/sh"]
	if bash.Ino != sh.Ino || bash.NLink != 2 || sh.NLink != 2 || bash.FileSize != 120 || sh.FileSize != 0 {
		t.Errorf("hard links: %v\n%v", bash, sh)
	}
	if p := got["usr/bin/ping"]; p.Mode != cpio.S_IFREG|0o4755 || p.Ino == bash.Ino || p.NLink != 1 {
		t.Errorf("setuid: %v", p)
	}
	if d := got["dev/loop300"]; d.Mode != cpio.S_IFBLK|0o660 || d.Rmajor != 7 || d.Rminor != 300 {
		t.Errorf("device: %v", d)
	}
	if h := got["home/file"]; h.UID != 1000 || h.GID != 70000 || h.FileSize != 1<<20 {
		t.Errorf("owner: %v", h)
	}
	if l := got["etc/long"]; l.Mode != cpio.S_IFLNK|0o777 || l.FileSize != 300 {
		t.Errorf("link: %v", l)
	}
}

// TestImage has the programs of ext4 itself look at an image.
func TestImage(t *testing.T) {
	for _, tool := range []string{"e2fsck", "debugfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	c, _ := testCache(t)
	path, err := sampleRoot(t, c).Image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput()
	// The bits after the last inode tell only one who makes a file that there is no
	// room; nobody writes to this image.
	complaints := strings.ReplaceAll(string(out), "Padding at end of inode bitmap is not set. Fix? no", "")
	if strings.Contains(complaints, "?") || !strings.Contains(complaints, "Pass 5") {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	debugfs := func(command string) string {
		out, err := exec.Command("debugfs", "-R", command, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for command, want := range map[string][]string{
		"stat /":              {"Mode:  0755"},
		"stat /usr/bin/sh":    {"Type: regular", "Links: 2", "Size: 120"},
		"stat /usr/bin/ping":  {"Mode:  04755", "security.capability (2) = 01 00"},
		"stat /home/file":     {"User:  1000", "Group: 70000", "Size: 1048576", `user.x (1) = "y"`},
		"stat /dev/null":      {"Type: character special", "01:03"},
		"stat /dev/loop300":   {"Type: block special", "07:300"},
		"stat /bin":           {"Type: symlink", `"usr/bin"`},
		"stat /etc/long":      {"Type: symlink", "Size: 300"},
		"stat /fifo":          {"Type: FIFO"},
		"cat /usr/bin/ping":   {"ping"},
		"show_super_stats -h": {"extent"},
	} {
		got := debugfs(command)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", command, w, got)
			}
		}
	}
}

func TestDirectory(t *testing.T) {
	top := t.TempDir()
	write := func(name, data string) {
		path := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/tool", "tool")
	write("etc/conf", "conf")
	if err := errors.Join(os.Link(filepath.Join(top, "bin/tool"), filepath.Join(top, "bin/same")), os.Symlink("/bin/tool", filepath.Join(top, "link")), os.Chmod(filepath.Join(top, "etc/conf"), os.ModeSetuid|0o700)); err != nil {
		t.Fatal(err)
	}
	c, warnings := testCache(t)
	r := mustOpen(t, c, top)
	tr, err := r.files()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"5 755 0:0 bin", "0 644 0:0 bin/same tool", "same as bin/same bin/tool", "5 755 0:0 etc", "0 4700 0:0 etc/conf conf", "2 777 0:0 link -> /bin/tool"}
	if diff := cmp.Diff(want, show(t, tr)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if again := mustOpen(t, c, top); again.Digest != r.Digest || again.dir != r.dir {
		t.Errorf("the same directory is %v, then %v", r, again)
	}
	write("etc/conf", "CONF")
	if other := mustOpen(t, c, top); other.Digest == r.Digest {
		t.Error("a changed file does not change the digest")
	}
	if len(*warnings) > 0 {
		t.Error(*warnings)
	}
	t.Run("too large", func(t *testing.T) {
		path := filepath.Join(top, "sparse")
		write("sparse", "")
		defer os.Remove(path)
		if err := os.Truncate(path, 9<<30); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), c, top, "")
		if usage := (*kernel.UsageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "sparse: size of the root in bytes exceeds") {
			t.Error(err)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root can read all files")
		}
		if err := os.Chmod(filepath.Join(top, "etc/conf"), 0); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), c, top, "")
		if usage := (*kernel.UsageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "etc/conf: run as their owner") {
			t.Error(err)
		}
	})
}

func TestCacheMakesDamagedFilesAgain(t *testing.T) {
	c, warnings := testCache(t)
	r := sampleRoot(t, c)
	image, err := r.Image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	damage := func(path string) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("damage"), 3000)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	damage(image)
	if _, err := r.Image(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(image); err != nil || !bytes.Equal(b, whole) || len(*warnings) != 1 {
		t.Errorf("%v, warnings %q", err, *warnings)
	}
	damage(filepath.Join(r.dir, tarFile))
	if again := sampleRoot(t, c); again.Digest != r.Digest || len(*warnings) != 2 {
		t.Errorf("%v, warnings %q", again, *warnings)
	}
}

func TestCacheKeepsTheRootsLastUsed(t *testing.T) {
	c, _ := testCache(t)
	var held, dropped []*Root
	for i := range 3 + keepRoots {
		path := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(path, makeTar(t, file("a", fmt.Sprint(i))), 0o644); err != nil {
			t.Fatal(err)
		}
		r := mustOpen(t, c, path)
		if i == 0 {
			held = append(held, r)
		} else if dropped = append(dropped, r); r.file.Close() != nil {
			t.Fatal("close")
		}
	}
	exists := func(r *Root) bool { _, err := os.Stat(r.dir); return err == nil }
	if !exists(held[0]) {
		t.Error("a root in use was removed")
	}
	want := []bool{false, false, true, true, true, true}
	var got []bool
	for _, r := range dropped {
		got = append(got, exists(r))
	}
	if !slices.Equal(got, want) {
		t.Errorf("roots there: %v, want %v", got, want)
	}
}

func TestSpecs(t *testing.T) {
	c, _ := testCache(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]string{
		"":          "--rootfs is empty: expected a directory",
		"/nothing":  `--rootfs "/nothing" does not exist: expected a directory`,
		"docker:x":  `"docker:" is no kind of root`,
		"/dev/null": "neither a directory nor a file",
		text:        "not a tar archive, plain or compressed",
		"a\x00b":    "no name that a file can have",
	} {
		_, err := Open(context.Background(), c, spec, "amd64")
		usage := (*kernel.UsageError)(nil)
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one line with %q", spec, err, want)
		}
	}
}

func FuzzSplitSpec(f *testing.F) {
	for _, s := range []string{"", ".", "/a:b", "oci://x/y:z@sha256:0", "debian:bookworm+bash", "docker:x", "a\nb", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		kind, rest, err := splitSpec(spec)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: an error of several lines: %v", spec, err)
			}
			return
		}
		if kind == "" && rest != spec || kind != "" && kind+":"+rest != spec {
			t.Errorf("%q is split into %q and %q", spec, kind, rest)
		}
	})
}

// FuzzTar reads a layer of any bytes.
func FuzzTar(f *testing.F) {
	f.Add(makeTar(f, slices.DeleteFunc(sample(), func(e entry) bool { return len(e.body) > 1000 })...))
	f.Add(makeTar(f, symlink("a", "../b"), symlink("b", "a"), file("..", "")))
	f.Add([]byte("no tar"))
	f.Fuzz(func(t *testing.T, b []byte) { checkLayers(t, [][]byte{b}) })
}

// FuzzLayers applies layers of entries, a line each: "-" begins the next layer.
func FuzzLayers(f *testing.F) {
	f.Add("d usr/bin\ns bin usr/bin\nf bin/sh x\n-\nh sh bin/sh\nf bin/.wh.sh\nf usr/.wh..wh..opq")
	f.Add("d d\ns l d\nf l/x 1\n-\ns d /l\nf d/x 2\n-\nd l\nf l/../x")
	f.Add("f a 1\nh b a\nc dev 1\np fifo\n-\nd a\nf a/b\n-\nf .wh.a\nf a/c")
	kinds := map[string]byte{"f": tar.TypeReg, "d": tar.TypeDir, "s": tar.TypeSymlink, "h": tar.TypeLink, "c": tar.TypeChar, "b": tar.TypeBlock, "p": tar.TypeFifo}
	f.Fuzz(func(t *testing.T, script string) {
		layers, entries := [][]byte{}, []entry{}
		for line := range strings.SplitSeq(script+"\n-", "\n") {
			if line == "-" {
				layers, entries = append(layers, makeTar(t, entries...)), nil
			}
			word := append(strings.Fields(line), "", "", "")
			e := entry{kind: kinds[word[0]], name: strings.TrimRight(word[1], "/"), mode: int64(len(word[1])) << 9, body: word[2]}
			bad := func(s string) bool { return strings.ContainsRune(s, 0) || len(s) > 4000 }
			if e.kind != 0 && e.name != "" && !bad(e.name) && !bad(e.body) {
				entries = append(entries, e)
			}
		}
		checkLayers(t, layers)
	})
}

// checkLayers applies layers. What comes of them can be written, read again as the
// same, and made into both forms.
func checkLayers(t *testing.T, layers [][]byte) {
	t.Helper()
	tr := newTree()
	defer tr.close()
	tr.tmp, tr.layers = t.TempDir(), true
	for _, l := range layers {
		file, err := tr.spool(t.Context(), bytes.NewReader(l))
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.apply(t.Context(), file); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %v", err)
			}
			return
		}
	}
	if tr.bytes > 1<<20 {
		return
	}
	var once, twice bytes.Buffer
	if _, err := tr.write(t.Context(), &once); err != nil {
		if !strings.Contains(err.Error(), "too long") {
			t.Fatal(err)
		}
		return
	}
	again := newTree()
	defer again.close()
	again.tmp = tr.tmp
	stored, err := again.spool(t.Context(), bytes.NewReader(once.Bytes()))
	if err == nil {
		err = again.apply(t.Context(), stored)
	}
	if err == nil {
		_, err = again.write(t.Context(), &twice)
	}
	if err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Fatalf("what was written is read as something else: %v", err)
	}
	image, err := os.Create(filepath.Join(tr.tmp, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if err := errors.Join(tar2ext4.ConvertTarToExt4(&once, image), again.writeCPIO(t.Context(), io.Discard)); err != nil {
		t.Fatal(err)
	}
}
