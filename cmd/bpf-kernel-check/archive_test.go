package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// kernelHeader is a file that looks like an x86 kernel and boots nowhere.
func kernelHeader(version string) string {
	b := make([]byte, 5*512)
	b[0x1f1] = 4
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	b[0x236] = 1
	binary.LittleEndian.PutUint16(b[0x20e:], 0x300)
	copy(b[0x500:], strings.TrimPrefix(version, "v")+" (root@build) #1 SMP\x00")
	return string(b)
}

// makeArchive writes the archive of one kernel: archive VERSION FILE [CONFIG]
func makeArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: archive VERSION FILE [CONFIG]")
	}
	files := [][2]string{{"vmlinuz", kernelHeader(args[0])}, {"id", args[1]}}
	if len(args) > 2 {
		files = append(files, [2]string{"config", ts.ReadFile(args[2])})
	}
	writeTar(ts, args[1], files)
}

// makeRealArchive writes the archive of the kernel that the scripts boot:
// kernelarchive FILE
func makeRealArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kernelarchive FILE")
	}
	ctx := context.Background()
	cache, err := kernel.NewCache(ts.Getenv("KERNELS"))
	ts.Check(err)
	src, err := source.Parse("debian:bookworm:cloud-amd64", cache)
	ts.Check(err)
	plan, err := plan.New(ctx, []kernel.Source{src}, []string{ts.Getenv("ID")})
	ts.Check(err)
	im, err := src.Open(ctx, plan.Entries[0].Ref)
	ts.Check(err)
	data, err := os.ReadFile(im.Kernel)
	ts.Check(err)
	writeTar(ts, args[0], [][2]string{{"vmlinuz", string(data)}})
}

// makeMainline writes an archive of many kernels: mainline FILE VERSION...
func makeMainline(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mainline FILE VERSION...")
	}
	var files [][2]string
	for _, v := range args[1:] {
		files = append(files, [2]string{"mainline-kernels/bzImage-" + v, kernelHeader(v)})
	}
	writeTar(ts, args[0], files)
}

// makeBucket serves the files below a directory as a bucket, for what the
// script runs next: bucket NAME DIR
func makeBucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bucket NAME DIR")
	}
	t := ts.Value(testKey{}).(testing.TB)
	s := gcstest.Start(t)
	s.Bucket(t, args[0])
	dir := ts.MkAbs(args[1])
	ts.Check(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		s.Put(t, args[0], filepath.ToSlash(name), data)
		return err
	}))
	ts.Setenv("STORAGE_EMULATOR_HOST", s.Host)
}

// testKey is the key of the test in a script's values.
type testKey struct{}

func writeTar(ts *testscript.TestScript, name string, files [][2]string) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range files {
		ts.Check(tw.WriteHeader(&tar.Header{Name: f[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f[1]))}))
		_, err := tw.Write([]byte(f[1]))
		ts.Check(err)
	}
	ts.Check(tw.Close())
	data := b.Bytes()
	if strings.HasSuffix(name, ".gz") {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		_, err := zw.Write(data)
		ts.Check(err)
		ts.Check(zw.Close())
		data = z.Bytes()
	}
	path := ts.MkAbs(name)
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, data, 0o644))
}
