package repo

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// rpmTree is a directory served on the loopback interface, in which the real
// tools, rpmbuild and createrepo_c, make packages and repositories.
type rpmTree struct {
	*httptest.Server
	dir string

	mu     sync.Mutex
	hits   []string
	handle http.Handler // in place of the files, when set
}

func needRPMTools(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"rpmbuild", "rpmsign", "createrepo_c", "gpg", "repo-add", "bsdtar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: .github/scripts/install-deps --tests installs it", tool)
		}
	}
}

func newRPMTree(t testing.TB) *rpmTree {
	t.Helper()
	needRPMTools(t)
	r := &rpmTree{dir: t.TempDir()}
	files := http.FileServer(http.Dir(r.dir))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.hits = append(r.hits, req.URL.Path)
		handle := r.handle
		r.mu.Unlock()
		if handle != nil {
			handle.ServeHTTP(w, req)
			return
		}
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// requests returns what was asked for since the last call.
func (r *rpmTree) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	hits := r.hits
	r.hits = nil
	return hits
}

func (r *rpmTree) serve(h http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handle = h
}

// rpmPkg is a package to make; files maps paths to content.
type rpmPkg struct {
	name, version, release string
	provides               string // lines of the spec file
	files                  map[string][]byte
	payload                string // rpm's word for the compression, "w3.zstdio" when empty
}

func (p rpmPkg) uname() string { return p.version + "-" + p.release + ".x86_64" }

// built holds the packages that were made, by all that they are made of: several
// tests want the same, and rpmbuild takes a second for each.
var built = struct {
	sync.Mutex
	dir   string
	files map[string][]string
}{files: map[string][]string{}}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rpm")
	if err != nil {
		panic(err)
	}
	built.dir = dir
	code := m.Run()
	kerneltest.RemoveKeys()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build makes the packages and puts them below dir of the tree.
func (r *rpmTree) build(t testing.TB, dir string, pkgs ...rpmPkg) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range buildPackages(t, pkgs) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		imagetest.WriteFile(t, filepath.Join(r.dir, dir, filepath.Base(f)), b)
	}
}

// buildPackages makes what is not made yet, by one rpmbuild, and returns the
// files. Packages of one version are made from one spec file, as distributions
// make them.
func buildPackages(t testing.TB, pkgs []rpmPkg) (files []string) {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	args := []string{
		"-bb", "--noclean", "--quiet", "--target", "x86_64-linux", "--define", "__os_install_post %{nil}", "--define", "__check_files %{nil}",
		"--define", "_build_id_links none", "--define", "debug_package %{nil}",
		// What a spec file says of it comes too late, and another test run may share $HOME.
		"--define", "_buildrootdir " + filepath.Join(built.dir, "buildroot"),
	}
	none := len(args)
	var keys []string
	for len(pkgs) > 0 {
		first := pkgs[0]
		n := 1
		for n < len(pkgs) && pkgs[n].version == first.version && pkgs[n].release == first.release && pkgs[n].payload == first.payload {
			n++
		}
		key := kerneltest.Sum(fmt.Appendf(nil, "%s", pkgs[:n]))
		if built.files[key] == nil && !slices.Contains(keys, key) {
			args = append(args, specFile(t, filepath.Join(built.dir, key), pkgs[:n]))
		}
		keys, pkgs = append(keys, key), pkgs[n:]
	}
	if len(args) > none {
		kerneltest.Command(t, "rpmbuild", args...)
	}
	for _, key := range keys {
		out, err := filepath.Glob(filepath.Join(built.dir, key, "out/x86_64/*.rpm"))
		if err != nil || len(out) == 0 {
			t.Fatalf("rpmbuild made %q, %v", out, err)
		}
		built.files[key] = out
		files = append(files, out...)
	}
	return files
}

