package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// deb makes a package by dpkg-deb: files are paths and contents.
func deb(t testing.TB, dir, name, version, arch string, files ...string) string {
	t.Helper()
	root := t.TempDir()
	imagetest.WriteFile(t, filepath.Join(root, "DEBIAN/control"), fmt.Appendf(nil,
		"Package: %s\nSource: linux (%[2]s)\nVersion: %[2]s\nArchitecture: %s\nMaintainer: x\nDescription: x\n", name, version, arch))
	for i := 0; i < len(files); i += 2 {
		imagetest.WriteFile(t, filepath.Join(root, files[i]), []byte(files[i+1]))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1714521600")
	file := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", name, version, arch))
	kerneltest.Command(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", root, file)
	return file
}

// rpmPackage makes one by rpmbuild.
func rpmPackage(t testing.TB, dir, name, version, release string, files ...string) {
	t.Helper()
	top := t.TempDir()
	spec := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: %s\nSummary: x\nLicense: x\n%%description\nx\n%%files\n", name, version, release)
	for i := 0; i < len(files); i += 2 {
		imagetest.WriteFile(t, filepath.Join(top, "root", files[i]), []byte(files[i+1]))
		spec += "/" + files[i] + "\n"
	}
	spec += "%install\nmkdir -p %{buildroot} " + top + "/root\ncp -a " + top + "/root/. %{buildroot}\n"
	file := imagetest.WriteFile(t, filepath.Join(top, "x.spec"), []byte(spec))
	kerneltest.Command(t, "rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", "_topdir "+top, "--define", "_rpmdir "+dir,
		"--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", "--define", "__os_install_post %{nil}", file)
}

func TestPackages(t *testing.T) {
	const (
		u = "6.9.0-060900-generic"
		d = "6.1.0-50-cloud-amd64"
		f = "6.11.4-301.fc41.x86_64"
		a = "6.12.1-arch1-1"
	)
	vmlinuz := func(release string) string { return string(imagetest.Vmlinuz(t, release)) }
	root := t.TempDir()
	dir := filepath.Join(root, "mainline")
	// Ubuntu's mainline builds: the image in one package, modules and config in another.
	image1 := deb(t, dir, "linux-image-unsigned-"+u, "6.9.0-060900.202405122134", "amd64", "boot/vmlinuz-"+u, vmlinuz(u))
	modules1 := deb(t, dir, "linux-modules-"+u, "6.9.0-060900.202405122134", "amd64", "boot/config-"+u, "C", "lib/modules/"+u+"/kernel/a.ko", "A")
	headers := deb(t, dir, "linux-headers-"+u, "6.9.0-060900.202405122134", "amd64", "usr/src/linux-headers-"+u+"/vmlinuz", "x")
	deb(t, dir, "linux-image-"+u+"-dbg", "6.9.0-060900.202405122134", "amd64", "usr/lib/debug/boot/vmlinux-"+u, "x")
	// Another build of the same release, and the modules of another architecture.
	deb(t, dir, "linux-image-unsigned-"+u, "6.9.0-060900.2", "amd64", "boot/vmlinuz-"+u, vmlinuz(u)+"2")
	deb(t, dir, "linux-modules-"+u, "6.9.0-060900.2", "amd64", "lib/modules/"+u+"/kernel/a.ko", "A2")
	deb(t, dir, "linux-modules-"+u, "6.9.0-060900.202405122134", "arm64", "lib/modules/"+u+"/kernel/a.ko", "arm64")
	// All in one package, and modules without a kernel.
	deb(t, filepath.Join(root, "debian"), "linux-image-"+d, "6.1.180-1", "amd64", "boot/vmlinuz-"+d, vmlinuz(d), "lib/modules/"+d+"/kernel/b.ko", "B")
	deb(t, filepath.Join(root, "debian"), "linux-modules-6.2.0", "6.2-1", "amd64", "lib/modules/6.2.0/kernel/b.ko", "B")
	imagetest.WriteFile(t, filepath.Join(root, "debian", "broken_1_amd64.deb"), []byte("!<arch>\nhello"))
	rpmPackage(t, filepath.Join(root, "fedora"), "kernel-core", "6.11.4", "301.fc41", "lib/modules/"+f+"/vmlinuz", vmlinuz(f), "lib/modules/"+f+"/config", "F")
	rpmPackage(t, filepath.Join(root, "fedora"), "kernel-modules-core", "6.11.4", "301.fc41", "lib/modules/"+f+"/kernel/c.ko", "c")
	rpmPackage(t, filepath.Join(root, "fedora"), "kernel-modules", "6.11.4", "301.fc41", "lib/modules/"+f+"/kernel/d.ko", "d")
	imagetest.WriteFile(t, filepath.Join(root, "arch", "linux-6.12.1.arch1-1-x86_64.pkg.tar.zst"), imagetest.Compressed(t, image.Zstd, imagetest.Tarball(t,
		imagetest.Member{Name: ".PKGINFO", Data: "# x\npkgname = linux\npkgbase = linux\npkgver = 6.12.1.arch1-1\nbuilddate = 1732309045\narch = x86_64\n"},
		imagetest.Member{Name: "usr/lib/modules/" + a + "/vmlinuz", Data: vmlinuz(a)}, imagetest.Member{Name: "usr/lib/modules/" + a + "/kernel/e.ko.zst", Data: "e"})))

	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	s := source(t, root, c)
	refs := kerneltest.List(t, s)
	type row struct{ ID, Release, Arch, Flavour, Package, Date, Config, Modules string }
	var got []row
	for _, r := range refs {
		if strings.HasPrefix(r.Locator, unpack.BadLocator) {
			got = append(got, row{ID: r.ID(), Config: "bad"})
			continue
		}
		im, err := s.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		config, _ := os.ReadFile(im.Config)
		var modules []string
		for name, text := range kerneltest.Modules(t, im) {
			if image.IsModule(name) {
				modules = append(modules, name+"="+text)
			}
		}
		slices.Sort(modules)
		if r.Modules != (len(modules) > 0) || im.Release != r.Release {
			t.Errorf("%+v has modules %q", r, modules)
		}
		got = append(got, row{r.ID(), r.Release, r.Arch, r.Flavour, r.Package, r.Date, string(config), strings.Join(modules, " ")})
	}
	want := []row{
		{"arch/" + a + "__6.12.1.arch1-1", a, "amd64", "", "linux 6.12.1.arch1-1", "2024-11-22", "", "kernel/e.ko.zst=e"},
		{"debian/" + d + "__6.1.180-1", d, "amd64", "cloud-amd64", "linux 6.1.180-1", "2024-05-01", "", "kernel/b.ko=B"},
		{ID: "debian/broken_1_amd64.deb", Config: "bad"},
		{"fedora/" + f + "__6.11.4-301.fc41", f, "amd64", "", "kernel-core 6.11.4-301.fc41", got[3].Date, "F", "kernel/c.ko=c kernel/d.ko=d"},
		{"mainline/" + u + "__6.9.0-060900.2", u, "amd64", "generic", "linux 6.9.0-060900.2", "2024-05-01", "", "kernel/a.ko=A2"},
		{"mainline/" + u + "__6.9.0-060900.202405122134", u, "amd64", "generic", "linux 6.9.0-060900.202405122134", "2024-05-01", "C", "kernel/a.ko=A"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kernels (-want +got):\n%s", d)
	}
	if w := strings.Join(warnings(), "\n"); !strings.Contains(w, "linux-modules-6.2.0_6.2-1_amd64.deb (6.2.0)") || !strings.Contains(w, "arm64.deb") || strings.Contains(w, "without modules") {
		t.Errorf("warnings: %s", w)
	}

	// The same by the names of the files, of one kernel, and in parts.
	named := kerneltest.List(t, source(t, strings.Join([]string{headers, modules1, image1}, ","), c))
	if len(named) != 1 || named[0].Digest != refs[5].Digest || named[0].ID() != refs[5].ID() {
		t.Errorf("%+v, want %+v", named, refs[5])
	}
	alone := kerneltest.List(t, source(t, image1, c))
	if w := strings.Join(warnings(), "\n"); len(alone) != 1 || alone[0].Modules || !strings.Contains(w, "1 kernels come without modules, as no package holds them: "+u) {
		t.Errorf("%+v, warnings %s", alone, w)
	}
	var usage *kernel.UsageError
	if _, err := source(t, modules1, c).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "holds no kernels: expected") {
		t.Errorf("error %v", err)
	}

	// What was named and is of no use is said.
	binary := filepath.Join(root, "7", "linux-image-7.1.0-amd64_7.1.0-1_amd64.deb")
	control := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "DEBIAN/control"), []byte("Package: linux-image-7.1.0-amd64\nVersion: 7.1.0-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\nDepends: kmod, linux-base-7.1.0-amd64 (= 7.1.0-1), linux-binary-7.1.0-amd64 (= 7.1.0-1)\n"))
	if err := os.Mkdir(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	kerneltest.Command(t, "dpkg-deb", "--build", filepath.Dir(filepath.Dir(control)), binary)
	for spec, want := range map[string]string{
		strings.Join([]string{headers, modules1, image1}, ","): "one is in " + filepath.Base(headers),
		binary + "," + image1:          "one is in linux-image-7.1.0-amd64_7.1.0-1_amd64.deb (it is in linux-binary-7.1.0-amd64)",
		filepath.Join(root, "7") + "/": "",
		modules1 + "," + image1:        "",
		image1 + "," + filepath.Join(dir, "linux-image-"+u+"-dbg_6.9.0-060900.202405122134_amd64.deb"): "one is in linux-image-" + u + "-dbg",
	} {
		c := kerneltest.NewCache(t)
		warnings := kerneltest.CollectWarnings(c)
		_, _ = source(t, spec, c).List(t.Context())
		if w := strings.Join(warnings(), "\n"); !strings.Contains(w, want) || strings.Contains(w, "no part") != (want != "") {
			t.Errorf("%s: warnings %q, want %q", spec, w, want)
		}
	}

	// The same bytes by another name are an archive.
	b, err := os.ReadFile(filepath.Join(root, "arch", "linux-6.12.1.arch1-1-x86_64.pkg.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x.tar.zst", "x.pkg.tar.zst"} {
		if refs := kerneltest.List(t, source(t, imagetest.WriteFile(t, filepath.Join(root, "other", name), b), c)); len(refs) != 1 {
			t.Errorf("%s: %+v", name, refs)
		}
	}

	// A ref may come from elsewhere, and files may change.
	forge := func(old, new string) kernel.Ref {
		r := refs[5]
		r.Locator = strings.Replace(r.Locator, old, new, 1)
		return r
	}
	var digest *kernel.DigestError
	if _, err := s.Open(t.Context(), forge(",", ",,")); !errors.As(err, &digest) {
		t.Errorf("error %v, want a DigestError", err)
	}
	other := forge("boot/vmlinuz-"+u, "boot/vmlinuz-7")
	other.Digest = inDigest(other.Locator)
	if _, err := s.Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), `no kernel in it is "boot/vmlinuz-7"`) {
		t.Errorf("error %v", err)
	}
	if b, err = os.ReadFile(modules1); err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, modules1, bytes.Replace(b, []byte("A\x00"), []byte("B\x00"), 1))
	if _, err := s.Open(t.Context(), refs[5]); err == nil || !strings.Contains(err.Error(), "list the kernels again") {
		t.Errorf("error %v", err)
	}
}

