package repo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// pacmanPkg is a package to make; makepkg itself refuses to run as root.
type pacmanPkg struct {
	name, version, uname string
	depends              string // "coreutils kmod initramfs" of kernels
}

const kernelDepends = "coreutils kmod initramfs"

// pacman makes packages, and adds them to the database of a repository.
func (r *rpmTree) pacman(t testing.TB, dir, db string, pkgs ...pacmanPkg) {
	t.Helper()
	dir = filepath.Join(r.dir, dir)
	args := []string{"--quiet", filepath.Join(dir, db+".db.tar.gz")}
	if len(pkgs) > 2 { // both are in use
		args[1] = filepath.Join(dir, db+".db.tar.zst")
	}
	for _, p := range pkgs {
		size := minInstalled
		if p.depends == "linux66" { // and is nothing itself
			size = 4096
		}
		tree := filepath.Join(t.TempDir(), "tree")
		info := fmt.Sprintf("pkgname = %s\npkgbase = %s\npkgver = %s\npkgdesc = test\nbuilddate = %d\nsize = %d\narch = x86_64\n", p.name, p.name, p.version, time.Date(2026, 11, 12, 13, 0, 0, 0, time.UTC).Unix(), size)
		for _, d := range strings.Fields(p.depends) {
			info += "depend = " + d + "\n"
		}
		imagetest.WriteFile(t, filepath.Join(tree, ".PKGINFO"), []byte(info))
		members := []string{".PKGINFO"}
		if p.uname != "" {
			modules := filepath.Join(tree, "usr/lib/modules", p.uname)
			imagetest.WriteFile(t, filepath.Join(modules, "vmlinuz"), imagetest.Vmlinuz(t, p.uname))
			imagetest.WriteFile(t, filepath.Join(modules, "kernel/fs/overlayfs/overlay.ko.zst"), []byte("overlay of "+p.uname))
			members = append(members, "usr")
		}
		_, version, ok := strings.Cut(p.version, ":")
		if !ok {
			version = p.version
		}
		file := filepath.Join(dir, fmt.Sprintf("%s-%s-x86_64.pkg.tar.zst", p.name, version))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		kerneltest.Command(t, "bsdtar", append([]string{"-C", tree, "--zstd", "-cf", file}, members...)...)
		args = append(args, file)
	}
	kerneltest.Command(t, "repo-add", args...)
}

