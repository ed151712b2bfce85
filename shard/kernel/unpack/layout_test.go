package unpack

import (
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Names from archives and images of several projects.
func TestIsKernelName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"vmlinuz":                                           "sure",
		"boot/vmlinuz-6.1.0-50-amd64":                       "sure",
		"boot/vmlinuz":                                      "sure", // cilium/ci-kernels, Talos
		"boot/vmlinux":                                      "sure", // Ignite, falco's kernel-testing
		"boot/vmlinux-5.14.16":                              "sure",
		"boot/Image.zst":                                    "sure",
		"vmlinux":                                           "sure", // Firecracker, a kernel's tree
		"arch/x86/boot/bzImage":                             "sure",
		"arch/arm64/boot/Image":                             "sure",
		"arch/arm64/boot/Image.lz4":                         "sure",
		"arch/arm64/boot/vmlinuz.efi":                       "sure",
		"lib/modules/6.6.1/vmlinuz":                         "sure",
		"usr/lib/modules/6.6.1/vmlinux":                     "sure",
		"usr/lib/modules/6.6.1/vmlinuz-virt.efi":            "sure", // Fedora's UKI
		"data/kernels/6.6-main/boot/vmlinuz-6.6.50":         "sure", // little-vm-helper
		"boot/efi/EFI/Linux/0123-6.6.1.efi":                 "sure",
		"EFI/Linux/arch-linux.efi":                          "sure",
		"kernel.efi":                                        "sure",
		"boot/vmlinuz-6.8.0-31-generic.efi.signed":          "sure",
		"data/kernels/6.6-main/vmlinuz":                     "maybe",
		"boot/6.1.0/vmlinuz":                                "maybe",
		"opt/kata/share/kata-containers/vmlinux-6.1.62-121": "maybe",
		"vmlinux-6.1.zst":                                   "sure",  // libbpf's CI
		"kernel":                                            "maybe", // LinuxKit
		"boot/kernel-6.6.30-gentoo-dist":                    "maybe",
		"boot/efi/EFI/debian/grubx64.efi":                   "maybe",
		"usr/lib/debug/boot/vmlinux-6.1.0-50-amd64":         "",
		"usr/lib/debug/lib/modules/6.6.1/vmlinux":           "",
		"usr/lib/debug/usr/lib/modules/6.6.1/vmlinux":       "",
		"arch/x86/boot/compressed/vmlinux":                  "",
		"usr/src/linux/vmlinux":                             "",
		"lib/modules/6.6.1/build/vmlinux":                   "",
		"lib/modules/6.6.1/kernel/a.ko":                     "",
		"boot/vmlinuz.old":                                  "",
		"boot/config-6.1.0":                                 "",
		"boot/System.map-6.1.0":                             "",
		"usr/share/Image.png":                               "",
		"usr/include/linux/kernel.h":                        "",
		"boot/vmlinuzx":                                     "",
		"usr/lib/debug/lib/modules/6.6.1/kernel/a.ko.debug": "",
	} {
		named, sure := IsKernelName(name)
		got := map[bool]string{true: "maybe"}[named]
		if sure {
			got = "sure"
		}
		if got != want || sure && !named {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if _, _, ok := image.SplitModule("usr/lib/debug/" + name); ok {
			t.Errorf("modules of %s", name)
		}
	}
	for name, want := range map[string]string{
		"config": "", "boot/config-6.1": "6.1", "lib/modules/6.1/config": "6.1", ".config": "", "data/kernels/a/config": "",
		"data/kernels/a/boot/config-6.1": "6.1", "boot/6.1/config-6.1": "6.1",
		"etc/config": "no", "usr/src/linux/.config": "no", "lib/modules/6.1/build/.config": "no", "etc/config-a": "no", "usr/lib/debug/boot/config-6": "no",
	} {
		got, ok := isConfigName(name)
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("config %s: %q, want %q", name, got, want)
		}
	}
}

func TestImageStem(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"vmlinuz-6.1.0": "6.1.0", "bzImage-v5.13": "v5.13", "Image-6.1.zst": "6.1", "vmlinux-6.1.efi": "6.1", "arch-linux.efi": "arch-linux", "vmlinuz-6.1.0.sig": "6.1.0.sig",
		"vmlinuz": "", "kernel-6.1": "", ".efi": "", "x.txt": "",
	} {
		if got := ImageStem(base); got != want {
			t.Errorf("%s: %q, want %q", base, got, want)
		}
	}
}

// Ids are what reports and expectations go by: a suffix stays in them.
func TestRefOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"vmlinuz-6.1.0": "d/6.1.0 6.1.0", "Image-6.1.0.gz": "d/6.1.0.gz 6.1.0", "arch-linux.efi": "d/arch-linux.efi ", "bzImage-v5.13": "d/v5.13 5.13",
		"6.1.0__a.tar.gz": "d/6.1.0__a 6.1.0", "vmlinuz-6.1.0.tar.gz": "d/vmlinuz-6.1.0 ", "vmlinuz": "d/vmlinuz ",
	} {
		ref := RefOf("d", name)
		if got := ref.ID() + " " + ref.Release; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := RefOf("Downloads", "vmlinuz-6.1.0").ID(); got != "Downloads/6.1.0" {
		t.Error(got)
	}
}
