package unpack

import (
	"path"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// kernelNames are what kernels are called: alone, or before a dash and a release.
var kernelNames = []string{"vmlinuz", "vmlinux", "bzImage", "zImage", "Image", "kernel"}

// wrapNames end the names of kernels that something is wrapped around.
var wrapNames = []string{".gz", ".zst", ".xz", ".lz4", ".bz2", ".lzma", ".efi.signed", ".efi"}

// kernelStem returns what follows vmlinuz- and the like in a file's name, and
// whether it is that of a kernel at all.
func kernelStem(base string) (stem string, ok bool) {
	plain := base
	for _, w := range wrapNames {
		var cut bool
		if plain, cut = strings.CutSuffix(base, w); cut {
			break
		}
	}
	for _, n := range kernelNames {
		if rest, ok := strings.CutPrefix(plain, n); ok {
			rest = strings.TrimPrefix(rest, ".gz") // some have it before the release
			if rest == "" || rest[0] == '-' {
				return strings.TrimPrefix(rest, "-"), true
			}
		}
	}
	return plain, IsEFI(base)
}

// IsEFI says whether a file is named like an EFI image. Boot loaders are EFI images
// as well.
func IsEFI(base string) bool { return strings.HasSuffix(base, ".efi") }

// IsKernelName says whether a file of an archive is named like a kernel, and
// whether it lies where kernels do: then it has to be one. Debug information, the
// sources of kernels and what a build leaves on its way are in places of their own.
func IsKernelName(name string) (named, sure bool) {
	dir, base := path.Split(name)
	stem, ok := kernelStem(base)
	if !ok || aside(dir) {
		return false, false
	}
	if _, file, ok := image.SplitModule(name); ok {
		return file == base, file == base
	}
	boot := path.Base(dir) == "boot" || dir == ""
	switch {
	case IsEFI(base) && stem+".efi" == base: // named by its end only
		return true, dir == "" || strings.HasSuffix(strings.ToLower("/"+dir), "/efi/linux/")
	case strings.HasPrefix(base, "kernel") && !IsEFI(base):
		return true, false
	}
	return true, boot
}

// isConfigName is IsKernelName for the configuration, and returns the release or
// the like that it is of, "" where its name has none.
func isConfigName(name string) (stem string, ok bool) {
	dir, base := path.Split(name)
	if aside(dir) {
		return "", false
	}
	if release, file, ok := image.SplitModule(name); ok {
		return release, file == "config"
	}
	if stem, ok := strings.CutPrefix(base, "config-"); ok {
		return stem, dir == "" || path.Base(dir) == "boot" || ReleaseOf(stem) != ""
	}
	return "", base == "config" && (dir == "" || path.Base(dir) == "boot" || strings.HasPrefix(dir, "data/kernels/")) || name == ".config"
}

// IsKernelPart says whether a file of an archive is a configuration or lies among
// the modules of a kernel.
func IsKernelPart(name string) bool {
	_, config := isConfigName(name)
	_, _, module := image.SplitModule(name)
	return config || module
}

// aside says whether a directory has what belongs to kernels and is none.
func aside(dir string) bool {
	for _, d := range []string{"/usr/lib/debug/", "/usr/src/", "/boot/compressed/"} {
		if strings.Contains("/"+dir, d) {
			return true
		}
	}
	return false
}