func TestPacman(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.pacman(t, "arch/core/os/x86_64", "core",
		pacmanPkg{"linux", "6.9.3.arch1-1", "6.9.3-arch1-1", kernelDepends},
		pacmanPkg{"linux-lts", "6.6.32-1", "6.6.32-1-lts", kernelDepends},
		pacmanPkg{"linux-headers", "6.9.3.arch1-1", "", "pahole"},
		pacmanPkg{"linux-firmware", "20240510-1", "", ""},
		pacmanPkg{"bash", "5-1", "", "glibc"})
	r.pacman(t, "arch/extra/os/x86_64", "extra", pacmanPkg{"linux-zen", "6.9.3.zen1-1", "6.9.3-zen1-1-zen", kernelDepends})
	r.pacman(t, "cachy/x86_64/cachyos", "cachyos",
		pacmanPkg{"linux-cachyos", "1:6.9.3-2", "6.9.3-2-cachyos", kernelDepends},
		pacmanPkg{"linux-cachyos-zfs", "6.9.3-2", "", "linux-cachyos kmod"})
	// As Manjaro's, whose linux-lts only depends on the newest one.
	r.pacman(t, "manjaro", "core", pacmanPkg{"linux66", "6.6.32-1", "6.6.32-1", kernelDepends}, pacmanPkg{"linux-lts", "6.6-1", "", "linux66"})
	r.pacman(t, "own", "own", pacmanPkg{"linux", "6.1.192-1", "6.1.192-1", ""})
	r.pacman(t, "parts", "parts", pacmanPkg{"linux-headers", "6.1.192-1", "", "pahole"}, pacmanPkg{"linux-tool", "1-1", "", ""})
	for _, tc := range []struct {
		spec string
		want []string // ids, and what the last kernel calls itself
	}{
		{"arch:,url=URL/arch", []string{"arch/6.6.32-1__linux-lts", "arch/6.9.3.arch1-1__linux", "6.9.3-arch1-1"}},
		{"arch:,url=URL/arch/$repo/os/$arch", []string{"arch/6.6.32-1__linux-lts", "arch/6.9.3.arch1-1__linux", "6.9.3-arch1-1"}},
		{"arch:lts,url=URL/arch", []string{"arch/6.6.32-1__linux-lts", "6.6.32-1-lts"}},
		{"arch:linux-zen,url=URL/arch", []string{"arch/6.9.3.zen1-1__linux-zen", "6.9.3-zen1-1-zen"}},
		{"arch:,repo=cachyos,url=URL/cachy/$arch/$repo", []string{"arch/6.9.3-2__linux-cachyos", "6.9.3-2-cachyos"}},
		{"arch:,repo=core,url=URL/manjaro", []string{"arch/6.6.32-1__linux66", "6.6.32-1"}},
		{"arch:,repo=own,url=URL/own", []string{"arch/6.1.192-1__linux", "6.1.192-1"}},
		{"arch:,repo=cachyos,url=DIR/cachy/$arch/$repo", []string{"arch/6.9.3-2__linux-cachyos", "6.9.3-2-cachyos"}},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			spec := strings.NewReplacer("URL", r.URL, "DIR", r.dir).Replace(tc.spec)
			refs := kerneltest.List(t, sourceOf(t, spec, kerneltest.NewCache(t)))
			ref := refs[len(refs)-1]
			if d := cmp.Diff(tc.want, append(kerneltest.IDs(refs), ref.Release)); d != "" {
				t.Fatalf("ids and release (-want +got):\n%s", d)
			}
			if ref.Date != "2026-11-12" || !ref.Modules || ref.Flavour == "" || !strings.HasPrefix(ref.Package, "linux") || ref.Size == 0 {
				t.Errorf("the listing tells too little: %+v", ref)
			}
			im, err := sourceOf(t, spec, kerneltest.NewCache(t)).Open(t.Context(), ref) // with nothing but the Ref
			if err != nil {
				t.Fatal(err)
			}
			if im.Release != ref.Release || kerneltest.Modules(t, im)["kernel/fs/overlayfs/overlay.ko.zst"] != "overlay of "+ref.Release {
				t.Errorf("%+v", im.Ref)
			}
		})
	}
	var usage *kernel.UsageError
	for spec, want := range map[string]string{
		"arch:rt,url=" + r.URL + "/arch":           "no kernel of flavour rt for x86_64; it has linux, lts, zen",
		"arch:aarch64,url=" + r.URL + "/arch":      `it has linux, lts, zen; "aarch64" is an architecture: use --arch arm64`,
		"arch:,repo=parts,url=" + r.URL + "/parts": "for x86_64; it has linux-headers, linux-tool",
		"arch:,url=" + r.URL + "/none":             "there is no",
		"arch:,url=" + r.dir + "/none":             "expected a repository of pacman",
	} {
		if _, err := sourceOf(t, spec, kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want a UsageError with %q", spec, err, want)
		}
	}
	// What has been replaced since it was listed.
	s := sourceOf(t, "arch:lts,url="+r.URL+"/arch", kerneltest.NewCache(t))
	refs := kerneltest.List(t, s)
	file := filepath.Join(r.dir, "arch/core/os/x86_64/linux-lts-6.6.32-1-x86_64.pkg.tar.zst")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	if !s.Gone(t.Context(), refs, true)[refs[0].Digest] {
		t.Error("a package that is not there is not gone")
	}
	b[len(b)-1] ^= 1
	imagetest.WriteFile(t, file, b)
	var digest *kernel.DigestError
	if _, err := s.Open(t.Context(), refs[0]); !errors.As(err, &digest) {
		t.Errorf("error %v, want a DigestError", err)
	}
}

