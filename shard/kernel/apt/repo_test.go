package apt

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// repo is a real apt repository on the loopback interface: real packages made
// by dpkg-deb, an InRelease file signed by a throwaway key.
type repo struct {
	*httptest.Server
	dir     string // served
	keyring string
	gnupg   string

	mu   sync.Mutex
	hits []string
	fail map[string]int // statuses, by what a path ends with
}

// needTools fails where the tools that this project's install script installs
// are missing, and skips where apt cannot be: a host that is not Debian's kind.
func needTools(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is not installed: this is no Debian or Ubuntu host")
	}
	for _, tool := range []string{"dpkg-deb", "gpg", "gpgv", "apt-config", aptHelper} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: apt-get install dpkg gnupg gpgv apt", tool)
		}
	}
}

// pkg is a package to make; files maps paths to content.
type pkg struct {
	name, version, depends string
	control                string // further fields
	files                  map[string][]byte
}

func newRepo(t testing.TB, suite string, pkgs ...pkg) *repo {
	t.Helper()
	needTools(t)
	r := &repo{dir: t.TempDir()}
	r.gnupg, r.keyring = kerneltest.Key(t)
	var index bytes.Buffer
	for _, p := range pkgs {
		d := buildDeb(t, p)
		imagetest.WriteFile(t, filepath.Join(r.dir, d.file), d.data)
		index.WriteString(d.stanza)
	}
	imagetest.WriteFile(t, filepath.Join(r.dir, "dists", suite, "main/binary-amd64/Packages"), index.Bytes())
	r.release(t, suite, time.Now().Add(24*time.Hour))
	files := http.FileServer(http.Dir(r.dir))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.hits = append(r.hits, req.URL.Path)
		for suffix, status := range r.fail {
			if strings.HasSuffix(req.URL.Path, suffix) {
				defer w.WriteHeader(status)
				r.mu.Unlock()
				return
			}
		}
		r.mu.Unlock()
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// answer has the repository answer a status for what a path ends with, and no
// longer any other.
func (r *repo) answer(status int, suffixes ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = map[string]int{}
	for _, s := range suffixes {
		r.fail[s] = status
	}
}

// requests returns what was asked for since the last call.
func (r *repo) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	hits := r.hits
	r.hits = nil
	return hits
}

// madeDeb is a package that dpkg-deb has made.
type madeDeb struct {
	file, stanza string
	data         []byte
}

// made holds the packages, by all that they are made of: most tests want the
// same.
var made = struct {
	sync.Mutex
	debs map[string]madeDeb
}{debs: map[string]madeDeb{}}

func TestMain(m *testing.M) {
	code := m.Run()
	kerneltest.RemoveKeys()
	os.Exit(code)
}

func buildDeb(t testing.TB, p pkg) madeDeb {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	key := fmt.Sprintf("%q", p)
	if d, ok := made.debs[key]; ok {
		return d
	}
	tree := filepath.Join(t.TempDir(), "tree")
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: Test <test@localhost>\n", p.name, p.version)
	if p.depends != "" {
		control += "Depends: " + p.depends + "\n"
	}
	control += p.control + "Description: test\n long text: with a colon\n"
	imagetest.WriteFile(t, filepath.Join(tree, "DEBIAN/control"), []byte(control))
	for name, data := range p.files {
		path := imagetest.WriteFile(t, filepath.Join(tree, name), data)
		if strings.HasPrefix(name, "DEBIAN/") {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, v, _ := strings.Cut(":"+p.version, ":")
	d := madeDeb{file: fmt.Sprintf("pool/main/%s_%s_amd64.deb", p.name, strings.ReplaceAll(v, ":", "%3a"))}
	path := filepath.Join(t.TempDir(), "made.deb")
	kerneltest.Command(t, "dpkg-deb", "--root-owner-group", "--build", "-Zxz", tree, path)
	var err error
	if d.data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	d.stanza = fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %s\n\n", control, d.file, len(d.data), kerneltest.Sum(d.data))
	made.debs[key] = d
	return d
}

// release writes and signs the Release file of what is there.
func (r *repo) release(t testing.TB, suite string, validUntil time.Time) {
	t.Helper()
	const date = "Mon, 02 Jan 2006 15:04:05 UTC"
	dir := filepath.Join(r.dir, "dists", suite)
	b, err := os.ReadFile(filepath.Join(dir, "main/binary-amd64/Packages"))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("Origin: Debian\nSuite: %s\nCodename: %s\nDate: %s\nValid-Until: %s\nArchitectures: amd64\nComponents: main\nSHA256:\n %s %d main/binary-amd64/Packages\n",
		suite, suite, validUntil.Add(-48*time.Hour).UTC().Format(date), validUntil.UTC().Format(date), kerneltest.Sum(b), len(b))
	release := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "Release"), []byte(text))
	os.Remove(filepath.Join(dir, "InRelease"))
	kerneltest.Command(t, "gpg", "--homedir", r.gnupg, "--batch", "--quiet", "--output", filepath.Join(dir, "InRelease"), "--clearsign", release)
}