// specFile writes the spec file of packages that are made below top.
func specFile(t testing.TB, top string, pkgs []rpmPkg) string {
	t.Helper()
	root := filepath.Join(top, "root")
	payload := cmp.Or(pkgs[0].payload, "w3.zstdio")
	var spec strings.Builder
	fmt.Fprintf(&spec, "%%define _topdir %s\n%%define _rpmdir %s/out\n%%define _binary_payload %s\n", top, top, payload)
	fmt.Fprintf(&spec, "Name: source\nVersion: %s\nRelease: %s\nSummary: test\nLicense: GPL-2.0\n%%description\ntest\n", pkgs[0].version, pkgs[0].release)
	for _, p := range pkgs {
		fmt.Fprintf(&spec, "%%package -n %s\nSummary: test\nAutoReqProv: no\n%s\n%%description -n %s\ntest\n%%files -n %s\n", p.name, p.provides, p.name, p.name)
		for name, data := range p.files {
			imagetest.WriteFile(t, filepath.Join(root, name), data)
			fmt.Fprintf(&spec, "/%s\n", name)
		}
	}
	spec.WriteString("%install\nmkdir -p %{buildroot}\n[ ! -d " + root + " ] || cp -a " + root + "/. %{buildroot}/\n")
	return imagetest.WriteFile(t, filepath.Join(top, "test.spec"), []byte(spec.String()))
}

// createrepo makes the metadata of a repository.
func (r *rpmTree) createrepo(t testing.TB, repo string, args ...string) {
	t.Helper()
	kerneltest.Command(t, "createrepo_c", append(args, "--quiet", "--no-database", filepath.Join(r.dir, repo))...)
}

// snapshot returns a function that brings a repository's files back as they are
// now.
func (r *rpmTree) snapshot(t testing.TB, repo string) (restore func()) {
	t.Helper()
	saved := filepath.Join(t.TempDir(), "saved")
	dir := filepath.Join(r.dir, repo)
	if err := os.CopyFS(saved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(saved))); err != nil {
			t.Fatal(err)
		}
	}
}

// sign signs the packages of a repository, and its repomd.xml.
func (r *rpmTree) sign(t testing.TB, gnupg, repo string) {
	t.Helper()
	gpg, err := exec.LookPath("gpg") // Debian's rpm looks for gpg2
	if err != nil {
		t.Fatal(err)
	}
	rpms, _ := filepath.Glob(filepath.Join(r.dir, repo, "*.rpm"))
	kerneltest.Command(t, "rpmsign", append([]string{"--define", "_gpg_name test", "--define", "_gpg_path " + gnupg, "--define", "__gpg " + gpg, "--addsign"}, rpms...)...)
	r.createrepo(t, repo)
	r.signRepomd(t, gnupg, repo)
}

func (r *rpmTree) signRepomd(t testing.TB, gnupg, repo string) {
	t.Helper()
	repomd := filepath.Join(r.dir, repo, "repodata/repomd.xml")
	os.Remove(repomd + ".asc")
	kerneltest.Command(t, "gpg", "--homedir", gnupg, "--batch", "--quiet", "--armor", "--detach-sign", repomd)
}

// source parses a spec, for amd64 whatever the host is, and without waiting
// between attempts.
func sourceOf(t testing.TB, spec string, c *kernel.Cache) *source {
	t.Helper()
	scheme, rest, _ := strings.Cut(spec, ":")
	parse := ParseRPM
	if scheme == "arch" {
		parse = ParseArch
	}
	for _, d := range Distros() {
		if d.Name == scheme {
			parse = d.Parse
		}
	}
	s, err := parse(spec, rest, "amd64", c)
	if err != nil {
		t.Fatal(err)
	}
	r := s.(*source)
	r.fetcher.Retry.Wait = time.Millisecond
	if r.keyFile == "" {
		r.keyPatterns = nil // whatever this machine has
	}
	return r
}

