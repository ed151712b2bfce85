package rootfs

import (
	"archive/tar"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPostinst(t *testing.T) {
	var p postinst
	p.read(`#!/bin/sh
update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5 \
	--slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \
	--slave /usr/bin/nawk nawk /usr/bin/mawk
update-alternatives --install "$link" name "$path" 10
adduser --system --quiet --ingroup tcpdump		\
	--no-create-home --home /nonexistent	\
	tcpdump
adduser --system "$user"
adduser --quiet --system --group messagebus > /dev/null
`)
	p.read("update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10 --slave /usr/bin/nawk nawk /usr/bin/gawk\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/old -3\n")
	want := map[string]alternative{
		"/usr/bin/awk": {"/usr/bin/gawk", 10}, "/usr/bin/nawk": {"/usr/bin/gawk", 10}, "/usr/share/man/man1/awk.1.gz": {"/usr/share/man/man1/mawk.1.gz", 5},
	}
	if diff := cmp.Diff(want, p.choices, cmp.AllowUnexported(alternative{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tcpdump", "messagebus"}, p.users); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzPostinst(f *testing.F) {
	f.Add("update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n --slave /a a /b\nadduser --system x\n")
	f.Fuzz(func(t *testing.T, script string) {
		var p postinst
		p.read(script)
		tr := newTree()
		for name := range p.choices { // which may be names below each other
			_ = tr.text(p.choices[name].target, nil)
		}
		_ = tr.configure(&p)
		if _, err := tr.write(t.Context(), io.Discard); err != nil {
			t.Error(err)
		}
	})
}

// TestConfigure does what is done after unpacking, as bookworm's packages have it.
func TestConfigure(t *testing.T) {
	tr := newTree()
	tr.merge = true
	var p postinst
	p.read("update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5\nupdate-alternatives --install /usr/bin/vi vi /usr/bin/missing 5\nadduser --system root\nadduser --system tcpdump\n")
	for _, e := range []entry{
		symlink("bin", "usr/bin"), dir("usr/bin"),
		dir("bin"), // as packages have it that know nothing of the merge
		file("bin/dash", "dash"), file("usr/bin/mawk", "mawk"),
		file("usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n"), file("usr/share/base-passwd/group.master", "root:*:0:\n"),
		file("usr/share/ca-certificates/mozilla/a.crt", "A\n"), file("usr/share/ca-certificates/mozilla/b.crt", "B\n"),
		file("usr/lib/sysusers.d/dbus.conf", "# comment\nu messagebus - \"System Message Bus\"\ng group -\n"),
	} {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.body, Mode: e.mode}
		if e.kind != tar.TypeReg {
			if err := tr.add(h, nil); err != nil {
				t.Fatal(err)
			}
		} else if err := tr.text(e.name, []byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.configure(&p); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/bin/sh": "dash", "/usr/bin/dash": "dash", "/bin/awk": "mawk", "/usr/lib/ssl/cert.pem": "A\nB\n", "/etc/ssl/certs/ca-certificates.crt": "A\nB\n",
		"/etc/passwd": "root:*:0:0:root:/root:/bin/bash\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\ntcpdump:x:101:101::/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":  "root:*:0:\nmessagebus:x:100:\ntcpdump:x:101:\n",
	} {
		if b, err := tr.readFile(name, 1<<20); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	if n := tr.root.kids["bin"]; !n.isLink() {
		t.Error("a package's directory has replaced the link of the merged /usr")
	}
	if tr.has("/usr/bin/vi") {
		t.Error("an alternative that is not there")
	}
}
