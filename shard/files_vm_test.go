package shard

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// stub is of Debian's package systemd-boot-efi.
const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// vmlinuzOf reads a kernel's image, and vxlan and what it needs of its modules.
func vmlinuzOf(t *testing.T, im *kernel.Image) (vmlinuz []byte, modules map[string]string) {
	t.Helper()
	vmlinuz, err := os.ReadFile(im.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	modules = map[string]string{}
	err = im.ReadModules(t.Context(), func(file string) bool {
		return image.IsModule(file) && (strings.HasSuffix(image.ModuleName(file), "udp_tunnel") || image.ModuleName(file) == "vxlan")
	}, func(file string, _ int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		modules["lib/modules/"+im.Release+"/"+file] = string(b)
		return err
	})
	if err != nil || len(modules) < 3 {
		t.Fatalf("%d modules, %v", len(modules), err)
	}
	return vmlinuz, modules
}

// writeAll writes files below a directory.
func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		imagetest.WriteFile(t, filepath.Join(dir, name), []byte(data))
	}
}

// Kernels boot out of the files that users have, made by real tools of real kernels,
// and with modules where those come along: vxlan is one.
func TestKernelsOfFiles(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	for _, tool := range []string{"dpkg-deb", "rpmbuild", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: .github/scripts/install-deps --tests installs it", tool)
		}
	}
	im := l.image(t)
	vmlinuz, modules := vmlinuzOf(t, im)
	top := t.TempDir()

	root := filepath.Join(top, "deb-modules")
	writeAll(t, root, modules)
	imagetest.WriteFile(t, filepath.Join(root, "DEBIAN/control"), []byte("Package: linux-modules\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"))
	imagetest.WriteFile(t, filepath.Join(top, "deb-image/boot/vmlinuz-"+im.Release), vmlinuz)
	imagetest.WriteFile(t, filepath.Join(top, "deb-image/DEBIAN/control"), []byte("Package: linux-image\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"))
	for _, name := range []string{"deb-modules", "deb-image"} {
		imagetest.WriteFile(t, filepath.Join(top, "debs", "x"), nil)
		kerneltest.Command(t, "dpkg-deb", "-Zxz", "-z1", "--build", filepath.Join(top, name), filepath.Join(top, "debs", name+".deb"))
	}

	all := filepath.Join(top, "rpm-root")
	writeAll(t, all, modules)
	imagetest.WriteFile(t, filepath.Join(all, "lib/modules", im.Release, "vmlinuz"), vmlinuz)
	spec := imagetest.WriteFile(t, filepath.Join(top, "kernel.spec"), fmt.Appendf(nil, `Name: kernel
Version: 1
Release: 1
Summary: x
License: x
%%description
x
%%files
/lib/modules/*
%%install
mkdir -p %%{buildroot}
cp -a %s/. %%{buildroot}
`, all))
	kerneltest.Command(t, "rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", "_topdir "+top, "--define", "__os_install_post %{nil}", spec)

	// A root file system with a kernel in boot, and another as a unified kernel image.
	other := newestOf(t, "debian:trixie:cloud-amd64", "debian/6.12.*")
	oim, err := other.Source.Open(t.Context(), other.Ref)
	if err != nil {
		t.Fatal(err)
	}
	uki, uname := filepath.Join(top, "root/boot/efi/EFI/Linux/debian.efi"), imagetest.WriteFile(t, filepath.Join(top, "uname"), []byte(oim.Release))
	writeAll(t, filepath.Join(top, "root"), modules)
	imagetest.WriteFile(t, filepath.Join(top, "root/boot/vmlinuz-"+im.Release), vmlinuz)
	imagetest.WriteFile(t, uki, nil)
	kerneltest.Command(t, "objcopy", "--add-section", ".uname="+uname, "--change-section-vma", ".uname=0x30000",
		"--add-section", ".linux="+oim.Kernel, "--change-section-vma", ".linux=0x2000000", stub, uki)
	kerneltest.Command(t, "tar", "-C", filepath.Join(top, "root"), "-czf", filepath.Join(top, "images.tar.gz"), "boot", "lib")

	for _, tt := range []struct {
		name, spec, release string
		modules             bool
	}{
		{"deb", filepath.Join(top, "debs"), im.Release, true},
		{"rpm", filepath.Join(top, "RPMS/x86_64/kernel-1-1.x86_64.rpm"), im.Release, true},
		{"one of two", filepath.Join(top, "images.tar.gz"), im.Release, true},
		{"unified kernel image", filepath.Join(top, "images.tar.gz"), oim.Release, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := l.passPayload(t)
			if tt.modules {
				p = onDemandPayload(t, "vxlan")
			}
			k, console := l.run(t, l.runner(t, p), entryOf(t, l, tt.spec, "*/"+tt.release+"__*"))
			if k.Verdict != report.Pass || k.Release != tt.release {
				t.Errorf("%v, release %s: %+v\n%s", k.Verdict, k.Release, k.Cause, console)
			}
		})
	}
}

// QEMU starts no EFI image and no compressed one but gzip on arm64.
func TestKernelsOfFilesArm64(t *testing.T) {
	t.Parallel()
	l := arm64Lab(t)
	im := l.image(t)
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	if err := im.Vmlinux(t.Context(), raw); err != nil {
		raw = im.Kernel // it is not compressed
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"a stub":    imagetest.WriteFile(t, filepath.Join(dir, "vmlinuz-stub"), imagetest.PE(0xaa64, ".dtbauto", "x", ".linux", string(imagetest.Compressed(t, image.Gzip, b)))),
		"Image.zst": imagetest.WriteFile(t, filepath.Join(dir, "kernel.tar"), imagetest.Tarball(t, imagetest.Member{Name: "arch/arm64/boot/Image.zst", Data: string(imagetest.Compressed(t, image.Zstd, b))})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, console := l.run(t, l.runner(t, l.passPayload(t)), entryOf(t, l, file, "*"))
			if k.Verdict != report.Pass || k.Release != im.Release {
				t.Errorf("%v, release %s: %+v\n%s", k.Verdict, k.Release, k.Cause, console)
			}
		})
	}
}

// entryOf is the one kernel of a source that matches.
func entryOf(t *testing.T, l *lab, spec, glob string) plan.Entry {
	t.Helper()
	src, err := source.Parse(spec, l.cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(context.Background(), []kernel.Source{src}, []string{glob})
	if err != nil || len(list.Entries) != 1 {
		t.Fatalf("%+v, %v", list.Entries, err)
	}
	return list.Entries[0]
}
