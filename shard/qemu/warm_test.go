package qemu_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func TestSaveAndRestore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	src, glob := "debian:bookworm:cloud-amd64", "debian/6.1.*"
	if s := os.Getenv("WARM_SRC"); s != "" {
		src, glob = s, os.Getenv("WARM_GLOB")
	}
	img := newestImage(t, src, glob)
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := qemu.Find(arch)
	if err != nil {
		t.Fatal(err)
	}
	init, err := guest.Program(ctx, "amd64", guest.Init)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var base, stub, payload bytes.Buffer
	if err := guest.WriteBase(&base, init); err != nil {
		t.Fatal(err)
	}
	if err := qemu.WriteStub(&stub); err != nil {
		t.Fatal(err)
	}
	vmlinux := filepath.Join(dir, "vmlinux")
	if err := img.Vmlinux(ctx, vmlinux); err != nil {
		t.Fatal(err)
	}
	m := qemu.Machine{Arch: arch, Accel: qemu.TCG, Kernel: vmlinux, Initrd: write("base", base.Bytes()), TSC: qemu.TSC(), Saves: true}
	if pvh, _ := kernel.HasPVH(vmlinux); !pvh {
		m.Kernel = img.Kernel
	}
	var con, state bytes.Buffer
	start := time.Now()
	err = qemu.Save(ctx, bin, m, wire.ReadyLine, &con, &state)
	t.Logf("saved %d bytes in %v: %v\n%s", state.Len(), time.Since(start), err, con.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 20 << 20} {
		big := make([]byte, size)
		rand.Read(big)
		payload.Reset()
		if err := guest.WritePayload(&payload, guest.Payload{Files: []guest.File{{Path: "/big", Mode: 0o644, Data: big}}}); err != nil {
			t.Fatal(err)
		}
		r := m
		if pvh, _ := kernel.HasPVH(vmlinux); pvh {
			r.Kernel = write("stub", stub.Bytes())
		}
		entropy := make([]byte, 64)
		rand.Read(entropy)
		h := wire.Handover{Nonce: hex.EncodeToString(entropy[:16]), Now: time.Now(), Entropy: entropy,
			Archives: []wire.HandoverPackage{{Size: int64(payload.Len()), Sum: crc32.Checksum(payload.Bytes(), crc32.MakeTable(crc32.Castagnoli))}}}
		hb, _ := json.Marshal(h)
		r.Files = []qemu.File{{Name: wire.HandoverName, Path: write("handover", hb)}, {Name: wire.HandoverArchive + "0", Path: write("payload", payload.Bytes())}}
		con.Reset()
		frames := wire.NewCollector(h.Nonce, nil)
		start = time.Now()
		exit, err := qemu.Restore(ctx, bin, r, bytes.NewReader(state.Bytes()), &con, frames.Stream())
		t.Logf("restored with %d in %v: %v %v\n%s", size, time.Since(start), exit, err, con.String())
		recs, stats, werr := frames.Records()
		t.Log(len(recs), stats, werr)
	}
}