// Packages of a kind that share modules or hold one kernel twice, and such as hold none.
func TestPackagesBesideOthers(t *testing.T) {
	const u, v = "6.8.0-31-generic", "5.14.0-570.el9.x86_64"
	root := t.TempDir()
	dir := filepath.Join(root, "ubuntu")
	deb(t, dir, "linux-image-unsigned-"+u, "6.8.0-31.31", "amd64", "boot/vmlinuz-"+u, string(imagetest.Vmlinuz(t, u)))
	deb(t, dir, "linux-image-"+u, "6.8.0-31.31", "amd64", "boot/vmlinuz-"+u, string(imagetest.Vmlinuz(t, u))+"signed")
	deb(t, dir, "linux-modules-"+u, "6.8.0-31.31", "amd64", "boot/config-"+u, "C", "lib/modules/"+u+"/kernel/a.ko", "A")
	deb(t, dir, "linux-modules-extra-"+u, "6.8.0-31.31", "amd64", "lib/modules/"+u+"/kernel/b.ko", "B")
	imagetest.WriteFile(t, filepath.Join(dir, "linux-image-unsigned-"+u+"-dbgsym_6.8.0-31.31_amd64.ddeb"), nil)
	dir = filepath.Join(root, "rhel")
	rpmPackage(t, dir, "kernel", "5.14.0", "570.el9")
	rpmPackage(t, dir, "kernel-core", "5.14.0", "570.el9", "lib/modules/"+v+"/vmlinuz", string(imagetest.Vmlinuz(t, v)), "lib/modules/"+v+"/config", "R")
	rpmPackage(t, dir, "kernel-uki-virt", "5.14.0", "570.el9", "lib/modules/"+v+"/vmlinuz-virt.efi", string(imagetest.PE(0x8664, ".uname", v, ".linux", string(imagetest.Vmlinuz(t, v)))))
	for _, part := range []string{"core", "extra", "internal"} {
		rpmPackage(t, dir, "kernel-modules-"+part, "5.14.0", "570.el9", "lib/modules/"+v+"/kernel/"+part+".ko", part)
	}
	imagetest.WriteFile(t, filepath.Join(dir, "kernel-5.14.0-570.el9.src.rpm"), nil)
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	s := source(t, root, c)
	refs := kerneltest.List(t, s)
	var got []string
	for _, r := range refs {
		im, err := s.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		modules := 0
		for name := range kerneltest.Modules(t, im) {
			if image.IsModule(name) {
				modules++
			}
		}
		got = append(got, fmt.Sprintf("%s %d %t", r.Distro+"/"+r.Release, modules, im.Config != ""))
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"rhel/" + v + " 3 false", "rhel/" + v + " 3 true", "ubuntu/" + u + " 2 true", "ubuntu/" + u + " 2 true"}, got); d != "" || len(warnings()) > 0 {
		t.Errorf("kernels (-want +got):\n%s\nwarnings %q", d, warnings())
	}
}

