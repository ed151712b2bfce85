package snapshot

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// BenchmarkBoot times a VM from start to power-off with an empty payload: the
// plain QEMU line (SeaBIOS, bzImage, 8 vCPUs, verbose console) against ours
// (PVH vmlinux, one vCPU under TCG) cold, and restored from a saved VM. They
// take turns, so that the machine's speed may drift; the ratios are the figures
// to quote. save-s is a boot to init's ready point with the VM saved and
// compressed, which is done once for a kernel.
//
//	go test -run '^$' -bench Boot -benchtime 5x ./shard/snapshot
func BenchmarkBoot(b *testing.B) {
	for _, k := range []struct{ name, source, glob string }{
		{"6.1-generic-xz", "debian:bookworm:amd64", "debian/6.1.*"},
		{"6.1-cloud-lz4", "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"6.12-cloud-zstd", "debian:trixie:cloud-amd64", "debian/6.12.*"},
	} {
		b.Run(k.name, func(b *testing.B) { benchmarkBoot(b, k.source, k.glob) })
	}
}

func benchmarkBoot(b *testing.B, source, glob string) {
	ctx := b.Context()
	img := newestImage(b, source, glob)
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		b.Fatal(err)
	}
	bin, err := qemu.Find(arch)
	if err != nil {
		b.Fatal(err)
	}
	init, err := guest.Program(ctx, "amd64", guest.Init)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	initramfs, err := guest.Initramfs(init, guest.Payload{})
	if err != nil {
		b.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, initramfs, 0o600); err != nil {
		b.Fatal(err)
	}

	saveStart := time.Now()
	saved := saveVM(b, ctx, img, dir)
	saveTook := time.Since(saveStart)
	archive := payloadOf(b, 0)
	var stock, ours, warm []float64
	for b.Loop() {
		stock = append(stock, bootStock(b, ctx, bin, img.Kernel, initrd).Seconds())
		ours = append(ours, bootOurs(b, ctx, bin, img, arch, initrd, dir).Seconds())
		start := time.Now()
		if records, con, exit := saved.restore(b, ctx, dir, archive, nil); !exit.Clean() || len(records) == 0 || records[len(records)-1].End == nil {
			b.Fatalf("%v, %+v\n%s", exit, records, con)
		}
		warm = append(warm, time.Since(start).Seconds())
	}
	s, o, w := median(stock), median(ours), median(warm)
	b.ReportMetric(s, "stock-s")
	b.ReportMetric(o, "ours-s")
	b.ReportMetric(w, "warm-s")
	b.ReportMetric(s/o, "stock/ours")
	b.ReportMetric(s/w, "stock/warm")
	b.ReportMetric(saveTook.Seconds(), "save-s")
	b.ReportMetric(float64(len(saved.state))/(1<<20), "saved-MiB")
	b.ReportMetric(0, "ns/op") // both together: of no meaning
}

func median(xs []float64) float64 {
	slices.Sort(xs)
	return (xs[len(xs)/2] + xs[(len(xs)-1)/2]) / 2
}

// bootStock is the line that people use without thinking. init restarts the
// machine at its end, which -no-reboot turns into an exit.
func bootStock(b *testing.B, ctx context.Context, bin, bzImage, initrd string) time.Duration {
	b.Helper()
	for range 5 {
		var out bytes.Buffer
		vmCtx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		cmd := exec.CommandContext(vmCtx, bin, "-nographic", "-m", "1G", "-smp", "8", "-no-reboot",
			"-kernel", bzImage, "-initrd", initrd, "-append", "console=ttyS0 panic=-1")
		cmd.Stdout, cmd.Stderr = &out, &out
		start := time.Now()
		err := cmd.Run()
		took := time.Since(start)
		cancel()
		if err == nil && bytes.Contains(out.Bytes(), []byte("init: 0 passed")) {
			return took
		}
		// Eight vCPUs under emulation now and then make a kernel panic. That is
		// no time of a boot.
		b.Logf("stock boot left out: %v, %s", err, out.Bytes()[max(0, out.Len()-300):])
	}
	b.Fatal("the stock line does not boot this kernel")
	return 0
}

// bootOurs boots as the runner does, the decompression of the image included.
func bootOurs(b *testing.B, ctx context.Context, bin string, img *kernel.Image, arch qemu.Arch, initrd, dir string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		b.Fatal(err)
	}
	vmlinux := filepath.Join(dir, "vmlinux")
	defer os.Remove(vmlinux)
	firmware := qemu.Probe(ctx, bin, arch, qemu.TCG).Firmware
	start := time.Now()
	if err := img.Vmlinux(ctx, vmlinux); err != nil {
		b.Fatal(err)
	}
	m := qemu.Machine{Arch: arch, Accel: qemu.TCG, Kernel: vmlinux, Initrd: initrd, Nonce: hex.EncodeToString(nonce[:]), Firmware: firmware, Avoid: true}
	frames := wire.NewCollector(m.Nonce, nil)
	exit, err := qemu.Run(ctx, bin, m, io.Discard, frames.Stream())
	took := time.Since(start)
	records, stats, werr := frames.Records()
	if err != nil || werr != nil || !exit.Clean() || stats.Lost > 0 || len(records) == 0 || records[len(records)-1].End == nil {
		b.Fatalf("%v, %v, %v, %+v, %+v", err, werr, exit, stats, records)
	}
	return took
}

func newestImage(b testing.TB, spec, glob string) *kernel.Image {
	b.Helper()
	dir, err := kernel.DefaultCacheDir()
	if err != nil {
		b.Fatal(err)
	}
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
	newest := slices.MaxFunc(refs, func(a, b kernel.Ref) int { return report.CompareVersions(a.Name, b.Name) })
	img, err := src.Open(b.Context(), newest)
	if err != nil {
		b.Fatal(err)
	}
	return img
}