// A signature is beside the package or in the database, which needs none itself.
func TestPacmanSignatures(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	gnupg, key := kerneltest.Key(t)
	otherHome, otherKey := kerneltest.NewKey(t, "ed25519")
	const dir, file = "repo/core/os/x86_64", "linux-6.9.3.arch1-1-x86_64.pkg.tar.zst"
	path := filepath.Join(r.dir, dir, file)
	db := filepath.Join(r.dir, dir, "core.db")
	r.pacman(t, dir, "core", pacmanPkg{"linux", "6.9.3.arch1-1", "6.9.3-arch1-1", kernelDepends})
	r.pacman(t, "repo/extra/os/x86_64", "extra", pacmanPkg{"bash", "5-1", "", ""})
	sign := func(gnupg, file string) []byte {
		os.Remove(file + ".sig")
		kerneltest.Command(t, "gpg", "--homedir", gnupg, "--batch", "--quiet", "--detach-sign", file)
		return mustRead(t, file+".sig")
	}
	open := func(key string) error {
		s := sourceOf(t, "arch:,url="+r.URL+"/repo,key="+key, kerneltest.NewCache(t))
		refs, err := s.List(t.Context())
		if err == nil {
			_, err = s.Open(t.Context(), refs[0])
		}
		return err
	}
	check := func(what, key string, good bool) {
		t.Helper()
		if err := open(key); (err == nil) != good || err != nil && !errors.Is(err, kernel.ErrSignature) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("not signed", key, false)
	foreign := sign(otherHome, path)
	check("signed by another", key, false)
	sig := sign(gnupg, path)
	check("signed", key, true)
	check("with another key", otherKey, false)
	keyring := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vendor.gpg"), append(mustRead(t, key), mustRead(t, otherKey)...))
	check("of several keys", keyring, true)
	keys, err := readKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, strings.TrimSuffix(keyring, ".gpg")+"-revoked", fmt.Appendf(nil, "%X\n", keys.entities[0].PrimaryKey.Fingerprint))
	check("with a revoked key", keyring, false)
	// A key that its owner has revoked does not count for what it has signed before.
	revokedHome, _ := kerneltest.NewKey(t, "ed25519")
	sign(revokedHome, path)
	certs, _ := filepath.Glob(filepath.Join(revokedHome, "openpgp-revocs.d/*.rev"))
	cert := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "rev"), bytes.Replace(mustRead(t, certs[0]), []byte("\n:-----"), []byte("\n-----"), 1))
	exported := func(name string) string {
		out := filepath.Join(t.TempDir(), name)
		kerneltest.Command(t, "gpg", "--homedir", revokedHome, "--batch", "--output", out, "--export")
		return out
	}
	check("before it is revoked", exported("good"), true)
	kerneltest.Command(t, "gpg", "--homedir", revokedHome, "--batch", "--quiet", "--import", cert)
	both := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "both"), append(mustRead(t, exported("bad")), mustRead(t, otherKey)...))
	check("by a key that was revoked later", both, false)
	if err := open(exported("alone")); err == nil || !strings.Contains(err.Error(), "all of them are revoked") {
		t.Errorf("a keyring without another key: %v", err)
	}
	sign(gnupg, path)
	// A server that does not answer is no package without a signature.
	s := sourceOf(t, "arch:,url="+r.URL+"/repo,key="+key, kerneltest.NewCache(t))
	s.fetcher.Retry.Attempts = 1
	refs := kerneltest.List(t, s)
	r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, ".sig") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.FileServer(http.Dir(r.dir)).ServeHTTP(w, req)
	}))
	var bad *kernel.BadKernelError
	if _, err := s.Open(t.Context(), refs[0]); err == nil || errors.Is(err, kernel.ErrSignature) || errors.As(err, &bad) {
		t.Errorf("error %v, want one that may pass", err)
	}
	r.serve(nil)
	sign(otherHome, db)
	check("a database signed by another", key, false)
	sign(gnupg, db)
	check("a signed database", key, true)
	os.Remove(db + ".sig")
	os.Remove(path + ".sig")
	for what, s := range map[string][]byte{"signed": sig, "signed by another": foreign} {
		r.editDB(t, db, func(desc string) string {
			return desc + "\n%PGPSIG%\n" + base64.StdEncoding.EncodeToString(s) + "\n\n"
		})
		check("in the database, "+what, key, what == "signed")
		r.editDB(t, db, func(desc string) string { return desc[:strings.Index(desc, "\n%PGPSIG%")] })
	}
	// A package, signed as it is, under the name of another.
	sign(gnupg, path)
	r.editDB(t, db, func(desc string) string { return strings.ReplaceAll(desc, "6.9.3.arch1-1\n", "6.9.4.arch1-1\n") })
	if err := open(key); err == nil || !strings.Contains(err.Error(), `"linux-6.9.3.arch1-1.x86_64" is listed as "linux-6.9.4.arch1-1.x86_64"`) {
		t.Errorf("a package under another's name: %v", err)
	}
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// editDB changes the one description in a database.
func (r *rpmTree) editDB(t testing.TB, db string, edit func(string) string) {
	t.Helper()
	dir := t.TempDir()
	kerneltest.Command(t, "bsdtar", "-C", dir, "-xf", db)
	found, _ := filepath.Glob(filepath.Join(dir, "*/desc"))
	imagetest.WriteFile(t, found[0], []byte(edit(string(mustRead(t, found[0])))))
	out := filepath.Join(t.TempDir(), "db")
	kerneltest.Command(t, "bsdtar", "-C", dir, "--gzip", "-cf", out, filepath.Base(filepath.Dir(found[0])))
	target, err := filepath.EvalSymlinks(db)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, target, mustRead(t, out))
}

