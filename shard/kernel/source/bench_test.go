package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

// BenchmarkUnpack makes a vmlinux of kernels in each compression: the first time
// and, where that leaves a copy that is faster, again. MB/s is of what comes out.
//
//	go test -run '^$' -bench Unpack ./shard/kernel/source
func BenchmarkUnpack(b *testing.B) {
	for _, k := range []struct{ name, source, glob string }{
		{"lz4", "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"xz", "debian:bookworm:amd64", "debian/6.1.*"},
		{"zstd", "debian:trixie:cloud-amd64", "debian/6.12.*"},
	} {
		image := shippedImage(b, k.source, k.glob)
		b.Run(k.name+"/first", func(b *testing.B) { benchmarkUnpack(b, image, true) })
		b.Run(k.name+"/again", func(b *testing.B) { benchmarkUnpack(b, image, false) })
	}
}

// shippedImage is the newest kernel of a source.
func shippedImage(b *testing.B, spec, glob string) []byte {
	b.Helper()
	dir, err := kernel.DefaultCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	_, im := openNewest(b, dir, spec, glob)
	image, err := os.ReadFile(im.Kernel)
	if err != nil {
		b.Fatal(err)
	}
	return image
}

func openNewest(b *testing.B, dir, spec, glob string) (*kernel.Cache, *kernel.Image) {
	b.Helper()
	cache, err := kernel.NewCache(dir)
	if err != nil {
		b.Fatal(err)
	}
	src, err := source.Parse(spec, cache)
	if err != nil {
		b.Fatal(err)
	}
	refs, err := src.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	refs = slices.DeleteFunc(refs, func(r kernel.Ref) bool { return !report.MatchKernel([]string{glob}, r.ID()) })
	if len(refs) == 0 {
		b.Fatalf("%s has no %s", spec, glob)
	}
	im, err := src.Open(b.Context(), slices.MaxFunc(refs, func(a, b kernel.Ref) int { return report.CompareVersions(a.Name, b.Name) }))
	if err != nil {
		b.Fatal(err)
	}
	return cache, im
}

func benchmarkUnpack(b *testing.B, image []byte, first bool) {
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "k", "debian"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "k", "debian", "vmlinuz-6.1.0"), image, 0o644); err != nil {
		b.Fatal(err)
	}
	_, im := openNewest(b, filepath.Join(dir, "cache"), filepath.Join(dir, "k"), "*/*")
	out := filepath.Join(dir, "vmlinux")
	if err := im.Vmlinux(b.Context(), out); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(out)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if first {
			b.StopTimer()
			if err := os.RemoveAll(filepath.Join(filepath.Dir(im.Kernel), "vmlinux.zst")); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if err := im.Vmlinux(b.Context(), out); err != nil {
			b.Fatal(err)
		}
	}
}