// SUSE's packages have a vmlinux for debuggers before the kernel, and modules before both.
func TestVmlinuxBeforeTheKernel(t *testing.T) {
	const v = "6.4.0-1-default"
	dir := t.TempDir()
	rpmPackage(t, dir, "kernel-default", "6.4.0", "1", "usr/lib/modules/"+v+"/config", "C", "usr/lib/modules/"+v+"/kernel/a.ko", "A",
		"usr/lib/modules/"+v+"/vmlinux.xz", string(imagetest.Compressed(t, image.XZ, imagetest.ELF(v, true))), "usr/lib/modules/"+v+"/vmlinuz", string(imagetest.Vmlinuz(t, v)))
	if im := open(t, kerneltest.NewCache(t), dir); im.Info.Format != image.FormatBzImage || !im.HasModules() || im.Config == "" {
		t.Errorf("%+v, config %q", im.Info, im.Config)
	}
}

// What is named like a kernel and is none is not left out without a word, nor is the
// configuration of another kernel taken.
func TestKernelsBesideOthers(t *testing.T) {
	member := func(name string, data []byte) imagetest.Member {
		return imagetest.Member{Name: name, Data: string(data)}
	}
	for name, tc := range map[string]struct {
		members []imagetest.Member
		config  string
	}{
		"configs of others": {[]imagetest.Member{member("boot/vmlinuz", imagetest.Vmlinuz(t, "6.1.0")), member("boot/config-5", []byte("5")), member("boot/config-6", []byte("6"))}, ""},
		"and one":           {[]imagetest.Member{member("boot/vmlinuz", imagetest.Vmlinuz(t, "6.1.0")), member("boot/config-5", []byte("5")), member("config", []byte("own"))}, "own"},
		"by its name":       {[]imagetest.Member{member("vmlinuz-a", imagetest.Vmlinuz(t, "6.1.0")), member("config-a", []byte("a")), member("config-6", []byte("6"))}, "a"},
	} {
		c := kerneltest.NewCache(t)
		warnings := kerneltest.CollectWarnings(c)
		im := open(t, c, imagetest.WriteFile(t, filepath.Join(t.TempDir(), "x.tar"), imagetest.Tarball(t, tc.members...)))
		config, _ := os.ReadFile(im.Config)
		if w := warnings(); string(config) != tc.config || len(w) > 0 {
			t.Errorf("%s: config %q, warnings %q", name, config, w)
		}
	}
	// One that is cut is bad under its own id, wherever it is and whatever else there is.
	good := func(name string) imagetest.Member { return member(name, imagetest.Vmlinuz(t, "6.1.0")) }
	cut := member("boot/vmlinuz-6.0.0", imagetest.Vmlinuz(t, "6.0.0")[:600])
	unnamed := imagetest.Member{Name: "boot/bzImage", Data: cut.Data}
	deep := imagetest.Member{Name: "a/b/vmlinuz-6.0.0", Data: cut.Data}
	for _, tc := range []struct {
		members []imagetest.Member
		want    string // ids, those of bad kernels with BadLocator
	}{
		{[]imagetest.Member{cut, good("boot/vmlinuz-6.1.0")}, "!d/6.0.0__x d/6.1.0__x"},
		{[]imagetest.Member{good("boot/vmlinuz-6.1.0"), cut, unnamed}, "!d/6.0.0__x d/6.1.0__x !d/bzImage__x"},
		{[]imagetest.Member{good("boot/vmlinuz-6.1.0"), member("boot/vmlinuz-6.2.0", imagetest.Vmlinuz(t, "6.2.0")), cut}, "!d/6.0.0__x d/6.1.0__x d/6.2.0__x"},
		{[]imagetest.Member{cut, unnamed}, "!d/6.0.0__x !d/bzImage__x"},
		{[]imagetest.Member{good("a/b/vmlinuz-6.1.0"), deep}, "!d/6.0.0__x d/6.1.0__x"},
		{[]imagetest.Member{good("a/b/vmlinuz-6.1.0"), cut, unnamed}, "!d/6.0.0__x !d/bzImage__x"},
		{[]imagetest.Member{good("boot/vmlinuz-6.1.0"), deep, member("a/b/vmlinuz", nil)}, "d/x"},
		{[]imagetest.Member{good("boot/vmlinuz-6.1.0"), member("boot/vmlinuz-6.1.0.sig", nil)}, "d/x"},
		{[]imagetest.Member{good("boot/vmlinuz-6.3.0"), member("boot/vmlinuz-6.3.0.gz", nil)}, "d/6.1.0__x !d/6.3.0__x"},
	} {
		file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "d", "x.tar"), imagetest.Tarball(t, tc.members...))
		s := source(t, file, kerneltest.NewCache(t))
		var got []string
		for _, r := range kerneltest.List(t, s) {
			id := r.ID()
			if strings.HasPrefix(r.Locator, unpack.BadLocator) {
				id = unpack.BadLocator + id
			}
			if _, err := s.Open(t.Context(), r); (err != nil) != strings.HasPrefix(id, unpack.BadLocator) || err != nil && !strings.Contains(err.Error(), "is no kernel image") {
				t.Errorf("%s: %v", id, err)
			}
			got = append(got, id)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q, want %s", got, tc.want)
		}
		// In a directory, where it is not read, it is not one good kernel either.
		if d := source(t, filepath.Dir(file), kerneltest.NewCache(t)); len(got) > 1 {
			if _, err := d.Open(t.Context(), kerneltest.List(t, d)[0]); err == nil {
				t.Errorf("%s: opened", tc.want)
			}
		}
	}
	pkg := deb(t, t.TempDir(), "linux-image", "1", "amd64", cut.Name, cut.Data, "boot/kernel-1", string(imagetest.Vmlinuz(t, "6.1.0")))
	if refs := kerneltest.List(t, source(t, pkg, kerneltest.NewCache(t))); len(refs) != 1 || refs[0].Release != "6.0.0" || !strings.HasPrefix(refs[0].Locator, unpack.BadLocator) {
		t.Errorf("%+v", refs)
	}
	// Of the EFI images of a directory, boot loaders do not count, and those that are cut do.
	dir := filepath.Join(t.TempDir(), "d")
	whole := imagetest.PE(0x8664, ".linux", string(imagetest.Vmlinuz(t, "6.1.0")))
	for name, data := range map[string][]byte{
		"6.1.0.efi": whole, "6.2.0.efi": whole[:len(whole)-600], "6.3.0.efi": imagetest.PE(0x8664, ".linux", "x"), "6.4.0.efi": whole[:100], "empty.efi": nil,
		"shim.efi": imagetest.PE(0x8664, ".text", "x"),
	} {
		imagetest.WriteFile(t, filepath.Join(dir, name), data)
	}
	s := source(t, dir, kerneltest.NewCache(t))
	refs := kerneltest.List(t, s)
	if d := cmp.Diff([]string{"d/6.1.0.efi", "d/6.2.0.efi", "d/6.3.0.efi", "d/6.4.0.efi", "d/empty.efi"}, kerneltest.IDs(refs)); d != "" {
		t.Fatal(d)
	}
	for i, ref := range refs {
		if _, err := s.Open(t.Context(), ref); (err == nil) != (i == 0) || ref.Digest == "" || err != nil && !strings.Contains(err.Error(), "is no kernel image") {
			t.Errorf("%+v: %v", ref, err)
		}
	}
}

