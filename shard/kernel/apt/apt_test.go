package apt

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestAptListsOpensAndDownloadsOnce(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	var fetched atomic.Int64
	c.Progress = func(_ kernel.Ref, done, total int64) {
		if done == total {
			fetched.Add(1)
		}
	}
	warnings := kerneltest.CollectWarnings(c)
	ctx := context.Background()
	s := r.source(t, "debian:sid:cloud-amd64", c)
	refs := kerneltest.List(t, s)
	want := []string{
		"debian/6.1.0-55-cloud-amd64__6.1.192-1",
		"debian/6.1.0-56-cloud-amd64__1_3a6.1.192-2",
		"debian/7.2.13+deb14-cloud-amd64__7.2.13-1",
	}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	if r := refs[0]; r.Flavour != "cloud-amd64" || r.Package != "linux-image-6.1.0-55-cloud-amd64 6.1.192-1" || !r.Modules {
		t.Errorf("the listing tells too little: %+v", r)
	}
	for i, ref := range refs {
		im, err := s.Open(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		if im.Arch != "amd64" || im.Release != ref.Release || ref.Size == 0 {
			t.Errorf("%+v", im.Ref)
		}
		overlay, config := "kernel/fs/overlayfs/overlay.ko", "CONFIG_"+ref.Release
		content := "overlay of " + ref.Release
		if i == 2 {
			overlay, config, content = overlay+".xz", "CONFIG_7", "overlay 7"
		}
		if b, _ := os.ReadFile(im.Config); string(b) != config {
			t.Errorf("config %q, want %q", b, config)
		}
		got := kerneltest.Modules(t, im)
		if got[overlay] != content || got["modules.builtin"] == "" {
			t.Errorf("modules %q", got)
		}
		if err := im.Vmlinux(ctx, filepath.Join(t.TempDir(), "vmlinux")); err != nil {
			t.Error(err)
		}
	}
	// One package each for 6.x, three for 7.x; never the shell package.
	if n := debRequests(r.requests()); n != 5 {
		t.Errorf("%d packages fetched, want 5", n)
	}
	if fetched.Load() != 3 {
		t.Errorf("progress was completed %d times, want 3", fetched.Load())
	}
	// A second run, by a new process so to speak, asks the mirror for nothing.
	again := r.source(t, "debian:sid:cloud-amd64", c)
	for _, ref := range kerneltest.List(t, again) {
		if _, err := again.Open(ctx, ref); err != nil {
			t.Error(err)
		}
	}
	if hits := r.requests(); len(hits) != 0 {
		t.Errorf("the second run asked for %q", hits)
	}
	if w := warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

// A job that was handed a Ref fetches that kernel and no lists.
func TestAptOpensWithoutLists(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	ref := kerneltest.List(t, r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t)))[0]
	r.requests()
	if _, err := r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t)).Open(context.Background(), ref); err != nil {
		t.Fatal(err)
	}
	if hits := r.requests(); len(hits) != 1 || !strings.HasSuffix(hits[0], ".deb") {
		t.Errorf("asked for %q, want one package", hits)
	}
}

func TestAptRefusesTamperedPackages(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	s := r.source(t, "debian:sid:cloud-amd64", c)
	ref := kerneltest.List(t, s)[0]
	debs, _ := filepath.Glob(filepath.Join(r.dir, "pool/main/linux-image-6.1.0-55-cloud*.deb"))
	b, err := os.ReadFile(debs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1 // same size
	imagetest.WriteFile(t, debs[0], b)
	if _, err = s.Open(context.Background(), ref); err == nil || !strings.Contains(err.Error(), "Hash Sum mismatch") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line about the hash", err)
	}
	if left, _ := os.ReadDir(filepath.Join(c.Dir(), "kernels-2")); len(left) != 0 {
		t.Errorf("the cache holds %v", left)
	}
	// Nor does another locator under the same digest help.
	other := kerneltest.List(t, s)[1]
	other.Digest = ref.Digest
	var digest *kernel.DigestError
	if _, err = s.Open(context.Background(), other); !errors.As(err, &digest) {
		t.Errorf("error %v, want a DigestError", err)
	}
	if err := os.Remove(debs[0]); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Open(context.Background(), ref); err == nil || !strings.Contains(err.Error(), "list the kernels again") {
		t.Errorf("error %v, want it to say what to do", err)
	}
}

