package shard

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/rootfs"
)

// writeRoot writes the root file system that the hostile payload looks at.
func writeRoot(t *testing.T, l *lab) string {
	t.Helper()
	program, err := os.ReadFile(l.hostile)
	if err != nil {
		t.Fatal(err)
	}
	const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00" // cap_net_raw=ep, as linux/capability.h has it
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "usr/bin/", Mode: 0o755},
		{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin", Mode: 0o777},
		{Typeflag: tar.TypeDir, Name: "root/", Mode: 0o700},
		{Name: "etc/secret", Mode: 0o640, Uid: 1000, Gid: 70000, Linkname: "secret"},
		{Name: "usr/bin/su", Mode: 0o4755, Linkname: string(program)},
		{Name: "usr/bin/ping", Mode: 0o755, Linkname: string(program), PAXRecords: map[string]string{"SCHILY.xattr.security.capability": netRaw + strings.Repeat("\x00", 12)}},
		{Name: "usr/local/bin/prog", Mode: 0o755, Linkname: string(program)},
		{Name: "usr/bin/tool", Mode: 0o755, Linkname: "root"},
		{Typeflag: tar.TypeLink, Name: "usr/bin/tool-too", Linkname: "usr/bin/tool"},
		{Typeflag: tar.TypeDir, Name: "var/lib/own/", Mode: 0o2750, Uid: 33, Gid: 34},
		{Name: "data/a", Mode: 0o644, Linkname: "linked"},
		{Typeflag: tar.TypeLink, Name: "data/b", Linkname: "data/a"},
		{Typeflag: tar.TypeChar, Name: "data/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeSymlink, Name: "data/link", Linkname: "/../..", Mode: 0o777},
		{Name: "init", Mode: 0o755, Linkname: "root"},
		{Name: "testrunner/file", Mode: 0o755, Linkname: "root"},
		{Typeflag: tar.TypeSymlink, Name: "proc", Linkname: "nowhere", Mode: 0o777},
		{Name: "sys", Mode: 0o644, Linkname: "root"},
		{Name: "etc/hosts", Mode: 0o644},
		{Typeflag: tar.TypeSymlink, Name: "etc/resolv.conf", Linkname: "../run/systemd/resolve/stub-resolv.conf", Mode: 0o777},
		{Name: "job.json", Mode: 0o755, Linkname: "root"},
		{Name: "modules/000-of-the-root.ko", Mode: 0o644, Linkname: "root"},
		{Name: "modules/devices", Mode: 0o644, Linkname: "of-the-root 10 200\n"},
	} {
		body := ""
		if h.Typeflag == 0 {
			h.Typeflag, h.Size, body, h.Linkname = tar.TypeReg, int64(len(h.Linkname)), h.Linkname, ""
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "root.tar")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// rootRunner makes a Runner whose guests have that root, and a payload in it.
func (l *lab) rootRunner(t *testing.T, args ...string) *Runner {
	t.Helper()
	c, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := rootfs.Open(t.Context(), c, writeRoot(t, l), l.arch.Name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := guest.TestPayload(t.Context(), l.hostile, args, "/", l.arch.Name, far)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/bin/tool", "/data/link/outside", "/var/lib/own/file"} {
		p.Files = append(p.Files, guest.File{Path: name, Mode: 0o644, Data: []byte("payload")})
	}
	p.Root, p.RootDigest = root.Spec, root.Digest
	r := l.runner(t, p)
	r.Root, r.RootUnpacked = root, root.Unpacked
	return r
}

// A root file system is what its tar says, on each kind of kernel and by both ways
// into the guest.
func TestRoot(t *testing.T) {
	for _, k := range corpusKernels {
		for kind, noDisk := range map[string]bool{"overlay": false, "(rootfs|tmpfs)": true} {
			t.Run(k.series+" "+kind, func(t *testing.T) {
				t.Parallel()
				l := theLab(t)
				src, err := source.Parse(k.source, l.cache)
				if err != nil {
					t.Fatal(err)
				}
				list, err := plan.New(t.Context(), []kernel.Source{src}, []string{k.glob})
				if err != nil {
					t.Fatal(err)
				}
				r := l.rootRunner(t, "root", kind)
				r.forTests.noDisk = noDisk
				got, _ := l.run(t, r, list.Newest())
				if got.Verdict != report.Pass || len(got.Modules) > 0 || got.Boot != bootedCold {
					t.Errorf("%v %+v, modules %q, boot %s", got.Verdict, got.Cause, got.Modules, got.Boot)
				}
			})
		}
	}
}

// What keeps a root file system from being the guest's is told, and nothing runs
// without it.
func TestRootThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "image"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		set   func(r *Runner)
		cause string
	}{
		{"no file system", func(r *Runner) { r.Root = madeRoot(broken) }, `^the payload was not started: mount the root file system on /dev/vda: invalid argument`},
		{"too little memory", func(r *Runner) { r.Memory, r.forTests.noDisk = 200, true }, `^the root file system does not fit into 200 MiB: .*: --memory 2\d\d$`},
		{"a file where the payload has a directory", func(r *Runner) {
			r.Payload.Files = append(r.Payload.Files, guest.File{Path: "/usr/bin", Mode: 0o644})
		}, `^the payload was not started: put /usr/bin into the root file system: directory not empty`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := l.rootRunner(t, "pass")
			tt.set(r)
			k, _ := l.run(t, r)
			if k.Verdict != report.Infra || k.Cause == nil || !regexp.MustCompile(tt.cause).MatchString(k.Cause.Title) {
				t.Errorf("%v %+v, want infra, %s", k.Verdict, k.Cause, tt.cause)
			}
		})
	}
}

// This machine's files are the guest's root, and stay as they are.
func TestHostRoot(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	src, err := source.Parse("debian:bookworm:amd64", l.cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, []string{"debian/6.1.*"})
	if err != nil {
		t.Fatal(err)
	}
	const shell, made = "/bin/sh", "/etc/bpf-kernel-check-test"
	b, err := os.ReadFile(shell)
	if err != nil {
		t.Fatal(err)
	}
	script := "set -e; while read line; do case $line in root:*) found=1;; esac; done </etc/passwd; [ $found = 1 ]; echo x >" + made + "; [ -s " + made + " ]"
	r := l.runner(t, guest.InstalledPayload(shell, b, []string{"-c", script}, "/", far))
	r.HostRoot = true
	k, _ := l.run(t, r, list.Newest())
	if k.Verdict != report.Pass || len(k.Modules) > 0 {
		t.Errorf("%v %+v, modules %q", k.Verdict, k.Cause, k.Modules)
	}
	if _, err := os.Stat(made); err == nil {
		t.Errorf("the guest has written to this machine's %s", made)
	}
	r = l.runner(t, l.passPayload(t)) // and a kernel that has no 9p
	r.HostRoot = true
	if k, _ := l.run(t, r); k.Verdict != report.Infra || k.Cause == nil || !strings.HasPrefix(k.Cause.Title, "--host-root: this kernel cannot mount it") {
		t.Errorf("%v %+v", k.Verdict, k.Cause)
	}
}
