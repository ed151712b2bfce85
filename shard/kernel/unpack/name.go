package unpack

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// BadLocator marks the Ref of a file that cannot be opened; the reason follows.
const BadLocator = "!"

// ArchiveStem returns an archive's name without its suffix, "" for what is not
// named like an archive.
func ArchiveStem(base string) string {
	for _, suffix := range []string{".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tar.lz4", ".tar"} {
		if stem, ok := strings.CutSuffix(base, suffix); ok {
			return stem
		}
	}
	return ""
}

// IsImage says whether a file is named like a kernel image.
func IsImage(base string) bool {
	_, ok := kernelStem(base)
	return ok && !strings.HasPrefix(base, "kernel") && !strings.HasPrefix(base, ".")
}

// ImageStem returns what follows vmlinuz- and the like, "" for what is not
// named like a kernel image.
func ImageStem(base string) string {
	if !IsImage(base) {
		return ""
	}
	stem, _ := kernelStem(base)
	return stem
}

// SafeDistro returns the distro that a directory's name stands for.
func SafeDistro(dir string) string {
	switch dir {
	case "", ".", "/":
		return "local"
	case "mainline-kernels":
		return "mainline"
	}
	return kernel.SafeName(dir)
}

// RefOf returns what the name of a file says of the kernel in it. name may have
// directories, and the distro need not be one of them. A name that is not safe
// to use gives a Ref with a [BadLocator].
func RefOf(distro, name string) kernel.Ref {
	base := path.Base(name)
	stem := ArchiveStem(base)
	id := stem
	if stem == "" {
		stem = cmp.Or(ImageStem(base), base)
		id = base[strings.LastIndex(base, stem):] // Image-6.1 and Image-6.1.gz may be two kernels
	}
	ref := kernel.Ref{Distro: SafeDistro(distro), Name: id, Release: ReleaseOf(stem), Arch: goarch.OfRelease(stem).Name}
	if ref.Distro == "mainline" && !strings.HasPrefix(stem, "mainline-") {
		ref.Name = "mainline-" + stem
	}
	ref.Name = kernel.SafeName(ref.Name)
	for part := range strings.SplitSeq(name, "/") {
		if reason := unsafeName(part); reason != "" {
			ref.Locator = BadLocator + fmt.Sprintf("its file name %q %s: rename it", name, reason)
			ref.Release, ref.Arch = "", ""
		}
	}
	return ref
}

// unsafeName says what is wrong with a file name, "" when nothing is.
func unsafeName(name string) string {
	switch {
	case len(name) > kernel.MaxName:
		return fmt.Sprintf("is longer than %d bytes", kernel.MaxName)
	case strings.HasPrefix(name, "-"), strings.HasPrefix(name, "."):
		return fmt.Sprintf("starts with %q", name[:1])
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return "holds control characters"
	}
	return ""
}

// ReleaseOf returns the release that a kernel's name starts with, without what
// makes a mainline kernel's name; "" when it starts with none.
func ReleaseOf(stem string) string {
	stem, _, _ = strings.Cut(strings.TrimPrefix(stem, "mainline-"), "__")
	if len(stem) > 1 && stem[0] == 'v' {
		stem = stem[1:]
	}
	return image.VersionToken([]byte(stem))
}
