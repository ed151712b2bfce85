package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// kernelFiles writes the kernel that the scripts boot to a directory, as the
// directory of its modules: vmlinuz, config, and the modules that have to do
// with file systems. kernelfiles DIR [SOURCE GLOB], of which the newest
func kernelFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: kernelfiles DIR [SOURCE GLOB]")
	}
	spec, glob := "debian:bookworm:cloud-amd64", ts.Getenv("ID")
	if len(args) == 3 {
		spec, glob = args[1], args[2]
	}
	dir := ts.MkAbs(args[0])
	cache, err := kernel.NewCache(ts.Getenv("KERNELS"))
	ts.Check(err)
	src, err := source.Parse(spec, cache)
	ts.Check(err)
	plan, err := plan.New(context.Background(), []kernel.Source{src}, []string{glob})
	ts.Check(err)
	im, err := src.Open(context.Background(), plan.Newest().Ref)
	ts.Check(err)
	write := func(name string, r io.Reader) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, r); err != nil {
			return err
		}
		return f.Close()
	}
	for as, from := range map[string]string{"vmlinuz": im.Kernel, "config": im.Config} {
		b, err := os.ReadFile(from)
		ts.Check(err)
		ts.Check(write(as, bytes.NewReader(b)))
	}
	ts.Check(im.ReadModules(context.Background(),
		func(file string) bool { return strings.HasPrefix(file, "kernel/fs/") },
		func(file string, _ int64, r io.Reader) error { return write(file, r) }))
	ts.Setenv("RELEASE", im.Release)
}

// ociImage pushes an image with one layer, the files of a directory:
// ociimage REFERENCE DIR
func ociImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ociimage REFERENCE DIR")
	}
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	ts.Check(tw.AddFS(os.DirFS(ts.MkAbs(args[1]))))
	ts.Check(tw.Close())
	im, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	ts.Check(err)
	ts.Check(remote.Write(ref, im))
}