func TestPacmanKernelSigns(t *testing.T) {
	for field, want := range map[string]bool{
		"%DEPENDS%\ncoreutils": true, "%DEPENDS%\nkmod\ninitramfs": true, "%PROVIDES%\nlinux=6.12.1": true, "%PROVIDES%\nWIREGUARD-MODULE": true,
		"%DEPENDS%\nlinux-cachyos\nkmod": false, "%PROVIDES%\nlinux-headers=6.12.1": false, "%PROVIDES%\nVIRTUALBOX-HOST-MODULES": false, "%DEPENDS%\npahole": false, "": false,
	} {
		if p, _ := parseDesc("%NAME%\nlinux-x\n\n" + field + "\n"); p.bootable != want {
			t.Errorf("%q: a kernel: %v, want %v", field, p.bootable, want)
		}
	}
}

// What a database says is hostile: whatever it holds, packages that come out of it
// have names and sizes that the rest relies on.
func FuzzPacmanDB(f *testing.F) {
	desc := func(edit ...string) string {
		return strings.NewReplacer(edit...).Replace("%FILENAME%\nlinux-6.9.3.arch1-1-x86_64.pkg.tar.zst\n\n%NAME%\nlinux\n\n%BASE%\nlinux\n\n%VERSION%\n6.9.3.arch1-1\n\n%CSIZE%\n100\n\n%ISIZE%\n1048576\n\n%SHA256SUM%\n" + zeroSum + "\n\n%ARCH%\nx86_64\n\n%BUILDDATE%\n1717000000\n\n%DEPENDS%\ncoreutils\nkmod\n\n")
	}
	for _, s := range []string{
		desc(), desc("linux-6.9.3", "../linux-6.9.3"), desc("linux-6.9.3", "/etc/linux"), desc("100", "-1"), desc(zeroSum, "00"), desc("6.9.3", "1:6.9.3"),
		desc("\nlinux\n", "\nlinux evil\n"), desc("x86_64\n", "aarch64\n"), "%NAME%\n%NAME%\n", "",
	} {
		f.Add([]byte(s))
	}
	if p, err := parseDesc(desc()); err != nil || !p.bootable || p.nevra() != "linux-6.9.3.arch1-1.x86_64" {
		f.Fatalf("%+v, %v", p, err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		member := make([]byte, 512)
		copy(member, "linux-1/desc")
		copy(member[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x0000000000000\x00        0", len(b)))
		copy(member[257:], "ustar\x0000")
		sum := 0
		for _, c := range member {
			sum += int(c)
		}
		copy(member[148:], fmt.Sprintf("%06o\x00 ", sum))
		db := slices.Concat(member, b, make([]byte, -len(b)&511+1024))
		list, bad, err := parsePacman(t.Context(), bytes.NewReader(db), "x86_64")
		if err == nil && len(list)+len(bad) > 1 {
			t.Fatalf("%d packages and %q of one description", len(list), bad)
		}
		for _, p := range list {
			if err := p.check(); err != nil || strings.Contains(p.Location.Href, "/") || strings.Contains(p.nevra(), "\n") {
				t.Errorf("%+v: %v", p, err)
			}
			for _, k := range []string{"", "linux"} {
				pacmanFormat().choose(list, k)
			}
			name, day := p.source()
			if strings.ContainsAny(name+day, "\n\x00") {
				t.Errorf("%q %q", name, day)
			}
		}
		_, _, _ = parsePacman(t.Context(), bytes.NewReader(b), "x86_64") // a tar of any kind
	})
}