func TestAptRefusesListsThatAreNotSigned(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	_, otherKeys := kerneltest.NewKey(t, "ed25519")
	inRelease := filepath.Join(r.dir, "dists/sid/InRelease")
	signed, err := os.ReadFile(inRelease)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		do   func(s *source)
	}{
		{"another key", func(s *source) { s.archive.keyring = otherKeys }},
		{"changed text", func(*source) {
			imagetest.WriteFile(t, inRelease, bytes.Replace(signed, []byte("Origin: Debian"), []byte("Origin: Debiam"), 1))
		}},
		{"no signature", func(*source) {
			os.Remove(inRelease)
			_, text, _ := bytes.Cut(signed, []byte("\n\n"))
			text, _, _ = bytes.Cut(text, []byte("-----BEGIN"))
			imagetest.WriteFile(t, filepath.Join(filepath.Dir(inRelease), "Release"), text)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			imagetest.WriteFile(t, inRelease, signed)
			s := r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t))
			tc.do(s)
			_, err := s.List(context.Background())
			if !errors.Is(err, kernel.ErrSignature) || !strings.Contains(err.Error(), ",key=FILE") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line about the signature that says what to do", err)
			}
		})
	}
	// Good lists from before do not make up for a bad signature.
	imagetest.WriteFile(t, inRelease, signed)
	s := r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t))
	kerneltest.List(t, s)
	tick := time.Now().Add(2 * kernel.ListAge)
	s.now = func() time.Time { return tick }
	imagetest.WriteFile(t, inRelease, bytes.Replace(signed, []byte("Origin: Debian"), []byte("Origin: Debiam"), 1))
	later := time.Now().Add(time.Minute) // or else the mirror answers that nothing has changed
	if err := os.Chtimes(inRelease, later, later); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(context.Background()); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("error %v, want errSignature", err)
	}
}

func TestAptRefusesTamperedLists(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	packages := filepath.Join(r.dir, "dists/sid/main/binary-amd64/Packages")
	b, err := os.ReadFile(packages)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, packages, bytes.ReplaceAll(b, []byte("6.1.192-1"), []byte("6.1.192-9")))
	_, err = r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t)).List(context.Background())
	if err == nil || !strings.Contains(err.Error(), "sid") {
		t.Errorf("error %v", err)
	}
}

func TestAptUsesExpiredListsWithAWarning(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	r.release(t, "sid", time.Now().Add(-24*time.Hour))
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	if refs := kerneltest.List(t, r.source(t, "debian:sid:cloud-amd64", c)); len(refs) != 3 {
		t.Errorf("%d kernels", len(refs))
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "out of date") {
		t.Errorf("warnings %q, want one about the expiry", w)
	}
}

func TestAptLeavesOutSuitesThatTheMirrorLacks(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "bookworm", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	if refs := kerneltest.List(t, r.source(t, "debian:bookworm:amd64", c)); len(refs) != 1 {
		t.Errorf("ids %q", kerneltest.IDs(refs))
	}
	if w := warnings(); len(w) != 2 || !strings.Contains(w[0]+w[1], "bookworm-updates") || !strings.Contains(w[0]+w[1], "bookworm-security") {
		t.Errorf("warnings %q", w)
	}
	// A list that its signed Release file does not name is left out, too.
	dir := filepath.Join(r.dir, "dists/bookworm-updates")
	imagetest.WriteFile(t, filepath.Join(dir, "main/binary-amd64/Packages"), []byte(pkgStanza("linux-image-6.1.0-98-amd64", "1", "")+"\n"))
	r.release(t, "bookworm-updates", time.Now().Add(24*time.Hour))
	imagetest.WriteFile(t, filepath.Join(dir, "main/binary-amd64/Packages"), []byte(pkgStanza("linux-image-6.1.0-99-amd64", "1", "")))
	c = kerneltest.NewCache(t)
	warnings = kerneltest.CollectWarnings(c)
	if refs := kerneltest.List(t, r.source(t, "debian:bookworm:amd64", c)); len(refs) != 1 {
		t.Errorf("ids %q", kerneltest.IDs(refs))
	}
	if w := warnings(); !slices.ContainsFunc(w, func(w string) bool { return strings.Contains(w, "its list of bookworm-updates is not the one") }) {
		t.Errorf("warnings %q", w)
	}
	// But the suite itself has to be there.
	_, err := r.source(t, "debian:trixie:amd64", kerneltest.NewCache(t)).List(context.Background())
	if err == nil || !strings.Contains(err.Error(), "trixie") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

func TestAptSecurityAndMainAreOneSuite(t *testing.T) {
	t.Parallel()
	pkgs := debianPackages(t)
	r := newRepo(t, "bookworm", pkgs[0], pkgs[1])
	sec := newRepo(t, "bookworm-security", pkgs[1], pkgs[2], debianPackages(t)[5])
	s := r.source(t, "debian:bookworm", kerneltest.NewCache(t))
	s.archive.security = sec.URL
	refs := kerneltest.List(t, s)
	want := []string{"debian/6.1.0-55-cloud-amd64__6.1.192-1", "debian/6.1.0-56-amd64__1_3a6.1.192-2", "debian/6.1.0-56-cloud-amd64__1_3a6.1.192-2"}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	r.requests()
	sec.requests()
	for _, ref := range refs {
		if _, err := s.Open(context.Background(), ref); err != nil {
			t.Error(err)
		}
	}
	if m, n := debRequests(r.requests()), debRequests(sec.requests()); m != 2 || n != 1 {
		t.Errorf("%d packages from main, %d from security; want 2 and 1", m, n)
	}
}

func TestAptRefreshes(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	s := r.source(t, "debian:sid:cloud-amd64", c)
	now := time.Now()
	s.now = func() time.Time { return now }
	kerneltest.List(t, s)
	r.requests()
	now = now.Add(kernel.ListAge - time.Minute)
	kerneltest.List(t, s)
	if hits := r.requests(); len(hits) != 0 {
		t.Errorf("fresh lists were fetched again: %q", hits)
	}
	now = now.Add(2 * time.Minute)
	kerneltest.List(t, s)
	if hits := r.requests(); len(hits) == 0 {
		t.Error("old lists were not fetched again")
	}
	now = now.Add(2 * kernel.ListAge)
	r.Close()
	if refs := kerneltest.List(t, s); len(refs) != 3 {
		t.Errorf("%d kernels without the mirror", len(refs))
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "using the list of") {
		t.Errorf("warnings %q, want one that says which lists are used", w)
	}
	// Without lists there is nothing to fall back to.
	_, err := r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t)).List(context.Background())
	if err == nil || !strings.Contains(err.Error(), r.URL) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names the mirror", err)
	}
}

func TestAptErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	needTools(t)
	s := (&repo{Server: httptest.NewServer(http.NotFoundHandler()), keyring: filepath.Join(t.TempDir(), "none.gpg")}).source(t, "debian:sid", kerneltest.NewCache(t))
	if _, err := s.List(context.Background()); err == nil || !strings.Contains(err.Error(), "read the keys of Debian: open ") {
		t.Errorf("error %v", err)
	}
	c, err := kernel.NewCache(filepath.Join(t.TempDir(), `a"b`))
	if err != nil {
		t.Fatal(err)
	}
	s = newRepo(t, "sid").source(t, "debian:sid", c)
	if _, err := s.List(context.Background()); err == nil || !strings.Contains(err.Error(), "choose a cache directory without quotes") {
		t.Errorf("error %v", err)
	}
	s = newRepo(t, "sid", debianPackages(t)[0]).source(t, "debian:sid:rt-amd64", kerneltest.NewCache(t))
	var usage *kernel.UsageError
	if _, err := s.List(context.Background()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "rt-amd64") {
		t.Errorf("error %v, want a UsageError that names the flavour", err)
	}
}

func TestAptStopsWithContext(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	hang, asked := make(chan struct{}), make(chan struct{}, 10)
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-hang }))
	defer stuck.Close()
	defer close(hang)
	s := r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t))
	s.archive.main = stuck.URL
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	start := time.Now()
	if _, err := s.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if d := time.Since(start); d > 8*time.Second {
		t.Errorf("took %v to stop", d)
	}
}

// The host's hooks, pinning and list settings stay out of the private root.
func TestAptRootIsPrivate(t *testing.T) {
	t.Parallel()
	needTools(t)
	root := &privateRoot{dir: t.TempDir(), suite: "sid", arch: "arm64", archive: publicDebian()}
	if err := root.setUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	dump, err := root.run(context.Background(), "apt-config", "dump")
	if err != nil {
		t.Fatal(err, dump)
	}
	for _, line := range strings.Split(dump, "\n") {
		for _, bad := range []string{"Post-Invoke", "Pre-Install-Pkgs", "DEP-11", "docker", `Acquire::GzipIndexes "true"`, "Check-Valid-Until", "Check-Date"} {
			if strings.Contains(line, bad) {
				t.Errorf("the host's %s", line)
			}
		}
		if strings.HasPrefix(line, "Dir::State \"") || strings.HasPrefix(line, "Dir::Cache \"") {
			if !strings.Contains(line, root.dir) {
				t.Errorf("not private: %s", line)
			}
		}
	}
	for _, want := range []string{`APT::Architecture "arm64";`, `Acquire::AllowInsecureRepositories "false";`} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %s", want)
		}
	}
	if st, err := os.Stat(root.conf()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("apt.conf may hold a proxy's password, but is %v, %v", st.Mode(), err)
	}
}

// A mirror that was another one for a while, and did not answer, must not leave
// a part of the lists that counts as all of them.
func TestAptMirrorThatChangesAndComesBack(t *testing.T) {
	r := newRepo(t, "sid", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	want := kerneltest.IDs(kerneltest.List(t, r.source(t, "debian:sid:cloud-amd64", c)))
	dead := r.source(t, "debian:sid:cloud-amd64", c)
	dead.archive.main = "http://127.0.0.1:1"
	if refs, err := dead.List(t.Context()); err == nil {
		t.Fatalf("a dead mirror has %v", kerneltest.IDs(refs))
	}
	if got := kerneltest.IDs(kerneltest.List(t, r.source(t, "debian:sid:cloud-amd64", c))); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Which mirrors a machine has is not guessed where apt does not say.
func TestAptThatDoesNotKnowItsMirrors(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte("#!/bin/sh\necho 'E: it is broken' >&2; exit 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := kerneltest.Parse(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t), ParseDebian)
	if refs, err := s.List(t.Context()); err == nil || !strings.Contains(err.Error(), "it is broken") {
		t.Errorf("%v, %v", refs, err)
	}
}
