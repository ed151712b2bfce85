package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// BenchmarkRun times the whole command, run of one kernel with a payload that
// does nothing, against the plain QEMU line (SeaBIOS, bzImage, 8 vCPUs, verbose
// console), which gets an init and no payload. The line, the command that boots
// and the command that restores take turns, so that the machine's speed may
// drift; the ratios are the figures to quote. Those of processor time (cpu) are
// of use where others have the processors too.
//
//	make build && go test -run '^$' -bench Run -benchtime 5x ./cmd/bpf-kernel-check
func BenchmarkRun(b *testing.B) {
	for _, k := range []struct{ name, source, glob string }{
		{"6.1-generic-xz", "debian:bookworm:amd64", "debian/6.1.*"},
		{"6.1-cloud-lz4", "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"6.12-cloud-zstd", "debian:trixie:cloud-amd64", "debian/6.12.*"},
	} {
		b.Run(k.name, func(b *testing.B) { benchmarkRun(b, k.source, k.glob) })
	}
}

func benchmarkRun(b *testing.B, source, glob string) {
	bin, err := filepath.Abs("../../bin/bpf-kernel-check")
	if err == nil {
		_, err = os.Stat(bin)
	}
	if err != nil {
		b.Fatalf("the command as it is released: %v: make build first", err)
	}
	dir := b.TempDir()
	image := filepath.Join(dir, "vmlinuz-under-test")
	copyNewest(b, source, glob, image)
	init, err := guest.Program(b.Context(), "amd64", guest.Init)
	if err != nil {
		b.Fatal(err)
	}
	initramfs, err := guest.Initramfs(init, guest.Payload{})
	if err != nil {
		b.Fatal(err)
	}
	initrd, payload := filepath.Join(dir, "initrd"), filepath.Join(dir, "nothing")
	for path, data := range map[string][]byte{initrd: initramfs, payload: exitProgram(b)} {
		if err := os.WriteFile(path, data, 0o700); err != nil {
			b.Fatal(err)
		}
	}
	run := func(boot string) spent {
		return timed(b, "1 passed, 0 failed", bin, "--cache", filepath.Join(dir, "cache"), "run", "--kernels", image,
			"--test", payload, "-j", "1", "--accel", "tcg", "--boot", boot, "-o", filepath.Join(dir, "out"))
	}
	run("warm") // fills the cache and saves the VM
	var stock, cold, warm []spent
	for b.Loop() {
		stock = append(stock, timed(b, "init: 0 passed", "qemu-system-x86_64", "-nographic", "-m", "1G", "-smp", "8", "-no-reboot",
			"-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1"))
		cold = append(cold, run("cold"))
		warm = append(warm, run("warm"))
	}
	for _, of := range []struct {
		what string
		is   func(spent) float64
	}{
		{"", func(s spent) float64 { return s.wall.Seconds() }},
		{"cpu-", func(s spent) float64 { return s.cpu.Seconds() }},
	} {
		s, c, w := median(stock, of.is), median(cold, of.is), median(warm, of.is)
		b.ReportMetric(s, of.what+"stock-s")
		b.ReportMetric(c, of.what+"cold-s")
		b.ReportMetric(w, of.what+"warm-s")
		b.ReportMetric(s/c, of.what+"stock/cold")
		b.ReportMetric(s/w, of.what+"stock/warm")
	}
	b.ReportMetric(0, "ns/op") // all three together: of no meaning
}

// spent is what a command took, with the processes that it started.
type spent struct{ wall, cpu time.Duration }

func median(of []spent, is func(spent) float64) float64 {
	var xs []float64
	for _, s := range of {
		xs = append(xs, is(s))
	}
	slices.Sort(xs)
	return (xs[len(xs)/2] + xs[(len(xs)-1)/2]) / 2
}

// timed runs a command until it prints want: eight vCPUs under emulation now and
// then make a kernel panic, which is no time of a boot.
func timed(b *testing.B, want string, args ...string) spent {
	b.Helper()
	for range 5 {
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		start := time.Now()
		err := cmd.Run()
		took := time.Since(start)
		cancel()
		if err == nil && bytes.Contains(out.Bytes(), []byte(want)) {
			return spent{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
		}
		b.Logf("left out: %v, %s", err, out.Bytes()[max(0, out.Len()-300):])
	}
	b.Fatalf("%s does not come to %q", args[0], want)
	return spent{}
}

// copyNewest copies a source's newest image, fetched into the user's cache.
func copyNewest(b *testing.B, spec, glob, to string) {
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
	plan, err := plan.New(b.Context(), []kernel.Source{src}, []string{glob})
	if err != nil {
		b.Fatal(err)
	}
	e := plan.Newest()
	img, err := e.Source.Open(b.Context(), e.Ref)
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(img.Kernel)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// exitProgram is a program that ends at once: what a payload's own start costs
// is not to be measured.
func exitProgram(b *testing.B) []byte {
	b.Helper()
	const base, headers = 0x400000, 64 + 56
	code := []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05} // mov eax, SYS_exit; xor edi, edi; syscall
	var out bytes.Buffer
	for _, v := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: headers + uint64(len(code)), Memsz: headers + uint64(len(code)), Align: 4096},
		code,
	} {
		if err := binary.Write(&out, binary.LittleEndian, v); err != nil {
			b.Fatal(err)
		}
	}
	return out.Bytes()
}