// A root file system has several kernels, each with modules of its own.
func TestSeveralKernels(t *testing.T) {
	old, new := "5.10.0-1-amd64", "6.1.0-2-amd64"
	members := []imagetest.Member{
		{Name: "boot/efi/EFI/debian/grubx64.efi", Data: "MZ"},
		{Name: "boot/vmlinuz-" + old, Data: string(imagetest.Vmlinuz(t, old))},
		{Name: "boot/config-" + old, Data: "OLD"},
		{Name: "boot/vmlinuz-" + new, Data: string(imagetest.Vmlinuz(t, new))},
		{Name: "boot/config-" + new, Data: "NEW"},
		{Name: "lib/modules/" + old + "/kernel/a.ko", Data: "old"},
		{Name: "lib/modules/" + new + "/kernel/a.ko", Data: "new"},
		{Name: "usr/lib/modules/" + new + "/vmlinuz", Data: string(imagetest.Vmlinuz(t, new))},
	}
	file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "images", "root.tar.gz"), imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t, members...)))
	c := kerneltest.NewCache(t)
	s := source(t, file, c)
	refs := kerneltest.List(t, s)
	if d := cmp.Diff([]string{"images/" + old + "__root", "images/" + new + "__root"}, kerneltest.IDs(refs)); d != "" {
		t.Fatal(d)
	}
	for i, want := range []string{"OLD", "NEW"} {
		im, err := s.Open(t.Context(), refs[i])
		if err != nil {
			t.Fatal(err)
		}
		config, _ := os.ReadFile(im.Config)
		if got := kerneltest.Modules(t, im)["kernel/a.ko"]; got != strings.ToLower(want) || string(config) != want || im.Release != refs[i].Release || !refs[i].Modules {
			t.Errorf("%s: modules %q, config %q, release %s", refs[i].ID(), got, config, im.Release)
		}
	}
	// One release of two architectures is two kernels, in two formats it is one.
	both := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "both.tar"), imagetest.Tarball(t, imagetest.Member{Name: "vmlinux", Data: string(imagetest.ELF("6.6.0", true))},
		imagetest.Member{Name: "arch/x86/boot/bzImage", Data: string(imagetest.Vmlinuz(t, "6.6.0"))}, imagetest.Member{Name: "arch/arm64/boot/Image", Data: string(imagetest.Arm64Image("6.6.0"))}))
	b := source(t, both, c)
	var arches []string
	for _, r := range kerneltest.List(t, b) {
		im, err := b.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		arches = append(arches, im.Arch+" "+string(im.Info.Format))
	}
	if slices.Sort(arches); strings.Join(arches, ", ") != "amd64 bzImage, arm64 Image" {
		t.Errorf("kernels %q", arches)
	}

	forged := refs[0]
	forged.Locator = refs[1].Locator
	var digest *kernel.DigestError
	if _, err := source(t, file, kerneltest.NewCache(t)).Open(t.Context(), forged); !errors.As(err, &digest) {
		t.Errorf("error %v, want a DigestError", err)
	}
	// In a directory only its digest is known.
	d := source(t, filepath.Dir(file), c)
	_, err := d.Open(t.Context(), kerneltest.List(t, d)[0])
	if err == nil || !strings.Contains(err.Error(), `several kernels, 2: "boot/vmlinuz-5.10.0-1-amd64", "boot/vmlinuz-6.1.0-2-amd64": name the archive itself`) {
		t.Errorf("error %v", err)
	}
}

