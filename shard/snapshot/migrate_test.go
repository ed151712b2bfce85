package snapshot

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// savedBoot is a VM of a kernel that waits for its work.
type savedBoot struct {
	bin   string
	m     qemu.Machine // to be restored
	state []byte       // zstd, as the cache has it
	ram   *os.File
	bytes int // of the state
}

// saveVM boots a kernel and saves its VM, with files in dir.
func saveVM(tb testing.TB, ctx context.Context, img *kernel.Image, dir string) *savedBoot {
	tb.Helper()
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		tb.Fatal(err)
	}
	s := &savedBoot{}
	if s.bin, err = qemu.Find(arch); err != nil {
		tb.Fatal(err)
	}
	init, err := guest.Program(ctx, "amd64", guest.Init)
	if err != nil {
		tb.Fatal(err)
	}
	var base, stub bytes.Buffer
	if err := errors.Join(guest.WriteBase(&base, init), writeStub(&stub)); err != nil {
		tb.Fatal(err)
	}
	vmlinux := filepath.Join(dir, "vmlinux")
	if err := img.Vmlinux(ctx, vmlinux); err != nil {
		tb.Fatal(err)
	}
	defer os.Remove(vmlinux)
	if pvh, err := image.HasPVH(vmlinux); err != nil || !pvh {
		tb.Fatalf("PVH: %v, %v", pvh, err)
	}
	m := qemu.Machine{Arch: arch, Accel: qemu.TCG, Kernel: vmlinux, Initrd: write(tb, dir, "base.cpio", base.Bytes()), TSC: qemu.TSC(), Snapshot: true, Avoid: true}
	var con, state bytes.Buffer
	z, err := zstd.NewWriter(&state, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		tb.Fatal(err)
	}
	n := &counter{w: z}
	if s.ram, err = newMemory(m.RAMSize(), dir); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.ram.Close() })
	if err := errors.Join(save(ctx, s.bin, m, wire.ReadyLine, &con, n, s.ram), z.Close()); err != nil {
		tb.Fatalf("%v\n%s", err, con.String())
	}
	m.Kernel = write(tb, dir, "stub", stub.Bytes())
	s.m, s.state, s.bytes = m, state.Bytes(), n.n
	return s
}

type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return c.w.Write(p)
}

func write(tb testing.TB, dir, name string, b []byte) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// restore goes on with the VM, hands it an archive, and returns the records and
// the console. spoil may change the handover.
func (s *savedBoot) restore(tb testing.TB, ctx context.Context, dir string, archive []byte, spoil func(*wire.Handover)) ([]wire.Record, string, qemu.Exit) {
	tb.Helper()
	h := wire.Handover{Now: time.Now().UnixNano(), Entropy: make([]byte, 2*wire.MinEntropy)}
	if _, err := rand.Read(h.Entropy); err != nil {
		tb.Fatal(err)
	}
	h.Nonce = hex.EncodeToString(h.Entropy[:8])
	p, err := guest.HandOver(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		tb.Fatal(err)
	}
	h.Archives = []wire.HandoverPackage{p}
	if spoil != nil {
		spoil(&h)
	}
	m := s.m
	m.Files = []qemu.File{{Name: wire.HandoverName, Path: write(tb, dir, "handover", wire.PackHandover(h))}, {Name: wire.HandoverArchive + "0", Path: write(tb, dir, "archive,0", archive)}}
	z, err := zstd.NewReader(bytes.NewReader(s.state), zstd.WithDecoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	var con bytes.Buffer
	frames := wire.NewCollector(h.Nonce, nil)
	exit, err := restore(ctx, s.bin, m, z, s.ram, &con, frames.Stream())
	records, stats, werr := frames.Records()
	if err != nil || werr != nil || stats.Lost > 0 {
		tb.Fatalf("%v, %v, %+v\n%s", err, werr, stats, con.String())
	}
	return records, con.String(), exit
}

// payloadOf writes an archive that holds one file.
func payloadOf(tb testing.TB, size int) []byte {
	tb.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if err := guest.WritePayload(&b, guest.Payload{Files: []guest.File{{Path: "/some/file", Mode: 0o644, Data: data}}}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestSaveAndRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a VM")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	s := saveVM(t, ctx, newestImage(t, "debian:bookworm:cloud-amd64", "debian/6.1.*"), dir)
	archive := payloadOf(t, 5<<20+123)
	for _, tt := range []struct {
		name  string
		spoil func(*wire.Handover)
		want  string // on the console; "": all is well
	}{
		{name: "whole"},
		{name: "a sum that is another", spoil: func(h *wire.Handover) { h.Archives[0].Sum++ }, want: `init: receive .*: archive 0: it came damaged`},
		{name: "a size that is another", spoil: func(h *wire.Handover) { h.Archives[0].Size++ }, want: `init: receive .*: archive 0 has \d+ bytes, want \d+`},
		{name: "no entropy", spoil: func(h *wire.Handover) { h.Entropy = nil }, want: `init: receive .*: the handover has 0 bytes of entropy, want 32`},
	} {
		records, con, exit := s.restore(t, ctx, dir, archive, tt.spoil)
		switch {
		case !exit.Clean():
			t.Errorf("%s: QEMU: %v\n%s", tt.name, exit, con)
		case tt.want == "" && (len(records) == 0 || records[len(records)-1].End == nil || !records[len(records)-1].End.Complete):
			t.Errorf("%s: no end: %+v\n%s", tt.name, records, con)
		case tt.want != "" && (len(records) > 0 || !regexp.MustCompile(tt.want).MatchString(con)):
			t.Errorf("%s: %d records and nothing like %s in\n%s", tt.name, len(records), tt.want, con)
		}
	}
	// A state that ends early.
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	whole, err := d.DecodeAll(s.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	cut := *s
	cut.state = z.EncodeAll(whole[:len(whole)/2], nil)
	if records, con, exit := cut.restore(t, ctx, dir, archive, nil); exit.Clean() || len(records) > 0 {
		t.Errorf("half a state: %v, %d records\n%s", exit, len(records), con)
	}
}

// A guest that ends before it is ready is no reason to wait.
func TestSaveOfAGuestThatEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a VM")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	img := newestImage(t, "debian:bookworm:cloud-amd64", "debian/6.1.*")
	vmlinux := filepath.Join(dir, "vmlinux")
	if err := img.Vmlinux(ctx, vmlinux); err != nil {
		t.Fatal(err)
	}
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := qemu.Find(arch)
	if err != nil {
		t.Fatal(err)
	}
	m := qemu.Machine{Arch: arch, Accel: qemu.TCG, Kernel: vmlinux, Initrd: write(t, dir, "no", []byte("no archive")), Snapshot: true, Avoid: true}
	ram, err := newMemory(m.RAMSize(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ram.Close()
	var con, state bytes.Buffer
	if err := save(ctx, bin, m, wire.ReadyLine, &con, &state, ram); !errors.Is(err, errNotReady) || state.Len() > 0 {
		t.Errorf("%v, %d bytes\n%s", err, state.Len(), con.String())
	}
}