// source returns a source of the repository, for both of Debian's archives.
func (r *repo) source(t testing.TB, spec string, c *kernel.Cache) *source {
	t.Helper()
	s, err := ParseDebian(spec, strings.TrimPrefix(spec, "debian:"), "amd64", c)
	if err != nil {
		t.Fatal(err)
	}
	a := s.(*source)
	a.archive.main, a.archive.security, a.archive.keyring, a.archive.discover = r.URL, r.URL, r.keyring, false
	return a
}

// Two kernels as Debian ships them up to 6.x, and one as it does from 7.x on.
func debianPackages(t testing.TB) []pkg {
	image := func(release, version string, files ...string) pkg {
		p := pkg{name: "linux-image-" + release, version: version, depends: "kmod, linux-base (>= 4.3~)", files: map[string][]byte{
			"boot/System.map-" + release:                                    []byte("map"),
			"boot/config-" + release:                                        []byte("CONFIG_" + release),
			"boot/vmlinuz-" + release:                                       imagetest.Vmlinuz(t, release),
			"lib/modules/" + release + "/modules.builtin":                   []byte("kernel/fs/ext4.ko\n"),
			"lib/modules/" + release + "/kernel/fs/overlayfs/overlay.ko":    []byte("overlay of " + release),
			"usr/share/doc/linux-image-" + release + "/changelog.Debian.gz": []byte("text"),
		}}
		return p
	}
	const seven, v7 = "7.2.13+deb14-cloud-amd64", "7.2.13-1"
	exact := func(names ...string) string {
		var deps []string
		for _, n := range names {
			deps = append(deps, n+seven+" (= "+v7+")")
		}
		return strings.Join(deps, ", ")
	}
	return []pkg{
		image("6.1.0-55-cloud-amd64", "6.1.192-1"),
		image("6.1.0-56-cloud-amd64", "1:6.1.192-2"),
		image("6.1.0-56-amd64", "1:6.1.192-2"),
		{name: "linux-image-6.1.0-56-cloud-amd64-dbg", version: "1:6.1.192-2"},
		{name: "linux-image-cloud-amd64", version: "6.1.192-2", depends: "linux-image-6.1.0-56-cloud-amd64 (= 1:6.1.192-2)"},
		{name: "linux-image-" + seven, version: v7, depends: "dracut | initramfs-tools, " + exact("linux-base-", "linux-binary-", "linux-modules-")},
		{name: "linux-base-" + seven, version: v7, files: map[string][]byte{
			"usr/lib/modules/" + seven + "/config":          []byte("CONFIG_7"),
			"usr/lib/modules/" + seven + "/modules.builtin": []byte("kernel/fs/ext4.ko\n"),
		}},
		{name: "linux-binary-" + seven, version: v7, depends: exact("linux-base-"), files: map[string][]byte{
			"usr/lib/modules/" + seven + "/vmlinuz": imagetest.Vmlinuz(t, seven),
		}},
		{name: "linux-modules-" + seven, version: v7, depends: "kmod, " + exact("linux-base-"), files: map[string][]byte{
			"usr/lib/modules/" + seven + "/kernel/fs/overlayfs/overlay.ko.xz": []byte("overlay 7"),
		}},
	}
}

func debRequests(hits []string) (n int) {
	for _, h := range hits {
		if strings.HasSuffix(h, ".deb") {
			n++
		}
	}
	return n
}