// coreRPMs are a kernel as Fedora and Enterprise Linux ship it, of stem
// "kernel" or a variant.
func coreRPMs(t testing.TB, stem, version, release string) []rpmPkg {
	uname := version + "-" + release + ".x86_64"
	if stem != "kernel" {
		uname += "+" + strings.TrimPrefix(stem, "kernel-")
	}
	dir := "lib/modules/" + uname + "/"
	provide := func(name string) string {
		v, rel, _ := strings.Cut(uname, "-")
		return fmt.Sprintf("Provides: %s = %s-%s\n", name, v, rel)
	}
	return []rpmPkg{
		{name: stem, version: version, release: release, provides: "Requires: " + stem + "-core\n"},
		{name: stem + "-core", version: version, release: release, provides: provide("kernel-uname-r"), files: map[string][]byte{
			dir + "vmlinuz":         append(imagetest.Vmlinuz(t, uname), make([]byte, minInstalled)...),
			dir + "config":          []byte("CONFIG_" + uname),
			dir + "System.map":      []byte("map"),
			dir + "modules.builtin": []byte("kernel/fs/ext4.ko\n"),
		}},
		{name: stem + "-modules-core", version: version, release: release, provides: provide(stem + "-modules-core-uname-r"), files: map[string][]byte{
			dir + "kernel/fs/overlayfs/overlay.ko.xz": []byte("overlay of " + uname),
		}},
		{name: stem + "-modules", version: version, release: release, files: map[string][]byte{
			dir + "kernel/drivers/net/veth.ko.xz": []byte("veth of " + uname),
		}},
		{name: stem + "-modules-extra", version: version, release: release, files: map[string][]byte{
			dir + "extra/rare.ko.xz": []byte("rare"),
		}},
	}
}

// oneRPM is a kernel in one package, as Amazon Linux and EL 7 ship it.
func oneRPM(t testing.TB, name, version, release string) rpmPkg {
	uname := version + "-" + release + ".x86_64"
	return rpmPkg{name: name, version: version, release: release, provides: "Provides: kernel-uname-r = " + strings.TrimSuffix(uname, ""), files: map[string][]byte{
		"boot/vmlinuz-" + uname: append(imagetest.Vmlinuz(t, uname), make([]byte, minInstalled)...),
		"boot/config-" + uname:  []byte("CONFIG_" + uname),
		"lib/modules/" + uname + "/kernel/fs/overlayfs/overlay.ko": []byte("overlay of " + uname),
	}, payload: "w6.xzdio"}
}

// suseRPMs are a kernel as SUSE ships it: the package's release has the number of
// its last rebuild, which that of the kernel does not have.
func suseRPMs(t testing.TB, flavour, version, release string) []rpmPkg {
	uname := version + "-" + release + "-" + flavour
	name := "kernel-" + flavour
	dir := "lib/modules/" + uname + "/"
	of := func(suffix, provides string, files map[string][]byte) rpmPkg {
		provides += fmt.Sprintf("Provides: multiversion(kernel)\nProvides: %s%s = %s-%s\n", name, suffix, version, release)
		return rpmPkg{name: name + suffix, version: version, release: release + ".2", provides: provides, files: files}
	}
	return []rpmPkg{
		of("", fmt.Sprintf("Provides: kernel-base = %s-%s\nProvides: kernel = %s-%s\nProvides: ksym(%s:printk) = 1\n", version, release, version, release, flavour), map[string][]byte{
			dir + "vmlinuz":                     append(imagetest.Vmlinuz(t, uname), make([]byte, minInstalled)...),
			dir + "config":                      []byte("CONFIG_" + uname),
			dir + "kernel/fs/ext4.ko.zst":       []byte("ext4 of " + uname),
			dir + "kernel/drivers/net/dummy.ko": []byte("dummy of " + uname),
		}),
		of("-extra", "", map[string][]byte{dir + "kernel/fs/rare.ko": []byte("rare of " + uname)}),
		of("-optional", "", map[string][]byte{dir + "kernel/fs/optional.ko": []byte("optional of " + uname)}),
		of("-devel", "", map[string][]byte{"usr/src/" + uname + "/Makefile": make([]byte, minInstalled)}),
	}
}

func rpmRequests(hits []string) (rpms []string) {
	for _, h := range hits {
		if strings.HasSuffix(h, ".rpm") {
			rpms = append(rpms, filepath.Base(h))
		}
	}
	slices.Sort(rpms)
	return rpms
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