// FuzzScan holds that what archives hold neither ends the run nor gives names that
// are not safe, and that one kernel of what was found can be unpacked.
func FuzzScan(f *testing.F) {
	f.Add(imagetest.FullArchive(f, "6.1.0"))
	f.Add(imagetest.Tarball(f, imagetest.Member{Name: "vmlinuz-6.1.0", Data: string(imagetest.Vmlinuz(f, "6.1.0"))}, imagetest.Member{Name: "x/Image.zst", Data: "x"},
		imagetest.Member{Name: ".PKGINFO", Data: "pkgname = a\npkgver = 1"}, imagetest.Member{Name: "lib/modules/../x.ko"}))
	f.Add(imagetest.Tarball(f, imagetest.Member{Name: "boot/vmlinuz", Data: string(imagetest.Vmlinuz(f, "6.1.0"))}, imagetest.Member{Name: "boot/vmlinuz-2", Data: string(imagetest.Vmlinuz(f, "6.2.0"))},
		imagetest.Member{Name: "boot/config-2"}, imagetest.Member{Name: "lib/modules/6.2.0/kernel/a.ko"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		file := imagetest.WriteFile(t, filepath.Join(dir, "x.pkg.tar"), data)
		c := kerneltest.NewCache(t)
		s := source(t, file, c)
		refs, err := s.List(t.Context())
		for _, r := range refs {
			if !kerneltest.SafeID.MatchString(r.ID()) || !kerneltest.SafeID.MatchString("x/"+kernel.SafeName(r.Release)) || strings.ContainsAny(r.Package+r.Flavour+r.Date, "\n\x1b") {
				t.Fatalf("%+v", r)
			}
			im, err := s.Open(t.Context(), r)
			if err == nil && r.Release != "" && im.Release != r.Release {
				t.Fatalf("release %q, listed as %q", im.Release, r.Release)
			}
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(filepath.Join(c.Dir(), "tmp")); len(left) > 0 {
			t.Fatalf("left in tmp: %v", left)
		}
	})
}

func TestFlavour(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"6.1.0-50-amd64": "amd64", "6.12.73+deb12-cloud-amd64": "cloud-amd64", "6.9.0-060900-generic-64k": "generic-64k", "6.4.0-150600.23-default": "default",
		"6.6.1-1-lts": "lts", "5.14.0-570.el9.x86_64+rt": "rt", "6.12.1-arch1-1": "", "6.11.4-301.fc41.x86_64": "", "6.13.0-rc1": "", "6.1.0-50-s390x": "s390x", "6.1.0-50-powerpc64le-64k": "powerpc64le-64k", "6.1.4-g0123456789ab": "", "6.13.0": "", "": "",
	} {
		if got := flavour(release); got != want {
			t.Errorf("%s: %q, want %q", release, got, want)
		}
	}
}
